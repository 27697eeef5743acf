"""What is seen of an owner, and of its repositories, through several installations, in any order of arrival."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import LAGGING, NAME, OWNER, POLICY, REPOSITORY, RULES, WITH_PROOF, hint, proof, registered
from worker.lifecycle import scopes, sight
from worker.lifecycle.decide import Standing, decide
from worker.lifecycle.facts import Micros, Observation, Value, merge
from worker.lifecycle.policy import Policy, learn
from worker.lifecycle.rules import Rules

OWNED = scopes.owner(OWNER)
HERE = scopes.repository(OWNER, REPOSITORY)
FIRST = registered(0, NAME, REPOSITORY, visibility="public")


def standing(told: list[Observation], rules: Rules = RULES, now: Micros = 9) -> Standing:
    policy = Policy(POLICY, {})
    for observation in (FIRST, *told):
        policy = learn(policy, [observation], rules)
    found = decide(policy.facts, POLICY, now, rules)
    assert found is not None
    return found


def always(told: list[Observation], rules: Rules = RULES, now: Micros = 9) -> Standing:
    """The standing, which is the same in whatever order these arrive, and however often."""
    (one, *others) = {standing([*order, *order], rules, now) for order in permutations(told)}
    assert others == []
    return one


def dated(at: Micros, scope: str, aspect: str, value: Value, happened: Micros) -> Observation:
    return hint(at, scope, aspect, value)._replace(dated=happened)


def suspended(at: Micros, installation: int, *, value: bool = True, happened: Micros | None = None) -> Observation:
    return hint(at, OWNED, sight.blind(str(installation)), value)._replace(dated=happened)


def created(at: Micros, installation: int) -> Observation:
    return suspended(at, installation, value=False)


def deleted(at: Micros, installation: int) -> Observation:
    return hint(at, OWNED, sight.deleted(str(installation)), True)


def selects(at: Micros, installation: int, *, everything: bool) -> Observation:
    return hint(at, OWNED, sight.narrowed(str(installation)), not everything)


def taken(at: Micros, installation: int, *, value: bool = True) -> Observation:
    return hint(at, HERE, sight.unreachable(str(installation)), value)


LAPSE = RULES.proof_max_age


def test_the_former_app_that_goes_takes_no_sight_from_its_successor() -> None:
    assert always([created(1, 1), created(2, 2), deleted(3, 1)]).usable_until is None
    assert always([created(2, 2), deleted(3, 1)]).usable_until is None


def test_when_the_last_one_goes_policies_lapse_from_then_on() -> None:
    assert always([created(1, 1), created(2, 2), deleted(3, 1), deleted(5, 2)]).usable_until == 5 + LAPSE
    assert always([suspended(3, 1), deleted(5, 1)]).usable_until == 3 + LAPSE


def test_a_deleted_installation_never_sees_again() -> None:
    assert always([deleted(3, 1), created(5, 1)]).usable_until == 3 + LAPSE
    assert always([deleted(3, 1), suspended(5, 1, value=False)]).usable_until == 3 + LAPSE
    assert always([deleted(3, 1), created(5, 2)]).usable_until is None


def test_suspensions_count_in_the_order_in_which_they_happened() -> None:
    assert always([suspended(4, 1, happened=1), suspended(3, 1, value=False, happened=2)]).usable_until is None
    assert always([suspended(3, 1, happened=2), suspended(4, 1, value=False, happened=1)]).usable_until == 2 + LAPSE


def test_what_a_former_release_has_kept_still_counts() -> None:
    blind = hint(2, OWNED, "blind", True)
    assert always([blind]).usable_until == 2 + LAPSE
    assert always([blind, created(5, 7)]).usable_until is None
    assert always([hint(1, OWNED, "blind", False), deleted(5, 7)]).usable_until == 5 + LAPSE
    lost = hint(2, HERE, "unreachable", True)
    assert always([lost]).reasons == ("repository_unreachable",)
    assert always([lost, taken(5, 7, value=False), created(5, 7)]).reasons == ()
    assert always([lost, selects(5, 7, everything=True)]).reasons == ()


def test_what_one_installation_loses_another_may_see() -> None:
    lost = taken(5, 1)
    assert always([lost]).reasons == ("repository_unreachable",)
    assert always([lost, created(1, 2), taken(1, 2, value=False)]).reasons == ()
    assert always([lost, created(1, 2), selects(1, 2, everything=True)]).reasons == ()
    assert always([lost, created(1, 2), selects(1, 2, everything=False)]).reasons == ("repository_unreachable",)
    assert always([lost, created(1, 2), taken(1, 2, value=False), deleted(7, 2)]).reasons == ("repository_unreachable",)


def test_all_repositories_are_all_repositories() -> None:
    assert always([taken(3, 1), selects(5, 1, everything=True)]).reasons == ()
    assert always([taken(5, 1), selects(3, 1, everything=True)]).reasons == ("repository_unreachable",)


@pytest.mark.parametrize("rules", [WITH_PROOF, LAGGING])
def test_where_github_can_be_asked_only_its_answer_gives_a_repository_back(rules: Rules) -> None:
    heard = [taken(5, 1), created(1, 2), selects(1, 2, everything=True), taken(6, 1, value=False)]
    assert always(heard, rules).reasons == ("repository_unreachable",)
    answers = [proof(5 + rules.replica_lag, HERE, "unreachable", False)]
    assert always([*heard, *answers], rules).reasons == (() if rules.replica_lag else ("repository_unreachable",))
    assert always([taken(5, 1), proof(9, HERE, "unreachable", False)], rules).reasons == ()


ARCHIVED = [dated(4, HERE, "archived", True, 1), dated(3, HERE, "archived", False, 2)]
UNARCHIVED = [dated(3, HERE, "archived", True, 2), dated(4, HERE, "archived", False, 1)]


def test_archived_and_unarchived_count_in_the_order_in_which_they_happened() -> None:
    assert always(ARCHIVED).reasons == ()
    assert always(UNARCHIVED).reasons == ("repository_archived",)


def test_of_the_same_second_the_receipt_decides() -> None:
    assert always([dated(3, HERE, "archived", True, 2), dated(4, HERE, "archived", False, 2)]).reasons == ()
    assert always([dated(4, HERE, "archived", True, 2), dated(3, HERE, "archived", False, 2)]).reasons != ()
    assert always([dated(3, HERE, "archived", True, 2), dated(3, HERE, "archived", False, 2)]).reasons != ()


def test_no_sender_s_date_makes_a_hint_older_than_a_proof_that_was_asked_before_its_receipt() -> None:
    late = dated(7, HERE, "archived", True, 1)
    for rules in (RULES, WITH_PROOF):
        assert always([late, proof(5, HERE, "archived", False)], rules).reasons == ("repository_archived",)
        assert always([late, proof(8, HERE, "archived", False)], rules).reasons == ()


def test_of_several_hints_the_last_to_arrive_and_the_last_to_happen_both_count() -> None:
    """One arrives last and happened early; it keeps its receipt beside proofs, and the other its date beside hints."""
    hints = [dated(7, HERE, "archived", True, 1), dated(4, HERE, "archived", True, 3)]
    assert always([*hints, dated(5, HERE, "archived", False, 2)]).reasons == ("repository_archived",)
    assert always([*hints, proof(6, HERE, "archived", False)]).reasons == ("repository_archived",)


def test_a_clearing_proof_within_the_lag_of_a_blocking_hint_counts_for_nothing() -> None:
    """GitHub was asked two moments after the hint, or before it, and a replica answered that had not heard of it."""
    member = scopes.member(OWNER, 5)
    left = hint(3, member, "left", True)
    for at, reasons in ((2, 1), (3, 1), (5, 1), (6, 0), (8, 0)):
        told = [left, proof(at, member, "left", False)]
        assert len(always(told, LAGGING).reasons) == reasons
    assert always([left, proof(5, member, "left", None)], LAGGING).reasons != ()


_told = st.one_of(
    st.builds(
        lambda at, aspect, value, before: dated(at, OWNED, aspect, value, max(0, at - before)),
        st.integers(0, 9),
        st.sampled_from([sight.blind("1"), sight.blind("2"), sight.narrowed("1"), sight.narrowed("2"), "blind"]),
        st.booleans(),
        st.integers(0, 4),
    ),
    st.builds(
        hint,
        st.integers(0, 9),
        st.just(OWNED),
        st.sampled_from([sight.deleted("1"), sight.deleted("2")]),
        st.just(value=True),
    ),
    st.builds(
        lambda at, aspect, value, before: dated(at, HERE, aspect, value, max(0, at - before)),
        st.integers(0, 9),
        st.sampled_from(["archived", "unreachable", sight.unreachable("1"), sight.unreachable("2")]),
        st.booleans(),
        st.integers(0, 4),
    ),
    st.builds(proof, st.integers(0, 9), st.just(HERE), st.sampled_from(["archived", "unreachable"]), st.booleans()),
)


@given(st.lists(_told, max_size=8), st.randoms(use_true_random=False), st.sampled_from([RULES, WITH_PROOF, LAGGING]))
def test_order_and_repetition_do_not_matter(told: list[Observation], shuffle: Random, rules: Rules) -> None:
    again = [*told, *told[::2]]
    shuffle.shuffle(again)
    assert standing(again, rules) == standing(told, rules)


@given(st.lists(_told, max_size=8), st.lists(_told, max_size=4), st.lists(_told, max_size=4))
def test_merging_is_associative(one: list[Observation], two: list[Observation], three: list[Observation]) -> None:
    apart = merge({}, [*merge({}, one).values(), *merge({}, [*two, *three]).values()])
    assert apart == merge({}, [*merge({}, [*one, *two]).values(), *three])


@given(st.permutations(range(1, 2 * sight.INSTALLATIONS)))
def test_only_the_newest_installations_are_kept_whatever_comes_first(order: list[int]) -> None:
    policy = learn(Policy(POLICY, {}), [FIRST], RULES)
    for number in order:
        policy = learn(policy, [deleted(1, number)], RULES)
    kept = {sight.installation_of(fact.aspect) for fact in policy.facts.values()} - {None}
    assert kept == {str(number) for number in range(sight.INSTALLATIONS, 2 * sight.INSTALLATIONS)}


# What is at the edge


def test_what_an_unknown_installation_lost_it_may_itself_give_back() -> None:
    lost, back = hint(3, HERE, "unreachable", True), hint(4, HERE, "unreachable", False)
    assert always([created(1, 1), lost, back]).reasons == ()
    assert always([created(1, 1), lost, back._replace(at=2)]).reasons == ("repository_unreachable",)


def test_what_an_unknown_installation_lost_another_gives_back_only_later() -> None:
    lost = hint(4, HERE, "unreachable", True)
    for at, reasons in ((3, 1), (4, 1), (5, 0)):
        assert len(always([lost, created(1, 7), taken(at, 7, value=False)]).reasons) == reasons


def test_that_an_installation_sees_selected_repositories_gives_none_of_them_back() -> None:
    assert always([taken(2, 1), selects(3, 1, everything=False)]).reasons == ("repository_unreachable",)
    assert always([taken(2, 1), taken(3, 1, value=False), selects(4, 1, everything=False)]).reasons == ()


@pytest.mark.parametrize(("at", "seen"), [(2, True), (3, False), (5, False)])
@pytest.mark.parametrize("aspect", ["unreachable", sight.unreachable("1")])
def test_nothing_gives_a_name_back_that_went_to_somebody_else(at: int, aspect: str, *, seen: bool) -> None:
    """Given a repository known by its name and renamed at 3, then the name's new bearer says nothing of it."""
    here = scopes.unbound(OWNER, "a")
    told = [registered(0, "a"), hint(1, here, aspect, True), hint(3, here, "renamed_to", "b")]
    policy = learn(Policy(POLICY, {}), told, RULES)
    back = learn(policy, [hint(at, here, aspect, False)], RULES)
    found = decide(back.facts, POLICY, 9, RULES)
    assert found is not None
    assert found.reasons == (() if seen else ("repository_unreachable",))
    # Whoever sees all repositories sees it under any name.
    everything = decide(learn(policy, [selects(at, 1, everything=True)], RULES).facts, POLICY, 9, RULES)
    assert everything is not None
    assert everything.reasons == ()


