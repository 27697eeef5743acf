"""Dead letters: events of the inbox that were given up on. They stay until an operator replays or drops them.

No time limit is set on any of them, and none may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import orjson

from worker.lifecycle.facts import Micros
from worker.lifecycle.owners import OwnerRef, owner_from
from worker.lifecycle.views import rfc3339
from worker.store.audit import act
from worker.store.client import Client, Command, ScriptCall
from worker.store.event_ledger import DROPPED, KEPT, ROOM, beginning, place_of
from worker.store.keys import Keyspace, Partition, dry_run, selection
from worker.store.replies import fields as fields_of
from worker.store.replies import scored

PAGE = 500
"""Letters that one script reads."""
LISTED = 1000
"""Letters that are listed, or counted, by one command."""
MENTIONS = 8
"""Bodies searched in one transaction: each may have 25 MiB, and others wait meanwhile."""
FROZEN_SECONDS = 3600
FIELDS = (
    "kind", "name", "delivery", "source", "owner", "policy", "by", "received_at", "occurred_at", "error", "message",
    "attempts",
)  # fmt: skip


class DeadLetterRef(NamedTuple):
    """Where a dead letter is, and since when."""

    partition: Partition
    event_id: str
    died_at: Micros


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What is known of a dead letter, without its body."""

    partition: Partition
    event_id: str
    kind: str
    """github, registry, exchange or operator."""
    name: str
    """`repository.archived`, or a CloudEvent's type."""
    delivery: str
    """GitHub's delivery id, or the CloudEvent's id."""
    source: str | None
    """A CloudEvent's source."""
    owner: OwnerRef | None
    """The GitHub owner that it seems to concern."""
    policy: str | None
    """The policy that it names."""
    by: str | None
    """Who did it, where an operator did."""
    received_at: Micros
    """When the API accepted it: what dates a webhook, also when it is replayed."""
    occurred_at: Micros | None
    """When it happened, where its sender says so: the CloudEvent's time."""
    died_at: Micros
    """When it was given up on, last."""
    error: str
    """The class of the last error."""
    message: str
    attempts: int
    """How often a worker has taken it, in all."""
    size: int
    """Length of the body in bytes."""

    @property
    def at(self) -> Micros:
        """What dates its observations."""
        return self.received_at if self.occurred_at is None else self.occurred_at


class Attempt(NamedTuple):
    """One failed attempt; `trace` says where in the code, without values."""

    at: Micros
    worker: str
    error: str
    message: str
    trace: str


class Whole(NamedTuple):
    """A dead letter with everything that is kept of it."""

    dead_letter: DeadLetter
    body: bytes
    attempts: list[Attempt]
    """Oldest first, those before a replay too."""


class Chosen(NamedTuple):
    """Letters that were chosen to be acted on."""

    ids: list[str]
    described: dict[str, object]
    """What was asked for, to be shown with what was done."""


class Group(NamedTuple):
    """Dead letters of the same kind, event and error."""

    kind: str
    event: str
    error: str
    letters: int
    first: Micros
    """When the first of them was given up on."""
    last: Micros
    """When the last one was."""
    message: str
    """What the error of the last one said."""


