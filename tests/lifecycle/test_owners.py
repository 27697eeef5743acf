"""Owners of two instances of GitHub with the same ids: how they are written, and that neither is taken for the other."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure_reader import keys as reader_keys
from tests.lifecycle import worlds
from tests.support import (
    JSON,
    OWNER,
    POLICY,
    REPOSITORY,
    RULES,
    USER,
    WINDOW,
    WITH_PROOF,
    Life,
    hint,
    knowing,
    login,
    registered,
)
from worker.lifecycle import scopes
from worker.lifecycle.conditions import RegisteredConditions
from worker.lifecycle.decide import decide
from worker.lifecycle.facts import Observation, merge
from worker.lifecycle.owners import (
    ALIAS,
    DEFAULT,
    OwnerRef,
    id_of,
    is_alias,
    issuer_in,
    issuer_of,
    kind_at,
    owner_at,
    owner_from,
)
from worker.lifecycle.policy import advance
from worker.lifecycle.registration import decode, encode
from worker.lifecycle.rules import Rules
from worker.lifecycle.tenure import login_ids, login_value
from worker.lifecycle.views import ChangeType, owner_of

GHES = "ghes"
aliases = st.from_regex(ALIAS, fullmatch=True)
ids = st.integers(0, 2**63 - 1)
refs = st.builds(owner_at, st.one_of(st.just(DEFAULT), aliases), ids)


@given(aliases, ids)
def test_an_owner_is_what_it_was_written_as(alias: str, owner_id: int) -> None:
    owner = owner_at(alias, owner_id)
    assert owner_from(str(owner)) == owner
    assert (issuer_of(owner), id_of(owner)) == (alias, owner_id)
    assert str(owner) == (str(owner_id) if alias == DEFAULT else f"{alias}/{owner_id}")
    assert reader_keys.owner_at(alias, owner_id) == owner
    assert reader_keys.ISSUER == DEFAULT


@given(refs, refs)
def test_owners_are_the_same_only_if_instance_and_id_are(one: OwnerRef, other: OwnerRef) -> None:
    same = (issuer_of(one), id_of(one)) == (issuer_of(other), id_of(other))
    assert (one == other) == same
    assert (scopes.owner(one) == scopes.owner(other)) == same


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.0", "ghes/", "/1", "ghes/x", "Ghes/1", "github/1", "a/b/1", "1/1", "9" * 20, "\u0663"]
)
def test_what_is_no_owner_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no owner"):
        owner_from(text)


@pytest.mark.parametrize(("text", "is_one"), [
    ("ghes", True), ("a", True), ("g-1", True), ("", False), ("1a", False), ("Ghes", False), ("a/b", False), ("a:b", False),
    ("a" * 32, True), ("a" * 33, False), ("ghes\n", False),
])  # fmt: skip
def test_an_alias_separates_nothing(text: str, is_one: bool) -> None:
    assert is_alias(text) is is_one


@given(aliases)
def test_the_kind_of_a_source_tells_its_instance(alias: str) -> None:
    assert issuer_in(kind_at(alias)) == alias
    assert (kind_at(alias) == "github") == (alias == DEFAULT)


@pytest.mark.parametrize("kind", ["registry", "exchange", "operator", "schedule", ""])
def test_other_kinds_tell_none(kind: str) -> None:
    assert issuer_in(kind) is None


@given(refs, ids)
def test_scopes_tell_their_owner(owner: OwnerRef, other: int) -> None:
    of_repository = (scopes.repository(owner, other), scopes.unbound(owner, "w"))
    for scope in (scopes.owner(owner), *of_repository, scopes.name(owner, "w"), scopes.member(owner, other)):
        assert scopes.owner_id_of(scope) == owner
        assert scopes.keeper_of(scope) == scopes.owner(owner)
    for scope in of_repository:
        for below in (
            scopes.collaborator(scope, other),
            scopes.workflow(scope, "r.yml"),
            scopes.environment(scope, "e"),
        ):
            assert scopes.owner_id_of(below) == owner
            assert scopes.index_of(below) == scope
    assert scopes.user_id_of(scopes.member(owner, other)) == other


def test_an_address_is_one_of_its_instance() -> None:
    assert scopes.called("Octo", "W", GHES) == "called:ghes/octo/w"
    assert (
        scopes.keeper_of(scopes.called("Octo", "W", GHES))
        == scopes.called_owner("octo", GHES)
        == "called-owner:ghes/octo"
    )
    assert scopes.called("octo", "w", DEFAULT) == scopes.called("octo", "w")


@given(refs, ids)
def test_a_login_tells_whose_token_it_was(owner: OwnerRef, repository_id: int) -> None:
    assert login_ids(login(1)._replace(value=login_value(repository_id, owner))) == (repository_id, owner)


# A policy of each, with the same ids


def at_ghes(at: int, repository_id: int | None = REPOSITORY) -> Observation:
    """The same registration at another instance."""
    said = registered(at, "widgets", repository_id)
    registration = decode(str(said.value))._replace(asked=RegisteredConditions(issuer=GHES))
    return said._replace(value=encode(registration))


THERE = owner_at(GHES, OWNER)


def test_its_view_names_its_instance_and_has_the_same_ids() -> None:
    here, there = Life(), Life()
    here.hears(1, registered(0, "widgets", REPOSITORY))
    there.hears(1, at_ghes(0))
    assert there.view == {**here.view, "issuer": GHES}
    assert (owner_of(here.view), owner_of(there.view)) == (OWNER, THERE)
    assert not {
        s for s in here.policy.watching & there.policy.watching if not s.startswith(("policy:", "account:", "package-"))
    }


LOSSES: list[tuple[str, JSON]] = [("archived", True), ("deleted", True), ("transferred", True), ("unreachable", True)]


@pytest.mark.parametrize(("aspect", "value"), LOSSES)
def test_what_happens_to_the_one_does_not_happen_to_the_other(aspect: str, value: bool) -> None:
    for mine, theirs, said in ((OWNER, THERE, registered(0, "widgets", REPOSITORY)), (THERE, OWNER, at_ghes(0))):
        life = Life()
        life.hears(1, said)
        assert life.hears(2, hint(2, scopes.repository(theirs, REPOSITORY), aspect, value)) is None
        assert life.hears(3, hint(3, scopes.member(theirs, USER), "left", True)) is None
        assert life.hears(4, hint(4, scopes.owner(theirs), "deleted", True)) is None
        assert life.view["state"] == "provisional"
        assert life.hears(5, hint(5, scopes.repository(mine, REPOSITORY), aspect, value)) is ChangeType.DISABLED


def test_a_login_of_the_other_proves_nothing_and_contradicts() -> None:
    for said, theirs in ((registered(0, "widgets", REPOSITORY), THERE), (at_ghes(0), OWNER)):
        life = Life()
        life.hears(1, said)
        foreign = login(2)._replace(value=login_value(REPOSITORY, theirs))
        assert life.hears(3, foreign) is None
        assert life.step is not None
        assert life.step.contrary == (foreign,)
        assert life.view["state"] == "provisional"


def test_nor_does_it_tell_the_id_of_a_repository() -> None:
    life = Life()
    life.hears(1, at_ghes(0, None))
    life.hears(3, login(2))
    assert life.view["repository_id"] is None
    life.hears(5, login(4)._replace(value=login_value(REPOSITORY, THERE)))
    assert life.view["repository_id"] == REPOSITORY


def test_a_registration_at_another_instance_begins_anew() -> None:
    life = Life()
    life.hears(1, registered(0, "widgets", REPOSITORY))
    life.hears(3, login(2))
    assert life.view["state"] == "active"
    life.hears(5, at_ghes(4))
    assert (life.view["state"], life.changes[-1]) == ("provisional", ChangeType.UPDATED)
    life.hears(4 + WINDOW, hint(6, scopes.repository(OWNER, REPOSITORY), "archived", True))
    assert life.view["state"] == "expired"


def test_proof_is_wanted_where_the_policy_s_own_instance_can_be_asked() -> None:
    rules = Rules(window=100, proof_max_age=20, replica_lag=0, proof_required=True, asked=frozenset({DEFAULT}))
    here, there = Life(rules), Life(rules)
    here.hears(1, registered(0, "widgets", REPOSITORY))
    there.hears(1, at_ghes(0))
    for life, owner in ((here, OWNER), (there, THERE)):
        life.hears(2, hint(2, scopes.repository(owner, REPOSITORY), "archived", True))
        life.hears(3, hint(3, scopes.repository(owner, REPOSITORY), "archived", False))
    assert here.view["reasons"] == ["repository_archived"]
    assert there.view["reasons"] == []
    here.hears(21)
    there.hears(21)
    assert "verification_lapsed" in here.view["reasons"]
    assert there.view["state"] == "provisional"


def test_a_registration_is_written_as_before_unless_it_names_an_instance() -> None:
    assert '"issuer"' not in str(registered(0, "widgets", REPOSITORY).value)
    assert decode(str(at_ghes(0).value)).owner == THERE
    assert decode(str(registered(0).value)).owner == OWNER
    assert str(at_ghes(0).scope) == scopes.policy(POLICY)


@pytest.mark.parametrize("then", [THERE, 42])
def test_an_installation_of_its_former_owner_lets_nobody_hear_of_its_new_one(then: OwnerRef) -> None:
    """Given a policy that moved, when the only installation of its owner is deleted, then it lapses as any other."""
    moves = at_ghes(4) if then == THERE else registered(4, "widgets", REPOSITORY, owner=42)
    gone = hint(5, scopes.owner(then), "blind:8:deleted", True)
    stayed, moved = Life(Rules(window=100, proof_max_age=10)), Life(Rules(window=100, proof_max_age=10))
    stayed.hears(6, moves, gone)
    moved.hears(1, registered(0, "widgets", REPOSITORY), hint(1, scopes.owner(OWNER), "blind:7", False))
    moved.hears(6, moves, gone)
    for life in (stayed, moved):
        life.hears(15)
        assert life.view["reasons"] == ["verification_lapsed"]


# Whatever happens at the one, at the other nothing does

_OWNED = re.compile(r"(^|:)((?:owner|repository|unbound|name|member):)(\d+)")


def elsewhere(told: Observation) -> Observation | None:
    """The same of the other instance, with the same ids; None for what is about no owner."""
    if told.aspect == "login":
        return told._replace(value=login_value(login_ids(told)[0], owner_at(GHES, id_of(login_ids(told)[1]))))
    if scopes.policy_id_of(told.scope) is not None or scopes.owner_id_of(told.scope) is None:
        return None
    return told._replace(scope=_OWNED.sub(rf"\1\2{GHES}/\3", told.scope, count=1))


def at_other_instance(told: Observation) -> Observation:
    """A policy of the one as a policy of the other."""
    if told.aspect == "registration":
        registration = decode(str(told.value))
        asked = registration.asked._replace(issuer=GHES)
        return told._replace(value=encode(registration._replace(asked=asked)))
    return elsewhere(told) or told


@given(
    worlds.told(),
    st.lists(worlds.anything, max_size=12),
    st.integers(0, worlds.LATEST + 20),
    st.sampled_from([RULES, WITH_PROOF]),
)
def test_nothing_of_another_instance_makes_a_difference(
    told: list[Observation], others: list[Observation], now: int, rules: Rules
) -> None:
    """Given all that was heard of a policy, when the same and more is heard of the same ids elsewhere, then it stands as before."""
    foreign = [moved for o in (*told, *others) if (moved := elsewhere(o)) is not None]
    policy = knowing(told, rules)
    alone = decide(policy.facts, POLICY, now, rules)
    beside = decide(merge(policy.facts, foreign), POLICY, now, rules)
    assert alone == beside
    step = advance(policy, now, rules, learnt=True)
    assert step is not None
    assert not [o for o in foreign if o.aspect != "login" and o.scope in step.policy.watching]


@given(worlds.told(), st.integers(0, worlds.LATEST + 20), st.sampled_from([RULES, WITH_PROOF]))
def test_a_policy_stands_alike_at_either(told: list[Observation], now: int, rules: Rules) -> None:
    here = decide(knowing(told, rules).facts, POLICY, now, rules)
    there = decide(knowing(map(at_other_instance, told), rules).facts, POLICY, now, rules)
    assert here is not None
    assert there is not None
    same = (
        "state",
        "reasons",
        "advisories",
        "usable_until",
        "window",
        "due",
        "repository_owner",
        "visibility",
        "verified_at",
    )
    assert [getattr(here, name) for name in same] == [getattr(there, name) for name in same]
