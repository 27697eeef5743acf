"""What a mirror is made of: a snapshot of the views, and the change feed from before it on.

The positions in the feed are noted first and the views are read then, so whatever is published meanwhile is read once
more from the feed. That nothing is missing is not taken on trust: a stream counts what was ever added to it, and we
count what we read. Asking every stream for that costs more the more partitions there are, so a counter of all that was
published is read instead, as long as nothing happens.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeAlias, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import ResponseError
from redis.retry import Retry

from tenure_reader import keys
from tenure_reader.grants import Grant
from tenure_reader.keys import PartitionKeys
from tenure_reader.lookup import (
    UnavailableError,
    grant_of,
    has_primary,
    moment,
    partition_count,
    settings_of,
    switches_of,
)
from tenure_reader.matching import FIELDS, Matching
from tenure_reader.memory import ChangeEvent
from tenure_reader.switches import Switches, SwitchEvent
from tenure_reader.times import Micros

TIMEOUT = 2.0
"""Seconds for any answer, beyond the time that a read may block."""
PAGE = 1_000
"""Entries of each stream in one read."""
COMPARED = 5
"""Answers that every comparison begins with."""
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
    store_time: Micros | None
    """By the store's clock, where that was read."""
    reached: Mapping[str, tuple[str, int]]
    """Stream → last entry, and how many were read of it."""
    published: int | None = None
    """The counter of all that was published, if every stream was compared."""


