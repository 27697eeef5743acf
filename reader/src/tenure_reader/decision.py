"""Whether a token may publish: every policy of its repository is tried, and the most specific that lets it counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tenure_reader.claims import Difference, Job
from tenure_reader.grants import Grant
from tenure_reader.matching import CONTRACT, Matching
from tenure_reader.rules import ANYTHING, Match, Stage, Wanted, best, failed_at, forbidden, foreign, match, same
from tenure_reader.times import Micros


class Nearby(NamedTuple):
    """What is known around a token for whose repository there is no policy."""

    owner_known: bool
    """There are policies for its owner."""
    named: str | None
    """A policy of its owner, for another repository id, whose repository has the token's name."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a token may publish."""

    at: Micros
    """For which moment it was decided."""
    granted: tuple[Grant, ...]
    """The policies that let it, the most specific first. None: refused. One with `packages` or `actions` lets it publish
    these only: what was not asked about, the exchange has to restrict."""
    matches: tuple[Match, ...]
    """How every policy of its repository was judged; or one answer, without an id, if there is no policy."""

    @property
    def allowed(self) -> bool:
        return bool(self.granted)

    @property
    def grant(self) -> Grant | None:
        """The policy that counts: where one names the job's environment and another none, the one that names it."""
        return self.granted[0] if self.granted else None

    @property
    def difference(self) -> Stage | None:
        """What differs first in the policy that comes closest; None if the token may publish."""
        closest = best(self.matches)
        if closest is None or self.granted:
            return None
        return next(stage for stage in closest.stages if stage.outcome == "failed")


def unmatched(job: Job, nearby: Nearby, matching: Matching = CONTRACT) -> Match:
    """How far a token comes for whose repository there is no policy."""
    if job.malformed is not None:
        return failed_at(None, "claims", job.malformed)
    stranger = foreign(job, matching)
    if stranger is not None:
        return failed_at(None, "issuer", stranger)
    event = forbidden(job, matching)
    if event is not None:
        return failed_at(None, "event", event)
    if not nearby.owner_known:
        nobody = Difference("owner_id", f"no policy is for owner id {job.owner_id}")
        return failed_at(None, "repository_owner", nobody)
    if nearby.named is not None:
        detail = f"another repository has the name {job.name}; policy {nearby.named} is for its former bearer"
        return failed_at(None, "repository", Difference("name_reused", detail))
    unknown = Difference("repository_id", f"no policy of this owner is for repository id {job.repository_id}")
    return failed_at(None, "repository", unknown)


def decide(
    grants: Iterable[Grant],
    job: Job,
    now: Micros,
    nearby: Nearby,
    *,
    matching: Matching = CONTRACT,
    wanted: Wanted = ANYTHING,
) -> Decision:
    """May this token publish, by the policies under its repository's id and those under its name?"""
    policies = list(grants)
    if len(policies) > 1:
        policies = sorted(_newest(policies), key=_specific)
    known_as = next(
        (g["repository"] for g in policies if g["repository_id"] is not None and not same(g["repository"], job.name)),
        None,
    )
    judged = [(grant, match(grant, job, now, known_as, matching=matching, wanted=wanted)) for grant in policies]
    granted = tuple(grant for grant, answer in judged if answer.matched)
    return Decision(now, granted, tuple(answer for _, answer in judged) or (unmatched(job, nearby, matching),))


def _newest(grants: Iterable[Grant]) -> Iterable[Grant]:
    """Each policy once."""
    newest: dict[str, Grant] = {}
    for grant in grants:
        if grant["policy_id"] not in newest or newest[grant["policy_id"]]["revision"] < grant["revision"]:
            newest[grant["policy_id"]] = grant
    return newest.values()


def _specific(grant: Grant) -> tuple[bool, bool, str]:
    return not grant["environment"], grant["repository_id"] is None, grant["policy_id"]
