"""The change feed: one stream a partition, one entry a revision.

A reading of a stream from a cursor is compared, at the same moment, with what the store says was ever added to it. What
was trimmed before it was read, and a store that is another or went back in time, do not add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from worker.lifecycle.facts import SECOND, Micros
from worker.store.client import Client, Command, Reply, ScriptCall
from worker.store.cursors import Cursor, Position, mark_of
from worker.store.keys import Keyspace
from worker.store.replies import fields


class FeedEntry(NamedTuple):
    partition: int
    entry_id: str
    """`<milliseconds>-<number>`, in the order of publication within a partition."""
    event: bytes
    """A CloudEvent as JSON."""
    added: int = 0
    """How many entries were ever added to its stream, up to it; 0 where it was not read from a cursor."""

    @property
    def order(self) -> tuple[int, int]:
        """Within its partition."""
        milliseconds, _, number = self.entry_id.partition("-")
        return int(milliseconds), int(number)

    def stands_at(self, position: Position) -> bool:
        """Whether it is the entry at a position."""
        return position.is_at(self.order, mark_of(self.event))

    @property
    def position(self) -> Position:
        return Position(*self.order, self.added, mark_of(self.event))


class CursorGoneError(Exception):
    """The feed does not go on from a cursor: something after it was trimmed, or this store never was where it is. Only a new
    snapshot helps.
    """


class FeedReading(NamedTuple):
    """What was published after a cursor."""

    entries: list[FeedEntry]
    """By time; in order within a partition."""
    cursor: Cursor
    """Where to go on: after all of them."""
    at: Micros | None
    """By the store's clock: all that was published up to then has been read. None: there is more."""


class Behind(NamedTuple):
    """What follows a cursor."""

    changes: int
    since: Micros | None
    """When the first of them was published, to the millisecond; None if there is none."""


class _StreamInfo(NamedTuple):
    """What the store says of a stream."""

    last: tuple[int, int]
    added: int
    length: int
    mark: int | None
    """Of the last entry; None if that is not there any more."""

    def ends_at(self, position: Position) -> bool:
        """Whether its last entry is the one at a position."""
        return position.is_at(self.last, position.mark if self.mark is None else self.mark)


_NEVER = _StreamInfo((0, 0), 0, 0, None)
"""A stream to which nothing was ever added."""


