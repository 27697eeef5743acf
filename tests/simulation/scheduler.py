"""Who goes next: one thread, one seeded die, and no clock but its own.

Every round trip, to the store or to GitHub, is a point at which the scheduler decides who goes on, and what becomes of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import cast

from greenlet import getcurrent, greenlet

from tests.simulation.store import EndedError, Fate, SimulatedStore
from worker.lifecycle.facts import SECOND, Micros
from worker.store.client import StoreError

START: Micros = 1_800_000_000 * SECOND
LOOK_EVERY = 40
"""After so many effects, whatever can be read at any time is compared."""


class Scheduler(ABC):
    """One run: `effects` round trips with faults, and then what is left must come to rest, and be true."""

    def __init__(self, seed: int) -> None:
        self.history: list[str] = []
        self.effects = 0
        self._random = Random(seed)
        self._hub = getcurrent()
        self._running: dict[str, greenlet] = {}
        self._ended: set[greenlet] = set()
        self._store = SimulatedStore(self._fate)
        self._latest: Micros = START
        self._look_now = False
        """Something has just come to its end that may have gone wrong for a moment only."""
        self._pauses = 0.04
        """How likely the clock moves before a step."""
        self._longest_pause = 11
        """The clock moves on by so many powers of ten of microseconds at most."""
        self._turn(START)

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
            if not self._running or self._random.random() < 0.15:
                number += 1
                name, act = self._next_act(number)
                self._running[name] = greenlet(self._quietly(act))
                continue
            if self._random.random() < self._pauses:
                self._clock_moves()
                # A window may have ended, and nobody has written so yet.
                self._look()
            self._step(self._random.choice(list(self._running)))
            if self.effects % LOOK_EVERY == 0 or self._look_now:
                self._look_now = False
                self._look()
        self._power_cut()
        self._come_to_rest()

    def _step(self, name: str) -> None:
        process = self._running[name]
        fate = self._drawn()
        if process:
            if fate is not Fate.DONE:
                self.history.append(f"{name}: {fate.value}")
            if fate in (Fate.ENDS_BEFORE, Fate.ENDS_AFTER):
                self._ended.add(process)
            process.switch(fate)
        else:
            process.switch()
        self.effects += 1
        if process.dead:
            del self._running[name]
            self._ended.discard(process)

    def _drawn(self) -> Fate:
        drawn = self._random.random()
        odds = ((0.01, Fate.ENDS_BEFORE), (0.02, Fate.ENDS_AFTER), (0.03, Fate.LOST), (0.04, Fate.TWICE))
        return next((fate for odd, fate in odds if drawn < odd), Fate.DONE)

    @staticmethod
    def _quietly(act: Callable[[], object]) -> Callable[[], None]:
        def body() -> None:
            with suppress(StoreError, EndedError):
                act()

        return body

    def _clock_moves(self) -> None:
        back = self._random.random() < 0.15
        by = int(10 ** self._random.uniform(3, min(9, self._longest_pause) if back else self._longest_pause))
        self.history.append(f"the store's clock moves {'back' if back else 'on'} by {by / SECOND:.3f} s")
        self._turn(self._store.now + (-by if back else by))

    def _turn(self, now: Micros) -> None:
        self._latest = max(self._latest, now)
        self._store.set_clock(now)

    def _power_cut(self) -> None:
        self.history.append("all processes end")
        for process in self._running.values():
            if process and not process.dead:
                self._ended.add(process)
                process.throw(EndedError)
        self._running.clear()
