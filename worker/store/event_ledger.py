"""The ledger of events: which arrived, what became of each, and which revisions of policies came of it.

It knows duplicates, so it forgets nothing that was settled in the last days; beyond that it has the newest million, in
hashes that are small enough for the store to pack (`_enter.lua`). An entry begins with a byte that says how it stands with
the event and who sent it, and four that say when it was received; then follow, of an event whose id is no digest of what it
says, a digest of that, and a line `policy@revision` for each of the first revisions that came of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from worker.lifecycle.facts import DAY, SECOND, Micros
from worker.store.client import Client, Command
from worker.store.keys import LEDGER_SINCE, Keyspace, Partition

SHELVES = 8192
"""In all partitions together."""
ROOM = 128
"""Entries of a shelf's newer part before it becomes the older one: all shelves have a million then."""
KEPT: Micros = 4 * DAY
"""How long a settled event is known as a duplicate, at least. GitHub can redeliver for 3 days."""
KEPT_LONG: Micros = 9 * DAY
"""The same where an Enterprise Server redelivers, for 7 days."""

KINDS = ("github", "registry", "exchange", "operator")
"""Who sends events."""
PASSING = "login.refused"
"""An event that the ledger does not keep: it is counted beside its policy, and there may be one a second for weeks."""
WAITS, SETTLED, DROPPED = "waits", "settled", "dropped"
DEAD = "dead letter"
REFUSED = "refused"
"""Of an event that was settled, and learnt nothing from: it says what nobody could have looked up."""
STATES = (WAITS, SETTLED, DROPPED)
SAYS = 16
"""In the first byte: a digest of what the event says is there, too."""
TAG, PART = 4, 12
"""Bytes of a field: of the digest of the delivery's id, by which it is found, and of the event's own id."""
BEGIN, DIGEST = 5, 16


class Place(NamedTuple):
    """Where the ledger has an event: its shelf, and its field there. No other event has that field: of different
    deliveries, 128 bits would have to be the same beside the shelf's number, and of one delivery, 96 bits of the events' ids.
    """

    newer: str
    older: str
    field: bytes
    rest: bytes
    """The rest of the event's id."""

    @property
    def keys(self) -> tuple[str, str]:
        return self.newer, self.older


class Came(NamedTuple):
    """A revision that came of an event."""

    policy_id: str
    revision: int


class Entry(NamedTuple):
    """What the ledger has of one event."""

    kind: str
    """github, registry, exchange or operator."""
    state: str
    """`waits`, `settled`, `dropped`, or `dead letter`."""
    received_at: Micros
    """In whole seconds."""
    came: tuple[Came, ...]
    """The first revisions that were published for it, in their order."""
    more: int
    """How many came beside those."""
    event_id: str | None = None
    """Of one that is in the inbox: its whole id."""
    name: str | None = None
    """Of the same: what it is called."""
    problem: str | None = None
    """Of the same: what went wrong last; of one that was refused, the code of why."""


def place_of(keyspace: Keyspace, partition: Partition, event_id: str, delivery: str) -> Place:
    """Where the ledger has an event of a partition."""
    number, tag = _sought(keyspace, delivery)
    event = bytes.fromhex(event_id)
    return Place(*partition.shelf(number), tag + event[:PART], event[PART:])