class Feed:
    """Reads and trims the change feed."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self._keyspace = keyspace

    def since(self, moment: Micros, page: int = 500) -> Iterator[FeedEntry]:
        """Everything published since, in the order of time: a page of each partition is held at once."""
        after = {partition.number: f"{moment // 1000}-0" for partition in self._keyspace.all()}
        waiting: dict[int, list[FeedEntry]] = {}
        while True:
            hungry = [number for number in after if not waiting.get(number)]
            replies = self._client.run([
                Command(("XRANGE", self._keyspace.all()[n].changes, after[n], "+", "COUNT", page)) for n in hungry
            ])  # fmt: skip
            for number, reply in zip(hungry, replies, strict=True):
                waiting[number] = [_entry(number, raw) for raw in cast("list[object]", reply)]
                if waiting[number]:
                    after[number] = f"({waiting[number][-1].entry_id}"
                else:
                    del after[number]
            ready = [entries[0] for entries in waiting.values() if entries]
            if not ready:
                return
            yield waiting[min(ready, key=_order).partition].pop(0)

    def latest(self, count: int) -> list[FeedEntry]:
        """The newest entries, the newest first."""
        replies = self._client.run([
            Command(("XREVRANGE", p.changes, "+", "-", "COUNT", count)) for p in self._keyspace.all()
        ])  # fmt: skip
        entries = [_entry(n, raw) for n, reply in enumerate(replies) for raw in cast("list[object]", reply)]
        return sorted(entries, key=_order, reverse=True)[:count]

    # From a cursor

    def end(self) -> Cursor:
        """Where the feed is now. A snapshot that is read after it, and what is published after it, leave nothing out."""
        _, streams = self._looked()
        return Cursor(tuple(Position(*stream.last, stream.added, stream.mark or 0) for stream in streams))

    def read(self, cursor: Cursor, count: int = 500) -> FeedReading:
        """What was published after a cursor: `count` entries at most.

        Raises:
            GoneError: the feed does not go on from there.
        """
        if len(cursor.positions) != self._keyspace.partitions:
            raise CursorGoneError
        at, streams = self._looked()
        pending = _pending(cursor, streams)
        if not pending:
            return FeedReading([], cursor, at)
        shares = _shares(pending, count)
        # The entry at which the cursor is comes again: it tells this stream from any other.
        ranges = {
            n: Command(
                ("XRANGE", self._keyspace.all()[n].changes, cursor.positions[n].entry_id, "+", "COUNT", share + 1)
            )
            for n, share in shares.items()
        }
        # A stream is looked at and read at one moment.
        replies = self._client.run([
            call
            for n, look in enumerate(self._look())
            for call in (look, *((ranges.pop(n),) if n in ranges else ()))
        ])  # fmt: skip
        looks, found_ranges = [], []
        for n in range(self._keyspace.partitions):
            looks.append(replies.pop(0))
            if n in shares:
                found_ranges.append((n, replies.pop(0)))
        at, streams = _found(looks)
        entries: list[FeedEntry] = []
        for n, reply in found_ranges:
            found = [_entry(n, raw) for raw in cast("list[object]", reply)]
            ended = len(found) <= shares[n]
            entries += _following(cursor.positions[n], found, streams[n], ended=ended)[: shares[n]]
        entries.sort(key=_order)
        reached = past(cursor, entries)
        return FeedReading(entries, reached, None if _pending(reached, streams) else at)

    def behind(self, cursors: Sequence[Cursor | None]) -> tuple[Micros, list[Behind | None]]:
        """The store's clock, and what follows each cursor; None where the feed does not go on from it, or there is none."""
        at, streams = self._looked()
        pending = [_followed(cursor, streams) for cursor in cursors]
        firsts = [
            Command(("XRANGE", self._keyspace.all()[n].changes, f"({cursor.positions[n].entry_id}", "+", "COUNT", 1))
            for cursor, left in zip(cursors, pending, strict=True) if cursor is not None and left is not None
            for n in left
        ]  # fmt: skip
        replies = iter(cast("list[list[object]]", self._client.run(firsts)))
        found: list[Behind | None] = []
        for left in pending:
            if left is None:
                found.append(None)
                continue
            entries = [_entry(n, reply[0]) for n in left if (reply := next(replies))]
            since = min((entry.position.milliseconds * 1_000 for entry in entries), default=None)
            found.append(Behind(sum(left.values()), since))
        return at, found

    def wait(self, cursor: Cursor, block_ms: int) -> list[FeedEntry]:
        """What was published after a cursor; if nothing was, what is within `block_ms`. That all of it came is not said:
        what was trimmed or deleted shows only when it is read.

        Raises:
            GoneError: the feed does not go on from there.
        """
        keys = {partition.changes: partition.number for partition in self._keyspace.all()}
        positions = [position.entry_id for position in cursor.positions]
        entries: list[FeedEntry] = []
        for raw_key, raw_entries in self._client.follow(dict(zip(keys, positions, strict=True)), 500, block_ms):
            number = keys[raw_key.decode()]
            added = cursor.positions[number].added
            found = [_entry(number, raw) for raw in raw_entries]
            entries += [entry._replace(added=added + place) for place, entry in enumerate(found, 1)]
        # Another server may have taken over, which lacks what was read last and has something else before these.
        told = sorted({entry.partition for entry in entries})
        replies = self._client.run([
            Command(("XRANGE", self._keyspace.all()[n].changes, positions[n], positions[n])) for n in told
        ])  # fmt: skip
        befores = zip(told, cast("list[list[object]]", replies), strict=True)
        stand = all(before and _entry(n, before[0]).stands_at(cursor.positions[n]) for n, before in befores)
        return sorted(entries, key=_order) if stand else self.read(cursor).entries

    def _look(self) -> list[ScriptCall]:
        return [ScriptCall("look", (partition.changes,), ()) for partition in self._keyspace.all()]

    def _looked(self) -> tuple[Micros, list[_StreamInfo]]:
        """The store's clock, and each stream; no stream was looked at before that moment."""
        return _found(self._client.run(self._look()))

    def trim(self, oldest: Micros) -> int:
        """Drop what is older than `oldest`. Returns how many entries went."""
        replies = self._client.run([
            Command(("XTRIM", p.changes, "MINID", "~", f"{oldest // 1000}-0")) for p in self._keyspace.all()
        ])  # fmt: skip
        return sum(cast("list[int]", replies))


