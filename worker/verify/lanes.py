"""Threads for checks, in two lanes: an owner for whom GitHub is slow waits for others like it, and nobody else does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum


class Lane(Enum):
    """Where an owner is checked."""

    QUICK = "quick"
    SLOW = "slow"


DESKS = {Lane.QUICK: 16, Lane.SLOW: 8}
"""Checks at once. They wait for GitHub nearly all the time, so their number is not that of cores."""


class Lanes:
    """Does work in the background, so much at once in each lane. Threads may share it."""

    def __init__(self) -> None:
        self._pools = {lane: ThreadPoolExecutor(size, f"check-{lane.value}") for lane, size in DESKS.items()}
        self._busy = dict.fromkeys(DESKS, 0)
        self._given = 0
        """What is not at its end yet, with what it brings about."""
        self._changed = threading.Condition()

    def busy(self, lane: Lane) -> int:
        """How much is at work."""
        with self._changed:
            return self._busy[lane]

    def give(self, lane: Lane, work: Callable[[], None], then: Callable[[], None]) -> None:
        """Have something done. `then` is called when its place is free again."""

        def do() -> None:
            try:
                work()
            finally:
                with self._changed:
                    self._busy[lane] -= 1
                try:
                    then()
                finally:
                    with self._changed:
                        self._given -= 1
                        self._changed.notify_all()

        with self._changed:
            self._busy[lane] += 1
            self._given += 1
        self._pools[lane].submit(do)

    def rest(self, seconds: float) -> bool:
        """Wait until nothing is at work, at most for so long; whether nothing is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._given, seconds)

    def close(self) -> None:
        """Wait for what is at work, and take no more."""
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)
