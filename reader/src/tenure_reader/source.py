"""What a mirror is made of: a snapshot of the views, and the change feed from before it on.

The positions in the feed are noted first and the views are read then, so whatever is published meanwhile is read once
more from the feed. That nothing is missing is not taken on trust: a stream counts what was ever added to it, and we
count what we read. Asking every stream for that costs more the more partitions there are, so a few are asked in turn.

Of a cluster, each primary is read by itself: its views, and the streams that are there. A stream that moves to another node
that is followed, too, goes on there, if neither of them began another history meanwhile. After anything else that changes, only a
new snapshot is right.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeAlias, cast

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, ResponseError

from tenure_reader import keys
from tenure_reader.grants import Grant
from tenure_reader.keys import PartitionKeys
from tenure_reader.lookup import (
    PARTITIONS_FIELD,
    grant_of,
    partition_count,
    settings_of,
    stored_partitions,
    switches_of,
)
from tenure_reader.matching import FIELDS, Matching
from tenure_reader.memory import ChangeEvent
from tenure_reader.nodes import Nodes
from tenure_reader.routing import UnavailableError, has_primary, moment
from tenure_reader.switches import Switches, SwitchEvent
from tenure_reader.times import SECOND
from tenure_reader.topology import Address, NodeMap, UncoveredError, slot_of, text_of

PAGE = 1_000
"""Entries of each stream in one read."""
READ_OFTEN = 200
"""Streams of a cluster, up to which they are read between comparisons, too. Each takes a command."""
SCANNED = 2_000
"""Keys that the server looks at in one step of a scan. More would keep others waiting."""

if sys.platform == "linux":
    # What passes while the machine sleeps has passed.
    elapsed = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
else:
    elapsed = time.monotonic

_Entries: TypeAlias = "list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]"


PLACED = "views.placed"
"""The type of an event for readers of the first version: they cannot read it, and so they load everything again."""


REFUSED = "registration.refused"
"""The type of an event that is about what never became a policy."""


class GapError(Exception):
    """Something was published that cannot be read any more; only a new snapshot helps."""


class ReplacedError(Exception):
    """Another server answers than before, or it began again. It may lack what was read of the other, so only a new
    snapshot is right.
    """


@dataclass(slots=True)
class _Position:
    entry_id: str
    added: int
    """How many entries were ever added to the stream, up to this one."""


class Pass(NamedTuple):
    """What one reading of the feed gave."""

    changes: list[ChangeEvent]
    switched: list[tuple[int, SwitchEvent]]
    """What was said of switches, with the partition that said it, in its order."""
    complete: bool
    """Nothing is left to read of what had been published then."""
    sent_at: float
    """By `elapsed`, seconds."""
    ahead: Mapping[int, float]
    """Partition → the clock of its node minus `elapsed`, in seconds. Empty: nothing was compared."""
    reached: Mapping[str, tuple[str, int]]
    """Stream → last entry, and how many were read of it."""


@dataclass(slots=True)
class _Followed:
    """What is read of one primary."""

    history: str
    """The server's id of the history that its data belongs to: another after a failover or a restart."""
    positions: dict[str, _Position]
    """Of its streams."""


