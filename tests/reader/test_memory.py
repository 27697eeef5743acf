"""Whatever order changes come in, the highest revision counts and a missing one is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure_reader.decision import Nearby
from tenure_reader.grants import Grant
from tenure_reader.lookup import RepositoryRef
from tenure_reader.memory import FEW, MOST_MISSING, NEIGHBOURS, Groups, Memory

NAMES = ("widgets", "Gadgets")


def grant(policy_id: str, revision: int, owner: int, repository: int | None, name: str, state: str) -> Grant:  # noqa: PLR0917
    return {
        "policy_id": policy_id, "revision": revision, "state": state, "usable": state == "active",
        "usable_until": None, "reasons": [], "package_owner": {"account": "acme", "kind": "user"},
        "created_by": {"account": "maria", "github_user_id": None}, "repository_owner_id": owner,
        "repository": name, "repository_id": repository, "workflow_file": "release.yml", "environment": None,
    }  # fmt: skip


@st.composite
def lives(draw: st.DrawFn) -> list[list[Grant]]:
    """Some policies, each with its revisions; a removed one has no further."""
    policies = []
    for number in range(draw(st.integers(1, 4))):
        length = draw(st.integers(1, 5))
        removed = draw(st.booleans())
        policies.append([
            grant(
                f"p-{number}", revision, draw(st.integers(1, 2)), draw(st.sampled_from([None, 7, 8])),
                draw(st.sampled_from(NAMES)), "removed" if removed and revision == length else "active",
            )
            for revision in range(1, length + 1)
        ])  # fmt: skip
    return policies


def places() -> list[RepositoryRef]:
    return [
        RepositoryRef(owner, repository, name)
        for owner in (1, 2, 3)
        for repository in (None, 7, 8)
        for name in (None, "WIDGETS", "gadgets")
    ]


def found(memory: Memory) -> list[object]:
    return [
        (sorted(g["policy_id"] + str(g["revision"]) for g in grants), nearby)
        for grants, nearby in map(memory.find, places())
    ]


@given(lives(), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(policies: list[list[Grant]], chance: object) -> None:
    ordered = [change for life in policies for change in life]
    plain, mixed = Memory(), Memory()
    for memory in (plain, mixed):
        assert memory.complete()
    for change in ordered:
        plain.take(change)
    shuffled = ordered * 2
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    for change in shuffled:
        mixed.take(change)
    assert found(mixed) == found(plain)
    assert plain.complete()
    assert mixed.complete()
    alive = [life[-1] for life in policies if life[-1]["state"] != "removed"]
    assert len(plain) == len(alive)
    for last in alive:
        assert plain.get(last["policy_id"]) == last


@given(lives(), st.data())
def test_a_revision_that_never_came_is_noticed(policies: list[list[Grant]], data: st.DataObject) -> None:
    ordered = [change for life in policies for change in life]
    inner = [change for life in policies for change in life[:-1]]
    lost = data.draw(st.sampled_from(inner)) if inner else None
    memory = Memory()
    memory.complete()
    for change in ordered:
        if change is not lost:
            memory.take(change)
    assert memory.complete()
    assert memory.waits() == (lost is not None)
    # Whatever else is read of the same moment has been read by the next time.
    assert memory.complete() == (lost is None)


def test_before_it_is_whole_nothing_is_missing() -> None:
    memory = Memory()
    memory.take(grant("p", 5, 1, 7, "widgets", "active"))
    memory.take(grant("q", 9, 1, 7, "widgets", "removed"))
    memory.take(grant("q", 8, 1, 7, "widgets", "active"))
    assert memory.complete()
    assert (len(memory), memory.get("q")) == (1, None)


# What it holds


def test_a_policy_is_given_back_as_it_was_told() -> None:
    told: Grant = {
        **grant("p", 3, 1, 7, "widgets", "provisional"),
        "usable": True,
        "usable_until": "2026-01-02T03:04:05.000006Z",
        "reasons": ["one", "two"],
        "created_by": {"account": "maria", "github_user_id": 5},
        "environment": "Production",
    }
    memory = Memory()
    memory.take(told)
    assert memory.get("p") == told
    assert memory.get("q") is None


def test_policies_are_found_by_id_and_by_name_and_only_by_their_owner() -> None:
    memory = Memory()
    bound, second = grant("p", 1, 1, 7, "widgets", "active"), grant("q", 1, 1, 7, "widgets", "active")
    named, theirs = grant("r", 1, 1, None, "Widgets", "active"), grant("s", 1, 2, 7, "widgets", "active")
    for told in (bound, second, named, theirs):
        memory.take(told)
    near = Nearby(owner_known=True, named=None)
    # A revision that comes again changes nothing.
    memory.take(bound)
    assert memory.find(RepositoryRef(1, 7, "WIDGETS")) == ([bound, second, named], near)
    assert memory.find(RepositoryRef(1, 7, None)) == ([bound, second], near)
    assert memory.find(RepositoryRef(1, None, "widgets")) == ([named], near)
    assert memory.find(RepositoryRef(2, 7, "widgets")) == ([theirs], near)


def test_around_a_token_without_a_policy_who_has_its_name_is_known() -> None:
    memory = Memory()
    for told in (
        grant("r", 1, 1, 7, "Widgets", "active"),
        grant("q", 1, 1, 7, "widgets", "active"),
        grant("t", 1, 1, 7, "widgets", "active"),
        grant("a", 1, 1, 8, "gadgets", "active"),
        grant("b", 1, 2, None, "widgets", "active"),
        grant("c", 1, 1, 8, "xxxx", "active"),
    ):
        memory.take(told)
    assert memory.find(RepositoryRef(1, 9, "WIDGETS")) == ([], Nearby(owner_known=True, named="q"))
    assert memory.find(RepositoryRef(1, 9, "others")) == ([], Nearby(owner_known=True, named=None))
    assert memory.find(RepositoryRef(1, 9, None)) == ([], Nearby(owner_known=True, named=None))
    # One that waits for a name has no id, so it has no former bearer.
    assert memory.find(RepositoryRef(2, 9, None)) == ([], Nearby(owner_known=True, named=None))
    assert memory.find(RepositoryRef(3, 9, "widgets")) == ([], Nearby(owner_known=False, named=None))


@pytest.mark.parametrize(("before", "named"), [(NEIGHBOURS - 1, "z"), (NEIGHBOURS, None)])
def test_so_many_policies_of_an_owner_are_looked_through(before: int, named: str | None) -> None:
    memory = Memory()
    for number in range(before):
        memory.take(grant(f"p-{number}", 1, 1, 8, "gadgets", "active"))
    memory.take(grant("z", 1, 1, 7, "widgets", "active"))
    assert memory.find(RepositoryRef(1, 9, "widgets")) == ([], Nearby(owner_known=True, named=named))


def test_a_policy_that_moves_is_found_where_it_is_only() -> None:
    memory = Memory()
    memory.take(grant("p", 1, 1, None, "widgets", "active"))
    memory.take(grant("p", 2, 2, None, "gadgets", "active"))
    memory.take(grant("p", 3, 1, 7, "gadgets", "active"))
    memory.take(grant("p", 4, 1, 8, "gadgets", "active"))
    nobody = Nearby(owner_known=False, named=None)
    assert memory.find(RepositoryRef(2, 7, "gadgets")) == ([], nobody)
    assert memory.find(RepositoryRef(1, 7, "widgets"))[0] == []
    assert [g["revision"] for g in memory.find(RepositoryRef(1, 8, None))[0]] == [4]
    memory.take(grant("p", 5, 1, 8, "gadgets", "removed"))
    assert memory.find(RepositoryRef(1, 8, "gadgets")) == ([], nobody)
    assert len(memory) == 0


def test_a_group_of_one_takes_no_collection_and_gives_it_up_again() -> None:
    groups: Groups[int] = Groups()
    assert list(groups.get(1)) == []
    for policy_id in ("p", "q", "r"):
        groups.add(1, policy_id)
    groups.add(2, "x")
    assert (list(groups.get(1)), list(groups.get(2))) == (["p", "q", "r"], ["x"])
    for policy_id in ("q", "p"):
        groups.discard(1, policy_id)
    assert list(groups.get(1)) == ["r"]
    groups.discard(1, "r")
    groups.discard(2, "x")
    assert not groups.get(1)
    groups.add(1, "s")
    assert groups.get(1) == ("s",)


def test_a_group_of_many_is_what_a_group_of_few_is() -> None:
    groups: Groups[int] = Groups()
    ids = [f"p-{number}" for number in range(3 * FEW)]
    for policy_id in ids:
        groups.add(1, policy_id)
    assert list(groups.get(1)) == ids
    for policy_id in ids[1::2]:
        groups.discard(1, policy_id)
    assert list(groups.get(1)) == ids[::2]
    for policy_id in ids[::2]:
        groups.discard(1, policy_id)
    assert not groups.get(1)


# What is missing


def test_a_revision_that_is_skipped_is_missing_until_it_comes() -> None:
    memory = Memory()
    memory.take(grant("p", 2, 1, 7, "widgets", "active"))
    assert memory.complete()
    memory.take(grant("p", 5, 1, 7, "widgets", "active"))
    memory.take(grant("p", 3, 1, 7, "widgets", "active"))
    memory.take(grant("p", 6, 1, 7, "widgets", "active"))
    memory.take(grant("p", 4, 1, 7, "widgets", "active"))
    assert memory.complete()
    memory.take(grant("p", 8, 1, 7, "widgets", "active"))
    assert memory.complete()
    assert memory.waits()
    assert not memory.complete()
    # It was said once.
    assert memory.complete()


def test_a_revision_that_another_node_had_may_come_with_the_reading_after() -> None:
    """A policy moves: what is read first is newer, and what is read of the other node was published before it."""
    memory = Memory()
    memory.take(grant("p", 2, 1, 7, "widgets", "active"))
    assert memory.complete()
    memory.take(grant("p", 4, 2, 7, "widgets", "active"))
    assert memory.complete()
    assert memory.waits()
    memory.take(grant("p", 3, 1, 7, "widgets", "active"))
    assert not memory.waits()
    assert memory.complete()
    found = memory.get("p")
    assert found is not None
    assert found["revision"] == 4


def test_a_policy_that_was_never_seen_begins_with_its_first_revision() -> None:
    memory = Memory()
    memory.complete()
    memory.take(grant("p", 2, 1, 7, "widgets", "active"))
    memory.take(grant("q", 1, 1, 7, "widgets", "active"))
    memory.take(grant("p", 1, 1, 7, "widgets", "active"))
    assert memory.complete()


@pytest.mark.parametrize(("revision", "whole"), [(MOST_MISSING + 2, True), (MOST_MISSING + 3, False)])
def test_more_than_a_hundred_revisions_may_not_be_outstanding(revision: int, *, whole: bool) -> None:
    memory = Memory()
    memory.take(grant("p", 1, 1, 7, "widgets", "active"))
    memory.complete()
    memory.take(grant("p", revision, 1, 7, "widgets", "active"))
    for number in range(2, revision):
        memory.take(grant("p", number, 1, 7, "widgets", "active"))
    assert memory.complete() is whole
    # A memory that was torn stays so.
    assert memory.complete() is whole


def test_what_was_removed_comes_back_with_nothing_older() -> None:
    memory = Memory()
    memory.complete()
    memory.take(grant("p", 1, 1, 7, "widgets", "active"))
    memory.take(grant("p", 3, 1, 7, "widgets", "removed"))
    memory.take(grant("p", 2, 1, 7, "widgets", "active"))
    assert (memory.complete(), len(memory)) == (True, 0)
    # Of another node, what is older may be read a moment later.
    memory.take(grant("p", 2, 1, 7, "widgets", "active"))
    assert (memory.complete(), len(memory)) == (True, 0)