def _sought(keyspace: Keyspace, delivery: str) -> tuple[int, bytes]:
    digest = hashlib.sha256(delivery.encode()).digest()
    shelves = -(-SHELVES // keyspace.partitions)
    return int.from_bytes(digest[:8]) % shelves, digest[8 : 8 + TAG]


def beginning(kind: str, state: str, received_at: Micros, said: bytes | None) -> bytes:
    """How the entry of an event begins, once it does not wait any more."""
    seconds = (received_at // SECOND) % 2**32
    return first_byte(kind, state, said=said is not None) + seconds.to_bytes(4) + (said or b"")


def first_byte(kind: str, state: str, *, said: bool) -> bytes:
    # Which instance of GitHub sent it is not kept.
    sender = KINDS.index(kind.partition("/")[0])
    return bytes([STATES.index(state) + len(KINDS) * sender + SAYS * said])


def entry_from(value: bytes) -> Entry:
    """What is written in the ledger of one event."""
    first, seconds = value[0], int.from_bytes(value[1:BEGIN])
    state, kind = STATES[first % 4], KINDS[first // 4 % 4]
    waits = state == WAITS
    told = b"" if waits else value[BEGIN + (DIGEST if first >= SAYS else 0) :]
    came, more = came_from(told)
    code = refusal_from(told)
    return Entry(kind, state if code is None else REFUSED, seconds * SECOND, came, more, problem=code)


def came_line(policy_id: str, revision: int) -> str:
    """How a revision is noted that came of an event."""
    return f"{policy_id}@{revision}\n"


def came_from(written: bytes) -> tuple[tuple[Came, ...], int]:
    """The revisions that are named, and how many there were beside those."""
    *lines, last = written.decode().split("\n")
    named = (line.rpartition("@") for line in lines)
    came = (Came(policy_id, int(revision)) for policy_id, _, revision in named if revision.isdigit())
    return tuple(came), int(last or 0)


def refused_as(code: str) -> str:
    """What is noted, where revisions would be, of an event that is refused: a line that names no policy."""
    return f"@{code}\n"


def refusal_from(written: bytes) -> str | None:
    """The code of that; None if it was not."""
    line, end, _ = written.decode().partition("\n")
    return line[1:] if end and line.startswith("@") and not line[1:].isdigit() else None


class EventLedger:
    """Finds in the ledger; the inbox's scripts write it."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self._keyspace = keyspace

    def since(self) -> Micros | None:
        """From when on it has everything; None if it has nothing."""
        keys = [LEDGER_SINCE, *(partition.ledger_since for partition in self._keyspace.all())]
        found = self._client.run([Command(("GET", key)) for key in keys])
        return max((int(moment) for moment in found if isinstance(moment, bytes)), default=None)

    def begin(self, now: Micros) -> None:
        """Note that it is kept from now on, unless it is already.

        Raises:
            StoreError: the store could not be reached.
        """
        self._client.one(Command(("SET", LEDGER_SINCE, now, "NX")))

    def find(self, delivery: str, event_id: str | None = None) -> list[Entry]:
        """What it has of the events with this delivery id (GitHub's, a CloudEvent's `id`, an operator's request), newest
        first; of the one with this event id alone, if that is given.
        """
        number, tag = _sought(self._keyspace, delivery)
        shelves = [key for partition in self._keyspace.all() for key in reversed(partition.shelf(number))]
        replies = self._client.run([Command(("HGETALL", key)) for key in shelves])
        wanted = tag if event_id is None else tag + bytes.fromhex(event_id)[:PART]
        found: dict[bytes, bytes] = {}
        for reply in replies:
            found |= _values(cast("dict[bytes, bytes] | Sequence[bytes]", reply), wanted)
        entries = [self._whole(field, value) for field, value in found.items()]
        return sorted(entries, key=lambda entry: -entry.received_at)

    def _whole(self, field: bytes, value: bytes) -> Entry:
        """An entry; of one that waits, with what the inbox knows of it."""
        entry = entry_from(value)
        return entry if entry.state != WAITS else self._waiting(entry, (field[TAG:] + value[BEGIN:]).hex())

    def _waiting(self, entry: Entry, event_id: str) -> Entry:
        partitions = self._keyspace.all()
        told = self._client.run([
            Command(("HMGET", p.event(event_id), "name", "error", "message", "came", "more")) for p in partitions
        ])  # fmt: skip
        dead = self._client.run([Command(("ZSCORE", p.dead, event_id)) for p in partitions])
        for known, score in zip(cast("list[list[bytes | None]]", told), dead, strict=True):
            if known[0] is not None:
                name, error, message, written, more = (None if x is None else x.decode() for x in known)
                came, _ = came_from((written or "").encode())
                return entry._replace(
                    state=WAITS if score is None else DEAD, came=came, more=int(more or 0), event_id=event_id, name=name,
                    problem=None if error is None else f"{error}: {message}",
                )  # fmt: skip
        # A worker of a release before the ledger has settled it.
        return entry._replace(state=SETTLED)


def _values(reply: dict[bytes, bytes] | Sequence[bytes], wanted: bytes) -> Mapping[bytes, bytes]:
    """The entries whose fields begin so, each put together again."""
    flat = dict(zip(reply[::2], reply[1::2], strict=True)) if not isinstance(reply, dict) else reply
    known: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for field, value in flat.items():
        if field.startswith(wanted) and len(field) >= TAG + PART:
            known.setdefault(field[: TAG + PART], []).append((field, value))
    return {field: b"".join(value for _, value in sorted(parts)) for field, parts in known.items()}
