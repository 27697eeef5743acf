"""Whether the store went back in time: restored from a backup, or replaced by a server that lacks the last writes.

A store counts its beats. Each process remembers the count, and keeps it in a file outside of what a restore brings back. A
store that counts less than it did begins a new epoch. Each node of a cluster may go back by itself, so one partition of
each counts, too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias, cast

import orjson

from worker.lifecycle.facts import Micros
from worker.store import keys
from worker.store.client import Client, Command, Replicas, ScriptCall, StoreError
from worker.store.keys import Keyspace, Partition

MORE = 1_000
"""Beats by which whoever finds that a part went back is ahead of all who saw some more of them."""
CONFIRMED_MS = 200
"""How long a beat waits for replicas."""


class Pulse(NamedTuple):
    """How far a store had come when it was seen."""

    store: str
    epoch: int
    beats: int
    partitions: Mapping[int, int] = MappingProxyType({})
    """Of a cluster: partition → its beats, for those that were ever the one of their node that counts."""


class Recovery(NamedTuple):
    """What is known of the last time that the store went back."""

    epoch: int
    """The one that began then."""
    since: Micros
    """What was written later than this is lost: the time that was last noted in the store as it is now."""
    found: Micros
    accepted: Micros | None
    """When an operator opened it again; None while it is closed."""


class StoreWitness:
    """A file for each store that was seen, in a folder that no restore of the store touches."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def seen(self, store: str) -> Pulse | None:
        """How far the store had come when somebody last looked; None if nobody has, or it cannot be read."""
        try:
            found = orjson.loads(self._file(store).read_bytes())
            partitions = {int(number): int(beats) for number, beats in found.get("partitions", {}).items()}
            return Pulse(store, int(found["epoch"]), int(found["beats"]), partitions)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def keep(self, pulse: Pulse) -> str:
        """Note how far it has come. Returns why that cannot be written, or nothing: then only processes that go on notice a
        restore.
        """
        file = self._file(pulse.store)
        part = file.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            written = {**pulse._asdict(), "partitions": dict(pulse.partitions)}
            part.write_bytes(orjson.dumps(written, option=orjson.OPT_NON_STR_KEYS))
            part.replace(file)
        except OSError as error:
            return error.strerror or type(error).__name__
        return ""

    def writable(self) -> bool:
        """Whether what is seen can be kept."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return False
        return os.access(self._folder, os.W_OK)

    def _file(self, store: str) -> Path:
        # An id that somebody else wrote is no path.
        return self._folder / f"{store if store.isalnum() else 'unknown'}.json"


class Noticed(NamedTuple):
    """What a beat came upon."""

    recovery: Recovery | None = None
    """The store was found to have gone back, and everything was closed."""
    unkept: str = ""
    """Why it cannot be kept outside of the store how far that has come."""


_Lost: TypeAlias = tuple[int, int, str]
"""Of a partition that went back: its number, more beats than anybody saw, and when the last was noted that it has, µs."""


class Epochs:
    """Looks whether the store lives on. `new_id`: an id for a store that has none; `close`: closes every policy, and may be
    called more than once. `replicas`: how many have all that was acknowledged; what fewer have may go with a failover.
    """

    def __init__(
        self,
        client: Client,
        keyspace: Keyspace,
        witness: StoreWitness,
        *,
        new_id: Callable[[], str],
        close: Callable[[Recovery], None],
        replicas: int = 0,
    ) -> None:
        self._client = client
        self._keyspace = keyspace
        self._new_id = new_id
        self._close = close
        self._replicas = Replicas(replicas, CONFIRMED_MS)
        self._lock = threading.Lock()
        self._seen: Pulse | None = None
        self.witness = witness

    def check(self) -> None:
        """See whether the store lives on, and write nothing if it does.

        Raises:
            StoreError: the store could not be reached.
        """
        store, beats, found, accepted = cast(
            "list[bytes | None]",
            self._client.one(Command(("HMGET", keys.EPOCH, "store", "beats", "found", "accepted"))),
        )
        seen = self.witness.seen(store.decode(errors="backslashreplace")) if store else None
        gone_back = seen is not None and (int(beats or 0) < seen.beats or self._lost(seen.partitions))
        if gone_back or (found is not None and accepted is None):
            self.beat()

    def beat(self) -> Noticed:
        """Note that the store lives on. If it went back, a new epoch begins, and everything is closed.

        Raises:
            StoreError: the store could not be reached.
        """
        with self._lock:
            began = self._seen.epoch if self._seen is not None else 0
            if self._seen is None:
                known = cast("bytes | None", self._client.one(Command(("HGET", keys.EPOCH, "store"))))
                self._seen = self.witness.seen(known.decode()) if known else None
            seen = self._seen or Pulse("", 0, 0)
            lost = self._lost(seen.partitions)
            said = (self._new_id(), *seen[:3], *(word for words in lost for word in words))
            store, epoch, beats, back = cast(
                "tuple[bytes, int, int, int]", self._client.one(ScriptCall("pulse", (keys.EPOCH, keys.CLOCK), said))
            )
            # Before that is kept: whoever dies in between, or cannot close, leaves it to be found again.
            recovery = self._recover() if epoch > 1 and epoch != began else None
            name = store.decode(errors="backslashreplace")
            partitions = {**seen.partitions, **self._raised(lost)} if name == seen.store else {}
            partitions |= self._counted(partitions)
            if not self._confirmed():
                return Noticed(recovery if back == 1 else None)
            self._seen = Pulse(name, epoch, beats, partitions)
            return Noticed(recovery if back == 1 else None, self.witness.keep(self._seen))

    def _lost(self, seen: Mapping[int, int]) -> list[_Lost]:
        """The partitions that do not count as much as they did, as far as they can be reached."""
        looked = [number for number in seen if number < self._keyspace.partitions]
        replies = self._client.reached([ScriptCall("live", (Partition(number).beats,), (0, "")) for number in looked])
        told = zip(looked, cast("list[tuple[int, bytes] | None]", replies), strict=True)
        return [
            (number, seen[number] + MORE, reply[1].decode())
            for number, reply in told
            if reply is not None and reply[0] < seen[number]
        ]

    def _counted(self, seen: Mapping[int, int]) -> dict[int, int]:
        """Note that each node of a cluster lives on: the beats of those that can be reached, and that as many replicas have as
        have what is acknowledged.
        """
        counting = self._counting()
        replies = self._client.write(
            [ScriptCall("live", (Partition(number).beats,), (seen.get(number, 0), "+")) for number in counting],
            self._replicas,
        )
        told = zip(counting, replies, strict=True)
        counted = {
            number: cast("tuple[int, bytes]", reply)[0] for number, reply in told if not isinstance(reply, StoreError)
        }
        return {number: beats for number, beats in counted.items() if beats > seen.get(number, 0)}

    def _counting(self) -> list[int]:
        """One partition of each node of a cluster: the first."""
        if not self._client.apart:
            return []
        first: dict[str, int] = {}
        for partition in self._keyspace.all():
            first.setdefault(self._client.node_of(partition.beats), partition.number)
        return [number for node, number in first.items() if node]

    def _raised(self, lost: Sequence[_Lost]) -> dict[int, int]:
        """What is lost of partitions is known: they count on from beyond it."""
        raised = {number: more for number, more, _ in lost}
        self._client.run([
            ScriptCall("live", (Partition(number).beats,), (0, more)) for number, more in raised.items()
        ])  # fmt: skip
        return raised

    def _confirmed(self) -> bool:
        """Whether as many replicas have the beat as have what is acknowledged. One that a failover may lose proves nothing:
        all would be closed for it, although nothing is missing.
        """
        if not self._replicas.wanted:
            return True
        (reply,) = self._client.write([Command(("HINCRBY", keys.EPOCH, "beats", 0))], self._replicas)
        return not isinstance(reply, StoreError)

    def _recover(self) -> Recovery | None:
        recovery = self.recovery()
        if recovery is None or recovery.accepted is not None:
            return None
        self._close(recovery)
        return recovery

    def accept(self, recovery: Recovery, now: Micros) -> None:
        """Note that an operator has opened the store again, unless it went back once more meanwhile."""
        self._client.one(ScriptCall("accept", (keys.EPOCH,), (recovery.epoch, now)))

    def recovery(self) -> Recovery | None:
        """The last time that it went back; None if it never did."""
        found = self._client.one(Command(("HMGET", keys.EPOCH, "epoch", "since", "found", "accepted")))
        epoch, since, when, accepted = cast("list[bytes | None]", found)
        if epoch is None or since is None or when is None:
            return None
        return Recovery(int(epoch), int(since), int(when), None if accepted is None else int(accepted))
