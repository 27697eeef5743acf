"""A policy as it is kept: dated anew after a clock was ahead, and who brought a change of it about."""

from __future__ import annotations

import pytest

from tests.support import (
    NAME,
    OWNER,
    POLICY,
    REPOSITORY,
    RULES,
    WITH_PROOF,
    Life,
    hint,
    knowing,
    login,
    proof,
    registered,
    removed,
    renewed,
    repository_scope,
)
from worker.lifecycle import scopes
from worker.lifecycle.decide import Standing, decide, watched_scopes
from worker.lifecycle.facts import LONGEST, Observation, ObservationSource, merge, series, subject
from worker.lifecycle.policy import REGISTRATIONS, Policy, Step, advance, cause_of, learn, owner_called, redated
from worker.lifecycle.rules import Rules
from worker.lifecycle.sight import INSTALLATIONS, blind
from worker.lifecycle.tenure import contradictions
from worker.lifecycle.views import ChangeType, view_of

HERE = repository_scope()
FIRST = registered(0, repository_id=REPOSITORY, visibility="public")
MINE = ObservationSource("github", "mine", "repository")


def at(moment: int) -> Policy:
    found = advance(knowing([FIRST]), moment, RULES, learnt=True)
    assert found is not None
    return found.policy


# Dated anew


def test_a_policy_that_no_clock_dated_ahead_stays_as_it_is() -> None:
    policy = learn(at(9), [hint(9, HERE, "archived", True)], RULES)
    assert redated(policy, 5, 9) is policy


def test_what_was_dated_ahead_is_dated_back_and_decided_for_now() -> None:
    policy = learn(at(9), [hint(120, HERE, "archived", True)], RULES)
    anew = redated(policy, 100, 10)
    assert anew.facts == merge({}, [FIRST, hint(120, HERE, "archived", True)._replace(at=20)])
    assert anew == policy._replace(facts=anew.facts, decided_at=0)


def test_a_policy_that_was_decided_ahead_is_decided_for_now() -> None:
    policy = at(11)
    assert redated(policy, 5, 10) == policy._replace(decided_at=0)


# Who brought a change about


def by(source: str, told: Observation) -> Observation:
    return told._replace(source=ObservationSource("github", source, "repository"))


def change(before: Policy, *told: Observation, rules: Rules = RULES) -> Step:
    step = advance(learn(before, told, rules), 9, rules, learnt=True)
    assert step is not None
    return step


def named(before: Policy | None, step: Step, *own: str, rules: Rules = RULES) -> str:
    sources = {ObservationSource("github", name, "repository") for name in own} | {MINE}
    return cause_of(before, step, MINE, sources, rules).id


def test_the_event_that_is_settled_brings_about_what_it_says_itself() -> None:
    before = at(1)
    step = change(before, by("mine", hint(3, HERE, "archived", True)), by("also mine", hint(4, HERE, "deleted", True)))
    assert named(before, step, "also mine") == "mine"


def test_what_others_had_said_brings_a_change_about_that_the_event_does_not() -> None:
    before = at(1)
    other = by("other", hint(2, HERE, "archived", True))
    assert named(before, change(before, other, by("mine", hint(5, HERE, "name", "gadgets")))) == "other"
    # It is whoever said it first.
    third = by("third", hint(3, HERE, "deleted", False))
    assert named(before, change(before, third, other, by("mine", hint(5, HERE, "name", "gadgets")))) == "other"


def test_the_first_with_whom_it_stands_as_it_does_now_is_the_cause() -> None:
    before = at(1)
    archived, deleted = by("one", hint(2, HERE, "archived", True)), by("two", hint(3, HERE, "deleted", True))
    assert named(before, change(before, deleted, archived)) == "two"
    assert named(before, change(before, deleted, archived, by("mine", hint(4, HERE, "disabled", True)))) == "mine"
    later = archived._replace(at=4)
    assert named(before, change(before, deleted, later)) == "one"
    assert named(before, change(before, deleted, later), "one") == "mine"


def test_what_was_known_before_is_nobody_s_cause() -> None:
    known = learn(at(1), [by("old", hint(2, HERE, "archived", True))], RULES)
    before = change(known).policy
    step = change(before, by("new", hint(3, HERE, "deleted", True)), by("mine", hint(4, HERE, "name", "gadgets")))
    assert named(before, step) == "new"
    assert named(None, step) == "new"
    # Also where it stands as it did.
    step = change(before, by("new", hint(3, HERE, "name", "gadgets")), by("mine", hint(4, HERE, "deleted", False)))
    assert named(before, step) == "new"


def test_a_newer_word_takes_the_place_of_what_was_known() -> None:
    blocked = learn(at(1), [by("old", proof(2, HERE, "archived", True))], RULES)
    step = change(blocked, by("other", proof(3, HERE, "archived", False)), by("mine", hint(4, HERE, "name", "x")))
    assert named(blocked, step) == "other"


