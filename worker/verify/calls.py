"""Counts calls to GitHub: by thread, for whoever wants to know what a check cost, and in all, for the metrics."""

from __future__ import annotations

import threading
from collections import Counter


class Calls:
    """Told of every call; all threads of a process share it."""

    def __init__(self) -> None:
        self._here = threading.local()
        self._lock = threading.Lock()
        self._untold: Counter[str] = Counter()

    def note(self, route: str, outcome: str) -> None:
        """A call to `route` (a template) came to `outcome`."""
        self._here.made = self.made() + 1
        with self._lock:
            self._untold[f"github:{route}|{outcome}"] += 1

    def made(self) -> int:
        """Calls of this thread so far."""
        return int(getattr(self._here, "made", 0))

    def take(self) -> dict[str, int]:
        """What was not taken yet, as counters."""
        with self._lock:
            taken, self._untold = dict(self._untold), Counter()
        return taken
