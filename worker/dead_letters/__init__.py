"""Dead letters, for operators: find them, look at one, see what a replay would do, replay, drop.

    find, page, count   which there are (`Filter`), the last given up on first
    groups, of_group    the same by kind, event and error, and the filter for one of these groups
    named, show         one of them by the beginning of its id; with its body and every attempt
    select              those to act on, oldest first: by ids or by a filter
    freeze, frozen      keep what was selected for a while, so that what was seen is acted on, and nothing else
    preview             what a replay would do, letter by letter and field by field; writes nothing
    dry_run             the same of very many, as groups of equal effects, and how far it is
    replay              put letters back, paced; `status`, `replays` watch, `stop_replay` stops, `resume` goes on
    drop                drop them for good

What changes something is entered in the audit trail (`app.audit`), in the step in which it is done.
"""

from worker.dead_letters import describe
from worker.dead_letters.dry_run import DryRun, dry_run
from worker.dead_letters.pace import DEFAULT_RATE
from worker.dead_letters.preview import DryRunVerdict, Effect, PolicyEffect, differences, preview
from worker.dead_letters.replay import (
    SLOWEST,
    Progress,
    ReplayError,
    UnknownReplayError,
    batch_id,
    interrupted,
    replay,
    replays,
    resume,
    status,
    stop_replay,
)
from worker.dead_letters.search import (
    ALL,
    KINDS,
    DeadLetterPage,
    Filter,
    FilterError,
    count,
    drop,
    find,
    freeze,
    frozen,
    groups,
    of_group,
    page,
    parsed,
    select,
    show,
    with_prefix,
)

__all__ = [
    "ALL",
    "DEFAULT_RATE",
    "KINDS",
    "SLOWEST",
    "DeadLetterPage",
    "DryRun",
    "DryRunVerdict",
    "Effect",
    "Filter",
    "FilterError",
    "PolicyEffect",
    "Progress",
    "ReplayError",
    "UnknownReplayError",
    "batch_id",
    "count",
    "describe",
    "differences",
    "drop",
    "dry_run",
    "find",
    "freeze",
    "frozen",
    "groups",
    "interrupted",
    "of_group",
    "page",
    "parsed",
    "preview",
    "replay",
    "replays",
    "resume",
    "select",
    "show",
    "status",
    "stop_replay",
    "with_prefix",
]