def test_a_policy_s_cause_is_looked_for_by_the_rules_that_decided_it() -> None:
    private = registered(0, repository_id=REPOSITORY)
    before = change(Policy(POLICY, {}), private, rules=WITH_PROOF).policy
    public = by("hint", hint(2, HERE, "visibility", "public"))
    proven = by("proof", proof(3, HERE, "visibility", "public"))
    step = change(before, public, proven, by("mine", hint(4, HERE, "name", "gadgets")), rules=WITH_PROOF)
    assert named(before, step, rules=WITH_PROOF) == "proof"


# What is kept of it


def test_of_very_many_facts_those_about_names_that_it_never_had_are_dropped() -> None:
    def claims(count: int) -> list[Observation]:
        return [hint(1, scopes.name(OWNER, f"n-{number}"), "held_by:8", True) for number in range(count)]

    ours = hint(1, scopes.name(OWNER, NAME), "held_by:8", False)
    few = advance(knowing([FIRST, ours, *claims(LONGEST - 2)]), 9, RULES, learnt=True)
    many = advance(knowing([FIRST, ours, *claims(LONGEST - 1)]), 9, RULES, learnt=True)
    assert few is not None
    assert many is not None
    assert len(few.policy.facts) == LONGEST
    assert many.policy.facts == merge({}, [FIRST, ours])


def test_other_facts_are_kept_however_many_they_are() -> None:
    files = [hint(1, scopes.workflow(HERE, f"{number}.yml"), "missing", True) for number in range(2 * LONGEST)]
    policy = knowing([FIRST, *files])
    step = advance(policy, 9, RULES, learnt=True)
    assert step is not None
    assert step.policy.facts is policy.facts


# When the clock should look again


@pytest.mark.parametrize(("rules", "due", "then"), [
    (Rules(window=10, reminder=3, proof_max_age=5, replica_lag=0, proof_required=True), 5, 10),
    (Rules(window=10, reminder=3, proof_max_age=8, replica_lag=0, proof_required=True), 7, 8),
    (Rules(window=10, reminder=3, proof_max_age=5, replica_lag=0), 7, 10),
])  # fmt: skip
def test_the_clock_looks_again_at_the_nearest_of_reminder_and_lapse(rules: Rules, due: int, then: int) -> None:
    step = advance(knowing([registered(0, repository_id=REPOSITORY)]), 1, rules, learnt=True)
    assert step is not None
    assert step.due == due
    reminded = advance(step.policy, 7, rules, learnt=False)
    assert reminded is not None
    assert reminded.due == then


# Logins that contradict it


def contrary(*told: Observation) -> list[int]:
    facts = merge({}, told)
    standing = decide(facts, POLICY, 9, RULES)
    assert standing is not None
    return [o.at for o in contradictions(facts, POLICY, standing.tenure)]


def test_a_login_of_another_repository_or_owner_contradicts_the_ids_that_are_bound() -> None:
    bound = registered(2, repository_id=REPOSITORY)
    assert contrary(bound, login(3)) == []
    assert contrary(bound, login(4, REPOSITORY + 1), login(3, REPOSITORY, OWNER + 1), login(5)) == [3, 4]
    # Also long after its window, but not before its beginning.
    assert contrary(bound, login(2, REPOSITORY + 1), login(1, REPOSITORY + 1), login(90, REPOSITORY + 1)) == [2, 90]
    # What binds is no contradiction, and whoever comes later with another id is one.
    assert contrary(registered(2), login(3, REPOSITORY + 1), login(4)) == [4]


def test_while_no_id_is_bound_only_another_owner_contradicts() -> None:
    waiting = registered(2)
    assert contrary(waiting, login(20, REPOSITORY), login(21, REPOSITORY, OWNER + 1)) == [21]


# What a step comes to


def decided(policy: Policy, now: int, rules: Rules = RULES) -> Standing:
    standing = decide(policy.facts, POLICY, now, rules)
    assert standing is not None
    return standing


def test_a_change_is_the_next_revision_and_anything_else_the_next_edition() -> None:
    private, other = registered(1, repository_id=REPOSITORY), login(2, REPOSITORY + 1)
    told = learn(Policy(POLICY, {}), [private, other], RULES)
    first = advance(told, 3, RULES, learnt=True)
    standing = decided(told, 3)
    view = view_of(POLICY, 1, standing, 3)
    written = Policy(
        POLICY, told.facts, 1, 0, view, windows=1, since=1, contrary=frozenset({subject(other)}), decided_at=3,
        watching=watched_scopes(standing.tenure, POLICY),
    )  # fmt: skip
    assert first == Step(written, ChangeType.PROVISIONED, None, 8, standing, (other,))

    again = login(4, REPOSITORY + 2)
    heard = learn(written, [again], RULES)
    second = advance(heard, 5, RULES, learnt=True)
    refused = frozenset({subject(other), subject(again)})
    quiet = heard._replace(edition=1, decided_at=5, contrary=refused)
    assert second == Step(quiet, None, "provisional", 8, decided(heard, 5), (again,))
    assert advance(quiet, 6, RULES, learnt=False) is None

    third = advance(quiet, 8, RULES, learnt=False)
    standing = decided(quiet, 8)
    reminded = quiet._replace(revision=2, edition=0, view=view_of(POLICY, 2, standing, 8), decided_at=8, reminded=11)
    assert third == Step(reminded, ChangeType.EXPIRING, "provisional", 11, standing)
    # It was reminded, so the clock looks again when the window ends.
    assert advance(reminded, 9, RULES, learnt=True) == Step(
        reminded._replace(edition=1, decided_at=9), None, "provisional", 11, decided(quiet, 9)
    )

    renewal = learn(reminded, [renewed(9)], RULES)
    fourth = advance(renewal, 10, RULES, learnt=True)
    standing = decided(renewal, 10)
    later = renewal._replace(revision=3, view=view_of(POLICY, 3, standing, 10), windows=2, decided_at=10)
    assert fourth == Step(later, ChangeType.RENEWED, "provisional", 16, standing)


