"""When a 404 is believed: at a second look, if GitHub answers other questions, unless half of all owners lose something."""

from __future__ import annotations

from typing import NamedTuple

from worker.lifecycle.facts import DAY, HOUR, SECOND, Micros
from worker.lifecycle.owners import OwnerRef
from worker.logs import logger
from worker.store.losses import MissingScopes

SECOND_LOOK: Micros = 3 * SECOND
"""How long after the first look the second one is made. GitHub's replicas agree within less."""
LEAST: Micros = 4 * SECOND
MOST: Micros = HOUR
"""What is believed to be lost is looked at again after a quarter of the time for which it has been missing, at least `LEAST`
and at most `MOST`, for a day; after that a sweep does."""
FEW = 5
"""Fewer owners than this that lose something at once are plausible whatever the share."""
SEASONED: Micros = DAY
"""An owner counts once it has been verified for so long: nobody brings new ones to make GitHub itself look ill."""
WITHHELD_FOR: Micros = 60 * SECOND
"""After so long, what the breaker withheld is looked at again."""

log = logger("verify")


class LossVerdict(NamedTuple):
    """Whether a loss is believed, and when to look again (None: the next sweep will do)."""

    believed: bool
    again_at: Micros | None
    withheld: bool = False


class Owner(NamedTuple):
    """Whose losses are judged."""

    owner_id: OwnerRef
    counts: bool
    """Whether it has been verified for long enough to be counted among others."""


class Losses:
    """Judges what GitHub says not to know, owner by owner: whatever one loses, the others are none the worse.

    `share`: of the owners that were asked about, how many may lose something at once before GitHub itself is suspected.
    """

    def __init__(self, missing: MissingScopes, share: float) -> None:
        self._missing = missing
        self._share = share

    def note_asked(self, owner: Owner, at: Micros) -> None:
        """An owner is being asked about."""
        if owner.counts:
            self._missing.note_asked(owner.owner_id, at)

    def note_missing(self, owner: Owner, scope: str, at: Micros, *, expected: bool) -> Micros:
        """GitHub did not know this at `at`; returns when it first did not. `expected`: somebody had said that."""
        return self._missing.note_missing(scope, at, expected=expected, losing=owner.owner_id if owner.counts else None)

    @staticmethod
    def due(first: Micros, at: Micros) -> bool:
        """Whether a look at `at` is a second one."""
        return at >= first + SECOND_LOOK

    def judge(self, scope: str, first: Micros, at: Micros, *, expected: bool) -> LossVerdict:
        """A second look, and a control read that succeeded. What was expected disables nothing, so no breaker asks."""
        if not expected:
            if not self.plausible(at):
                return LossVerdict(believed=False, again_at=at + WITHHELD_FOR, withheld=True)
            self._missing.believe(scope, at)
        return LossVerdict(believed=True, again_at=next_look(first, at))

    def plausible(self, now: Micros) -> bool:
        """Whether new losses may be believed; opens and closes the breaker."""
        breaker, tally = self._missing.breaker(), self._missing.tally(now)
        if breaker.passing_until > now:
            return True
        implausible = tally.losing >= FEW and tally.losing >= self._share * tally.owners_asked
        if implausible and breaker.open_since is None:
            self._missing.open_breaker(now)
            log.error(
                "breaker opened: too many owners lose something to be true; `tenure sweep --let-through` if it is",
                losing=tally.losing,
                asked=tally.owners_asked,
            )
        elif not implausible and breaker.open_since is not None:
            self._missing.close_breaker()
            log.warning("breaker closed: losses are plausible again", losing=tally.losing, asked=tally.owners_asked)
        return not implausible


def next_look(first: Micros, at: Micros) -> Micros | None:
    """When to look again for something that has been missing since `first`."""
    missing = at - first
    return None if missing > DAY else at + min(max(missing // 4, LEAST), MOST)
