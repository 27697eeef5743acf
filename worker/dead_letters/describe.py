"""Dead letters, previews, replays and acts as objects of JSON, for programs: of the command line and of the console.

Texts in them come from outside; whoever shows them to people shows them as text.
"""

from __future__ import annotations

from worker.dead_letters.preview import Effect
from worker.dead_letters.replay import Progress
from worker.lifecycle.views import rfc3339
from worker.store.audit import AuditEntry
from worker.store.dead import DeadLetter, Group, Whole


def letter(dead_letter: DeadLetter) -> dict[str, object]:
    """What is known of a letter, without its body. `time` is the CloudEvent's, `size` in bytes."""
    return {
        "id": dead_letter.event_id,
        "kind": dead_letter.kind,
        "event": dead_letter.name,
        "delivery": dead_letter.delivery,
        "source": dead_letter.source,
        "time": None if dead_letter.occurred_at is None else rfc3339(dead_letter.occurred_at),
        "owner_id": dead_letter.owner,
        "policy_id": dead_letter.policy,
        "by": dead_letter.by,
        "received_at": rfc3339(dead_letter.received_at),
        "died_at": rfc3339(dead_letter.died_at),
        "error": dead_letter.error,
        "message": dead_letter.message,
        "attempts": dead_letter.attempts,
        "size": dead_letter.size,
    }


def group(group: Group) -> dict[str, object]:
    """Letters of one kind, event and error; `message` is that of the last one."""
    return {
        "kind": group.kind,
        "event": group.event,
        "error": group.error,
        "letters": group.letters,
        "first_at": rfc3339(group.first),
        "last_at": rfc3339(group.last),
        "message": group.message,
    }


def whole(whole: Whole) -> dict[str, object]:
    """A letter with each failed attempt and its body: the text as it was sent, so that no digit is lost."""
    failed = [attempt._asdict() | {"at": rfc3339(attempt.at)} for attempt in whole.attempts]
    return {**letter(whole.dead_letter), "failed": failed, "body": whole.body.decode(errors="backslashreplace")}


def effect(effect: Effect) -> dict[str, object]:
    """What a replay of a letter would do; in `differences`, field → what it is and what it would be."""
    policies = [
        {
            "policy_id": policy.policy_id,
            "change": policy.change,
            "differences": {name: {"before": was, "after": is_} for name, (was, is_) in policy.differences.items()},
            "learns": policy.learns,
            "newer": policy.newer,
        }
        for policy in effect.policies
    ]
    return {
        "letter": letter(effect.letter),
        "verdict": effect.verdict.value,
        "error": effect.error,
        "message": effect.message,
        "policies": policies,
        "more": effect.more,
        "checks": list(effect.checks),
    }


def progress(progress: Progress) -> dict[str, object]:
    """How far a replay is. `state` is running, interrupted, stopped or ended."""
    replay = progress.replay
    return {
        "batch": replay.batch,
        "state": progress.state,
        "by": replay.by,
        "reason": replay.reason,
        "rate": replay.rate,
        "selection": dict(replay.selection),
        "started_at": rfc3339(replay.started_at),
        "letters": replay.total,
        "left": progress.left,
        "settled": progress.handled,
        "failed_again": progress.failed,
        "waiting": progress.waiting,
    }


def entry(entry: AuditEntry) -> dict[str, object]:
    """One act of the audit trail."""
    return {
        "id": entry.entry_id,
        "at": rfc3339(entry.at),
        "action": entry.action,
        "by": entry.by,
        "reason": entry.reason,
        "subjects": list(entry.subjects),
        "outcome": entry.outcome,
        "details": dict(entry.details),
    }
