"""A policy as it is kept: its facts, and what was last published of it. `advance` is the only way on."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import NamedTuple

from worker.lifecycle import scopes
from worker.lifecycle.decide import Standing, State, decide, watched_scopes
from worker.lifecycle.facts import (
    LONGEST,
    Facts,
    Micros,
    Observation,
    ObservationSource,
    merge,
    precedence,
    series,
    shifted,
    shortened,
    subject,
    thin,
)
from worker.lifecycle.owners import OwnerRef
from worker.lifecycle.registration import decode
from worker.lifecycle.rules import Rules
from worker.lifecycle.sight import without_oldest
from worker.lifecycle.tenure import Tenure, contradictions
from worker.lifecycle.views import ChangeType, View, change_between, owner_of, view_of


class Policy(NamedTuple):
    """One policy. `revision` counts what was published, `edition` what was learnt since without changing it."""

    policy_id: str
    facts: Facts
    revision: int = 0
    edition: int = 0
    view: View | None = None
    windows: int = 0
    """Windows of the current tenure when last published, to tell a renewal from the rest."""
    since: Micros = 0
    """Start of the tenure when last published."""
    contrary: frozenset[str] = frozenset()
    """Subjects of the logins that contradicted its ids, as of the last write."""
    reminded: Micros | None = None
    """The end of the window that its owner was reminded of."""
    decided_at: Micros = 0
    """When it was last written: no later step is decided for an earlier moment."""
    watching: frozenset[str] = frozenset()
    """Every scope whose facts bear on it, as of the last write."""
    unread: frozenset[str] = frozenset()
    """Those of them that it had not been found by before that write: somebody may have observed them in between."""

    @property
    def verifiable_scopes(self) -> tuple[str, ...]:
        """What GitHub can be asked about it: its repository, under its id or its names, and its creator's membership."""
        return tuple(
            sorted(scope for scope in self.watching if scope.startswith(("repository:", "unbound:", "member:")))
        )


class Step(NamedTuple):
    """What learning something comes to."""

    policy: Policy
    """With the facts and, where `change` is set, the next revision and its view."""
    change: ChangeType | None
    previous_state: str | None
    due: Micros | None
    """When the clock should look at this policy again."""
    standing: Standing
    contrary: tuple[Observation, ...] = ()
    """Logins that turn out to contradict the ids that are bound: told now for the first time."""


def concerns(policy: Policy, observation: Observation) -> bool:
    """Whether an observation bears on a policy. One that is not registered yet listens to whatever it is told."""
    return not policy.watching or observation.scope in policy.watching


def learn(policy: Policy, observations: Iterable[Observation], rules: Rules) -> Policy:
    """The policy with these observations merged in; the same object if they told nothing new.

    The caller hands over what bears on this policy; see `concerns`.
    """
    merged = merge(policy.facts, observations)
    if merged is policy.facts:
        return policy
    kept = shortened(_latest_registrations(without_oldest(merged), policy.policy_id))
    for scope, aspect in {
        (fact.scope, fact.aspect) for fact in merged.values() if fact.aspect in ("login", "visibility")
    }:
        kept = thin(kept, scope, aspect, rules.window)
    return policy if kept == policy.facts else policy._replace(facts=kept)


def redated(policy: Policy, by: Micros, limit: Micros) -> Policy:
    """The policy as it would be if the clock that dated it had not been ahead by `by`; the same object if nothing of it is
    dated beyond `limit`.
    """
    facts = policy.facts.values()
    if policy.decided_at <= limit and all(fact.at <= limit for fact in facts):
        return policy
    # It is decided for now, which is earlier.
    return policy._replace(facts=merge({}, shifted(facts, by, limit)), decided_at=0)


REGISTRATIONS = 64
"""Registrations of one policy that are kept before repetitions are dropped, as of a registry that repeats itself every
night. Up to here order is without meaning; beyond, one that names another repository and arrives late between two that
were dropped may begin its window later than it should."""


def _latest_registrations(facts: Facts, policy_id: str) -> Facts:
    """Where there are too many, drop the oldest that only repeat what the ones before and after them say."""
    registrations = series(facts, scopes.policy(policy_id), "registration")
    while len(registrations) > REGISTRATIONS:
        repeated = (
            i
            for i in range(1, len(registrations) - 1)
            if registrations[i - 1].value == registrations[i].value == registrations[i + 1].value
        )
        place = next(repeated, None)
        if place is None:
            break
        facts = {key: fact for key, fact in facts.items() if fact is not registrations[place]}
        del registrations[place]
    return facts


