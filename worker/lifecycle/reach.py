"""What facts a policy can have come by: those about what it watches, and about what it watched once."""

from __future__ import annotations

from collections.abc import Iterable

from worker.lifecycle import scopes
from worker.lifecycle.facts import Facts, Micros, Observation, Worth, merge, series, worth
from worker.lifecycle.owners import OwnerRef
from worker.lifecycle.registration import Registration, called, decode, own_file
from worker.lifecycle.tenure import elsewhere, login_ids


def within_reach(observations: Iterable[Observation], policy_id: str) -> frozenset[str]:
    """The scopes of all that a policy watches or watched, as its own registrations, logins and renames tell. What is about
    anything else came from elsewhere.
    """
    facts = merge({}, observations)
    registrations = [
        (fact.at, decode(str(fact.value))) for fact in series(facts, scopes.policy(policy_id), "registration")
    ]
    repositories = _repositories(facts, policy_id, [registration for _, registration in registrations])
    reached = {scopes.policy(policy_id), *repositories}
    for at, registration in registrations:
        there = elsewhere(facts, registration, at, 0)
        if there is not None:
            reached.update(place.scope for place in (*there.places, *there.owners))
            reached.update(scopes.workflow(place.scope, there.file) for place in there.places)
        owner, user = registration.owner, registration.creator_github_id
        reached |= {
            scopes.owner(owner),
            scopes.account(registration.creator),
            scopes.account(registration.package_owner),
            scopes.package_member(registration.package_owner, registration.creator),
        }
        files = {own_file(registration), None if there is None else there.file}
        reached.update(scopes.workflow(place, file) for place in repositories for file in files if file is not None)
        if registration.environment is not None:
            reached.update(scopes.environment(place, registration.environment) for place in repositories)
        reached.update(scopes.refs(place, pattern) for place in repositories for pattern in registration.asked.refs)
        if user is not None:
            reached.add(scopes.member(owner, user))
            reached.update(scopes.collaborator(place, user) for place in repositories)
    return frozenset(reached)


def for_everybody(observations: Iterable[Observation], policy_id: str) -> frozenset[Observation]:
    """What others may be told of the facts that somebody brings for one policy: what takes access away, and is not taken back
    by the same facts. What gives access, or renames, is that policy's alone: whoever wrote the facts answers for no other.
    Who holds a name takes it from one repository and gives it to another, so that is not told either.
    """
    all_observations = list(observations)
    own = scopes.policy(policy_id)
    newest: dict[tuple[str, str], Micros] = {}
    for o in all_observations:
        newest[o.scope, o.aspect] = max(o.at, newest.get((o.scope, o.aspect), 0))

    def harmless(o: Observation) -> bool:
        gives = worth(o) is Worth.DETAIL or o.aspect.startswith("held_by:")
        return not gives and o.at == newest[o.scope, o.aspect]

    return frozenset(o for o in all_observations if o.scope == own or harmless(o))


def _repositories(facts: Facts, policy_id: str, registrations: Iterable[Registration]) -> set[str]:
    """Where the policy's repositories were looked for: under their ids, and under their names."""
    scopes_named: set[str] = set()
    nameless: set[OwnerRef] = set()
    for registration in registrations:
        owner = registration.owner
        scopes_named |= _named(owner, registration.repository)
        named = called(registration)
        if named is not None:
            scopes_named |= _named(owner, named.repository)
        if registration.repository_id is None:
            nameless.add(owner)
        else:
            scopes_named.add(scopes.repository(owner, registration.repository_id))
    for login in series(facts, scopes.policy(policy_id), "login"):
        repository_id, owner_id = login_ids(login)
        if owner_id in nameless:
            scopes_named.add(scopes.repository(owner_id, repository_id))
    while True:
        further = {
            scope for fact in facts.values() if fact.scope in scopes_named for scope in _other_scopes(fact)
        } - scopes_named
        if not further:
            return scopes_named
        scopes_named |= further


def _other_scopes(fact: Observation) -> set[str]:
    """Where else a repository is found, by what is told of it where it was looked for."""
    owner = scopes.owner_id_of(fact.scope)
    if owner is None:
        return set()
    if fact.aspect in ("name", "renamed_to"):
        return _named(owner, str(fact.value))
    if fact.aspect == "repository_id" and isinstance(fact.value, int):
        return {scopes.repository(owner, fact.value)}
    return set()


def _named(owner: OwnerRef, name: str) -> set[str]:
    return {scopes.unbound(owner, name), scopes.name(owner, name)}
