"""Whatever happens to a store between and within readings: what a reader of the feed is told to be all, is all.

On the simulated store, where others go first at every round trip: they publish, trim, set the clock, and let a server take over
that lacks the last writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from random import Random

from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.simulation.store import Fate, SimulatedStore
from worker.lifecycle.facts import SECOND
from worker.store.client import Argument, Client, StoreError
from worker.store.cursors import cursor_of
from worker.store.feed import CursorGoneError, Feed, FeedEntry, past
from worker.store.keys import Keyspace

PARTITIONS = 3
START = 1_700_000_000 * SECOND


class World:
    """A store, and everything that was ever published in the history that its server has."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._log: list[tuple[int, Sequence[Argument]]] = []
        """Of each write its partition, and what a replica is told."""
        self._replicated = 0
        """How many of the writes no failover loses: what was trimmed is a month old."""
        self._number = 0
        self._now = START
        self.calm = False
        self.trims = True
        self.store = self._server()
        self.client = Client(self.store.topology())
        self.keyspace = Keyspace(PARTITIONS)
        self.history: list[list[str]] = [[] for _ in range(PARTITIONS)]
        self.trimmed = [0] * PARTITIONS

    def _server(self) -> SimulatedStore:
        store = SimulatedStore(self._others)
        store.set_clock(self._now)
        return store

    def _others(self) -> Fate:
        if not self.calm and self._random.random() < 0.4:
            self.happens()
        return Fate.DONE

    def happens(self) -> None:
        what = self._random.choices((self._publish, self._trim, self._set_clock, self._take_over), (12, 2, 3, 1))[0]
        what()

    def _publish(self) -> None:
        partition = self._random.randrange(PARTITIONS)
        self._number += 1
        key, event = self.keyspace.all()[partition].changes, f"e{self._number}"
        entry_id = self.store.look("XADD", key, "*", "event", event)
        assert isinstance(entry_id, bytes)
        self._log.append((partition, ("XADD", key, entry_id, "event", event)))
        self.history[partition].append(event)

    def _trim(self) -> None:
        if not self.trims:
            return
        partition = self._random.randrange(PARTITIONS)
        words = ("XTRIM", self.keyspace.all()[partition].changes, "MAXLEN", "=", self._random.randrange(4))
        gone = self.store.look(*words)
        assert isinstance(gone, int)
        self.trimmed[partition] += gone
        if gone:
            added = [n for n, (where, (name, *_)) in enumerate(self._log, 1) if (where, name) == (partition, "XADD")]
            self._replicated = max(self._replicated, added[self.trimmed[partition] - 1])
        self._log.append((partition, words))

    def _set_clock(self) -> None:
        self._now += self._random.choice((1, 1_000, 50_000, -40_000))
        self.store.set_clock(self._now)

    def _take_over(self) -> None:
        """Another server, which has all writes but the last ones."""
        self.trims = False
        del self._log[max(self._replicated, len(self._log) - self._random.randrange(4)) :]
        # The connection is the same; what is on its way is answered by the successor.
        self.store.__dict__.update(self._server().__dict__)
        self.history = [[] for _ in range(PARTITIONS)]
        self.trimmed = [0] * PARTITIONS
        for partition, words in self._log:
            reply = self.store.look(*words)
            if words[0] == "XADD":
                self.history[partition].append(str(words[-1]))
            else:
                assert isinstance(reply, int)
                self.trimmed[partition] += reply


class Follower:
    """Notes where the feed is, as who loads a snapshot does, and is told what follows."""

    def __init__(self, world: World, feed: Feed) -> None:
        self._world = world
        self._feed = feed
        self.loads = self.complete = 0
        self.load()

    def load(self) -> None:
        self.loads += 1
        while True:
            with contextlib.suppress(StoreError):
                self.cursor = self._feed.end()
                break
        # Nobody goes first between the store's answer and this.
        self.known = [list(events) for events in self._world.history]
        """What the snapshot shows, or was told since."""

    def take(self, entries: Sequence[FeedEntry]) -> None:
        self.cursor = past(self.cursor, entries)
        for entry in entries:
            self.known[entry.partition].append(entry.event.decode())
            assert entry.added == len(self.known[entry.partition])

    def step(self, random: Random) -> None:
        # It is written down in between.
        cursor = cursor_of(self.cursor.text())
        assert cursor == self.cursor
        try:
            if random.random() < 0.5:
                self.take(self._feed.wait(self.cursor, 10))
                return
            reading = self._feed.read(self.cursor, random.choice((1, 2, 5, 500)))
        except CursorGoneError:
            assert self.lost(), "it was told to load anew, and nothing was missing"
            self.load()
            return
        except StoreError:
            # A server that took over had not heard of the scripts, and another took over from that.
            return
        self.take(reading.entries)
        assert reading.cursor == self.cursor
        if reading.at is not None:
            assert self.known == self._world.history, "it was told that this is all"
            self.complete += 1

    def differs(self) -> bool:
        """Whether what it knows is not so any more."""
        return any(known != events[: len(known)] for known, events in zip(self.known, self._world.history, strict=True))

    def lost(self) -> bool:
        """The same, or what follows was trimmed."""
        trimmed = zip(self._world.trimmed, self.known, strict=True)
        return self.differs() or any(gone > len(known) for gone, known in trimmed)


@settings(max_examples=max(50, settings().max_examples // 2), deadline=None)
@given(st.integers(0, 2**32))
def test_what_is_told_to_be_all_is_all_and_nobody_loads_anew_without_a_need(seed: int) -> None:
    random = Random(seed)
    world = World(random)
    follower = Follower(world, Feed(world.client, world.keyspace))
    for _ in range(40):
        # What is trimmed is a month old: nobody comes so late with a cursor at an entry that a failover lost.
        world.trims = not follower.differs()
        world.happens()
        follower.step(random)
    # At rest it gets to the end.
    world.calm = True
    complete = follower.complete
    while follower.complete == complete:
        follower.step(random)
    note(f"loads {follower.loads}, complete {follower.complete}")
