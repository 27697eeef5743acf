"""When a 404 is believed: at a second look, if GitHub answers other questions, and never in implausible numbers."""

from __future__ import annotations

from typing import NamedTuple

from worker.lifecycle.facts import DAY, HOUR, SECOND, Micros
from worker.logs import logger
from worker.store.suspects import Suspects

SECOND_LOOK: Micros = 3 * SECOND
"""How long after the first look the second one is made. GitHub's replicas agree within less."""
LEAST: Micros = 4 * SECOND
SOON: Micros = 8 * SECOND
FRESH: Micros = 600 * SECOND
MOST: Micros = HOUR
"""What is believed to be lost is looked at again after a quarter of the time for which it has been missing, at least `LEAST`
and at most `MOST`, in the time that is `FRESH` at most `SOON`, for a day; after that a sweep does."""
FEW = 5
"""So many losses are plausible whatever the share."""
WITHHELD_FOR: Micros = 60 * SECOND
"""After so long, what the breaker withheld is looked at again."""

log = logger("verify")


class Verdict(NamedTuple):
    """Whether a loss is believed, and when to look again (None: the next sweep will do)."""

    believed: bool
    again_at: Micros | None
    withheld: bool = False


class Losses:
    """Judges what GitHub says not to know. `share`: of what was asked about, how much may be lost at once."""

    def __init__(self, suspects: Suspects, share: float) -> None:
        self._suspects = suspects
        self._share = share

    def looked(self, scope: str, at: Micros, *, expected: bool) -> Micros:
        """GitHub did not know this at `at`; returns when it first did not. `expected`: somebody had said that."""
        return self._suspects.looked(scope, at, expected=expected)

    @staticmethod
    def due(first: Micros, at: Micros) -> bool:
        """Whether a look at `at` is a second one."""
        return at >= first + SECOND_LOOK

    def judge(self, scope: str, first: Micros, at: Micros, *, expected: bool) -> Verdict:
        """A second look, and a control read that succeeded. What was expected disables nothing, so no breaker asks."""
        if not expected:
            if not self.plausible(at):
                return Verdict(believed=False, again_at=at + WITHHELD_FOR, withheld=True)
            self._suspects.believe(scope, at)
        return Verdict(believed=True, again_at=look_again(first, at))

    def plausible(self, now: Micros) -> bool:
        """Whether losses may be believed; opens and closes the breaker."""
        breaker, tally = self._suspects.breaker(), self._suspects.tally(now)
        if breaker.passing_until > now:
            return True
        lost = tally.pending + tally.lost
        implausible = lost >= FEW and lost > self._share * tally.asked
        if implausible and breaker.open_since is None:
            self._suspects.open_breaker(now)
            log.error(
                "breaker opened: too much is missing at GitHub to be true; `tenure sweep --let-through` if it is",
                missing=lost,
                asked=tally.asked,
            )
        elif not implausible and breaker.open_since is not None:
            self._suspects.close_breaker()
            log.warning("breaker closed: losses are plausible again", missing=lost, asked=tally.asked)
        return not implausible


def look_again(first: Micros, at: Micros) -> Micros | None:
    """When to look again for something that has been missing since `first`."""
    missing = at - first
    return None if missing > DAY else at + min(max(missing // 4, LEAST), SOON if missing < FRESH else MOST)