@dataclass(slots=True)
class Source:
    """One connection to each primary. Every method may raise RedisError."""

    url: str
    _nodes: Nodes = field(init=False)
    _numbers: dict[str, int] = field(default_factory=dict)
    """Stream → its partition."""
    _together: bool = True
    """One command may name several streams: there is one server for all."""
    _followed: dict[Address, _Followed] = field(default_factory=dict)
    _compared: int = 0
    """How many streams were compared so far: whose turn it is."""

    def __post_init__(self) -> None:
        # Nothing is repeated here: a mirror has to know when the connection was lost.
        self._nodes = Nodes.at(self.url)

    def close(self) -> None:
        self._nodes.close()

    def begin(self) -> None:
        """Note where the feed is now.

        Raises:
            UnavailableError: this is no store of Tenure's, or nobody answers.
        """
        partitions = self._nodes.run(stored_partitions(self._nodes.router))
        self._numbers = {PartitionKeys(number).changes: number for number in range(partitions)}
        topology = self._topology()
        self._together = topology.kind != "cluster"
        self._followed = {}
        for address, streams in self._places(topology).items():
            pipeline = self._pipeline(address)
            pipeline.info("replication")
            for stream in streams:
                pipeline.xinfo_stream(stream)
            history, *infos = pipeline.execute(raise_on_error=False)
            self._followed[address] = _Followed(
                _history(history), dict(zip(streams, map(_position, infos), strict=True))
            )
        self._at_rest()

    def decisions(self) -> tuple[Matching, list[Switches]]:
        """The installation's settings, of which every partition says the same, and its switches that are closed, by partition.

        Raises:
            UnavailableError: a setting cannot be read.
        """
        switches: list[Switches] = [{}] * len(self._numbers)
        matching: Matching | None = None
        for address, followed in self._followed.items():
            partitions = [PartitionKeys(self._numbers[stream]) for stream in followed.positions]
            pipeline = self._pipeline(address)
            pipeline.hmget(partitions[0].settings, FIELDS)
            for partition in partitions:
                pipeline.hgetall(partition.switches)
            settings, *replies = pipeline.execute()
            matching = settings_of(settings)
            for partition, reply in zip(partitions, replies, strict=True):
                switches[partition.number] = switches_of(reply)
        assert matching is not None  # There is a partition, and it is somewhere.
        return matching, switches

    def snapshot(self) -> Iterator[Grant]:
        """Every view, some of them twice.

        Raises:
            ReplacedError: something moved meanwhile, and may have been passed over.
            UnavailableError: a view cannot be read.
        """
        for address in list(self._followed):
            yield from self._scanned(self._client(address))
        if self._places(self._topology()) != self._streams():
            raise ReplacedError("a part of the store moved to another node while it was loaded")
        self._at_rest()

    @staticmethod
    def _scanned(redis: Redis) -> Iterator[Grant]:
        cursor: int = -1
        while cursor != 0:
            cursor, matches = cast(
                "tuple[int, list[bytes]]",
                redis.scan(max(cursor, 0), match=keys.VIEWS, count=SCANNED),
            )
            hashes = [key for key in matches if keys.is_views(key)]
            pipeline = redis.pipeline(transaction=False)
            for key in hashes:
                pipeline.hvals(key)
            for views in cast("list[list[bytes]]", pipeline.execute()):
                yield from map(grant_of, views)

    def _at_rest(self) -> None:
        """No key is on its way to another node: one that is not there is not asked for elsewhere.

        Raises:
            RedisError: some are.
        """
        if self._together:
            return
        for address, streams in self._streams().items():
            pipeline = self._pipeline(address)
            for stream in streams:
                pipeline.exists(PartitionKeys(self._numbers[stream]).repository(0, 0))
            pipeline.execute()

    def read(self, block_ms: int) -> Pass:
        """What was published since the last position; waits for something at most this long.

        Raises:
            GapError: an entry cannot be read.
        """
        sent_at = elapsed()
        if self._together:
            ((address, followed),) = self._followed.items()
            reply = self._client(address).xread(_from(followed.positions), count=PAGE, block=block_ms)
            return self._pass(sent_at, cast("_Entries", reply or []), {})
        # No command reads streams of several slots, and so none waits for them.
        time.sleep(block_ms / 1000)
        if len(self._numbers) > READ_OFTEN:
            return Pass([], [], complete=False, sent_at=sent_at, ahead={}, reached={})
        found: _Entries = []
        for address, followed in self._followed.items():
            pipeline = self._pipeline(address)
            _read_each(pipeline, followed.positions)
            found += _joined(pipeline.execute())
        return self._pass(sent_at, found, {})

    def compare(self, streams: int | None = None) -> Pass:
        """What was published since the last position; and whether something of it is missing, as far as that shows in so many
        streams, in turn, or in all of them.

        Raises:
            GapError: something is: a stream was trimmed beyond our position, or the store went back in time.
            ReplacedError: another server took over.
            UnavailableError: a server is a replica that has lost its primary.
        """
        sent_at = elapsed()
        self._follow_moves()
        turn = self._turn(streams)
        ahead: dict[int, float] = {}
        found: _Entries = []
        for address, followed in self._followed.items():
            asked_at = elapsed()
            asked = [stream for stream in followed.positions if stream in turn]
            pipeline = self._pipeline(address)
            pipeline.time()
            pipeline.role()
            pipeline.hget(PartitionKeys(self._numbers[next(iter(followed.positions))]).settings, PARTITIONS_FIELD)
            # What was added is counted before it is read, and whose history it is is seen after that.
            for stream in asked:
                pipeline.xinfo_stream(stream)
            if self._together:
                pipeline.xread(_from(followed.positions), count=PAGE)
            else:
                _read_each(pipeline, followed.positions)
            pipeline.info("replication")
            now, role, partitions, *replies, replication = pipeline.execute(raise_on_error=False)
            self._check(followed, now, role, partitions, replication)
            infos, entries = replies[: len(asked)], _joined(replies[len(asked) :])
            read = dict(_texts(entries))
            for stream, info in zip(asked, infos, strict=True):
                _compare(stream, followed.positions[stream], _position(info), read.get(stream, []))
            found += entries
            clock = moment(now) / SECOND - asked_at
            ahead |= {self._numbers[stream]: clock for stream in followed.positions}
        return self._pass(sent_at, found, ahead)

    def _turn(self, streams: int | None) -> set[str]:
        """Those whose turn it is to be compared."""
        everything = list(self._numbers)
        if streams is None or streams >= len(everything):
            return set(everything)
        begin = self._compared % len(everything)
        self._compared += streams
        return set((everything + everything)[begin : begin + streams])

    def _check(self, followed: _Followed, now: object, role: object, partitions: object, replication: object) -> None:
        """Who answered.

        Raises:
            GapError: the store has another number of partitions.
            ReplacedError: another server took over.
            UnavailableError: the server is a replica that has lost its primary, or no store of Tenure's any more.
        """
        for reply in (now, role, partitions):
            if isinstance(reply, Exception):
                raise reply
        if self._nodes.router.alone:
            has_primary(role)
        elif text_of(cast("Sequence[object]", role)[0]) != "master":
            raise ReplacedError("a node is no primary any more")
        if _history(replication) != followed.history:
            raise ReplacedError("another server took over, or it began again")
        stored = (
            self._nodes.run(stored_partitions(self._nodes.router))
            if partitions is None
            else partition_count(partitions)
        )
        if stored != len(self._numbers):
            raise GapError("the store has another number of partitions than before")

    def _follow_moves(self) -> None:
        """Read each stream where it is now.

        Raises:
            ReplacedError: a stream is where nothing was read before, or a node that had one began another history.
        """
        if self._nodes.router.alone:
            return
        places = self._places(self._topology())
        if places == self._streams():
            return
        if not places.keys() <= self._followed.keys():
            raise ReplacedError("another node took over a part of the store")
        for address in self._followed:
            try:
                history = _history(self._client(address).info("replication"))
            except RedisError:
                history = ""
            if history != self._followed[address].history:
                raise ReplacedError("another server took over, or it began again, and a part of the store moved")
        positions = {stream: at for followed in self._followed.values() for stream, at in followed.positions.items()}
        self._followed = {
            address: _Followed(self._followed[address].history, {stream: positions[stream] for stream in streams})
            for address, streams in places.items()
        }

    def _topology(self) -> NodeMap:
        slots = {slot_of(stream) for stream in self._numbers}
        return self._nodes.run(self._nodes.router.topology(slots))

    def _places(self, topology: NodeMap) -> dict[Address, set[str]]:
        """Primary → its streams.

        Raises:
            UnavailableError: a part of the store is nowhere now.
        """
        places: dict[Address, set[str]] = {}
        try:
            for stream in self._numbers:
                places.setdefault(topology.primary(slot_of(stream)), set()).add(stream)
        except UncoveredError as error:
            raise UnavailableError(str(error)) from None
        return places

    def _streams(self) -> dict[Address, set[str]]:
        return {address: set(followed.positions) for address, followed in self._followed.items()}

    def advance(self, read: Pass) -> None:
        """What a pass gave has been taken in."""
        for followed in self._followed.values():
            for stream in followed.positions.keys() & read.reached.keys():
                entry_id, count = read.reached[stream]
                followed.positions[stream] = _Position(entry_id, followed.positions[stream].added + count)

    def _client(self, address: Address) -> Redis:
        return self._nodes.at_address(address)

    def _pipeline(self, address: Address) -> Pipeline:
        """In one transaction, where that may name several slots."""
        return self._client(address).pipeline(transaction=self._together)

    def _pass(self, sent_at: float, streams: _Entries, ahead: Mapping[int, float]) -> Pass:
        changes: list[ChangeEvent] = []
        switched: list[tuple[int, SwitchEvent]] = []
        for stream, entries in _texts(streams):
            for entry_id, fields in entries:
                read = _read(entry_id, fields)
                if isinstance(read, SwitchEvent):
                    switched.append((self._numbers[stream], read))
                elif read is not None:
                    changes.append(read)
        reached = {stream: (entries[-1][0].decode(), len(entries)) for stream, entries in _texts(streams)}
        complete = all(count < PAGE for _, count in reached.values())
        return Pass(changes, switched, complete, sent_at, ahead, reached)


