"""A policy as it is kept: dated anew after a clock was ahead, and who brought a change of it about."""

from __future__ import annotations

from dataclasses import replace

from tests.support import (
    POLICY,
    REPOSITORY,
    RULES,
    WITH_PROOF,
    hint,
    knowing,
    proof,
    registered,
    repository_scope,
)
from worker.lifecycle.facts import Observation, Source, merge
from worker.lifecycle.policy import Policy, Step, advance, cause_of, learn, redated
from worker.lifecycle.rules import Rules

HERE = repository_scope()
FIRST = registered(0, repository_id=REPOSITORY, visibility="public")
MINE = Source("github", "mine", "repository")


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
    assert anew == replace(policy, facts=anew.facts, decided_at=0)


def test_a_policy_that_was_decided_ahead_is_decided_for_now() -> None:
    policy = at(11)
    assert redated(policy, 5, 10) == replace(policy, decided_at=0)


# Who brought a change about


def by(source: str, told: Observation) -> Observation:
    return told._replace(source=Source("github", source, "repository"))


def change(before: Policy, *told: Observation, rules: Rules = RULES) -> Step:
    step = advance(learn(before, told, rules), 9, rules, learnt=True)
    assert step is not None
    return step


def named(before: Policy | None, step: Step, *own: str, rules: Rules = RULES) -> str:
    sources = {Source("github", name, "repository") for name in own} | {MINE}
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