def past(cursor: Cursor, entries: Iterable[FeedEntry]) -> Cursor:
    """The cursor after these entries, which follow it."""
    positions = list(cursor.positions)
    for entry in entries:
        positions[entry.partition] = entry.position
    return Cursor(tuple(positions))


def _found(replies: list[Reply]) -> tuple[Micros, list[_StreamInfo]]:
    looks = cast("list[tuple[int | bytes, int | bytes, Reply]]", replies)
    # Servers' clocks differ: of all, the one that is furthest behind.
    at = min(int(seconds) * SECOND + int(micros) for seconds, micros, _ in looks)
    return at, [_stream(reply) for _, _, reply in looks]


def _stream(reply: Reply) -> _StreamInfo:
    """From XINFO STREAM. A stream that is not there has had no entry yet."""
    if not reply:
        return _NEVER
    told = fields(reply)
    milliseconds, _, number = told["last-generated-id"].partition(b"-")
    last = _entry(0, told["last-entry"]) if told["last-entry"] else None
    mark = mark_of(last.event) if last is not None else None
    return _StreamInfo((int(milliseconds), int(number)), int(told["entries-added"]), int(told["length"]), mark)


def _pending(cursor: Cursor, streams: list[_StreamInfo]) -> dict[int, int]:
    """Partition → how many entries of it are after the cursor; only those that have some.

    Raises:
        GoneError: a stream is shorter than what was read of it, or another.
    """
    pending: dict[int, int] = {}
    for number, (position, stream) in enumerate(zip(cursor.positions, streams, strict=True)):
        left = stream.added - position.added
        # Of a stream from which something was taken, the last id stays. So where nothing is left, it is ours.
        if left < 0 or stream.last < position.order or (left == 0 and not stream.ends_at(position)):
            raise CursorGoneError
        if left:
            pending[number] = left
    return pending


def _followed(cursor: Cursor | None, streams: list[_StreamInfo]) -> dict[int, int] | None:
    """The same for any cursor; None also if what follows it was trimmed."""
    if cursor is None or len(cursor.positions) != len(streams):
        return None
    try:
        pending = _pending(cursor, streams)
    except CursorGoneError:
        return None
    trimmed = (streams[n].added - streams[n].length > cursor.positions[n].added for n in pending)
    return None if any(trimmed) else pending


def _shares(pending: Mapping[int, int], count: int) -> dict[int, int]:
    """How many entries to read of each stream, so that it is `count` in all: those that have few leave room to others."""
    shares: dict[int, int] = {}
    left = max(count, 1)
    for place, (number, waiting) in enumerate(sorted(pending.items(), key=lambda item: item[1])):
        shares[number] = min(waiting, max(1, left // (len(pending) - place)))
        left -= shares[number]
        if left == 0:
            break
    return shares


def _following(position: Position, found: list[FeedEntry], stream: _StreamInfo, *, ended: bool) -> list[FeedEntry]:
    """The entries after a position, each with its number; `ended`: nothing comes after them.

    Raises:
        GoneError: one of them is missing.
    """
    stands = bool(found) and found[0].stands_at(position)
    # If the entry itself is gone, then all before it are, and no others.
    if not stands and (stream.added - stream.length != position.added or (found and found[0].order == position.order)):
        raise CursorGoneError
    following = found[1:] if stands else found
    if ended and position.added + len(following) != stream.added:
        raise CursorGoneError
    return [entry._replace(added=position.added + place) for place, entry in enumerate(following, 1)]


def _order(entry: FeedEntry) -> tuple[int, int, int]:
    milliseconds, number = entry.order
    return milliseconds, entry.partition, number


def _entry(partition: int, raw: object) -> FeedEntry:
    """An entry; the event is empty if somebody else wrote something else there."""
    entry_id, written = cast("tuple[bytes, object]", raw)
    told = written if isinstance(written, dict) else dict(zip(*[iter(cast("list[bytes]", written))] * 2, strict=True))
    return FeedEntry(partition, entry_id.decode(), cast("bytes", told.get(b"event", b"")))
