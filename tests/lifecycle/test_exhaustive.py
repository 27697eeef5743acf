"""Small sets of observations in every possible order: all of them, not a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from tests.lifecycle.worlds import OTHER_NAME, OTHER_OWNER, OTHER_REPOSITORY
from tests.support import (
    CREATOR,
    NAME,
    OWNER,
    PACKAGE_OWNER,
    POLICY,
    REPOSITORY,
    RULES,
    USER,
    WITH_PROOF,
    held,
    hint,
    login,
    proof,
    registered,
    removed,
    renewed,
    repository_scope,
    said,
)
from worker.lifecycle import scopes
from worker.lifecycle.decide import Standing, decide
from worker.lifecycle.facts import Observation, ObservationSource
from worker.lifecycle.policy import Policy, learn
from worker.lifecycle.rules import Rules

HERE = repository_scope()
MEMBER = scopes.member(OWNER, USER)

SETS: dict[str, list[Observation]] = {
    "archived and left, only one cleared": [
        registered(0, repository_id=REPOSITORY),
        login(1),
        hint(2, HERE, "archived", True),
        hint(2, MEMBER, "left", True),
        hint(3, HERE, "archived", False),
    ],
    "blocked, cleared and blocked again, with a proof in between": [
        registered(0, repository_id=REPOSITORY, visibility="public"),
        hint(2, HERE, "archived", True),
        hint(3, HERE, "archived", False),
        proof(3, HERE, "archived", True),
        proof(4, HERE, "archived", False),
        hint(4, HERE, "archived", True),
    ],
    "two logins race for an unknown id": [
        registered(0),
        login(4, REPOSITORY),
        login(4, OTHER_REPOSITORY),
        hint(5, HERE, "archived", True),
        hint(5, repository_scope(OTHER_REPOSITORY), "deleted", True),
    ],
    "renewed after expiry, then a login": [
        registered(0),
        renewed(14),
        login(12),
        login(15),
        renewed(30),
    ],
    "another repository and back": [
        registered(0, repository_id=REPOSITORY),
        login(1),
        registered(5, OTHER_NAME, OTHER_REPOSITORY),
        registered(9, repository_id=REPOSITORY),
        hint(3, HERE, "visibility", "public"),
    ],
    "another owner": [
        registered(0),
        login(2),
        registered(6, owner=OTHER_OWNER),
        login(7, REPOSITORY, OWNER),
        login(8, REPOSITORY, OTHER_OWNER),
        hint(8, scopes.owner(OTHER_OWNER), "deleted", True),
    ],
    "the id is added while the repository is public": [
        registered(0),
        hint(2, HERE, "visibility", "public"),
        hint(4, HERE, "visibility", "private"),
        registered(3, repository_id=REPOSITORY),
        hint(9, HERE, "visibility", "public"),
    ],
    "the name goes to another repository": [
        registered(0, repository_id=REPOSITORY, visibility="public"),
        hint(2, scopes.name(OWNER, NAME), f"held_by:{REPOSITORY}", False),
        hint(2, HERE, "deleted", True),
        hint(3, scopes.name(OWNER, NAME), f"held_by:{OTHER_REPOSITORY}", True),
        hint(4, scopes.name(OWNER, NAME), f"held_by:{OTHER_REPOSITORY}", False),
    ],
    "accounts, a hold and a removal": [
        registered(0, repository_id=REPOSITORY, visibility="public"),
        said(1, scopes.account(CREATOR), "locked", True),
        said(2, scopes.account(CREATOR), "locked", False),
        said(2, scopes.package_member(PACKAGE_OWNER, CREATOR), "left", True),
        held(2),
        removed(3),
    ],
    "direct access lost, while a member": [
        registered(0, repository_id=REPOSITORY, visibility="public"),
        hint(2, scopes.collaborator(HERE, USER), "lost", True),
        hint(3, MEMBER, "left", False),
        proof(4, MEMBER, "left", False),
        hint(5, MEMBER, "left", True),
    ],
    "a rename, and an update to the new name": [
        registered(0),
        hint(2, scopes.unbound(OWNER, NAME), "renamed_to", "sprockets"),
        registered(4, "sprockets", REPOSITORY),
        hint(2, HERE, "name", "sprockets"),
        login(6),
    ],
    "renamed twice, and updated in between without the id": [
        registered(0, repository_id=REPOSITORY),
        login(1),
        hint(2, HERE, "name", "sprockets"),
        registered(3, "sprockets"),
        hint(9, HERE, "name", "cogs"),
    ],
    "a chain of names, and a stranger under the first": [
        registered(0),
        hint(2, scopes.unbound(OWNER, NAME), "renamed_to", "sprockets"),
        hint(4, scopes.unbound(OWNER, NAME), "renamed_to", "gizmos"),
        hint(5, scopes.unbound(OWNER, "sprockets"), "renamed_to", "cogs"),
        hint(6, scopes.unbound(OWNER, "cogs"), "archived", True),
    ],
    "two words on visibility at one instant": [
        registered(0, repository_id=REPOSITORY, visibility="private"),
        hint(2, HERE, "visibility", "public"),
        hint(2, HERE, "visibility", "private"),
        hint(3, HERE, "visibility", "public"),
        proof(3, HERE, "visibility", "private"),
    ],
    "a hint and a proof of one instant": [
        registered(0, repository_id=REPOSITORY, visibility="private"),
        proof(2, HERE, "visibility", "public")._replace(source=ObservationSource("github", "a", "check")),
        hint(2, HERE, "visibility", "public"),
        hint(4, HERE, "archived", False),
        proof(4, HERE, "archived", True),
    ],
}


def policies(told: Sequence[Observation], policy: Policy, rules: Rules) -> Iterator[Policy]:
    """What a policy comes to, by every order of these. Orders that begin alike are told their beginning once."""
    if not told:
        yield policy
    for place, observation in enumerate(told):
        if observation not in told[:place]:
            left = [*told[:place], *told[place + 1 :]]
            yield from policies(left, learn(policy, [observation], rules), rules)


def outcomes(told: Sequence[Observation], rules: Rules) -> Iterator[list[Standing | None]]:
    """Of every order, and, for five observations, of every order with any one of them heard twice."""
    decided: dict[str, list[Standing | None]] = {}
    for heard in (told, *([*told, twice] for twice in told if len(told) < 6)):
        for policy in policies(heard, Policy(POLICY, {}), rules):
            # As text: of two that are equal, facts may still stand in another order, which must not matter either.
            known = repr(policy)
            if known not in decided:
                decided[known] = [decide(policy.facts, POLICY, now, rules) for now in (9, 16)]
            yield decided[known]


@pytest.mark.parametrize("rules", [RULES, WITH_PROOF], ids=["hints", "proofs"])
@pytest.mark.parametrize("told", SETS.values(), ids=SETS)
def test_every_order_comes_to_the_same(told: list[Observation], rules: Rules) -> None:
    expected, *others = outcomes(told, rules)
    assert expected[0] is not None
    assert len(others) == (720 if len(told) == 6 else 120 + 5 * 360) - 1
    assert all(other == expected for other in others)