def advance(policy: Policy, now: Micros, rules: Rules, *, learnt: bool) -> Step | None:
    """Decide where the policy stands at `now`, and what there is to write.

    `learnt`: facts were merged since the policy was last written. Returns None if there is nothing to write: nothing
    was learnt, and the clock changed nothing.

    A worker that was paused may come with a `now` that others have passed; time does not run backwards for a policy.
    """
    now = max(now, policy.decided_at)
    standing = decide(policy.facts, policy.policy_id, now, rules)
    if standing is None:
        return None
    before = policy.view
    tenure = standing.tenure
    reminded = (
        standing.window is not None
        and standing.reminder_due is not None
        and now >= standing.reminder_due
        and policy.reminded != standing.window[1]
    )
    renewed = before is not None and policy.since == tenure.since and len(tenure.windows) > policy.windows
    renewed = renewed and not tenure.proven
    revision = max(policy.revision + 1, rules.first_revision)
    after = view_of(policy.policy_id, revision, standing, now)
    change = change_between(before, after, renewed=renewed, reminded=reminded)
    watching = scopes_of(policy, standing)
    contrary = {subject(login): login for login in contradictions(policy.facts, policy.policy_id, tenure)}
    found = tuple(login for key, login in contrary.items() if key not in policy.contrary)
    if change is None and not learnt:
        return None
    kept = policy._replace(
        facts=_of_names_it_has_had(policy.facts, tenure),
        decided_at=now,
        watching=watching,
        contrary=frozenset(contrary),
    )
    if change is None:
        kept = kept._replace(edition=policy.edition + 1)
    else:
        kept = kept._replace(
            revision=revision,
            edition=0,
            view=after,
            windows=len(tenure.windows),
            since=tenure.since,
            reminded=standing.window[1] if change is ChangeType.EXPIRING and standing.window else policy.reminded,
        )
    due = _due(standing, reminded=kept.reminded)
    return Step(kept, change, before and before["state"], due, standing, found)


def _of_names_it_has_had(facts: Facts, tenure: Tenure) -> Facts:
    """Without who held names that are its own no more, nor its former ones: of a repository that is renamed without an end
    only so many names are known (`shortened`). Whoever comes back to one reads again what is remembered of it.
    """
    if len(facts) <= LONGEST:
        return facts
    dropped = {key for key, fact in facts.items() if scopes.is_name(fact.scope) and fact.scope not in tenure.watched}
    return {key: fact for key, fact in facts.items() if key not in dropped} if dropped else facts


def cause_of(
    before: Policy | None, step: Step, cause: ObservationSource, own: Container[ObservationSource], rules: Rules
) -> ObservationSource:
    """Who brought a change about. Usually the event that is settled, `cause`, whose observations are those of `own`
    sources. Where it made a policy learn what others had said, too, it is the first, in the order in which they spoke,
    with whom the policy stands as it does now.
    """
    before_facts: Facts = before.facts if before else {}
    learnt = [fact for key, fact in step.policy.facts.items() if before_facts.get(key) != fact]
    if all(fact.source in own for fact in learnt):
        return cause
    by_source: dict[ObservationSource, dict[str, Observation]] = {}
    for fact in sorted(learnt, key=precedence):
        by_source.setdefault(cause if fact.source in own else fact.source, {})[subject(fact)] = fact
    facts = dict(before_facts)
    for source, observations in by_source.items():
        facts.update(observations)
        standing = decide(facts, step.policy.policy_id, step.policy.decided_at, rules)
        if standing and (standing.state, standing.reasons) == (step.standing.state, step.standing.reasons):
            return source
    return cause


def _due(standing: Standing, *, reminded: Micros | None) -> Micros | None:
    reminder_sent = standing.window is not None and reminded == standing.window[1]
    moments = (standing.due, None if reminder_sent else standing.reminder_due)
    return min((moment for moment in moments if moment is not None), default=None)


def scopes_of(policy: Policy, standing: Standing) -> frozenset[str]:
    """Every scope whose facts bear on the policy; a removed one listens only to its own."""
    if standing.state is State.REMOVED:
        return frozenset({scopes.policy(policy.policy_id)})
    return watched_scopes(standing.tenure, policy.policy_id)


def owner_called(policy: Policy | None, issuer: str, login: str) -> OwnerRef | None:
    """The owner of a policy that was registered under a login at an instance of GitHub, or is called so now: whoever else took
    that login since is none of the policy's. None: it is another's, or nobody's.
    """
    if policy is None or policy.view is None:
        return None
    last = series(policy.facts, scopes.policy(policy.policy_id), "registration")[-1]
    registration = decode(str(last.value))
    logins = {registration.repository_owner.lower(), policy.view["repository_owner"].lower()}
    ours = registration.owner == owner_of(policy.view) and registration.issuer == issuer
    return registration.owner if ours and login.lower() in logins else None
