"""Dead letters, for operators: find them, look at one, see what a replay would do, replay, drop.

    find, page, count   which there are (`Filter`), the last given up on first
    show                one of them, with its body and every attempt
    preview             what a replay would do, letter by letter and field by field; writes nothing
    replay              put letters back, paced; `status`, `replays` watch, `stop_replay` stops, `resume` goes on
    drop                drop them for good

What changes something is entered in the audit trail (`app.audit`), in the step in which it is done.
"""

from worker.letters.finding import ALL, Filter, Page, count, drop, find, page, show
from worker.letters.preview import Effect, PolicyEffect, Verdict, differences, preview
from worker.letters.replaying import Progress, ReplayError, batch_id, replay, replays, resume, status, stop_replay

__all__ = [
    "ALL",
    "Effect",
    "Filter",
    "Page",
    "PolicyEffect",
    "Progress",
    "ReplayError",
    "Verdict",
    "batch_id",
    "count",
    "differences",
    "drop",
    "find",
    "page",
    "preview",
    "replay",
    "replays",
    "resume",
    "show",
    "status",
    "stop_replay",
]
