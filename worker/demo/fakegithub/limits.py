"""How often each installation, and the App itself, may ask in an hour."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from worker.demo.fakegithub.answers import Who

WINDOW_SECONDS = 3600.0
DEFAULT_LIMIT = 5000


@dataclass(frozen=True)
class BudgetRecord:
    limit: int
    used: int
    resets_at: float

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    def headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(math.ceil(self.resets_at)),
            "x-ratelimit-used": str(self.used),
            "x-ratelimit-resource": "core",
        }


class BudgetRecords:
    """A window begins with the first question after the last one ended."""

    def __init__(self, clock: Callable[[], float], limit: int = DEFAULT_LIMIT) -> None:
        self._clock = clock
        self._limit = limit
        self._lock = threading.Lock()
        self._budgets: dict[Who, BudgetRecord] = {}

    def set(
        self, who: Who, *, limit: int | None = None, remaining: int | None = None, reset_in: float | None = None
    ) -> BudgetRecord:
        """Change the budget of an installation (its id) or of the App ("jwt") from now on; `reset_in` is in seconds.

        When the window ends, all of the limit is there again.
        """
        with self._lock:
            now = self._now(who)
            most = now.limit if limit is None else limit
            budget = BudgetRecord(
                most,
                now.used if remaining is None else most - remaining,
                now.resets_at if reset_in is None else self._clock() + reset_in,
            )
            self._budgets[who] = budget
            return budget

    def budget(self, who: Who) -> BudgetRecord:
        with self._lock:
            return self._now(who)

    def spend(self, who: Who) -> tuple[BudgetRecord, bool]:
        """Take one question off; gives what is left, and whether there was one."""
        with self._lock:
            budget = self._now(who)
            allowed = budget.remaining > 0
            if allowed:
                budget = replace(budget, used=budget.used + 1)
            self._budgets[who] = budget
            return budget, allowed

    def _now(self, who: Who) -> BudgetRecord:
        known, now = self._budgets.get(who), self._clock()
        if known is None or known.resets_at <= now:
            return BudgetRecord(self._limit if known is None else known.limit, 0, now + WINDOW_SECONDS)
        return known
