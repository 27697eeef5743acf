"""What is done to facts before anything is decided by them: dated anew, weighed, thinned out, shortened."""

from __future__ import annotations

import pytest

from tests.support import CREATOR, OWNER, REPOSITORY, USER, WORKFLOW, hint, proof, repository_scope, said
from worker.lifecycle import scopes
from worker.lifecycle.facts import Observation, Worth, shifted, worth

HERE = repository_scope()


def dated(at: int, happened: int) -> Observation:
    return hint(at, HERE, "archived", True)._replace(dated=happened)


def dates(told: list[Observation]) -> list[tuple[int, int | None]]:
    return [(o.at, o.dated) for o in told]


def test_dates_beyond_a_limit_are_moved_back_in_their_order() -> None:
    told = [dated(109, 5), hint(3, HERE, "deleted", True), dated(120, 109), hint(105, HERE, "deleted", True)]
    assert dates(shifted(told, 50, 10)) == [(59, 5), (3, None), (70, 59), (55, None)]


def test_a_date_that_would_come_before_one_that_stays_follows_it() -> None:
    told = [hint(at, HERE, "archived", True) for at in (10, 11, 12, 120)]
    assert dates(shifted(told, 100, 10)) == [(10, None), (11, None), (12, None), (20, None)]
    # Nothing is dated before the beginning of time.
    assert dates(shifted([hint(at, HERE, "archived", True) for at in (3, 2)], 50, 1)) == [(1, None), (0, None)]


def test_what_is_not_beyond_the_limit_keeps_its_date() -> None:
    told = [dated(10, 10), dated(9, 0)]
    assert shifted(told, 100, 10) == told
    assert shifted(told, 100, 9) == [dated(10, 10), dated(9, 0)]


@pytest.mark.parametrize(("observation", "expected"), [
    (hint(1, scopes.workflow(HERE, WORKFLOW), "missing", True), Worth.ADVICE),
    (hint(1, HERE, "archived", False), Worth.DETAIL),
    (hint(1, HERE, "name", "widgets"), Worth.DETAIL),
    (proof(1, HERE, "verified", True), Worth.DETAIL),
    (hint(1, HERE, "archived", True), Worth.LOSS),
    (hint(1, scopes.name(OWNER, "widgets"), f"held_by:{REPOSITORY}", True), Worth.LOSS),
    (said(1, scopes.account(CREATOR), "locked", True), Worth.LOSS),
    (hint(1, scopes.member(OWNER, USER), "left", True), Worth.PERSON),
    (hint(1, scopes.collaborator(HERE, USER), "lost", True), Worth.PERSON),
    (hint(1, scopes.owner(OWNER), "deleted", True), Worth.PERSON),
    (hint(1, scopes.member(OWNER, USER), "left", False), Worth.DETAIL),
])  # fmt: skip
def test_what_takes_access_away_is_dearer_than_what_describes(observation: Observation, expected: Worth) -> None:
    assert worth(observation) is expected
