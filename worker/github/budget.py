"""How many calls an installation has left, learnt from the headers of GitHub's answers.

Times are unix seconds. A budget is what is known; it is not counted down between answers, so that calls which never
arrive cost nothing. Threads that ask at the same moment may therefore go past the reserve by as many calls as there
are threads.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

APP = 0
"""The key of the budget for what the App asks as itself."""
SHORTEST_WAIT = 1
LONGEST_WAIT = 3600
"""Bounds of what is believed of a header that tells us to wait, seconds. GitHub's windows are an hour."""
DEFAULT_WAIT = 60
"""The wait, seconds, after a limit that does not name one; GitHub asks for at least a minute."""


class Budget(NamedTuple):
    """What is known of one installation's budget; all zero: nothing, which permits everything.

    `limit` calls are allowed in the window that ends at `reset_at`, of which `remaining` are left. Until
    `blocked_until` nothing is allowed, whatever is left.
    """

    limit: int = 0
    remaining: int = 0
    reset_at: int = 0
    blocked_until: int = 0

    @property
    def reserve(self) -> int:
        """A tenth of the limit, which only urgent calls may use."""
        return -(-self.limit // 10)

    def permit(self, now: float, *, urgent: bool) -> int | None:
        """None if a call may be made at `now`, else the time from which it may."""
        if self.blocked_until > now:
            return self.blocked_until
        if self.reset_at > now and self.remaining <= (0 if urgent else self.reserve):
            return self.reset_at
        return None

    def merged(self, other: Budget) -> Budget:
        """What two answers, or two processes, know together; in any order, any number of times.

        Of one window, whoever saw fewer calls left has the newer answer.
        """
        window = max(
            (self.reset_at, -self.remaining, -self.limit),
            (other.reset_at, -other.remaining, -other.limit),
        )
        return Budget(-window[2], -window[1], window[0], max(self.blocked_until, other.blocked_until))


def budget_of(headers: Mapping[str, str], now: float) -> Budget:
    """What an answer's `x-ratelimit-…` headers say; nothing if they are missing or make no sense."""
    limit = _number(headers.get("x-ratelimit-limit"))
    remaining = _number(headers.get("x-ratelimit-remaining"))
    reset_at = _number(headers.get("x-ratelimit-reset"))
    if limit is None or remaining is None or reset_at is None:
        return Budget()
    return Budget(limit, remaining, min(reset_at, math.ceil(now) + LONGEST_WAIT))


def limited_until(status: int, headers: Mapping[str, str], message: str, now: float) -> int | None:
    """Until when a refused call (403 or 429) is refused for having been one too many; None if that is not why.

    `Retry-After` says it for a secondary limit. Without it, an exhausted budget comes back with its window.
    """
    if status not in (403, 429):
        return None
    until: float
    if "retry-after" in headers:
        named = _number(headers["retry-after"])
        until = now + (DEFAULT_WAIT if named is None else named)
    elif _number(headers.get("x-ratelimit-remaining")) == 0:
        reset_at = _number(headers.get("x-ratelimit-reset"))
        until = now + DEFAULT_WAIT if reset_at is None else reset_at
    elif status == 429 or any(words in message.lower() for words in ("rate limit", "abuse detection")):
        until = now + DEFAULT_WAIT
    else:
        return None
    return math.ceil(min(max(until, now + SHORTEST_WAIT), now + LONGEST_WAIT))


def _number(text: str | None) -> int | None:
    """A header's number of up to 18 digits."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


class Budgets:
    """What is known of all installations' budgets, for all threads of a process.

    Processes that share what they know take `snapshot`s to where all can read them, and `load` what others left.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[int, Budget] = {}

    def permit(self, installation: int, now: float, *, urgent: bool) -> int | None:
        """As `Budget.permit`, for one installation, or for the App under the key `APP`."""
        return self.snapshot(installation).permit(now, urgent=urgent)

    def learn(self, installation: int, answered: Budget) -> None:
        """Add what an answer said to what is known."""
        self.load({installation: answered})

    def block(self, installation: int, until: int) -> None:
        """Let this installation make no call before `until`."""
        self.load({installation: Budget(blocked_until=until)})

    def load(self, budgets: Mapping[int, Budget]) -> None:
        """Add what others know."""
        with self._lock:
            for installation, budget in budgets.items():
                self._known[installation] = self._known.get(installation, Budget()).merged(budget)

    def snapshot(self, installation: int) -> Budget:
        """What is known of one installation."""
        with self._lock:
            return self._known.get(installation, Budget())

    def snapshots(self, installations: Iterable[int] | None = None) -> dict[int, Budget]:
        """What is known of these installations, or of all that have been heard of."""
        with self._lock:
            ids = self._known if installations is None else installations
            return {key: self._known[key] for key in ids if key in self._known}