def _from(
    positions: Mapping[str, _Position],
) -> dict[bytes | str | memoryview[int], int | bytes | str | memoryview[int]]:
    return {stream: position.entry_id for stream, position in positions.items()}


def _read_each(pipeline: Pipeline, positions: Mapping[str, _Position]) -> None:
    for stream, position in positions.items():
        pipeline.xread({stream: position.entry_id}, count=PAGE)


def _joined(replies: Iterable[object]) -> _Entries:
    """Of several XREADs.

    Raises:
        RedisError: one was refused.
    """
    found: _Entries = []
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
        found += cast("_Entries", reply or [])
    return found


def _texts(streams: _Entries) -> Iterator[tuple[str, list[tuple[bytes, dict[bytes, bytes]]]]]:
    return ((stream.decode(), entries) for stream, entries in streams)


def _history(info: object) -> str:
    """From INFO replication. A replica has the id of its primary's."""
    if isinstance(info, Exception):
        raise info
    return str(cast("Mapping[str, object]", info)["master_replid"])


def _position(info: object) -> _Position:
    """Where a stream is. One that is not there has had no entry yet.

    Raises:
        ResponseError: the server refuses.
    """
    if isinstance(info, ResponseError) and "no such key" in str(info):
        return _Position("0-0", 0)
    if isinstance(info, Exception):
        raise info
    stream = cast("Mapping[str, object]", info)
    return _Position(text_of(stream["last-generated-id"]), cast("int", stream["entries-added"]))


