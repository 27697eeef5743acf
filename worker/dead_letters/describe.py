"""Dead letters, previews, replays and acts as objects of JSON, for programs: of the command line and of the console.

Texts in them come from outside; whoever shows them to people shows them as text.
"""

from __future__ import annotations

from worker.dead_letters.preview import Effect
from worker.dead_letters.replay import Progress
from worker.lifecycle.views import rfc3339
from worker.store.audit import Entry
from worker.store.dead import DeadLetter, Group, Whole


def letter(found: DeadLetter) -> dict[str, object]:
    """What is known of a letter, without its body. `time` is the CloudEvent's, `size` in bytes."""
    return {
        "id": found.event_id,
        "kind": found.kind,
        "event": found.name,
        "delivery": found.delivery,
        "source": found.source,
        "time": None if found.occurred_at is None else rfc3339(found.occurred_at),
        "owner_id": found.owner,
        "policy_id": found.policy,
        "by": found.by,
        "received_at": rfc3339(found.received_at),
        "died_at": rfc3339(found.died_at),
        "error": found.error,
        "message": found.message,
        "attempts": found.attempts,
        "size": found.size,
    }


def group(found: Group) -> dict[str, object]:
    """Letters of one kind, event and error; `message` is that of the last one."""
    return {
        "kind": found.kind,
        "event": found.event,
        "error": found.error,
        "letters": found.letters,
        "first_at": rfc3339(found.first),
        "last_at": rfc3339(found.last),
        "message": found.message,
    }


def whole(found: Whole) -> dict[str, object]:
    """A letter with each failed attempt and its body: the text as it was sent, so that no digit is lost."""
    failed = [attempt._asdict() | {"at": rfc3339(attempt.at)} for attempt in found.attempts]
    return {**letter(found.letter), "failed": failed, "body": found.body.decode(errors="backslashreplace")}


def effect(found: Effect) -> dict[str, object]:
    """What a replay of a letter would do; in `differences`, field → what it is and what it would be."""
    policies = [
        {
            "policy_id": policy.policy_id,
            "change": policy.change,
            "differences": {name: {"before": was, "after": is_} for name, (was, is_) in policy.differences.items()},
            "learns": policy.learns,
            "newer": policy.newer,
        }
        for policy in found.policies
    ]
    return {
        "letter": letter(found.letter),
        "verdict": found.verdict.value,
        "error": found.error,
        "message": found.message,
        "policies": policies,
        "more": found.more,
        "checks": list(found.checks),
    }


def progress(found: Progress) -> dict[str, object]:
    """How far a replay is. `state` is running, interrupted, stopped or ended."""
    replay = found.replay
    return {
        "batch": replay.batch,
        "state": found.state,
        "by": replay.by,
        "reason": replay.reason,
        "rate": replay.rate,
        "selection": dict(replay.selection),
        "started_at": rfc3339(replay.started_at),
        "letters": replay.total,
        "left": found.left,
        "settled": found.settled,
        "failed_again": found.failed,
        "waiting": found.waiting,
    }


def entry(found: Entry) -> dict[str, object]:
    """One act of the audit trail."""
    return {
        "id": found.entry_id,
        "at": rfc3339(found.at),
        "action": found.action,
        "by": found.by,
        "reason": found.reason,
        "subjects": list(found.subjects),
        "outcome": found.outcome,
        "details": dict(found.details),
    }
