"""The audit trail: what operators did, when, and why. An append-only stream that nothing trims.

An act that goes through the inbox is entered by the script that settles the event, or gives it up: in one step, so that
what was done is entered once, whichever process dies when. Its text is prepared when it is put (`act`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import orjson

from worker.lifecycle.facts import Micros
from worker.store.client import Client, Command, ScriptCall
from worker.store.codec import UNREADABLE
from worker.store.keys import AUDIT, audited

DONE = "done"
ONCE_MS = 90 * 24 * 3600 * 1000
"""How long it is remembered that an entry with a name of its own was written."""

Action: TypeAlias = Literal[
    "policy.rechecked",
    "sweep.let_through",
    "import.started",
    "import.ended",
    "replay.started",
    "replay.stopped",
    "replay.resumed",
    "replay.ended",
    "switch.closed",
    "switch.opened",
    "clock.reset",
    "recovery.accepted",
    "letter.dropped",
    "consumer.forgotten",
]
"""What operators do that is no event of theirs."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act."""

    entry_id: str
    """`<milliseconds>-<number>`, in the order of the entries."""
    at: Micros
    """When it was done, by the store's clock, to the millisecond."""
    action: str
    """`policy.held`, `replay.started`"""
    by: str
    reason: str | None
    """Why, in the operator's words."""
    subjects: tuple[str, ...]
    """On what: ids of policies, letters or replays."""
    details: Mapping[str, object]
    outcome: str
    """`done`, or `failed: …`"""


def act(
    action: Action, by: str, reason: str | None, subjects: Sequence[str], details: Mapping[str, object] | None = None
) -> bytes:
    """An act as it is written."""
    return event_act(action, by, reason, subjects, details)


def event_act(
    action: str, by: str, reason: str | None, subjects: Sequence[str], details: Mapping[str, object] | None = None
) -> bytes:
    """One that is an event, as it is written: `action` is the event's name."""
    act = {"action": action, "by": by, "reason": reason, "subjects": list(subjects), "details": dict(details or {})}
    return orjson.dumps(act)


def record_call(written: bytes, outcome: str = DONE, once: str | None = None) -> ScriptCall:
    """Enter an act, as a part of something larger. `once` names the entry: it is written the first time only."""
    return ScriptCall("audit", (AUDIT, audited(once or uuid.uuid4().hex)), (written, outcome, ONCE_MS))


class Audit:
    """Writes and reads the audit trail."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def record(
        self,
        action: Action,
        *,
        by: str,
        reason: str | None,
        subjects: Sequence[str],
        details: Mapping[str, object] | None = None,
        outcome: str = DONE,
    ) -> None:
        """Enter an act that does not go through the inbox.

        Raises:
            StoreError: it may have been entered or not.
        """
        self._client.one(record_call(act(action, by, reason, subjects, details), outcome))

    def since(self, moment: Micros, page: int = 500) -> Iterator[AuditEntry]:
        """Every act since, oldest first."""
        yield from self.after(f"{max(moment, 0) // 1000}-0", page, inclusive=True)

    def after(self, entry_id: str, page: int = 500, *, inclusive: bool = False) -> Iterator[AuditEntry]:
        """Every act after an entry, oldest first."""
        start = entry_id if inclusive else f"({entry_id}"
        while True:
            entries = self._read("XRANGE", start, "+", page)
            yield from entries
            if len(entries) < page:
                return
            start = f"({entries[-1].entry_id}"

    def follow(self, moment: Micros, block_ms: int = 250) -> Iterator[AuditEntry]:
        """Every act since, and then each as it is done, without end."""
        after = f"{max(moment - 1000, 0) // 1000}-{2**64 - 1}"
        while True:
            reply = self._client.one(Command(("XREAD", "COUNT", 500, "BLOCK", block_ms, "STREAMS", AUDIT, after)))
            if not reply:
                continue
            groups = (
                reply.values() if isinstance(reply, dict) else [group[1] for group in cast("list[list[object]]", reply)]
            )
            for raw in (raw for group in groups for raw in cast("list[object]", group)):
                entry = _entry(*cast("tuple[bytes, object]", raw))
                after = entry.entry_id
                yield entry

    def newest(self, limit: int, before: str | None = None) -> list[AuditEntry]:
        """The last acts, newest first; `before` is the id of an entry, to go on from."""
        return self._read("XREVRANGE", "+" if before is None else f"({before}", "-", limit)

    def _read(self, command: str, start: str, end: str, count: int) -> list[AuditEntry]:
        reply = self._client.one(Command((command, AUDIT, start, end, "COUNT", count)))
        return [_entry(*cast("tuple[bytes, object]", raw)) for raw in cast("list[object]", reply)]


def _entry(entry_id: bytes, fields: object) -> AuditEntry:
    if not isinstance(fields, dict):
        flat = cast("list[bytes]", fields)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
    identity = entry_id.decode()
    at = int(identity.partition("-")[0]) * 1000
    try:
        act = orjson.loads(fields[b"act"])
        return AuditEntry(
            entry_id=identity,
            at=at,
            action=str(act["action"]),
            by=str(act["by"]),
            reason=act["reason"] if isinstance(act["reason"], str) else None,
            subjects=tuple(map(str, act["subjects"])),
            details=dict(act["details"]),
            outcome=fields[b"outcome"].decode(errors="replace"),
        )
    except UNREADABLE:
        return AuditEntry(identity, at, "cannot be read", "", None, (), {}, "")