class DeadLetters:
    """Finds, shows and drops dead letters."""

    def __init__(self, client: Client, keyspace: Keyspace, kept: Micros = KEPT) -> None:
        """`kept`: how long one that was dropped is known as a duplicate, at least."""
        self._kept = kept
        self._client = client
        self._keyspace = keyspace

    def places(self, since: Micros | None = None, until: Micros | None = None) -> list[DeadLetterRef]:
        """Every dead letter given up on in this span (both ends included), newest first."""
        low, high = "-inf" if since is None else since, "+inf" if until is None else until
        refs = [
            DeadLetterRef(partition, event_id.decode(), died_at)
            for partition in self._keyspace.all()
            for event_id, died_at in self._ids(partition, low, high)
        ]
        return sorted(refs, key=lambda place: (-place.died_at, place.partition, place.event_id))

    def _ids(self, partition: Partition, low: Micros | str, high: Micros | str) -> Iterator[tuple[bytes, Micros]]:
        """Ids of a partition's dead letters of a span, and when each was given up on, `LISTED` of them at once. While
        others replay or drop letters, some may be left out.
        """
        ids: set[bytes] = set()
        while True:
            words = ("ZRANGEBYSCORE", partition.dead, low, high, "WITHSCORES", "LIMIT", len(ids), LISTED)
            page = scored(self._client.one(Command(words)))
            yield from ((event_id, died_at) for event_id, died_at in page if event_id not in ids)
            if len(page) < LISTED:
                return
            ids.update(event_id for event_id, _ in page)

    def read(self, places: Sequence[DeadLetterRef]) -> Iterator[DeadLetter]:
        """What is known of these, in their order, `PAGE` at a time. Those that are gone meanwhile are left out."""
        for start in range(0, len(places), PAGE):
            page = places[start : start + PAGE]
            replies = self._by_partition(
                page,
                lambda p, ids: ScriptCall("dead_read", (p.dead,), (p.event(""), len(FIELDS), *FIELDS, *ids)),
            )
            for place, reply in zip(page, replies, strict=True):
                if reply:
                    yield _letter(place, cast("list[bytes | int | None]", reply))

    def find(self, event_id: str) -> DeadLetter | None:
        """The dead letter with this id, wherever it is."""
        partitions = self._keyspace.all()
        scores = self._client.run([Command(("ZSCORE", p.dead, event_id)) for p in partitions])
        for partition, score in zip(partitions, cast("list[float | bytes | None]", scores), strict=True):
            if score is not None:
                return next(self.read([DeadLetterRef(partition, event_id, int(float(score)))]), None)
        return None

    def freeze(self, token: str, chosen: Chosen) -> None:
        """Keep which letters somebody was shown for `FROZEN_SECONDS`, under a token that nothing else has."""
        self._client.one(Command(("SET", selection(token), orjson.dumps(list(chosen)), "EX", FROZEN_SECONDS)))

    def frozen(self, token: str) -> Chosen | None:
        """What was kept under this token; None if nothing was, or too long ago."""
        reply = cast("bytes | None", self._client.one(Command(("GET", selection(token)))))
        return None if reply is None else Chosen(*orjson.loads(reply))

    def note_dry_run(self, token: str, written: str) -> None:
        """Keep how far a dry run is, as long as what it is about."""
        self._client.one(Command(("SET", dry_run(token), written, "EX", FROZEN_SECONDS)))

    def dry_run(self, token: str) -> bytes | None:
        """What was noted last; None if nothing was, or too long ago."""
        return cast("bytes | None", self._client.one(Command(("GET", dry_run(token)))))

    def whole(self, letter: DeadLetter) -> Whole | None:
        """The letter with its body and every attempt; None if it is gone."""
        values = fields_of(self._client.one(Command(("HGETALL", letter.partition.event(letter.event_id)))))
        body = values.get("body", b"")
        if "bulk" in values:
            body = cast("bytes | None", self._client.one(Command(("GET", values["bulk"])))) or b""
        return Whole(letter, body, _attempts(values)) if values else None

    def mentioning(self, letters: Sequence[DeadLetter], text: str) -> list[bool]:
        """Whether the body of each holds a text, as it is written."""
        calls = [ScriptCall("dead_mention", (x.partition.event(x.event_id),), (text,)) for x in letters]
        parts = [calls[i : i + MENTIONS] for i in range(0, len(calls), MENTIONS)]
        return [self._mentions(reply, text) for part in parts for reply in self._client.run(part)]

    def _mentions(self, reply: object, text: str) -> bool:
        """What the script answered; a body that is too large for it is looked through here."""
        if isinstance(reply, bytes):
            return text.encode() in (cast("bytes | None", self._client.one(Command(("GET", reply)))) or b"")
        return reply == 1

    def groups(self) -> list[Group]:
        """All dead letters, counted by kind, event and error."""
        partitions = self._keyspace.all()
        counts = cast("list[int]", self._client.run([Command(("ZCARD", p.dead)) for p in partitions]))
        replies = [
            self._client.one(ScriptCall("dead_groups", (p.dead,), (p.event(""), start, start + LISTED - 1)))
            for p, count in zip(partitions, counts, strict=True)
            for start in range(0, count, LISTED)
        ]
        return merged(_group(row) for reply in cast("list[list[list[bytes | int]]]", replies) for row in reply)

    def fates(self, places: Sequence[tuple[Partition, str]]) -> list[str]:
        """What became of each: `dead`, `waiting` (in the inbox, to be tried) or `settled` (not in the inbox any more)."""
        refs = [DeadLetterRef(partition, event_id, 0) for partition, event_id in places]
        replies = self._by_partition(refs, lambda p, ids: ScriptCall("dead_fates", (p.dead,), (p.event(""), *ids)))
        return [cast("bytes", reply).decode() for reply in replies]

    def drop(self, letters: Sequence[DeadLetter], *, reason: str, by: str) -> list[bool]:
        """Drop them for good, each with an entry in the audit trail; False for those that were gone already."""
        said = self._client.run([Command(("HGET", x.partition.event(x.event_id), "said")) for x in letters])
        calls = [
            self._drop(x, cast("bytes | None", digest), act("letter.dropped", by, reason, (x.event_id,), _record(x)))
            for x, digest in zip(letters, said, strict=True)
        ]
        return [reply == 1 for reply in self._client.run(calls)]

    def _drop(self, letter: DeadLetter, said: bytes | None, written: bytes) -> ScriptCall:
        partition, event_id = letter.partition, letter.event_id
        place = place_of(self._keyspace, partition, event_id, letter.delivery)
        keys = (
            partition.event(event_id), partition.dead, partition.audit, partition.said(event_id), partition.clock, *place.keys,
            partition.ledger_since,
        )  # fmt: skip
        begins = beginning(letter.kind, DROPPED, letter.received_at, said)
        return ScriptCall("dead_drop", keys, (event_id, written, ROOM, self._kept, place.field, begins))

    def _by_partition(
        self, places: Sequence[DeadLetterRef], make: Callable[[Partition, list[str]], ScriptCall]
    ) -> list[object]:
        """Run one script for the letters of each partition, `PAGE` at most; one reply for each letter, in order."""
        groups: dict[Partition, list[int]] = {}
        for number, place in enumerate(places):
            groups.setdefault(place.partition, []).append(number)
        parts = [(p, numbers[i : i + PAGE]) for p, numbers in groups.items() for i in range(0, len(numbers), PAGE)]
        answers = self._client.run([make(p, [places[n].event_id for n in numbers]) for p, numbers in parts])
        replies: list[object] = [None] * len(places)
        for (_, numbers), answer in zip(parts, cast("list[list[object]]", answers), strict=True):
            for number, reply in zip(numbers, answer, strict=True):
                replies[number] = reply
        return replies


