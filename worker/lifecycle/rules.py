"""What an installation of Tenure decides for itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from worker.lifecycle.facts import DAY, HOUR, SECOND, Micros

REVISIONS = 1_000_000_000
"""Revisions of one epoch: more than any policy has, and few enough that JSON's numbers last for millions of epochs."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What an installation of Tenure decides for itself. All durations in microseconds."""

    window: Micros = 7 * DAY
    """How long a policy may be used before it has proven itself."""
    reminder: Micros = 48 * HOUR
    """How long before a window closes its owner is reminded."""
    proof_max_age: Micros = 72 * HOUR
    """How old the last proof may be before the policy lapses."""
    proof_required: bool = False
    """Whether GitHub can be asked. If so, a hint never gives access back."""
    asked: frozenset[str] | None = None
    """The same of each instance of GitHub: aliases of those that can be asked. None: there is the default one only."""
    replica_lag: Micros = 5 * SECOND
    """After so long, all of GitHub's replicas have heard of what one of them told us."""
    epoch: int = 1
    """How often the store went back in time, and one: what was published meanwhile is lost, and its revisions are not
    given again."""

    def at(self, issuer: str) -> Rules:
        """The rules for a policy of this instance of GitHub."""
        return self if self.asked is None else replace(self, proof_required=issuer in self.asked)

    @property
    def first_revision(self) -> int:
        """The lowest revision that this epoch gives."""
        return (self.epoch - 1) * REVISIONS + 1
