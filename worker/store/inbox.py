"""The inbox: where an event lives from its receipt until it is settled or given up on.

The queue only carries wake-ups. Whatever it loses, delays or repeats, an event stays here, unsettled, until a worker
has answered for it.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, cast

import orjson

from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.logins import COUNTED, NAMES, CountedLogin
from worker.lifecycle.owners import OwnerRef
from worker.store.client import Argument, Client, Command, Replicas, Reply, ScriptCall, StoreError
from worker.store.due import due_in, waiting_in
from worker.store.event_ledger import (
    DEAD,
    KEPT,
    PASSING,
    ROOM,
    SETTLED,
    WAITS,
    Came,
    beginning,
    came_from,
    entry_from,
    first_byte,
    place_of,
    refused_as,
)
from worker.store.keys import ANSWERED, CLOCK, Keyspace, Partition, alive
from worker.store.replies import fields, pairs
from worker.store.status import seen_lately

EVENTS = "events"
"""What the HTTP API accepted."""
LARGE = "large"
"""The rest of events that touch many policies."""
OVERFLOW = "overflow"
"""What one owner has too much of: others do not wait for it."""
BULKY = "bulky"
"""Events with a large body: a process of its own settles them, one at a time, and nobody else waits for that."""
SUSPECT = "suspect"
"""Events whose worker ended without an answer: tried one at a time."""
LANES = (EVENTS, LARGE, OVERFLOW, BULKY, SUSPECT)

WORKER = "worker"
BULKY_WORKER = "bulky"
"""The roles of processes that settle (`keys.alive`): of all that is small, and of what has a large body."""

LARGE_BODY = 256 * 1024
"""A body that is longer goes around the scripts, into a key of its own. So a batch of 128 has 32 MiB of bodies at most."""
PART = 1024 * 1024
"""How much of such a body is written at once: others get their turn in between."""
STAGED_MS = 600_000
"""How long a body waits for the event that it belongs to."""
AHEAD: Micros = 365 * 86400 * SECOND
"""By how much an event that goes before others is early."""

LEASE: Micros = 5 * SECOND
"""How long a worker may hold an event before another takes it. Long for one batch, short for who waits for it."""
SEEN_LATELY: Micros = 4 * SECOND
"""A worker that has been silent for longer has ended. More than it takes between two signs of life, less than a lease."""
SHARE = 8
"""Events of one owner under way at once in the first lane; the rest of his overflows."""
SHARES = {EVENTS: SHARE, OVERFLOW: 128}
"""The same by lane. In the others nothing is shared out."""
CROWD = 500
"""How far down the lane the events of such an owner are looked for at once."""
MAX_DEATHS = 3
MAX_FAILURES = 8
"""Attempts before an event is given up on, some two minutes after the first."""
WAKE_MS = 2_000
"""How long a wake-up is believed to be under way; the scheduler wakes again for what is still due by then."""
REFUSAL_REMEMBERED_MS = 70 * 60 * 1000
"""How long a login that was refused is known as a duplicate, by a mark of its own and not by the ledger. There may be one a
second for weeks, and none is counted that is older than an hour, by a sender's clock that may be five minutes ahead."""


COUNTED_WITHIN: Micros = 600 * SECOND
"""How long after it was claimed an event's login may be counted: longer than any batch takes."""
COUNTED_KNOWN: Micros = 3 * COUNTED_WITHIN
"""How long a login that was counted is known. The clocks of two servers may differ by the rest."""
COUNTED_LEAST = 10_000
"""How many such logins a partition knows at least: all that any worker may have held when the store went away."""
RESERVED_MS = 60_000
"""How long ids are reserved for a batch, of which some part may be in another partition."""


def backoff(failures: int) -> Micros:
    """Until the next attempt: 1, 2, 4, … s, at most 2 minutes."""
    return min(SECOND << failures, 120 * SECOND)


