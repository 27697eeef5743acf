"""Which repository a policy without an id turns out to mean, and since when that is known."""

from __future__ import annotations

import pytest

from tests.support import OWNER, POLICY, RULES, WINDOW, WITH_PROOF, hint, knowing, login, proof, registered, renewed
from worker.lifecycle import scopes
from worker.lifecycle.decide import decide
from worker.lifecycle.facts import Observation
from worker.lifecycle.rules import Rules
from worker.lifecycle.tenure import Tenure


def unbound(name: str) -> str:
    return scopes.unbound(OWNER, name)


def answer(at: int, name: str, repository_id: int | None) -> Observation:
    """Of GitHub, asked who has that name."""
    return proof(at, unbound(name), "repository_id", repository_id)


def tenure(*told: Observation, rules: Rules = RULES) -> Tenure:
    standing = decide(knowing(told, rules).facts, POLICY, 9, rules)
    assert standing is not None
    return standing.tenure


FIRST = registered(3, "a")
RENAMED = hint(6, unbound("a"), "renamed_to", "b")


@pytest.mark.parametrize(("told", "bound"), [
    ([], None),
    ([answer(4, "a", 7)], 7),
    ([answer(4, "A", 7)], 7),
    ([answer(4, "b", 7)], None),
    ([answer(4, "a", None)], None),
    ([answer(4, "a", None), answer(5, "a", 7)], 7),
    ([answer(2, "a", 7)], None),
    ([answer(3, "a", 7)], 7),
    ([answer(90, "a", 7)], 7),
    ([answer(5, "a", 7), answer(4, "a", 8)], 8),
    ([RENAMED, answer(5, "a", 7)], 7),
    ([RENAMED, answer(6, "a", 7)], None),
    ([RENAMED, answer(6, "b", 7)], 7),
    ([RENAMED, answer(5, "b", 7)], None),
    ([RENAMED, answer(5, "b", 7), answer(7, "b", 8)], 8),
    ([login(4, 7)], 7),
    ([login(3, 7)], 7),
    ([login(2, 7)], None),
    ([login(3 + WINDOW, 7)], None),
    ([login(2 + WINDOW, 7)], 7),
    ([login(4, 7, OWNER + 1)], None),
    ([login(4, 7), answer(5, "a", 8)], 7),
    ([login(5, 7), answer(4, "a", 8)], 8),
    ([renewed(20), login(21, 7)], 7),
    ([renewed(20), login(19, 7)], None),
])  # fmt: skip
def test_the_first_that_tells_binds(told: list[Observation], bound: int | None) -> None:
    for rules in (RULES, WITH_PROOF):
        assert tenure(FIRST, *told, rules=rules).repository_id == bound


@pytest.mark.parametrize("at", [5, 6])
def test_what_is_told_after_the_next_registration_does_not_bind_what_was_before(at: int) -> None:
    """Given an update that adds an id, then what GitHub said of the name later does not make it another repository."""
    for told in (answer(at, "a", 7), login(at, 7)):
        found = tenure(registered(0, "a"), told, registered(5, "a", 8))
        assert (found.since, found.repository_id) == (0, 8)


@pytest.mark.parametrize("at", [2, 4])
def test_what_is_told_before_it_does(at: int) -> None:
    for told in (answer(at, "a", 7), login(at, 7)):
        found = tenure(registered(0, "a"), told, registered(5, "a", 8))
        assert (found.since, found.repository_id) == (5, 8)
        again = tenure(registered(0, "a"), told, registered(5, "b", 7))
        assert (again.since, again.repository_id) == (0, 7)


def test_while_its_id_is_not_known_it_is_under_each_of_its_names() -> None:
    waiting = tenure(FIRST, RENAMED)
    assert [tuple(place) for place in waiting.places] == [(unbound("a"), 0, 6), (unbound("b"), 6, None)]
    assert waiting.watched == {unbound("a"), unbound("b")}
    here = scopes.repository(OWNER, 7)
    bound = tenure(FIRST, RENAMED, hint(6, here, "name", "b"), answer(7, "b", 7))
    assert [tuple(place) for place in bound.places] == [(here, 0, None)]
    names = {scopes.name(OWNER, "a"), scopes.name(OWNER, "b")}
    # An answer from before may yet come, and bind it earlier.
    assert bound.watched == {here, unbound("a"), unbound("b"), *names}


def test_what_a_former_repository_was_called_later_is_not_watched() -> None:
    assert tenure(registered(0, "a"), RENAMED, registered(5, "c")).watched == {unbound("a"), unbound("c")}
    assert tenure(registered(0, "a"), RENAMED, registered(8, "c")).watched == {unbound("a"), unbound("b"), unbound("c")}
    # Of another owner's nothing is.
    assert tenure(registered(0, "a"), registered(5, "c", owner=OWNER + 1)).watched == {scopes.unbound(OWNER + 1, "c")}


def test_a_repository_that_was_public_before_its_id_was_known_proves_nothing_by_that() -> None:
    seen = [
        hint(1, scopes.repository(OWNER, 7), "visibility", "public"),
        hint(4, scopes.repository(OWNER, 7), "visibility", "private"),
    ]
    assert tenure(registered(0, "a"), *seen, answer(3, "a", 7)).proven
    assert not tenure(registered(0, "a"), *seen, answer(4, "a", 7)).proven
    late = [hint(2, scopes.repository(OWNER, 7), "visibility", "public")]
    assert not tenure(registered(0, "a"), *late, answer(WINDOW, "a", 7)).proven
    assert tenure(registered(0, "a"), *late, answer(WINDOW - 1, "a", 7)).proven
