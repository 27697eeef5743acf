"""What a policy watches is enough: what it is not told of cannot matter to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lifecycle import worlds
from tests.support import (
    OWNER,
    POLICY,
    REPOSITORY,
    RULES,
    WITH_PROOF,
    Life,
    hint,
    knowing,
    login,
    registered,
    repository_scope,
)
from worker.lifecycle import scopes
from worker.lifecycle.decide import Standing, State, decide, index_scopes, watched_scopes
from worker.lifecycle.facts import Observation, merge, series
from worker.lifecycle.policy import concerns
from worker.lifecycle.reach import within_reach
from worker.lifecycle.registration import decode
from worker.lifecycle.rules import Rules

END = worlds.LATEST + 5


@dataclass
class Neighbourhood:
    """One policy among many, told only of what it watches; what is said of the rest is remembered for later."""

    life: Life
    remembered: list[Observation] = field(default_factory=list)

    def hears(self, observation: Observation) -> None:
        self.remembered.append(observation)
        watched = self.life.policy.watching
        if concerns(self.life.policy, observation):
            self.life.hears(END, observation)
        while fresh := self.life.policy.watching - watched:
            watched |= fresh
            self.life.hears(END, *(o for o in self.remembered if o.scope in fresh))


def told_what_it_watches(observations: Sequence[Observation], rules: Rules) -> Standing:
    around = Neighbourhood(Life(rules))
    for observation in observations:
        around.hears(observation)
    found = decide(around.life.policy.facts, POLICY, END, rules)
    assert found is not None
    return found


@given(worlds.whatever, st.data(), st.sampled_from([RULES, WITH_PROOF]))
def test_a_policy_told_only_of_what_it_watches_ends_like_one_told_of_everything(
    told: list[Observation], data: st.DataObject, rules: Rules
) -> None:
    expected = decide(knowing(told, rules).facts, POLICY, END, rules)
    found = told_what_it_watches(data.draw(st.permutations(told), label="order"), rules)
    assert expected is not None
    assert found.state is expected.state
    if found.state is not State.REMOVED:
        assert found == expected


A_TO_B = hint(2, scopes.unbound(OWNER, "a"), "renamed_to", "b")


@pytest.mark.parametrize(("told", "late"), [
    # A person renames a repository and updates the policy at once; GitHub's webhook comes last.
    (
        [registered(0, "a", REPOSITORY), login(1), registered(5, "b")],
        hint(3, repository_scope(), "name", "b"),
    ),
    ([registered(0, "a"), registered(5, "b")], A_TO_B),
    (
        [registered(0, "a"), A_TO_B, hint(6, scopes.unbound(OWNER, "b"), "renamed_to", "d")],
        hint(4, scopes.unbound(OWNER, "b"), "renamed_to", "c"),
    ),
], ids=["with an id", "without one", "the first of two"])  # fmt: skip
def test_a_rename_is_watched_for_also_after_what_follows_it(told: list[Observation], late: Observation) -> None:
    expected = told_what_it_watches(sorted([*told, late], key=lambda o: o.at), RULES)
    assert told_what_it_watches([*told, late], RULES) == expected
    assert told_what_it_watches([late, *told], RULES) == expected
    assert expected != told_what_it_watches(told, RULES)


@given(worlds.whatever, st.sampled_from([RULES, WITH_PROOF]))
def test_the_store_can_find_a_policy_by_all_it_watches(told: list[Observation], rules: Rules) -> None:
    facts = merge({}, told)
    found = decide(facts, POLICY, END, rules)
    assert found is not None
    watched = watched_scopes(found.tenure, POLICY)
    indexes = index_scopes(watched)
    assert {scopes.index_of(scope) for scope in watched} - indexes == {scopes.policy(POLICY)}
    # An index lies in one partition: that of the GitHub owner, or that of the account.
    owners = {scopes.owner_id_of(scope) for scope in indexes}
    former = {decode(str(o.value)).repository_owner_id for o in series(facts, scopes.policy(POLICY), "registration")}
    assert owners <= {None, found.tenure.owner_id, *former}
    # Those of former owners are in another one, where the policy is not; but nothing that is said there matters.
    elsewhere = former - {found.tenure.owner_id}
    nearby = {key: o for key, o in facts.items() if scopes.owner_id_of(o.scope) not in elsewhere}
    without = decide(nearby, POLICY, END, rules)
    assert without is not None
    tenure = without.tenure._replace(watched=found.tenure.watched)
    assert without._replace(tenure=tenure) == found


def test_scopes_are_unambiguous_whatever_the_names_hold() -> None:
    strange = ["a", "a:b", "a b", "a%3Ab", "policy:a", "A", "ä", "", "名"]
    for make in (scopes.policy, scopes.account):
        assert len({make(text) for text in strange}) == len(strange)
        assert not any(" " in make(text) for text in strange)
    assert [scopes.policy_id_of(scopes.policy(text)) for text in strange] == strange
    assert scopes.policy_id_of(scopes.owner(1)) is None
    pairs = {scopes.package_member(one, two) for one in strange for two in strange}
    assert len(pairs) == len(strange) ** 2
    assert scopes.name(1, "Widgets") == scopes.name(1, "widgets")


def test_the_owner_of_a_scope_is_found_in_all_its_digits() -> None:
    owner = 2**63 - 1
    place = scopes.repository(owner, 2**63 - 2)
    owned = [
        scopes.owner(owner),
        place,
        scopes.name(owner, "w"),
        scopes.unbound(owner, "w"),
        scopes.member(owner, 5),
        scopes.collaborator(place, 5),
        scopes.collaborator(scopes.unbound(owner, "w"), 5),
        scopes.workflow(place, "a:b.yml"),
    ]
    assert {scopes.owner_id_of(scope) for scope in owned} == {owner}
    elsewhere = [scopes.policy("p"), scopes.account("a"), scopes.package_member("a", "b")]
    assert {scopes.owner_id_of(scope) for scope in elsewhere} == {None}
    assert scopes.index_of(scopes.package_member("a", "b")) == scopes.account("a")
    assert scopes.index_of(scopes.collaborator(place, 5)) == place
    assert scopes.index_of(scopes.workflow(place, "a:b.yml")) == place


@given(st.one_of(worlds.whatever, worlds.renamed), st.sampled_from([RULES, WITH_PROOF]))
def test_whatever_a_policy_learns_is_within_its_reach(observations: list[Observation], rules: Rules) -> None:
    """An export of it can be imported: all of it is about what it watches, or watched."""
    around = Neighbourhood(Life(rules))
    for observation in observations:
        around.hears(observation)
    facts = around.life.policy.facts
    assert {fact.scope for fact in facts.values()} <= within_reach(facts.values(), POLICY)