class Envelope(NamedTuple):
    """An event on its way into the inbox."""

    partition: Partition
    event_id: str
    kind: str
    """github, github/<alias> of another instance than the default one, registry, exchange or operator."""
    name: str
    """`repository.archived`, `policy.registered`"""
    delivery: str
    """GitHub's delivery id, or the CloudEvent's id."""
    body: bytes
    occurred_at: Micros | None = None
    """When it happened, where the sender says so; else the time of receipt dates it."""
    by: str | None = None
    """Who did it, where an operator did."""
    source: str | None = None
    """A CloudEvent's source."""
    owner: OwnerRef | None = None
    """The GitHub owner that it seems to concern: to find it by, if it becomes a dead letter."""
    policy: str | None = None
    """The policy that it names: for the same."""
    counted: str | None = None
    """As what it is counted, if not by its name: of names there may be any number."""
    first: bool = False
    """It may take access away, so it goes before others: nobody delays his own removal."""
    bulk: str | None = None
    """The key of its body, if that has been written already: then `body` is empty."""
    size: int = 0
    """The length of such a body."""
    said: bytes | None = None
    """A digest of what it says, 16 bytes, where its id is none: another event of the same id is not taken."""
    notice: bytes | None = None
    """What is published in the feed of its partition when it is settled, in the same step: a CloudEvent; None: nothing."""
    refused: str | None = None
    """The code of why nothing is learnt from it."""
    act: bytes | None = None
    """What is written into the audit trail when it is settled or given up on (`audit.act`); None: nothing."""


class Receipt(NamedTuple):
    duplicate: bool
    wake: str
    """The lane for which the caller should wake a worker, since nobody else has; empty: none."""
    conflict: bool = False
    """An event of the same id says something else; nothing of this one's batch was taken."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as the inbox holds it."""

    partition: Partition
    event_id: str
    lane: str
    kind: str
    name: str
    delivery: str
    body: bytes
    received_at: Micros
    occurred_at: Micros | None
    attempts: int
    failures: int
    forgiven: int
    """Failures before it was last taken again; it has all its attempts anew."""
    cursor: str | None
    partial: str | None
    """What went wrong with some of a large event's policies so far."""
    error: str | None
    message: str | None
    fields: Mapping[str, bytes]

    @property
    def at(self) -> Micros:
        """What dates its observations."""
        return self.received_at if self.occurred_at is None else self.occurred_at


class Answer(NamedTuple):
    """What became of an event."""

    state: str
    """`waits`, `settled`, `refused`, `dropped` or `dead letter`."""
    came: tuple[Came, ...] = ()
    """The first revisions that were published for it, in their order."""
    more: int = 0
    """How many came beside those."""
    error: str | None = None
    """Of a dead letter: the class of the last error."""
    message: str | None = None
    """Of the same: what it said."""
    refused: str | None = None
    """Of an event that was refused: the code of why."""


class Claimed(NamedTuple):
    now: Micros
    more: bool
    """Others are due in this lane."""
    quarantined: bool
    """Some went to the suspects' lane: wake a worker for it."""
    overflowed: bool
    """Some wait in the overflow: wake a worker for it."""
    events: list[Event]


