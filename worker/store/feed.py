"""The change feed: one stream a partition, one entry a revision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from worker.lifecycle.facts import Micros
from worker.store.client import Client, Command
from worker.store.keys import Keyspace


class Entry(NamedTuple):
    partition: int
    entry_id: str
    """`<milliseconds>-<number>`, in the order of publication within a partition."""
    event: bytes
    """A CloudEvent as JSON."""


class Feed:
    """Reads and trims the change feed."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self._keyspace = keyspace

    def since(self, moment: Micros, page: int = 500) -> Iterator[Entry]:
        """Everything published since, in the order of time: a page of each partition is held at once."""
        after = {partition.number: f"{moment // 1000}-0" for partition in self._keyspace.all()}
        waiting: dict[int, list[Entry]] = {}
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

    def latest(self, count: int) -> list[Entry]:
        """The newest entries, the newest first."""
        replies = self._client.run([
            Command(("XREVRANGE", p.changes, "+", "-", "COUNT", count)) for p in self._keyspace.all()
        ])  # fmt: skip
        entries = [_entry(n, raw) for n, reply in enumerate(replies) for raw in cast("list[object]", reply)]
        return sorted(entries, key=_order, reverse=True)[:count]

    def follow(self, block_ms: int = 1_000, since: Micros | None = None) -> Iterator[Entry | None]:
        """What is published from now on, or has been `since`; None whenever nothing came for `block_ms`."""
        streams = {partition.changes: "$" for partition in self._keyspace.all()}
        if since is None:
            latest = self._client.run([Command(("XREVRANGE", key, "+", "-", "COUNT", 1)) for key in streams])
            for key, reply in zip(list(streams), latest, strict=True):
                found = cast("list[object]", reply)
                streams[key] = _entry(0, found[0]).entry_id if found else "0-0"
        else:
            streams = dict.fromkeys(streams, f"{max(0, since // 1000 - 1)}-{2**64 - 1}")
        numbers = {partition.changes: partition.number for partition in self._keyspace.all()}
        while True:
            reply = self._client.one(
                Command(("XREAD", "COUNT", 500, "BLOCK", block_ms, "STREAMS", *streams, *streams.values()))
            )
            if not reply:
                yield None
                continue
            groups = reply.items() if isinstance(reply, dict) else cast("list[tuple[bytes, list[object]]]", reply)
            for raw_key, raw_entries in groups:
                key = raw_key.decode()
                for raw in cast("list[object]", raw_entries):
                    entry = _entry(numbers[key], raw)
                    streams[key] = entry.entry_id
                    yield entry

    def trim(self, oldest: Micros) -> int:
        """Drop what is older than `oldest`. Returns how many entries went."""
        replies = self._client.run([
            Command(("XTRIM", p.changes, "MINID", "~", f"{oldest // 1000}-0")) for p in self._keyspace.all()
        ])  # fmt: skip
        return sum(cast("list[int]", replies))


def _order(entry: Entry) -> tuple[int, int, int]:
    milliseconds, _, number = entry.entry_id.partition("-")
    return int(milliseconds), entry.partition, int(number)


def _entry(partition: int, raw: object) -> Entry:
    entry_id, fields = cast("tuple[bytes, object]", raw)
    if isinstance(fields, dict):
        return Entry(partition, entry_id.decode(), cast("bytes", fields[b"event"]))
    flat = cast("list[bytes]", fields)
    return Entry(partition, entry_id.decode(), flat[flat.index(b"event") + 1])