@dataclass(slots=True)
class Source:
    """One connection. Every method may raise RedisError."""

    url: str
    _redis: Redis = field(init=False)
    _partitions: int = 0
    _history: str = ""
    """The server's id of the history that its data belongs to: another after a failover or a restart."""
    _positions: dict[str, _Position] = field(default_factory=dict)
    _published: int | None = None
    """What the counter of all that was published has to say, if nothing is there that we have not read; None: it says nothing."""

    def __post_init__(self) -> None:
        # Without repetition: a mirror has to know when the connection was lost.
        self._redis = Redis.from_url(
            self.url, protocol=2, decode_responses=False, retry=Retry(NoBackoff(), 0),
            socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT,
        )  # fmt: skip

    def close(self) -> None:
        self._redis.close()

    @property
    def streams(self) -> int:
        """How many streams the feed has."""
        return len(self._positions)

    def begin(self) -> None:
        """Note where the feed is now.

        Raises:
            UnavailableError: this is no store of Tenure's.
        """
        self._partitions = partition_count(self._redis.get(keys.PARTITIONS))
        streams = [PartitionKeys(number).changes for number in range(self._partitions)]
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.info("replication")
        pipeline.get(keys.PUBLISHED)
        for stream in streams:
            pipeline.xinfo_stream(stream)
        replication, published, *infos = pipeline.execute(raise_on_error=False)
        self._history, self._published = _history(replication), _count(published)
        self._positions = dict(zip(streams, map(_position, infos), strict=True))

    def decisions(self) -> tuple[Matching, list[Switches]]:
        """The installation's settings, of which every partition says the same, and its switches that are closed, by partition.

        Raises:
            UnavailableError: a setting cannot be read.
        """
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.hmget(PartitionKeys(0).settings, FIELDS)
        for number in range(self._partitions):
            pipeline.hgetall(PartitionKeys(number).switches)
        settings, *switches = pipeline.execute()
        return settings_of(settings), [switches_of(reply) for reply in switches]

    def snapshot(self) -> Iterator[Grant]:
        """Every view, some of them twice.

        Raises:
            UnavailableError: one cannot be read.
        """
        cursor: int = -1
        while cursor != 0:
            cursor, matches = cast(
                "tuple[int, list[bytes]]",
                self._redis.scan(max(cursor, 0), match=keys.VIEWS, count=SCANNED),
            )
            hashes = [key for key in matches if keys.is_views(key)]
            pipeline = self._redis.pipeline(transaction=False)
            for key in hashes:
                pipeline.hvals(key)
            for views in cast("list[list[bytes]]", pipeline.execute()):
                yield from map(grant_of, views)

    def read(self, block_ms: int) -> Pass:
        """What was published since the last position; waits for something at most this long.

        Raises:
            GapError: an entry cannot be read.
        """
        sent_at = elapsed()
        return self._pass(sent_at, self._redis.xread(self._from(), count=PAGE, block=block_ms), None)

    def glance(self) -> Pass | None:
        """Whether nothing was published since the last position: then nothing is missing. The cost does not depend on the number
        of partitions. None: something was published, or the counter is of no use: `verify`.

        Raises:
            GapError: the store has another number of partitions.
            ReplacedError: another server took over.
            UnavailableError: the server is a replica that has lost its primary.
        """
        sent_at = elapsed()
        pipeline = self._comparison()
        now, published = self._compared(pipeline.execute(raise_on_error=False))
        if published is None or published != self._published:
            return None
        return Pass([], [], complete=True, sent_at=sent_at, store_time=now, reached={}, published=published)

    def verify(self) -> Pass:
        """What was published since the last position, and whether nothing of it is missing, stream by stream.

        Raises:
            GapError: something is: a stream was trimmed beyond our position, or the store went back in time.
            ReplacedError: another server took over.
            UnavailableError: the server is a replica that has lost its primary.
        """
        sent_at = elapsed()
        pipeline = self._comparison()
        pipeline.xread(self._from(), count=PAGE)
        for stream in self._positions:
            pipeline.xinfo_stream(stream)
        replies = pipeline.execute(raise_on_error=False)
        now, published = self._compared(replies)
        entries, *infos = replies[COMPARED:]
        if isinstance(entries, Exception):
            raise entries
        read = self._pass(sent_at, entries, now)
        for (stream, position), info in zip(self._positions.items(), infos, strict=True):
            _compare(stream, position, _position(info), read.reached.get(stream))
        return read._replace(published=published if read.complete else None)

    def _comparison(self) -> Pipeline:
        """What every comparison begins with, in one transaction."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.time()
        pipeline.get(keys.PARTITIONS)
        pipeline.role()
        pipeline.info("replication")
        pipeline.get(keys.PUBLISHED)
        return pipeline

    def _compared(self, replies: Sequence[object]) -> tuple[Micros, int | None]:
        """The store's clock and the counter, from the replies to that."""
        now, partitions, role, replication, published = replies[:COMPARED]
        for reply in (now, partitions, role):
            if isinstance(reply, Exception):
                raise reply
        if partition_count(partitions) != self._partitions:
            raise GapError("the store has another number of partitions than before")
        has_primary(role)
        if _history(replication) != self._history:
            raise ReplacedError("another server took over, or it began again")
        return moment(now), _count(published)

    def advance(self, read: Pass) -> None:
        """What a pass gave has been taken in."""
        for stream, (entry_id, count) in read.reached.items():
            self._positions[stream] = _Position(entry_id, self._positions[stream].added + count)
            if self._published is not None:
                self._published += count
        if read.store_time is not None and read.complete:
            # Each stream was compared, so from here on the counter has to go on from what it says now.
            self._published = read.published

    def _from(self) -> dict[bytes | str | memoryview[int], int | bytes | str | memoryview[int]]:
        return {stream: position.entry_id for stream, position in self._positions.items()}

    def _pass(self, sent_at: float, reply: object, store_time: Micros | None) -> Pass:
        streams = cast("_Entries", reply or [])
        changes: list[ChangeEvent] = []
        switched: list[tuple[int, SwitchEvent]] = []
        numbers = {stream: number for number, stream in enumerate(self._positions)}
        for stream, entries in streams:
            for entry_id, fields in entries:
                read = _read(entry_id, fields)
                if isinstance(read, SwitchEvent):
                    switched.append((numbers[stream.decode()], read))
                elif read is not None:
                    changes.append(read)
        reached = {stream.decode(): (entries[-1][0].decode(), len(entries)) for stream, entries in streams}
        complete = all(count < PAGE for _, count in reached.values())
        return Pass(changes, switched, complete, sent_at, store_time, reached)


def _history(info: object) -> str:
    """From INFO replication. A replica has the id of its primary's."""
    if isinstance(info, Exception):
        raise info
    return str(cast("Mapping[str, object]", info)["master_replid"])


def _count(reply: object) -> int | None:
    """A counter's value; None if it is not there, or unreadable."""
    return int(reply) if isinstance(reply, bytes) and reply.isdigit() else None


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
    return _Position(_text(stream["last-generated-id"]), cast("int", stream["entries-added"]))


def _compare(stream: str, position: _Position, there: _Position, reached: tuple[str, int] | None) -> None:
    """
    Raises:
        GapError: the stream does not hold what it must.
    """
    _, count = reached or ("", 0)
    if _order(there.entry_id) < _order(position.entry_id) or there.added < position.added:
        raise GapError(f"{stream} went back: it is shorter than what was read of it")
    if count < PAGE and there.added != position.added + count:
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


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