def identity(*parts: str | bytes) -> str:
    """The id of an event: the same parts are the same event."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()[:32]


def cloud_event_id(source: str, name: str) -> str:
    """The id of a CloudEvent, of its `source` and its `id`."""
    return identity("cloudevent", source, name)


def put_call(
    keyspace: Keyspace,
    partition: Partition,
    event_id: str,
    name: str = "",
    fields: Sequence[Argument] = (),
    *,
    kind: str = "",
    delivery: str = "",
    passing: bool = False,
    digest: bytes = b"",
    first: bool = False,
    bulk: str | None = None,
    size: int = 0,
    reserved: bool = False,
    kept: Micros = KEPT,
) -> ScriptCall:
    """Take an event in, or, without fields, take again one that is there: the only way into the lanes of received events.
    `passing`: the ledger does not keep it. `reserved`: its id is, for the batch that it is in. `kept`: for how
    long it is known as a duplicate once it is settled.
    """
    p = partition
    place = place_of(keyspace, partition, event_id, delivery) if fields else None
    keys = (
        p.event(event_id), p.waiting(EVENTS), p.settled(event_id), p.dead, p.stamp, p.woken(EVENTS), p.counters,
        p.said(event_id), p.waiting(BULKY), p.woken(BULKY), bulk or p.event(event_id), p.reserved(event_id), p.clock,
        *(p.shelf(0) if place is None else place.keys), p.ledger_since,
    )  # fmt: skip
    args = (
        event_id,
        EVENTS,
        name,
        WAKE_MS,
        digest,
        "1" if reserved else "",
        BULKY,
        size if bulk else "",
        AHEAD if first else 0,
    )
    begins = b"" if passing or place is None else first_byte(kind, WAITS, said=bool(digest))
    noted = ("", "", "") if place is None else (place.field, begins, place.rest)
    return ScriptCall("put", keys, (*args, *noted, ROOM, kept, *fields))


def event_from(partition: Partition, event_id: str, fields: Mapping[str, bytes]) -> Event:
    def text(name: str) -> str | None:
        value = fields.get(name)
        return None if value is None else value.decode()

    return Event(
        partition=partition,
        event_id=event_id,
        lane=text("lane") or EVENTS,
        kind=text("kind") or "",
        name=text("name") or "",
        delivery=text("delivery") or "",
        body=fields.get("body", b""),
        received_at=int(fields.get("received_at", b"0")),
        occurred_at=int(fields["occurred_at"]) if "occurred_at" in fields else None,
        attempts=int(fields.get("attempts", b"0")),
        failures=int(fields.get("failures", b"0")),
        forgiven=int(fields.get("forgiven", b"0")),
        cursor=text("cursor"),
        partial=text("partial"),
        error=text("error"),
        message=text("message"),
        fields=fields,
    )


def goes_on_in(event: Event) -> str:
    """The lane in which the rest of a large event waits."""
    return BULKY if "bulk" in event.fields else LARGE


def _counted(event: Event, claimed_at: Micros, login: CountedLogin) -> tuple[Argument, ...]:
    """What `count.lua` is told of the login that an event tells of."""
    names = (word for name, said in login.names.items() for word in (name, said))
    return (
        bytes.fromhex(event.event_id), claimed_at, login.policy_id, login.at, COUNTED[login.outcome], NAMES[login.outcome],
        len(login.names), *names,
    )  # fmt: skip


def _agrees(batch: Sequence[Envelope]) -> bool:
    """Whether more than one event has to agree with what was said before, so that a batch is taken whole."""
    return len(batch) > 1 and all(envelope.said is not None for envelope in batch)


def _receipts(replies: Sequence[Reply | StoreError]) -> list[Receipt] | StoreError:
    found: list[Receipt] = []
    for reply in replies:
        if isinstance(reply, StoreError):
            return reply
        status, wake = cast("tuple[bytes, bytes]", reply)
        if status == b"lost":
            return StoreError("a body expired before its event was stored")
        found.append(Receipt(status == b"duplicate", wake.decode(), status == b"conflict"))
    return found


def _answer_from(reply: Sequence[bytes]) -> Answer:
    state = reply[0].decode()
    if state == "entry":
        entry = entry_from(b"".join(reply[1:]))
        return Answer(entry.state, entry.came, entry.more, refused=entry.problem)
    if state == DEAD:
        came, more, error, message = reply[1:]
        return Answer(DEAD, came_from(came)[0], int(more or 0), error.decode(), message.decode())
    # One that nobody knows was settled so long ago that it is forgotten.
    return Answer(WAITS if state == WAITS else SETTLED)


class Inbox:
    """Takes events in, hands them out, and keeps what cannot be handled."""

    def __init__(
        self,
        client: Client,
        keyspace: Keyspace,
        shares: Mapping[str, int] = SHARES,
        *,
        replicas: int = 0,
        kept: Micros = KEPT,
    ) -> None:
        """`shares`: how many events of one owner may be under way at once in a lane; any number, where nothing is said.
        `replicas`: how many must have an event before it counts as stored.
        `kept`: how long a settled event is known as a duplicate, at least.
        """
        self._client = client
        self._keyspace = keyspace
        self._shares = shares
        self._replicas = Replicas(replicas)
        self._kept = kept

    def stage(self, envelope: Envelope) -> Envelope:
        """Write the body of an envelope that is about to be put, if it is a large one, a part at a time. It is the event's
        once that is put, and else it expires.

        Raises:
            StoreError: the store could not be reached.
        """
        if len(envelope.body) <= LARGE_BODY:
            return envelope
        key = envelope.partition.body(envelope.event_id, uuid.uuid4().hex)
        for start in range(0, len(envelope.body), PART):
            self._client.run([
                Command(("SETRANGE", key, start, envelope.body[start : start + PART])),
                Command(("PEXPIRE", key, STAGED_MS)),
            ])  # fmt: skip
        return envelope._replace(body=b"", bulk=key, size=len(envelope.body))

    def nodes_of(self, envelopes: Iterable[Envelope]) -> frozenset[str]:
        """The names of the nodes on which events would be stored now."""
        return frozenset(self._client.node_of(partition.stamp) for partition in {x.partition for x in envelopes})

    def put(self, batches: Sequence[Sequence[Envelope]]) -> list[list[Receipt]]:
        """Store events; returns when they are on disk (with `appendfsync always`), and on as many replicas as it was said.

        What goes to one slot goes in one transaction. Each batch is taken whole or not at all.

        Raises:
            StoreError: none of them is acknowledged. Some may have been stored; all may be put again.

        """
        found = self.put_each(batches)
        for receipts in found:
            if isinstance(receipts, StoreError):
                raise receipts
        return cast("list[list[Receipt]]", found)

    def put_each(self, batches: Sequence[Sequence[Envelope]]) -> list[list[Receipt] | StoreError]:
        """The same; a batch that is not acknowledged has its error in its place."""
        contrary = self._agreement(batches)
        calls = [
            self._put(envelope, reserved=_agrees(batch))
            for batch, places in zip(batches, contrary, strict=True) if isinstance(places, set) and not places
            for envelope in batch
        ]  # fmt: skip
        replies = iter(self._client.write(calls, self._replicas))
        found: list[list[Receipt] | StoreError] = []
        for batch, places in zip(batches, contrary, strict=True):
            if isinstance(places, StoreError):
                found.append(places)
            elif places:
                found.append([Receipt(duplicate=False, wake="", conflict=n in places) for n in range(len(batch))])
            else:
                found.append(_receipts(list(islice(replies, len(batch)))))
        return found

    def _agreement(self, batches: Sequence[Sequence[Envelope]]) -> list[set[int] | StoreError]:
        """The places in each batch of events that contradict what was said before, or one another; where there are none, the
        ids of a batch are reserved for it.
        """
        asked: list[tuple[int, list[int], str]] = []
        calls: list[ScriptCall] = []
        for number, batch in enumerate(batches):
            if _agrees(batch):
                token = uuid.uuid4().hex
                by_partition: dict[Partition, list[int]] = {}
                for place, envelope in enumerate(batch):
                    by_partition.setdefault(envelope.partition, []).append(place)
                for places in by_partition.values():
                    asked.append((number, places, token))
                    calls.append(self._agree([batch[place] for place in places], token))
        found: list[set[int] | StoreError] = [set() for _ in batches]
        for (number, places, _), reply in zip(asked, self._client.write(calls), strict=True):
            known = found[number]
            if isinstance(reply, StoreError):
                found[number] = reply
            elif not isinstance(known, StoreError):
                known |= {places[place] for place in cast("list[int]", reply)}
        # What was reserved for a batch that is not put: whoever corrects it says something else under the same ids.
        self._client.write([
            ScriptCall("release", (x.partition.reserved(x.event_id),), ((x.said or b"") + token.encode(),))
            for number, places, token in asked if found[number]
            for x in (batches[number][place] for place in places)
        ])  # fmt: skip
        return found

    def _agree(self, envelopes: Sequence[Envelope], token: str) -> ScriptCall:
        keys, args = list[str](), list[Argument]([token, RESERVED_MS])
        for envelope in envelopes:
            partition, event_id = envelope.partition, envelope.event_id
            place = place_of(self._keyspace, partition, event_id, envelope.delivery)
            keys += [partition.said(event_id), partition.reserved(event_id), *place.keys]
            args += [envelope.said or b"", place.field]
        return ScriptCall("agree", keys, args)

    def _put(self, envelope: Envelope, *, reserved: bool) -> ScriptCall:
        partition, event_id = envelope.partition, envelope.event_id
        fields: list[Argument] = [
            "kind", envelope.kind, "name", envelope.name, "delivery", envelope.delivery,
            *(("body", envelope.body) if envelope.bulk is None else ()),
        ]  # fmt: skip
        for name, value in (
            ("occurred_at", envelope.occurred_at), ("by", envelope.by), ("source", envelope.source), ("owner", envelope.owner),
            ("policy", envelope.policy), ("said", envelope.said), ("act", envelope.act), ("notice", envelope.notice),
            ("came", None if envelope.refused is None else refused_as(envelope.refused)),
        ):  # fmt: skip
            if value is not None:
                fields += [name, value]
        return put_call(
            self._keyspace, partition, event_id, envelope.counted or envelope.name, fields, kind=envelope.kind,
            delivery=envelope.delivery, passing=envelope.name == PASSING, digest=envelope.said or b"", first=envelope.first, bulk=envelope.bulk,
            size=envelope.size, reserved=reserved, kept=self._kept,
        )  # fmt: skip

    def known(self, envelopes: Sequence[Envelope]) -> list[bool]:
        """Whether an event of each one's `source` and `id` waits, or is in the ledger.

        Raises:
            StoreError: the store could not be reached.
        """
        commands: list[Command] = []
        for envelope in envelopes:
            event_id = envelope.event_id
            place = place_of(self._keyspace, envelope.partition, event_id, envelope.delivery)
            commands += [
                Command(("EXISTS", envelope.partition.said(event_id))),
                *(Command(("HEXISTS", shelf, place.field)) for shelf in place.keys),
            ]
        replies = self._client.run(commands)
        return [any(replies[first : first + 3]) for first in range(0, len(replies), 3)]

    def answers(self, envelopes: Sequence[Envelope]) -> list[Answer]:
        """What became of events that were put. The id of each that still waits is published on `ANSWERED` as soon as that
        changes, so whoever asks listens there before.

        Raises:
            StoreError: the store could not be reached.
        """
        replies = self._client.run([self._await(envelope) for envelope in envelopes])
        return [_answer_from(cast("list[bytes]", reply)) for reply in replies]

    def _await(self, envelope: Envelope) -> ScriptCall:
        partition, event_id = envelope.partition, envelope.event_id
        place = place_of(self._keyspace, partition, event_id, envelope.delivery)
        keys = (
            partition.event(event_id), partition.dead, *place.keys, partition.said(event_id), partition.settled(event_id),
        )  # fmt: skip
        return ScriptCall("await", keys, (event_id, place.field, ANSWERED))

    def claim(self, partition: Partition, lane: str, worker: str, limit: int) -> Claimed:
        """Take what is due in a lane, at most `limit` events; they are this worker's for `LEASE`."""
        keys = (
            partition.waiting(lane),
            partition.waiting(SUSPECT),
            partition.woken(lane),
            partition.dead,
            partition.counters,
            partition.audit,
            partition.clock,
            partition.waiting(OVERFLOW if lane == EVENTS else lane),
            partition.waiting(EVENTS if lane == OVERFLOW else OVERFLOW),
        )
        args = (
            partition.event(""), lane, SUSPECT, worker, LEASE, limit, MAX_DEATHS, AHEAD,
            OVERFLOW, self._shares.get(lane, 0), CROWD,
        )  # fmt: skip
        now, more, quarantined, overflowed, *leased = self._claimed(keys, (*args, 0))
        if int(quarantined) < 0:
            # Somebody held one of them and never answered for it: did he end, or is he late?
            now, more, quarantined, overflowed, *leased = self._claimed(keys, (*args, 1, *self._living()))
        attempts = pairs(leased)
        return Claimed(int(now), bool(more), bool(quarantined), bool(overflowed), self._events(partition, attempts))

    def _events(self, partition: Partition, attempts: Mapping[str, bytes]) -> list[Event]:
        """Events with all that is known of them. A body that went through a script would be copied on its way in and out.
        `attempts`: event id → which attempt at it this one is.
        """
        replies = self._client.run([Command(("HGETALL", partition.event(event_id))) for event_id in attempts])
        return [
            self._whole(event_from(partition, event_id, {**found, "attempts": attempt}))
            for (event_id, attempt), found in zip(attempts.items(), map(fields, replies), strict=True)
            # Whoever had it before may have settled it since.
            if found
        ]

    def _claimed(self, keys: Sequence[str], args: Sequence[Argument]) -> list[bytes]:
        return cast("list[bytes]", self._client.one(ScriptCall("claim", keys, args)))

    def _living(self) -> list[bytes]:
        """The workers that were seen lately."""
        roles = [alive(role) for role in (WORKER, BULKY_WORKER)]
        return seen_lately(self._client, CLOCK, roles, SEEN_LATELY)

    def _whole(self, event: Event) -> Event:
        """An event with its body, wherever that is kept."""
        bulk = event.fields.get("bulk")
        if bulk is None:
            return event
        return replace(event, body=cast("bytes | None", self._client.one(Command(("GET", bulk)))) or b"")

    def count(self, logins: Sequence[tuple[Event, CountedLogin]], claimed_at: Micros) -> set[str]:
        """Count the logins that events tell of, before they are settled: each once, whoever else does, too. Returns the ids of
        events that must not be settled now: of those that were claimed too long ago for that, which are not this worker's any
        more, and of those whose count cannot be reached.

        Raises:
            StoreError: any of them may be counted; counting them again is safe.
        """
        groups: dict[Partition, list[tuple[Event, CountedLogin]]] = {}
        for event, login in logins:
            groups.setdefault(self._keyspace.directory(login.policy_id), []).append((event, login))
        replies = self._client.write([
            ScriptCall(
                "count",
                (p.directory, p.counted, p.clock, *(p.logins(login.outcome, login.policy_id) for _, login in told)),
                [
                    COUNTED_WITHIN, COUNTED_KNOWN, COUNTED_LEAST,
                    *(word for event, login in told for word in _counted(event, claimed_at, login)),
                ],
            )
            for p, told in groups.items()
        ])  # fmt: skip
        return {
            event.event_id
            for told, reply in zip(groups.values(), replies, strict=True)
            for place, (event, _) in enumerate(told)
            if isinstance(reply, StoreError) or not cast("list[int]", reply)[place]
        }

    def acknowledge(self, events: Sequence[Event]) -> bool:
        """These are done with: nobody will see them again, and their redelivery is a duplicate. Returns whether others are due
        in their lanes, and nobody has been woken for them.
        """
        groups: dict[tuple[Partition, str], list[Event]] = {}
        for event in events:
            groups.setdefault((event.partition, event.lane), []).append(event)
        return any(self._client.run([self._settle(*where, settled) for where, settled in groups.items()]))

    def _settle(self, partition: Partition, lane: str, settled: Sequence[Event]) -> ScriptCall:
        over = OVERFLOW if lane == EVENTS else lane
        keys = [
            partition.waiting(lane), partition.counters, partition.dead, partition.audit, partition.clock,
            partition.waiting(over), partition.woken(lane), partition.woken(over), partition.ledger_since,
            partition.changes,
        ]  # fmt: skip
        args: list[Argument] = [ROOM, self._kept]
        for event in settled:
            key, body = partition.event(event.event_id), event.fields.get("bulk")
            said = event.fields.get("said")
            place = place_of(self._keyspace, partition, event.event_id, event.delivery)
            mark = partition.said(event.event_id)
            begins, remembered = beginning(event.kind, SETTLED, event.received_at, said), 0
            if event.name == PASSING:
                mark, remembered = partition.settled(event.event_id) if said is None else mark, REFUSAL_REMEMBERED_MS
                begins = b"" if said is None else b"s" + said
            keys += [key, key if body is None else body.decode(), *place.keys, mark]
            args += [event.event_id, place.field, begins, remembered]
        return ScriptCall("settle", keys, args)

    def fail(
        self, event: Event, *, error: str, message: str, trace: str, worker: str, now: Micros, final: bool
    ) -> bool:
        """Note a failed attempt. The event waits for the next one, or is a dead letter if `final` or tried enough.

        Nothing is noted if the event was claimed by somebody else meanwhile. Returns whether it was given up on.
        """
        earlier = event.failures - event.forgiven
        given_up = final or earlier + 1 >= MAX_FAILURES
        attempt = {"at": now, "worker": worker, "error": error, "message": message, "trace": trace}
        p = event.partition
        self._client.one(
            ScriptCall(
                "fail",
                (p.event(event.event_id), p.waiting(event.lane), p.dead, p.counters, p.audit, p.clock),
                (
                    event.event_id,
                    "" if given_up else backoff(earlier),
                    error,
                    message,
                    orjson.dumps(attempt),
                    event.attempts,
                ),
            )
        )
        return given_up

    def resume_later(self, event: Event, cursor: str, problem: str = "") -> bool:
        """A large event has got as far as `cursor`; `problem` is what went wrong with some of its policies.

        Returns whether to wake a worker for the lane in which it goes on (`goes_on_in`).
        """
        p, lane = event.partition, goes_on_in(event)
        keys = (p.event(event.event_id), p.waiting(event.lane), p.waiting(lane), p.woken(lane), p.clock)
        return (
            self._client.one(
                ScriptCall("resume", keys, (event.event_id, lane, cursor, WAKE_MS, event.attempts, problem))
            )
            == 1
        )

    def overdue(self, of: Sequence[str] = LANES) -> list[tuple[Partition, str]]:
        """Lanes, of these, in which events are due by the clock of their partition, as far as they can be reached. Costs the
        same, however many events wait.
        """
        partitions = self._keyspace.all()
        found = due_in(
            self._client, [(partition, [partition.waiting(lane) for lane in of]) for partition in partitions], 1
        )
        return [
            (partition, lane)
            for partition, there in zip(partitions, found, strict=True)
            if there is not None
            for lane, due in zip(of, there.members, strict=True)
            if due
        ]

    def depth(self) -> dict[str, int]:
        """Unsettled events by lane, and dead letters as `dead`."""
        partitions = self._keyspace.all()
        names = [*LANES, "dead"]
        counts = self._client.run([
            Command(("ZCARD", p.dead if name == "dead" else p.waiting(name))) for name in names for p in partitions
        ])  # fmt: skip
        width = len(partitions)
        return {name: sum(cast("list[int]", counts[i * width : (i + 1) * width])) for i, name in enumerate(names)}

    def lag(self) -> Micros:
        """How long the longest-waiting event has been due."""
        waiting = waiting_in(self._client, [(p, [p.waiting(lane) for lane in LANES]) for p in self._keyspace.all()])
        # What goes before others is early by a long time.
        return max(
            (now - due - (AHEAD if due < now - AHEAD // 2 else 0) for now, due in waiting if due <= now), default=0
        )

    def get(self, partition: Partition, event_id: str) -> Event | None:
        """An unsettled event of a partition."""
        values = fields(self._client.one(Command(("HGETALL", partition.event(event_id)))))
        return self._whole(event_from(partition, event_id, values)) if values else None
