"""Counts calls to GitHub and bounds them: by thread, for what one owner may take, and in all, for the metrics."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import NamedTuple

from worker.github.answers import LaterError, SpentError


class Allowance(NamedTuple):
    """What one piece of work may take of GitHub's time and ours."""

    calls: int
    seconds: float


class CallCounter:
    """Told of every call; all threads of a process share it."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._lock = threading.Lock()
        self._untold: Counter[str] = Counter()
        self._stopped = False

    def note(self, route: str, outcome: str) -> None:
        """A call to `route` (a template) came to `outcome`."""
        self._here.made = self.made() + 1
        self._here.last = outcome
        with self._lock:
            self._untold[f"github:{route}|{outcome}"] += 1

    def made(self) -> int:
        """Calls of this thread so far."""
        return int(getattr(self._here, "made", 0))

    @contextmanager
    def within(self, allowance: Allowance) -> Iterator[None]:
        """What this thread asks in here stays within the allowance. One inside another is apart from it: what it takes is not
        taken from the outer one.
        """
        here = self._here
        most, until = getattr(here, "most", inf), getattr(here, "until", inf)
        made, begun = self.made(), time.monotonic()
        here.most, here.until, here.last = made + allowance.calls, begun + allowance.seconds, ""
        try:
            yield
        finally:
            here.most, here.until = most + self.made() - made, until + time.monotonic() - begun

    def until(self) -> float:
        """The monotonic moment by which the next call of this thread has to be answered.

        Raises:
            LaterError: there is no time left, and the last call had no answer.
            SpentError: the allowance is used up, or this process is to end.

        """
        until: float = getattr(self._here, "until", inf)
        if self._stopped:
            raise SpentError("not asked: this process is to end; another goes on")
        if time.monotonic() >= until:
            if getattr(self._here, "last", "") == LaterError.outcome:
                raise LaterError("not asked: GitHub did not answer, and this owner's time is up; ask again later")
            raise SpentError("not asked: this owner's time is up; what is left is asked next time")
        if self.made() >= getattr(self._here, "most", inf):
            raise SpentError("not asked: this owner's calls are used up; what is left is asked next time")
        return until

    def stop(self) -> None:
        """Let no thread ask anything any more."""
        self._stopped = True

    def take(self) -> dict[str, int]:
        """What was not taken yet, as counters."""
        with self._lock:
            taken, self._untold = dict(self._untold), Counter()
        return taken
