"""The audit trail: what operators did, when, and why. An append-only stream that nothing trims.

An act that goes through the inbox is entered by the script that settles the event, or gives it up: in one step, so that
what was done is entered once, whichever process dies when. Its text is prepared when it is put (`act`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import orjson

from worker.lifecycle.facts import Micros
from worker.store.client import Client, Command, ScriptCall
from worker.store.codec import UNREADABLE
from worker.store.keys import AUDIT, Keyspace, audited

DONE = "done"
ONCE_MS = 90 * 24 * 3600 * 1000
"""How long it is remembered that an entry with a name of its own was written."""

Action: TypeAlias = Literal[
    "partitions.changed",
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
    """`<milliseconds>-<number>`, and `.<stream>` unless that is the installation's own."""
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

    @property
    def stream(self) -> int:
        """The number of its stream: 0 for the installation's own, else one more than that of a partition."""
        return int(self.entry_id.partition(".")[2] or 0)

    @property
    def written_id(self) -> str:
        """Its id in that stream."""
        return self.entry_id.partition(".")[0]

    @property
    def order(self) -> tuple[int, int]:
        """Within its stream, and between streams as their servers' clocks are."""
        milliseconds, _, number = self.written_id.partition("-")
        return int(milliseconds), int(number)


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

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self._streams = [AUDIT, *(partition.audit for partition in keyspace.all())]

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
        yield from self._ascending(dict.fromkeys(self._streams, f"{max(moment, 0) // 1000}-0"), page)

    def follow(self, moment: Micros, pause: Callable[[], None]) -> Iterator[AuditEntry]:
        """Every act since, and then each as it is done, without end. `pause`: wait a while, until the next look."""
        after = dict.fromkeys(self._streams, f"{max(moment, 0) // 1000}-0")
        while True:
            yield from self._ascending(after, 500)
            pause()

    def newest(self, limit: int, before: str | None = None) -> list[AuditEntry]:
        """The last acts, newest first; `before` is the id of an entry, to go on from."""
        last, stream = _place(before, len(self._streams)) if before is not None else (None, 0)
        # Of one moment, those of the earlier streams come first.
        ends = ["+" if last is None else f"({last}" if n <= stream else last for n in range(len(self._streams))]
        replies = self._client.run([
            Command(("XREVRANGE", key, end, "-", "COUNT", limit)) for key, end in zip(self._streams, ends, strict=True)
        ])  # fmt: skip
        entries = [
            _entry(n, *raw) for n, reply in enumerate(replies) for raw in cast("list[tuple[bytes, object]]", reply)
        ]
        return sorted(entries, key=lambda entry: (entry.order, -entry.stream), reverse=True)[:limit]

    def _ascending(self, after: dict[str, str], page: int) -> Iterator[AuditEntry]:
        """What is in each stream from a place on, in the order of time; `after` is moved on."""
        waiting: dict[str, list[AuditEntry]] = {}
        hungry = list(after)
        while True:
            replies = self._client.run([Command(("XRANGE", key, after[key], "+", "COUNT", page)) for key in hungry])
            for key, reply in zip(hungry, replies, strict=True):
                number = self._streams.index(key)
                waiting[key] = [_entry(number, *raw) for raw in cast("list[tuple[bytes, object]]", reply)]
                if waiting[key]:
                    after[key] = f"({waiting[key][-1].written_id}"
            hungry = []
            while not hungry:
                ready = [entries[0] for entries in waiting.values() if entries]
                if not ready:
                    return
                first = min(ready, key=lambda entry: (entry.order, entry.stream))
                key = self._streams[first.stream]
                yield waiting[key].pop(0)
                if not waiting[key]:
                    hungry = [key]


def _place(entry_id: str, streams: int) -> tuple[str, int]:
    """Where an entry is: its id in its stream, and the number of that. Anything but an id of ours is the newest of all."""
    written, _, number = entry_id.partition(".")
    there = number.isascii() and number.isdigit() and int(number[:5]) < streams
    return (written, int(number)) if there else (written, 0)


def _entry(stream: int, entry_id: bytes, fields: object) -> AuditEntry:
    if not isinstance(fields, dict):
        flat = cast("list[bytes]", fields)
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
    identity = entry_id.decode() + (f".{stream}" if stream else "")
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
