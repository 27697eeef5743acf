"""What is done to facts before anything is decided by them: dated anew, weighed, thinned out, shortened."""

from __future__ import annotations

import pytest

from tests.support import CREATOR, OWNER, REPOSITORY, USER, WORKFLOW, hint, proof, repository_scope, said
from worker.lifecycle import scopes
from worker.lifecycle.facts import (
    LONGEST,
    THICK,
    Observation,
    Worth,
    effective,
    holds,
    joined,
    merge,
    newest,
    newest_hint,
    outweighs,
    precedence,
    series,
    shifted,
    shortened,
    subject,
    thin,
    worth,
)

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


# Thinned out


def visible(at: int, value: str = "private", *, proven: bool = False) -> Observation:
    return (proof if proven else hint)(at, HERE, "visibility", value)


def thinned(told: list[Observation], width: int) -> list[tuple[int, object]]:
    return [(o.at, o.value) for o in series(thin(merge({}, told), HERE, "visibility", width), HERE, "visibility")]


def test_of_a_long_series_only_the_ends_of_each_window_are_kept() -> None:
    many = [visible(at) for at in range(THICK + 1)]
    assert thinned(many, 100) == [(0, "private"), (THICK, "private")]
    assert [at for at, _ in thinned(many, 4)] == [0, 4, 8, 12, 16]
    assert [at for at, _ in thinned([visible(3 * at) for at in range(THICK + 1)], 5)] == list(
        range(0, 3 * THICK + 1, 3)
    )
    assert [at for at, _ in thinned([visible(3 * at) for at in range(THICK + 1)], 6)] == list(
        range(0, 3 * THICK + 1, 6)
    )


def test_what_is_of_another_kind_than_its_neighbours_is_kept() -> None:
    first = [visible(0, "public"), *(visible(at) for at in range(1, THICK + 2))]
    assert thinned(first, 100) == [(0, "public"), (1, "private"), (THICK + 1, "private")]
    last = [*(visible(at) for at in range(THICK + 1)), visible(THICK + 1, "public")]
    assert thinned(last, 100) == [(0, "private"), (THICK, "private"), (THICK + 1, "public")]
    between = [visible(at, proven=at == 8) for at in range(THICK + 1)]
    assert [at for at, _ in thinned(between, 100)] == [0, 7, 8, 9, THICK]


def test_what_is_not_thinned_is_the_same_object() -> None:
    short = merge({}, [visible(at) for at in range(THICK)])
    assert thin(short, HERE, "visibility", 100) is short
    wide = merge({}, [visible(10 * at) for at in range(THICK + 1)])
    assert thin(wide, HERE, "visibility", 19) is wide
    other = merge({}, [visible(at) for at in range(THICK + 1)])
    assert thin(other, HERE, "login", 100) is other
    assert len(thin({**other, "x": hint(1, HERE, "archived", True)}, HERE, "visibility", 100)) == 3


# Shortened


def claim(at: int, holder: int, *, value: bool = True) -> Observation:
    return hint(at, scopes.name(OWNER, "widgets"), f"held_by:{holder}", value)


def named(at: int) -> Observation:
    return hint(at, HERE, "name", f"n-{at}")


def test_of_who_had_a_name_the_newest_are_kept() -> None:
    told = [claim(1000 - number, number) for number in range(LONGEST + 3)]
    kept = shortened(merge({}, [*told, hint(0, HERE, "archived", True)])).values()
    assert {o.at for o in kept} == {0, *(1000 - number for number in range(LONGEST))}