def merged(parts: Iterable[Group]) -> list[Group]:
    """Parts of groups put together; the groups to which something was added last come first."""
    whole: dict[tuple[str, str, str], Group] = {}
    for part in parts:
        previous = whole.get(part[:3])
        whole[part[:3]] = part if previous is None else _joined(previous, part)
    return sorted(whole.values(), key=lambda group: (-group.last, group[:3]))


def _joined(one: Group, other: Group) -> Group:
    newest = max(one, other, key=lambda group: group.last)
    return newest._replace(letters=one.letters + other.letters, first=min(one.first, other.first))


def _group(row: Sequence[bytes | int]) -> Group:
    kind, event, error, letters, first, last, message = row
    texts = [cast("bytes", text).decode() for text in (kind, event, error, message)]
    return Group(texts[0], texts[1], texts[2], int(letters), int(float(first)), int(float(last)), texts[3])


def _letter(place: DeadLetterRef, reply: Sequence[bytes | int | None]) -> DeadLetter:
    *raw, size = reply
    values = {name: cast("bytes", value).decode() for name, value in zip(FIELDS, raw, strict=True) if value is not None}
    return DeadLetter(
        partition=place.partition,
        event_id=place.event_id,
        kind=values.get("kind", ""),
        name=values.get("name", ""),
        delivery=values.get("delivery", ""),
        source=values.get("source"),
        owner=owner_from(values["owner"]) if "owner" in values else None,
        policy=values.get("policy"),
        by=values.get("by"),
        received_at=int(values.get("received_at", "0")),
        occurred_at=int(values["occurred_at"]) if "occurred_at" in values else None,
        died_at=place.died_at,
        error=values.get("error", ""),
        message=values.get("message", ""),
        attempts=int(values.get("attempts", "0")),
        size=cast("int", size),
    )


def _attempts(values: dict[str, bytes]) -> list[Attempt]:
    attempts = []
    for name, written in values.items():
        if name.startswith("failure:"):
            attempts.append(Attempt(**orjson.loads(written)))
        elif name.startswith("lost:"):
            at, _, worker = written.decode().partition(" ")
            attempts.append(Attempt(int(at), worker, "WorkerLost", "its worker ended without an answer", ""))
    return sorted(attempts)


def _record(letter: DeadLetter) -> dict[str, object]:
    """What stays known of a letter that is dropped."""
    return {
        "event": letter.name,
        "kind": letter.kind,
        "delivery": letter.delivery,
        "source": letter.source,
        "received_at": rfc3339(letter.received_at),
        "died_at": rfc3339(letter.died_at),
        "error": letter.error,
        "message": letter.message,
    }