@pytest.mark.parametrize("odd", ["x", "", "\N{ARABIC-INDIC DIGIT NINE}", "hook-x"])
def test_what_has_no_number_is_older_than_any_installation(odd: str) -> None:
    told = [hint(1, OWNED, sight.blind(odd), True), *(created(1, number) for number in range(sight.INSTALLATIONS))]
    kept = {sight.installation_of(fact.aspect) for fact in sight.without_oldest(merge({}, told)).values()}
    assert kept == {str(number) for number in range(sight.INSTALLATIONS)}


def test_of_no_more_than_are_kept_nothing_goes() -> None:
    facts = merge({}, [created(1, number) for number in range(sight.INSTALLATIONS)])
    assert sight.without_oldest(facts) is facts


def test_hooks_and_installations_are_kept_by_their_numbers() -> None:
    told = [hint(1, OWNED, sight.blind("hook-5"), True), *(created(1, n) for n in range(sight.INSTALLATIONS))]
    kept = {sight.installation_of(fact.aspect) for fact in sight.without_oldest(merge({}, told)).values()}
    assert kept == {"hook-5", *(str(number) for number in range(1, sight.INSTALLATIONS))}


@pytest.mark.parametrize(("answer", "reasons"), [
    (proof(2, scopes.unbound(OWNER, "a"), "unreachable", False), ()),
    (proof(3, scopes.unbound(OWNER, "a"), "unreachable", False), ("repository_unreachable",)),
    (proof(5, scopes.unbound(OWNER, "a"), "unreachable", False), ("repository_unreachable",)),
    (proof(5, scopes.unbound(OWNER, "b"), "unreachable", False), ()),
])  # fmt: skip
@pytest.mark.parametrize("installations", [[], [created(1, 1)]], ids=["none heard of", "one"])
def test_nor_does_an_answer_about_the_name_s_new_bearer(
    answer: Observation, reasons: tuple[str, ...], installations: list[Observation]
) -> None:
    here = scopes.unbound(OWNER, "a")
    aspect = sight.unreachable("1") if installations else "unreachable"
    told = [registered(0, "a"), hint(1, here, aspect, True), hint(3, here, "renamed_to", "b"), *installations]
    for rules in (RULES, WITH_PROOF):
        found = decide(learn(Policy(POLICY, {}), [*told, answer], rules).facts, POLICY, 9, rules)
        assert found is not None
        assert found.reasons == reasons


def test_what_an_answer_takes_from_a_name_that_was_given_up_is_taken() -> None:
    here = scopes.unbound(OWNER, "a")
    told = [registered(0, "a"), created(1, 1), hint(3, here, "renamed_to", "b"), proof(5, here, "unreachable", True)]
    found = decide(learn(Policy(POLICY, {}), told, RULES).facts, POLICY, 9, RULES)
    assert found is not None
    assert found.reasons == ("repository_unreachable",)
