"""A small GitHub whose repositories are created, renamed, archived and deleted: what a policy says is what is so there."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from handlers.table import handle
from tests.support import JSON, REMINDER, REPOSITORY, Life, incoming, registered, repository
from worker.lifecycle.facts import Micros, Observation
from worker.lifecycle.rules import Rules

OPEN = Rules(window=1000, reminder=REMINDER)
"""With a window that does not close meanwhile."""


class Deed(NamedTuple):
    """`which` counts the repositories that there are; `name` is what is created, or renamed to."""

    verb: str
    which: int
    name: str


@dataclass
class GitHub:
    """One owner's repositories. What is done tells of itself as GitHub does; what cannot be done is not done."""

    names: dict[int, str] = field(default_factory=lambda: {REPOSITORY: "a"})
    archived: set[int] = field(default_factory=set)
    _ids: count[int] = field(default_factory=lambda: count(REPOSITORY + 1))

    def does(self, deed: Deed, at: Micros) -> tuple[Observation, ...]:
        if deed.verb == "created":
            return self._create(deed.name, at)
        if not self.names:
            return ()
        which = sorted(self.names)[deed.which % len(self.names)]
        if deed.verb == "renamed":
            return self._rename(which, deed.name, at)
        if deed.verb == "deleted":
            return self._tells(deed.verb, which, self.names.pop(which), at)
        if (deed.verb == "archived") == (which in self.archived):
            return ()
        self.archived ^= {which}
        return self._tells(deed.verb, which, self.names[which], at)

    def _create(self, name: str, at: Micros) -> tuple[Observation, ...]:
        if name in self.names.values():
            return ()
        which = next(self._ids)
        self.names[which] = name
        return self._tells("created", which, name, at)

    def _rename(self, which: int, name: str, at: Micros) -> tuple[Observation, ...]:
        if name in self.names.values():
            return ()
        former, self.names[which] = self.names[which], name
        return self._tells("renamed", which, name, at, changes={"repository": {"name": {"from": former}}})

    @staticmethod
    def _tells(action: str, which: int, name: str, at: Micros, **more: JSON) -> tuple[Observation, ...]:
        body: dict[str, JSON] = {"repository": repository(which, name), **more}
        return handle(incoming(f"repository.{action}", body, at=at)).observations


deeds = st.lists(
    st.builds(
        Deed,
        st.sampled_from(["created", "renamed", "archived", "unarchived", "deleted"]),
        st.integers(0, 3),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=10,
)


@given(deeds)
def test_a_policy_with_an_id_says_what_is_so_of_its_repository(done: list[Deed]) -> None:
    github, life = GitHub(), Life(OPEN)
    life.hears(0, registered(0, "a", REPOSITORY))
    for at, deed in enumerate(done, 1):
        life.hears(at, *github.does(deed, at))
        reasons = set(life.view["reasons"])
        assert ("repository_deleted" in reasons) == (REPOSITORY not in github.names)
        if REPOSITORY in github.names:
            # Whoever has another name now took nothing of it.
            assert reasons == ({"repository_archived"} if REPOSITORY in github.archived else set())
            assert life.view["repository"] == github.names[REPOSITORY]
            assert life.view["repository_id"] == REPOSITORY


@given(deeds)
def test_a_policy_without_an_id_follows_its_repository_and_nobody_elses(done: list[Deed]) -> None:
    github, life = GitHub(), Life(OPEN)
    life.hears(0, registered(0, "a"))
    for at, deed in enumerate(done, 1):
        life.hears(at, *github.does(deed, at))
        if REPOSITORY not in github.names:
            break
        assert life.view["repository"] == github.names[REPOSITORY]


@given(deeds)
@example([Deed("renamed", 0, "b"), Deed("archived", 0, "a"), Deed("created", 0, "a")])
def test_a_stranger_under_a_former_name_gives_nothing_back(done: list[Deed]) -> None:
    github, life = GitHub(), Life(OPEN)
    life.hears(0, registered(0, "a"))
    for at, deed in enumerate(done, 1):
        life.hears(at, *github.does(deed, at))
        if REPOSITORY not in github.names:
            break
        if REPOSITORY in github.archived:
            assert "repository_archived" in life.view["reasons"]