def test_where_many_facts_are_dropped_it_is_with_whatever_is_written() -> None:
    claims = [hint(1, scopes.name(OWNER, f"n-{number}"), "held_by:8", True) for number in range(LONGEST)]
    written = at(1)
    step = advance(learn(written, claims, RULES), 9, RULES, learnt=True)
    assert step is not None
    assert (step.change, step.policy.facts) == (None, written.facts)


def test_another_tenure_has_windows_of_its_own() -> None:
    first = advance(knowing([registered(1), renewed(2)]), 3, RULES, learnt=True)
    assert first is not None
    assert (first.policy.windows, first.policy.since) == (2, 1)
    moved = learn(first.policy, [registered(4, "gadgets")], RULES)
    second = advance(moved, 5, RULES, learnt=True)
    assert second is not None
    assert (second.change, second.policy.windows, second.policy.since) == (ChangeType.UPDATED, 1, 4)
    # One window of another tenure is no renewal, and neither is a second one of a policy that has proven itself.
    third = advance(learn(second.policy, [registered(6)], RULES), 7, RULES, learnt=True)
    assert third is not None
    assert third.change is ChangeType.UPDATED


def test_a_removed_policy_listens_to_nothing_but_its_own() -> None:
    step = advance(knowing([FIRST, removed(2)]), 3, RULES, learnt=True)
    assert step is not None
    assert step.policy.watching == {scopes.policy(POLICY)}
    assert (step.change, step.due) == (ChangeType.REMOVED, None)


# What is learnt and not kept


def test_what_is_dropped_at_once_was_not_learnt() -> None:
    seen = [hint(1, scopes.owner(OWNER), blind(str(number)), False) for number in range(1, INSTALLATIONS + 1)]
    policy = knowing([FIRST, *seen])
    assert learn(policy, [hint(2, scopes.owner(OWNER), blind("0"), True)], RULES) is policy
    assert learn(policy, seen, RULES) is policy


def kept_of(*names: str) -> list[int]:
    facts = knowing([registered(at, name) for at, name in enumerate(names)]).facts
    return [fact.at for fact in series(facts, scopes.policy(POLICY), "registration")]


def test_of_too_many_registrations_the_oldest_that_only_repeat_are_dropped() -> None:
    assert kept_of(*["a"] * REGISTRATIONS) == list(range(REGISTRATIONS))
    assert kept_of(*["a"] * (REGISTRATIONS + 2)) == [0, *range(3, REGISTRATIONS + 2)]
    assert kept_of("a", *["b"] * (REGISTRATIONS + 1)) == [0, 1, *range(4, REGISTRATIONS + 2)]
    changing = ["a", "b"] * (REGISTRATIONS // 2)
    assert kept_of(*changing, "a", "b") == list(range(REGISTRATIONS + 2))
    assert kept_of(*changing, "b", "b") == [*range(REGISTRATIONS), REGISTRATIONS + 1]
    assert kept_of(*changing, "a", "a") == list(range(REGISTRATIONS + 2))
    assert kept_of("a", *changing, "a") == list(range(REGISTRATIONS + 2))


def test_only_its_own_registrations_are_too_many() -> None:
    others = [registered(at, policy_id="another") for at in range(REGISTRATIONS + 2)]
    logins = [login(100 * at) for at in range(REGISTRATIONS + 2)]
    assert len(knowing([FIRST, *others, *logins]).facts) == 2 * REGISTRATIONS + 5


def test_a_policy_s_owner_is_called_as_it_was_registered_or_as_it_is_now() -> None:
    life = Life()
    assert owner_called(None, "github", "octo") is None
    assert owner_called(life.policy, "github", "octo") is None, "nobody registered it"
    life.hears(1, registered(0, repository_id=REPOSITORY), hint(1, scopes.owner(OWNER), "owner_login", "Octo-Labs"))
    for name in ("octo", "OCTO", "octo-labs"):
        assert owner_called(life.policy, "github", name) == OWNER
        assert owner_called(life.policy, "ghes", name) is None
    assert owner_called(life.policy, "github", "labs") is None
    life.hears(3, registered(2, repository_id=REPOSITORY, owner=OWNER + 1))
    assert owner_called(life.policy, "github", "octo") == OWNER + 1
