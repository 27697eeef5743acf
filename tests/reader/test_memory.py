"""Whatever order changes come in, the highest revision counts and a missing one is noticed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tenure_reader.grants import Grant
from tenure_reader.lookup import RepositoryRef
from tenure_reader.memory import Memory

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
    assert memory.complete() == (lost is None)


def test_before_it_is_whole_nothing_is_missing() -> None:
    memory = Memory()
    memory.take(grant("p", 5, 1, 7, "widgets", "active"))
    memory.take(grant("q", 9, 1, 7, "widgets", "removed"))
    memory.take(grant("q", 8, 1, 7, "widgets", "active"))
    assert memory.complete()
    assert (len(memory), memory.get("q")) == (1, None)
