"""Facts and the clock in, standing out."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from worker.lifecycle import scopes
from worker.lifecycle.facts import Facts, Micros
from worker.lifecycle.policy_facts import PolicyFacts
from worker.lifecycle.reasons import ADVISORIES, REASONS
from worker.lifecycle.rules import Rules
from worker.lifecycle.sight import Sight
from worker.lifecycle.tenure import Tenure, instance_of, tenure_of


class State(StrEnum):
    PROVISIONAL = "provisional"
    ACTIVE = "active"
    DISABLED = "disabled"
    EXPIRED = "expired"
    REMOVED = "removed"


USABLE = frozenset({State.PROVISIONAL, State.ACTIVE})


class Standing(NamedTuple):
    """What the facts and the clock add up to."""

    state: State
    reasons: tuple[str, ...]
    advisories: tuple[str, ...]
    usable_until: Micros | None
    """Set only while usable: from then on the policy is closed, whether or not anybody has written that down."""
    window: tuple[Micros, Micros] | None
    """The newest window of a policy that has not proven itself yet."""
    due: Micros | None
    """When the clock alone changes this standing."""
    reminder_due: Micros | None
    """When the owner should hear that the window closes; None if there is nothing to be reminded of."""
    tenure: Tenure
    repository_owner: str
    workflow_file: str
    """The policy's workflow, under the present name of its repository."""
    called_workflow: str | None
    """The one that it may call, likewise; None where it may call no other repository's."""
    visibility: str | None
    verified_at: Micros | None


def decide(facts: Facts, policy_id: str, now: Micros, rules: Rules) -> Standing | None:
    """The standing of a policy at `now`, or None if it was never registered.

    Precedence (contract, section 2): removed, expired, disabled, then active or provisional.
    """
    if rules.asked is not None:
        rules = rules.at(instance_of(facts, policy_id))
    tenure = tenure_of(
        facts, policy_id, window=rules.window, proof_required=rules.proof_required, lag=rules.replica_lag
    )
    if tenure is None:
        return None
    facts_of = PolicyFacts(
        facts,
        tenure,
        now,
        rules,
        own_scope=scopes.policy(policy_id),
        owner_scope=scopes.owner(tenure.owner_id),
        creator_scope=scopes.account(tenure.registration.creator),
        package_owner_scope=scopes.account(tenure.registration.package_owner),
        sight=Sight(facts, scopes.owner(tenure.owner_id), proof_required=rules.proof_required, lag=rules.replica_lag),
        asserted=frozenset(fact.aspect for fact in facts.values() if fact.value is True),
    )
    reasons = tuple(row.name for row in REASONS.values() if row.rule(facts_of))
    advisories = tuple(row.name for row in ADVISORIES.values() if row.rule(facts_of))
    window = None if tenure.proven else max(tenure.windows)

    if facts_of.holds(facts_of.own_scope, "removed"):
        state = State.REMOVED
    elif window is not None and now >= window[1]:
        state = State.EXPIRED
    elif reasons:
        state = State.DISABLED
    else:
        state = State.ACTIVE if tenure.proven else State.PROVISIONAL

    lapse = facts_of.lapse_deadline()
    closing = min(_present(window and window[1], lapse), default=None)
    to_come = [] if state is State.REMOVED else [at for at in _present(window and window[1], lapse) if at > now]
    return Standing(
        state=state,
        reasons=reasons,
        advisories=advisories,
        usable_until=closing if state in USABLE else None,
        window=window,
        due=min(to_come, default=None),
        reminder_due=window[1] - rules.reminder if window and state is State.PROVISIONAL else None,
        tenure=tenure,
        repository_owner=facts_of.repository_owner(),
        workflow_file=facts_of.workflow_file(),
        called_workflow=facts_of.called_workflow(),
        visibility=facts_of.visibility(),
        verified_at=facts_of.last_proof(),
    )


def _present(*moments: Micros | None) -> Iterator[Micros]:
    return (moment for moment in moments if moment is not None)


def watched_scopes(tenure: Tenure, policy_id: str) -> frozenset[str]:
    """Every scope whose facts can bear on this policy."""
    registration = tenure.registration
    user = registration.creator_github_id
    watched = {
        scopes.policy(policy_id),
        scopes.owner(tenure.owner_id),
        scopes.account(registration.creator),
        scopes.account(registration.package_owner),
        scopes.package_member(registration.package_owner, registration.creator),
        *tenure.watched,
        *(scopes.workflow(place.scope, registration.workflow_file) for place in tenure.places),
    }
    if registration.environment is not None:
        watched.update(scopes.environment(place.scope, registration.environment) for place in tenure.places)
    watched.update(scopes.refs(place.scope, pattern) for pattern in registration.asked.refs for place in tenure.places)
    there = tenure.called
    if there is not None:
        watched.update(place.scope for place in (*there.places, *there.owners))
        watched.update(scopes.workflow(place.scope, there.file) for place in there.places)
    if user is not None:
        watched.add(scopes.member(tenure.owner_id, user))
        watched.update(scopes.collaborator(place.scope, user) for place in tenure.places)
    return frozenset(watched)


def index_scopes(watched: frozenset[str]) -> frozenset[str]:
    """The scopes by which the store finds this policy; its own id needs none."""
    return frozenset(scopes.index_of(scope) for scope in watched if not scope.startswith("policy:"))
