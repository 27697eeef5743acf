"""What an export of a policy may hold, and what of it others may be told."""

from __future__ import annotations

from tests.support import (
    CREATOR,
    NAME,
    OWNER,
    PACKAGE_OWNER,
    POLICY,
    REPOSITORY,
    USER,
    WORKFLOW,
    hint,
    login,
    proof,
    registered,
    repository_scope,
    said,
)
from worker.lifecycle import scopes
from worker.lifecycle.facts import Observation
from worker.lifecycle.reach import for_everybody, within_reach
from worker.lifecycle.registration import decode, encode

HERE = repository_scope()
HOLDER = f"held_by:{REPOSITORY + 1}"
OTHER = 42
"""The owner that the policy was registered for later, so that nothing of the first is watched any more."""


def around(owner: int, *places: str) -> set[str]:
    """All that a policy of such an owner reads there."""
    return {
        scopes.policy(POLICY),
        scopes.owner(owner),
        scopes.member(owner, USER),
        scopes.account(CREATOR),
        scopes.account(PACKAGE_OWNER),
        scopes.package_member(PACKAGE_OWNER, CREATOR),
        *places,
        *(scopes.workflow(place, WORKFLOW) for place in places),
        *(scopes.collaborator(place, USER) for place in places),
    }


def by_name(owner: int, *names: str) -> set[str]:
    return {make(owner, name) for make in (scopes.unbound, scopes.name) for name in names}


# What is within reach


def test_what_a_former_owner_s_repository_was_called_is_within_reach() -> None:
    """Given a policy that follows names and then goes to another owner, then its former names are still known."""
    then = [
        registered(0, "a"),
        hint(2, scopes.unbound(OWNER, "a"), "renamed_to", "b"),
        hint(4, scopes.unbound(OWNER, "b"), "renamed_to", "c"),
    ]
    now = registered(6, "z", owner=OTHER)
    there = around(OWNER, *by_name(OWNER, "a", "b", "c"))
    assert within_reach([*then, now], POLICY) == there | around(OTHER, *by_name(OTHER, "z"))


def test_the_id_that_a_login_or_github_gave_a_former_repository_is_within_reach() -> None:
    told = [registered(0, "a"), login(2, REPOSITORY), registered(6, "z", owner=OTHER)]
    assert HERE in within_reach(told, POLICY)
    answer = proof(2, scopes.unbound(OWNER, "a"), "repository_id", REPOSITORY + 2)
    named = hint(3, repository_scope(REPOSITORY + 2), "name", "b")
    reached = within_reach([told[0], answer, named, told[2]], POLICY)
    assert {repository_scope(REPOSITORY + 2), *by_name(OWNER, "b")} <= reached
    # What somebody else's repository is called is not.
    stranger = hint(3, repository_scope(REPOSITORY + 3), "name", "d")
    assert not {repository_scope(REPOSITORY + 3), *by_name(OWNER, "d")} & within_reach([*told, stranger], POLICY)


def test_a_login_adds_no_repository_to_a_policy_that_named_its_id_or_another_owner() -> None:
    known = registered(0, "a", REPOSITORY)
    assert repository_scope(REPOSITORY + 1) not in within_reach([known, login(2, REPOSITORY + 1)], POLICY)
    assert scopes.repository(OTHER, 9) not in within_reach([registered(0, "a"), login(2, 9, OTHER)], POLICY)


def test_everything_about_a_policy_and_nothing_else_is_within_reach() -> None:
    reached, unbound = within_reach([registered(0, NAME, REPOSITORY)], POLICY), scopes.unbound(OWNER, NAME)
    assert reached == around(OWNER, HERE, *by_name(OWNER, NAME))
    told = [registered(0, NAME), hint(2, unbound, "archived", True), proof(2, unbound, "repository_id", None)]
    assert within_reach(told, POLICY) == around(OWNER, *by_name(OWNER, NAME))
    nobody = within_reach([registered(0, NAME, REPOSITORY, user=None)], POLICY)
    users = {scope for scope in reached if scope.startswith(("member:", "collaborator:"))}
    assert nobody == reached - users


def test_a_reusable_workflow_is_within_reach_also_when_it_is_named_no_more() -> None:
    file = "labs/shared/.github/workflows/publish.yml"
    first = decode(str(registered(0, NAME, REPOSITORY).value))._replace(workflow_file=file)
    told = registered(0)._replace(value=encode(first))
    rename = hint(2, scopes.called_owner("labs"), "renamed_to", "40:new")
    later = registered(6, NAME, REPOSITORY)
    places = [scopes.called("labs", "shared"), scopes.called("new", "shared")]
    owned = [HERE, *by_name(OWNER, NAME, "shared")]
    assert within_reach([told, rename, later], POLICY) == {
        *around(OWNER, *owned),
        *(scopes.workflow(place, "publish.yml") for place in (*owned, *places)),
        *places,
        scopes.called_owner("labs"),
        scopes.called_owner("new"),
    }
    nameless = told._replace(value=encode(first._replace(repository_id=None)))
    assert by_name(OWNER, NAME, "shared") <= within_reach([nameless], POLICY)


# What others are told


def test_what_takes_access_away_is_told_to_everybody() -> None:
    loss = [hint(0, HERE, "archived", True), said(3, scopes.account(CREATOR), "locked", True)]
    assert for_everybody(loss, POLICY) == frozenset(loss)


def test_what_gives_access_or_describes_or_says_who_has_a_name_is_the_policy_s_alone() -> None:
    gives = [
        hint(2, HERE, "archived", False),
        hint(2, HERE, "name", "gadgets"),
        proof(2, HERE, "verified", True),
        hint(2, scopes.name(OWNER, NAME), HOLDER, True),
    ]
    assert for_everybody(gives, POLICY) == frozenset()


def test_what_the_same_facts_take_back_is_not_told() -> None:
    lost, back = hint(2, HERE, "archived", True), hint(3, HERE, "archived", False)
    assert for_everybody([lost, back], POLICY) == frozenset()
    assert for_everybody([back, lost], POLICY) == frozenset()
    again = hint(4, HERE, "archived", True)
    assert for_everybody([lost, back, again], POLICY) == frozenset({again})
    # Of another repository, or of something else, it is not taken back.
    elsewhere, other = hint(5, repository_scope(REPOSITORY + 1), "archived", False), hint(5, HERE, "deleted", False)
    assert for_everybody([lost, elsewhere, other], POLICY) == frozenset({lost})


def test_what_is_about_the_policy_itself_is_told_whole() -> None:
    own: list[Observation] = [registered(0), login(2), said(3, scopes.policy(POLICY), "held", False)]
    assert for_everybody(own, POLICY) == frozenset(own)
    assert for_everybody([registered(0, policy_id="another")], POLICY) == frozenset()