def test_of_other_endless_series_the_oldest_and_the_newest_are_kept() -> None:
    told = [named(at) for at in range(LONGEST + 3)]
    kept = {o.at for o in shortened(merge({}, told)).values()}
    assert kept == {*range(LONGEST // 2), *range(LONGEST // 2 + 3, LONGEST + 3)}


def test_what_is_not_shortened_is_the_same_object() -> None:
    few = merge({}, [named(at) for at in range(LONGEST)])
    assert shortened(few) is few
    apart = merge({}, [*(named(at) for at in range(LONGEST)), *(claim(at, at) for at in range(LONGEST))])
    assert shortened(apart) is apart
    others = merge({}, [visible(at) for at in range(2 * LONGEST)])
    assert shortened(others) is others


# What counts

BLOCKS, CLEARS = hint(3, HERE, "archived", True), hint(5, HERE, "archived", False)


def known(
    *told: Observation, proof_required: bool = False, lag: int = 0, until: int | None = None
) -> Observation | None:
    return effective(merge({}, told), HERE, "archived", proof_required=proof_required, lag=lag, until=until)


def test_a_hint_clears_where_no_proof_can_be_had() -> None:
    assert known() is None
    assert known(BLOCKS) == BLOCKS
    assert known(CLEARS) == CLEARS
    assert known(BLOCKS, CLEARS) == CLEARS
    assert known(BLOCKS, CLEARS, proof_required=True) == BLOCKS
    assert known(CLEARS, proof_required=True) is None
    assert known(BLOCKS._replace(at=5), CLEARS) == BLOCKS._replace(at=5)


@pytest.mark.parametrize("until", [4, 5])
def test_from_some_moment_on_nothing_clears(until: int) -> None:
    assert known(BLOCKS, CLEARS, until=until) == BLOCKS
    assert known(BLOCKS, CLEARS, until=6) == CLEARS
    seen, lost = proof(5, HERE, "archived", False), proof(7, HERE, "archived", True)
    assert known(BLOCKS, seen, until=until) == BLOCKS
    assert known(BLOCKS, seen, until=6) == seen
    assert known(BLOCKS, lost, until=until) == lost
    assert known(seen, until=until) is None


def test_of_a_hint_and_a_proof_the_newer_counts_and_what_blocks_a_little_longer() -> None:
    seen = proof(5, HERE, "archived", False)
    assert known(BLOCKS, seen) == seen
    assert known(BLOCKS, seen, lag=2) == seen
    assert known(BLOCKS, seen, lag=3) == BLOCKS
    assert known(CLEARS._replace(at=6), seen) == CLEARS._replace(at=6)
    assert known(CLEARS._replace(at=4), seen, lag=9) == seen
    lost = proof(5, HERE, "archived", True)
    assert known(BLOCKS, lost, lag=9) == lost
    assert outweighs(BLOCKS, seen._replace(value=None), 3)
    assert not outweighs(BLOCKS, lost, 3)


def test_only_true_holds() -> None:
    for value, expected in ((True, True), (False, False), (None, False)):
        facts = merge({}, [proof(5, HERE, "archived", value)])
        assert holds(facts, HERE, "archived", proof_required=True, lag=0) is expected
    assert not holds({}, HERE, "archived", proof_required=True, lag=0)


def test_newer_wins_and_at_the_same_instant_what_blocks() -> None:
    one, other = hint(3, HERE, "archived", True), hint(3, HERE, "deleted", False)
    assert newest([other, None, one]) == one
    assert newest([one, other._replace(at=4)]) == other._replace(at=4)
    assert newest([None]) is None
    assert newest([None, other]) == other
    update = one._replace(value="a", source=one.source._replace(event="policy.updated"))
    assert precedence(update) > precedence(one._replace(value="b"))
    # What is said alone makes the order total, then who said it.
    first, last = one.source._replace(id="a"), one.source._replace(id="z")
    assert precedence(one._replace(value="b", source=first)) > precedence(one._replace(value="a", source=last))
    assert precedence(one._replace(source=first)) < precedence(one._replace(source=last))
    assert precedence(other) < precedence(proof(3, HERE, "deleted", False)._replace(source=other.source))
    assert newest_hint([None]) is None
    assert newest_hint([None, other]) == other
    late, early = one._replace(at=9, dated=1), other._replace(at=4, dated=2)
    assert newest_hint([late, None, early]) == early
    assert newest_hint([late._replace(dated=2), early]) == late._replace(dated=2)


def test_two_of_one_subject_are_joined_with_the_later_date() -> None:
    plain = hint(3, HERE, "archived", True)
    assert joined(plain, plain._replace()) is plain
    assert joined(plain, plain._replace(at=2)) is plain
    assert joined(plain, plain._replace(at=4)).at == 4
    late = plain._replace(at=7, dated=1)
    assert joined(plain, late) == late._replace(dated=3)
    assert joined(late, plain) == late._replace(dated=3)
    same = plain._replace(at=7, dated=3)
    assert joined(same, plain) is same


def test_what_competes_is_told_by_scope_aspect_and_channel() -> None:
    source = hint(3, HERE, "archived", True).source
    assert subject(hint(3, HERE, "archived", True)) == f"{HERE} archived -"
    assert subject(hint(3, HERE, "archived", False)) == f"{HERE} archived +"
    assert subject(hint(3, HERE, "left", None)) == f"{HERE} left +"
    assert subject(proof(3, HERE, "archived", True)) == f"{HERE} archived ="
    # Of a series each is kept, by what it says; of registrations, by the event that brought it.
    assert subject(hint(3, HERE, "name", "widgets")) == f"{HERE} name @3 hint widgets"
    assert subject(proof(3, HERE, "visibility", "public")) == f"{HERE} visibility @3 proof public"
    told = said(3, scopes.policy("p"), "registration", "[]")._replace(source=source._replace(id="e-1"))
    assert subject(told) == "policy:p registration @3 proof e-1"


def test_what_tells_nothing_new_leaves_the_very_same_facts() -> None:
    facts = merge({}, [visible(1), BLOCKS])
    assert merge(facts, [BLOCKS, visible(1), BLOCKS._replace(at=2)]) is facts
