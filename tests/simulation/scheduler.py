"""Who goes next: one thread, one seeded die, and no clock but its own.

Every round trip, to the store or to GitHub, is a point at which the scheduler decides who goes on, and what becomes of it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import cast

from greenlet import getcurrent, greenlet

from tests.simulation.store import EndedError, Fate, SimulatedStore
from worker.dead_letters import ReplayError
from worker.lifecycle.facts import SECOND, Micros
from worker.store.client import StoreError

START: Micros = 1_800_000_000 * SECOND
TAKES: Micros = 7
"""How long a round trip takes."""
LOOK_EVERY = 40
"""After so many effects, whatever can be read at any time is compared."""
RESTARTS = 0.002
"""How likely the store ends before a step, and comes back."""


class Scheduler(ABC):
    """One run: `effects` round trips with faults, and then what is left must come to rest, and be true."""

    def __init__(self, seed: int) -> None:
        self.history: list[str] = []
        self.effects = 0
        self._random = Random(seed)
        self._hub = getcurrent()
        self._running: dict[str, greenlet] = {}
        self._following: dict[str, greenlet] = {}
        """Those that go on for ever: whoever follows something."""
        self._follows = self._random.choice((0.05, 0.1, 0.2))
        """How many steps are theirs."""
        self._asleep: dict[str, int] = {}
        """Who does nothing, until so many effects have been."""
        self._sleepy = self._random.choice((0.0, 0.01, 0.04))
        """How likely whoever would go next does nothing for a while instead."""
        self._cut: set[str] = set()
        """Whose connection to the store is gone, without their knowing it."""
        self._ended: set[greenlet] = set()
        self._store = SimulatedStore(self._fate, self._random.choice((1, 1, 2, 3)))
        self._nodes = range(len(self._store.addresses))
        self.elapsed: Micros = 0
        """How much time has passed in truth, whatever the store's clock shows."""
        self._latest: Micros = START
        """The latest time that any clock of the store's has shown."""
        self._ahead: list[list[tuple[Micros, Micros]]] = [[] for _ in self._nodes]
        """Of each node: from when on, by what has elapsed, its clock was ahead of that by how much."""
        self._fast = [self._random.choice((0, 0, 1, -1)) if self._store.apart else 0 for _ in self._nodes]
        """By how many thousandths each node's clock runs too fast."""
        self._look_now = False
        """Something has just come to its end that may have gone wrong for a moment only."""
        self._pauses = 0.04
        """How likely the clock moves before a step."""
        self._longest_pause = 11
        """The clock moves on by so many powers of ten of microseconds at most."""
        self._jumps = self._random.choice((0.1, 0.1, 0.5))
        """How many of these moves are of one of the store's clocks alone, ahead; and half as many again back."""
        for node in self._nodes:
            apart = self._random.choice((0, SECOND, 60 * SECOND)) if node else 0
            self._turn(START + int(apart * self._random.uniform(-1, 1)), node)

    @abstractmethod
    def _next_act(self, number: int) -> tuple[str, Callable[[], object]]:
        """Somebody who begins something: a name of its own, and what it does."""

    @abstractmethod
    def _look(self) -> None:
        """Compare what holds at any time."""

    @abstractmethod
    def _come_to_rest(self) -> None:
        """All faults are over: compare what holds in the end."""

    def _fate(self) -> Fate:
        current = getcurrent()
        if current is self._hub:
            return Fate.DONE
        if current in self._ended:
            # What a process does on its way out, one that was killed does not.
            raise EndedError
        return cast("Fate", self._hub.switch())

    def run(self, effects: int) -> None:
        """Raises:
        BrokenPromiseError: what was promised does not hold.
        """
        number = 0
        while self.effects < effects:
            if not self._running or self._random.random() < (
                0.6 if self._running.keys() <= self._asleep.keys() else 0.15
            ):
                number += 1
                name, act = self._next_act(number)
                self._running[name] = process = greenlet(self._quietly(act))
                process.name = name
                continue
            if self._random.random() < self._pauses:
                self._clock_moves()
                # A window may have ended, and nobody has written so yet.
                self._look()
            self._between()
            if not self._running:
                continue
            follows = self._following and self._random.random() < self._follows
            among = self._following if follows else self._awake()
            if self._random.random() < self._sleepy:
                self._asleep[self._random.choice(list(among))] = self.effects + self._random.randrange(10, 150)
            self._step(among, self._drawn())
            if self.effects % LOOK_EVERY == 0 or self._look_now:
                self._look_now = False
                self._look()
        self._power_cut()
        self._come_to_rest()

    def _awake(self) -> dict[str, greenlet]:
        """Whoever runs and is not paused, if anybody is not."""
        self._asleep = {name: until for name, until in self._asleep.items() if until > self.effects}
        return {name: each for name, each in self._running.items() if name not in self._asleep} or self._running

    def _step(self, among: dict[str, greenlet], fate: Fate) -> None:
        name = self._random.choice(list(among))
        process = among[name]
        if process:
            if name in self._cut:
                self._cut.discard(name)
                fate = Fate.AWAY
            if fate is not Fate.DONE:
                self.history.append(f"{name}: {fate.value}")
            if fate in (Fate.ENDS_BEFORE, Fate.ENDS_AFTER):
                self._ended.add(process)
            process.switch(fate)
        else:
            process.switch()
        self.effects += 1
        # No two partitions date something by the same moment.
        Scheduler._pass(self, TAKES)
        if process.dead:
            (self._following if name in self._following else self._running).pop(name)
            self._cut.discard(name)
            self._ended.discard(process)

    def _between(self) -> None:
        """What may happen between any two steps."""
        if self._random.random() < RESTARTS:
            self._restart()

    def _restart(self) -> None:
        node = self._random.choice(self._nodes)
        self.history.append(f"{self._called(node)} ends, and comes back")
        self._store.restart(node)
        self._cut = {name for name, process in (self._running | self._following).items() if process}

    def _drawn(self) -> Fate:
        drawn = self._random.random()
        odds = (
            (0.01, Fate.ENDS_BEFORE),
            (0.02, Fate.ENDS_AFTER),
            (0.03, Fate.LOST),
            (0.035, Fate.AWAY),
            (0.045, Fate.TWICE),
        )
        return next((fate for odd, fate in odds if drawn < odd), Fate.DONE)

    @staticmethod
    def _quietly(act: Callable[[], object]) -> Callable[[], None]:
        def body() -> None:
            with suppress(StoreError, ReplayError, EndedError):
                act()

        return body

    def _clock_moves(self) -> None:
        drawn = self._random.random()
        back, ahead = drawn < self._jumps / 2, self._jumps / 2 <= drawn < 1.5 * self._jumps
        alone = self._store.apart and self._random.random() < 0.7
        least, most = (9 if ahead else 3), (math.log10(240 * SECOND) if back else 11)
        if alone and (back or ahead):
            # Whoever sets one clock sets it by no more than clocks of servers may differ.
            least, most = 3, math.log10(60 * SECOND)
        by = int(10 ** self._random.uniform(least, min(most, max(least, self._longest_pause))))
        if back or ahead:
            nodes = [self._random.choice(self._nodes)] if alone else self._nodes
            told = f"the clock of {self._called(nodes[0]) if alone else 'the store'} is set {'back' if back else 'ahead'} by"
            for node in nodes:
                self._turn(self._store.clock(node) + (-by if back else by), node)
        else:
            told = "time goes on by"
            self._pass(by)
        self.history.append(f"{told} {by / SECOND:.3f} s")

    def _called(self, node: int) -> str:
        return f"the store's node {node}" if self._store.apart else "the store"

    def wait(self, seconds: float) -> None:
        """So much time passes while somebody waits."""
        self._pass(int(seconds * SECOND))

    def _pass(self, by: Micros) -> None:
        """Time goes on, and so do all clocks."""
        self.elapsed += by
        for node in self._nodes:
            self._turn(self._store.clock(node) + by + by * self._fast[node] // 1000, node)

    def _turn(self, now: Micros, node: int) -> None:
        """Set a node's clock."""
        self._latest = max(self._latest, now)
        self._store.set_clock(now, node)
        ahead = self._ahead[node]
        if not ahead or ahead[-1][1] != now - self.elapsed:
            ahead.append((self.elapsed, now - self.elapsed))

    def _slowest_clock(self, node: int, within: Micros) -> Micros:
        """What the time is for whoever asked a node for it no longer ago than this, when it showed least."""
        told = self._ahead[node]
        while len(told) > 1 and told[1][0] < self.elapsed - within:
            del told[0]
        return self.elapsed + min(by for _, by in told)

    def _power_cut(self) -> None:
        self.history.append("all processes end")
        for process in self._running.values():
            if process and not process.dead:
                self._ended.add(process)
                process.throw(EndedError)
        self._running.clear()
        self._cut.clear()
