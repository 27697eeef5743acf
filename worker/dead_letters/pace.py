"""How fast letters go back."""

from __future__ import annotations

import time

DEFAULT_RATE = 50.0
"""Letters a second, beside which what comes in fresh hardly waits."""
GROUP = 64
"""Letters put back in one step at most."""


class ReplayPace:
    """Lets letters go at a rate: one token each, by a clock that nobody sets back."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._begun = time.monotonic()
        self._gone = 0

    def allowed(self) -> int:
        """How many may go now. What was late makes up for it."""
        if self._rate is None:
            return GROUP
        return min(GROUP, int((time.monotonic() - self._begun) * self._rate) + 1 - self._gone)

    def gone(self, count: int) -> None:
        self._gone += count

    def wait(self) -> float:
        """Seconds until the next may go."""
        return 0.0 if self._rate is None else max(0.0, self._begun + self._gone / self._rate - time.monotonic())