def _compare(
    stream: str, position: _Position, there: _Position, entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]
) -> None:
    """`there`: what the server said before `entries` were read, everything since `position`.

    Raises:
        GapError: the stream does not hold what it must.
    """
    if _order(there.entry_id) < _order(position.entry_id) or there.added < position.added:
        raise GapError(f"{stream} went back: it is shorter than what was read of it")
    counted = sum(_order(entry_id.decode()) <= _order(there.entry_id) for entry_id, _ in entries)
    if len(entries) < PAGE and there.added != position.added + counted:
        raise GapError(f"{stream} was trimmed beyond our position, or went back and on: what was added does not add up")


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def _read(entry_id: bytes, fields: Mapping[bytes, bytes]) -> ChangeEvent | SwitchEvent | None:
    """An entry of the feed; None if it says nothing to a reader of this version.

    Raises:
        GapError: the entry cannot be read; a snapshot shows what came of it.
    """
    try:
        event = json.loads(fields[b"event"])
        data = event["data"]
        if event["type"] in ("switch.closed", "switch.opened"):
            return SwitchEvent(event["type"], event["subject"], event["time"], json.dumps(data["switch"]))
        if event["type"] in (PLACED, REFUSED):
            return None
        grant = grant_of(_published(data["view"]))
        return ChangeEvent(
            grant["policy_id"], grant["revision"], event["type"], data["previous_state"], grant,
            _order(entry_id.decode())[0],
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, UnavailableError) as error:
        raise GapError(f"the change event {entry_id.decode()} cannot be read: {error!r}") from None


def _published(view: Mapping[str, object]) -> Mapping[str, object]:
    """A view of the feed as a reader of the second version sees it: one that stands under its keys is closed to others."""
    return view if "usable_v2" not in view else {**view, "usable": view["usable_v2"]}
