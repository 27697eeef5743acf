"""Which repository a policy means while names change: by id where it is known, by its names where it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from handlers.table import handle
from tests.lifecycle.worlds import OTHER_OWNER, OTHER_REPOSITORY
from tests.support import (
    JSON,
    LAGGING,
    NAME,
    OWNER,
    POLICY,
    REPOSITORY,
    RULES,
    USER,
    WINDOW,
    WITH_PROOF,
    WORKFLOW,
    Life,
    account,
    hint,
    incoming,
    knowing,
    login,
    proof,
    registered,
    repository,
    repository_scope,
)
from worker.lifecycle import scopes
from worker.lifecycle.decide import decide
from worker.lifecycle.facts import Observation
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import ChangeType, rfc3339

HERE = repository_scope()
PUBLIC = registered(0, repository_id=REPOSITORY, visibility="public")


def unbound(name: str) -> str:
    return scopes.unbound(OWNER, name)


def held_by(at: int, name: str, repository_id: int, value: bool = True) -> Observation:
    return hint(at, scopes.name(OWNER, name), f"held_by:{repository_id}", value)


# Names


def test_a_rename_is_followed_with_an_advisory_until_it_is_registered() -> None:
    life = Life()
    life.hears(0, PUBLIC)
    assert life.hears(2, hint(2, HERE, "name", "sprockets")) is ChangeType.UPDATED
    assert (life.view["repository"], life.view["advisories"]) == ("sprockets", ["renamed"])
    assert life.view["state"] == "active"
    update = registered(5, "sprockets", REPOSITORY, visibility="public")
    assert life.hears(5, update) is ChangeType.REFRESHED
    assert (life.view["repository"], life.view["advisories"]) == ("sprockets", [])


def test_a_policy_without_an_id_follows_a_rename_by_name_and_back() -> None:
    life = Life()
    life.hears(0, registered(0))
    there = hint(2, scopes.unbound(OWNER, NAME), "renamed_to", "sprockets")
    back = hint(4, scopes.unbound(OWNER, "sprockets"), "renamed_to", NAME)
    assert life.hears(2, there) is ChangeType.UPDATED
    assert life.view["repository"] == "sprockets"
    assert life.hears(4, back) is ChangeType.UPDATED
    assert (life.view["repository"], life.view["advisories"]) == (NAME, [])


def test_an_update_to_the_new_name_of_a_renamed_repository_keeps_the_window() -> None:
    life = Life()
    life.hears(2, registered(0), hint(2, scopes.unbound(OWNER, NAME), "renamed_to", "sprockets"))
    life.hears(4, registered(4, "sprockets"))
    assert life.view["usable_until"] == rfc3339(WINDOW)


def test_an_older_rename_does_not_undo_a_registration() -> None:
    life = Life()
    life.hears(5, registered(5, repository_id=REPOSITORY, visibility="public"))
    assert life.hears(6, hint(3, HERE, "name", "former")) is None
    assert life.view["repository"] == NAME


def test_a_rename_after_an_update_does_not_cut_a_permanent_policy_off() -> None:
    life = Life()
    life.hears(1, registered(0, "a", REPOSITORY), login(1))
    life.hears(2, hint(2, HERE, "name", "b"))
    life.hears(3, registered(3, "b"))
    assert (life.view["state"], life.view["repository_id"]) == ("active", REPOSITORY)
    life.hears(9, hint(9, HERE, "name", "c"))
    assert (life.view["state"], life.view["repository_id"], life.view["repository"]) == ("active", REPOSITORY, "c")


def test_a_rename_after_an_update_does_not_open_an_expired_policy() -> None:
    life = Life()
    life.hears(7, registered(0, "a"), hint(2, unbound("a"), "renamed_to", "b"), registered(6, "b"))
    life.hears(12)
    assert life.view["state"] == "expired"
    life.hears(12, hint(7, unbound("b"), "renamed_to", "c"))
    assert life.view["state"] == "expired"


@pytest.mark.parametrize("rules", [RULES, WITH_PROOF], ids=["hints", "proofs"])
@pytest.mark.parametrize("aspect", ["archived", "deleted", "unreachable", "transferred"])
def test_a_policy_without_an_id_takes_its_blocks_along_when_renamed(aspect: str, rules: Rules) -> None:
    life = Life(rules)
    life.hears(2, registered(0), hint(2, unbound(NAME), aspect, True))
    life.hears(3, hint(3, unbound(NAME), "renamed_to", "b"))
    assert life.view["reasons"] == [f"repository_{aspect}"]
    life.hears(4, proof(4, unbound("b"), aspect, False))
    assert life.view["state"] == "provisional"


def test_nor_is_access_or_a_workflow_given_back_by_a_rename() -> None:
    life = Life()
    lost = hint(2, scopes.collaborator(unbound(NAME), USER), "lost", True)
    missing = hint(2, scopes.workflow(unbound(NAME), WORKFLOW), "missing", True)
    life.hears(2, registered(0), lost, missing)
    life.hears(3, hint(3, unbound(NAME), "renamed_to", "b"))
    assert life.view["reasons"] == ["creator_lost_repository_access"]
    assert life.view["advisories"] == ["workflow_missing", "renamed"]


def test_a_name_taken_over_and_renamed_again_does_not_lead_to_the_stranger() -> None:
    """octo/a becomes octo/b; another repository is made as octo/a, and becomes octo/d."""
    life = Life()
    life.hears(2, registered(0, "a"), hint(2, unbound("a"), "renamed_to", "b"))
    life.hears(4, hint(4, unbound("a"), "renamed_to", "d"))
    assert life.view["repository"] == "b"


def test_a_repository_renamed_onto_the_name_of_a_deleted_one_is_not_deleted() -> None:
    life = Life()
    former: JSON = {"repository": repository(OTHER_REPOSITORY, "b")}
    gone = handle(incoming("repository.deleted", former, at=1)).observations
    body: JSON = {"repository": repository(name="b"), "changes": {"repository": {"name": {"from": "a"}}}}
    renamed = handle(incoming("repository.renamed", body, at=3)).observations
    life.hears(4, registered(0, "a"), *gone, *renamed)
    assert (life.view["repository"], life.view["reasons"]) == ("b", [])


def test_an_owner_renamed_is_followed_until_it_is_registered() -> None:
    life = Life()
    life.hears(0, PUBLIC)
    renamed = handle(incoming("organization.renamed", {"organization": account(OWNER, "octo-labs")}, at=2))
    assert life.hears(2, *renamed.observations) is ChangeType.UPDATED
    assert (life.view["repository_owner"], life.view["advisories"]) == ("octo-labs", ["renamed"])
    assert life.view["state"] == "active"
    assert life.hears(3, PUBLIC._replace(at=3)) is ChangeType.UPDATED
    assert (life.view["repository_owner"], life.view["advisories"]) == ("octo", [])


# Another repository takes the name


def test_another_repository_of_the_same_name_replaces_and_never_rebinds() -> None:
    name = scopes.name(OWNER, NAME)
    life = Life()
    life.hears(0, PUBLIC)
    life.hears(2, hint(2, HERE, "deleted", True), hint(2, name, f"held_by:{REPOSITORY}", False))
    assert life.hears(3, hint(3, name, f"held_by:{OTHER_REPOSITORY}", True)) is ChangeType.REFRESHED
    assert life.view["reasons"] == ["repository_deleted", "repository_replaced"]
    assert life.hears(4, login(4, OTHER_REPOSITORY)) is None
    assert life.view["repository_id"] == REPOSITORY
    # The other one goes, and the tombstone stays.
    assert life.hears(5, hint(5, name, f"held_by:{OTHER_REPOSITORY}", False)) is ChangeType.REFRESHED
    assert life.view["reasons"] == ["repository_deleted"]


def test_the_name_given_back_ends_the_replacement() -> None:
    name = scopes.name(OWNER, NAME)
    life = Life()
    life.hears(0, PUBLIC)
    assert life.hears(3, hint(3, name, f"held_by:{OTHER_REPOSITORY}", True)) is ChangeType.DISABLED
    assert life.hears(4, hint(4, name, f"held_by:{REPOSITORY}", True)) is ChangeType.REENABLED


def test_a_policy_without_an_id_cannot_be_replaced() -> None:
    life = Life()
    life.hears(0, registered(0))
    assert life.hears(3, hint(3, scopes.name(OWNER, NAME), f"held_by:{OTHER_REPOSITORY}", True)) is None


def test_a_rename_takes_a_policy_out_of_the_way_of_who_takes_its_name() -> None:
    life = Life()
    life.hears(0, PUBLIC)
    assert life.hears(2, held_by(2, NAME, OTHER_REPOSITORY)) is ChangeType.DISABLED
    assert life.hears(3, hint(3, HERE, "name", "elsewhere")) is ChangeType.REENABLED


def test_where_github_can_be_asked_a_rename_hint_does_not_end_a_replacement() -> None:
    life = Life(WITH_PROOF)
    life.hears(2, PUBLIC, proof(2, HERE, "visibility", "public"), held_by(2, NAME, OTHER_REPOSITORY))
    life.hears(3, hint(3, HERE, "name", "elsewhere"))
    assert (life.view["state"], life.view["repository"]) == ("disabled", "elsewhere")
    # A name that is taken after it was left is nobody's loss.
    life.hears(5, proof(4, HERE, "verified", True), held_by(5, NAME, OTHER_REPOSITORY + 1))
    assert life.view["state"] == "active"


def test_a_stranger_who_is_transferred_away_gives_the_name_back() -> None:
    life = Life()
    life.hears(0, PUBLIC)
    assert life.hears(2, held_by(2, NAME, OTHER_REPOSITORY)) is ChangeType.DISABLED
    body: JSON = {
        "repository": repository(OTHER_REPOSITORY, owner=account(OTHER_OWNER)),
        "changes": {"owner": {"from": {"organization": account(OWNER)}}},
    }
    assert life.hears(4, *handle(incoming("repository.transferred", body, at=4)).observations) is ChangeType.REENABLED


def test_a_stranger_who_is_transferred_here_takes_the_name() -> None:
    life = Life()
    life.hears(0, PUBLIC)
    body: JSON = {
        "repository": repository(OTHER_REPOSITORY),
        "changes": {"owner": {"from": {"organization": account(OTHER_OWNER)}}},
    }
    assert life.hears(4, *handle(incoming("repository.transferred", body, at=4)).observations) is ChangeType.DISABLED
    assert life.view["reasons"] == ["repository_replaced"]


@pytest.mark.parametrize("order", [1, -1], ids=["as it happened", "backwards"])
def test_a_registry_that_repeats_the_old_name_undoes_no_rename(order: int) -> None:
    """The registry tells every night what it was told once, while another repository has taken the old name."""
    told = [
        PUBLIC,
        hint(2, HERE, "name", "sprockets"),
        held_by(3, NAME, OTHER_REPOSITORY),
        registered(4, NAME, REPOSITORY, visibility="public"),
        registered(5, NAME, REPOSITORY, visibility="public"),
    ]
    life = Life()
    for observation in told[::order]:
        life.hears(6, observation)
    assert (life.view["repository"], life.view["state"], life.view["reasons"]) == ("sprockets", "active", [])


def test_a_registration_later_than_a_stranger_is_not_replaced_by_him() -> None:
    """The registry looked after the stranger was heard of, and named this id."""
    life = Life()
    later = registered(3, NAME, REPOSITORY, visibility="public")
    life.hears(4, held_by(2, NAME, OTHER_REPOSITORY), later)
    assert (life.view["state"], life.view["reasons"]) == ("active", [])
    assert life.hears(5, held_by(5, NAME, OTHER_REPOSITORY)) is ChangeType.DISABLED


@pytest.mark.parametrize("update_first", [True, False])
@pytest.mark.parametrize(("before", "after"), [("a", "b"), ("b", "a")])
def test_an_update_of_the_same_instant_is_later_than_the_registration(
    before: str, after: str, update_first: bool
) -> None:
    first = registered(2, before)
    said = registered(2, after)
    update = said._replace(source=said.source._replace(event="policy.updated"))
    life = Life()
    for observation in (update, first) if update_first else (first, update):
        life.hears(3, observation)
    assert life.view["repository"] == after


@pytest.mark.parametrize(
    ("claim", "replaced"),
    [
        (held_by(2, NAME, OTHER_REPOSITORY), False),
        (held_by(3, NAME, OTHER_REPOSITORY), True),
        (proof(3, scopes.name(OWNER, NAME), f"held_by:{OTHER_REPOSITORY}", True), False),
        (proof(5, scopes.name(OWNER, NAME), f"held_by:{OTHER_REPOSITORY}", True), False),
        (proof(6, scopes.name(OWNER, NAME), f"held_by:{OTHER_REPOSITORY}", True), True),
    ],
)
def test_a_name_that_github_says_is_ours_is_taken_by_what_a_replica_may_not_have_heard(
    claim: Observation, *, replaced: bool
) -> None:
    """Given replicas that may lag by 3, and an answer at 5, then what was heard from 3 on still counts."""
    life = Life(LAGGING)
    ours = proof(5, scopes.name(OWNER, NAME), f"held_by:{REPOSITORY}", True)
    life.hears(6, PUBLIC, ours, claim)
    assert ("repository_replaced" in life.view["reasons"]) is replaced


def test_whoever_repeats_the_registered_name_in_another_spelling_means_the_same_repository() -> None:
    life = Life()
    life.hears(1, registered(0, "a"))
    life.hears(3, hint(2, unbound("a"), "renamed_to", "b"))
    life.hears(5, registered(5, "A"))
    assert life.step is not None
    assert life.step.standing.tenure.since == 0


def names_of(*told: Observation, rules: Rules = RULES) -> list[tuple[str, int]]:
    standing = decide(knowing(told, rules).facts, POLICY, 9, rules)
    assert standing is not None
    return [(name.name, name.since) for name in standing.tenure.names]


A_TO_B = hint(5, unbound("a"), "renamed_to", "b")


def test_a_rename_of_the_instant_in_which_a_name_was_come_to_was_somebody_else_s() -> None:
    assert names_of(registered(5, "a"), A_TO_B) == [("a", 0)]
    assert names_of(registered(4, "a"), A_TO_B) == [("a", 0), ("b", 5)]
    assert names_of(registered(4, "a"), A_TO_B, hint(5, unbound("b"), "renamed_to", "c")) == [("a", 0), ("b", 5)]
    assert names_of(registered(0, "a"), A_TO_B, registered(5, "a")) == [("a", 0)]
    assert names_of(registered(0, "a"), A_TO_B, registered(6, "a")) == [("a", 0), ("b", 5)]


def test_with_an_id_its_renames_count_from_after_the_newest_registration_until_the_next() -> None:
    renamed = hint(5, HERE, "name", "b")
    assert names_of(registered(5, "a", REPOSITORY), renamed) == [("a", 0)]
    assert names_of(registered(4, "a", REPOSITORY), renamed) == [("a", 0), ("b", 5)]
    assert names_of(registered(0, "a", REPOSITORY), renamed, registered(5, "a", REPOSITORY)) == [("a", 0)]
    assert names_of(registered(0, "a", REPOSITORY), renamed, registered(6, "a", REPOSITORY)) == [("a", 0), ("b", 5)]
    assert names_of(registered(0, "a", REPOSITORY), renamed, registered(6, "c", REPOSITORY)) == [
        ("a", 0),
        ("b", 5),
        ("c", 6),
    ]
    assert names_of(registered(0, "a", REPOSITORY), renamed, registered(6, "b", REPOSITORY)) == [("a", 0), ("b", 5)]


OURS = f"held_by:{REPOSITORY}"
OUR_NAME = scopes.name(OWNER, NAME)


@pytest.mark.parametrize(
    ("ours", "rules", "replaced"),
    [
        (held_by(5, NAME, REPOSITORY), RULES, False),
        (held_by(3, NAME, REPOSITORY), RULES, False),
        (held_by(2, NAME, REPOSITORY), RULES, True),
        (held_by(5, NAME, REPOSITORY, value=False), RULES, True),
        (proof(5, OUR_NAME, OURS, False), RULES, True),
        (proof(5, OUR_NAME, OURS, True), RULES, False),
        (proof(5, OUR_NAME, OURS, True), WITH_PROOF, False),
        (proof(5, OUR_NAME, OURS, False), WITH_PROOF, True),
        (held_by(5, NAME, REPOSITORY), WITH_PROOF, True),
    ],
)
def test_only_that_we_have_the_name_since_gives_it_back(ours: Observation, rules: Rules, *, replaced: bool) -> None:
    """Given a stranger who took it at 3."""
    life = Life(rules)
    life.hears(6, PUBLIC, held_by(3, NAME, OTHER_REPOSITORY), ours)
    assert ("repository_replaced" in life.view["reasons"]) is replaced


@pytest.mark.parametrize(("at", "rules", "replaced"), [
    (0, WITH_PROOF, True), (1, WITH_PROOF, True), (2, WITH_PROOF, True), (1, RULES, False), (2, RULES, False), (3, RULES, True),
])  # fmt: skip
def test_only_where_nobody_can_be_asked_a_registration_says_who_has_the_name(
    at: int, rules: Rules, *, replaced: bool
) -> None:
    """Given a stranger who took the name at that moment, and a registration under it at 2."""
    life = Life(rules)
    life.hears(6, registered(2, repository_id=REPOSITORY), held_by(at, NAME, OTHER_REPOSITORY))
    assert ("repository_replaced" in life.view["reasons"]) is replaced


ON_HINTS = replace(LAGGING, proof_required=False)


@pytest.mark.parametrize(
    ("lost", "last", "rules", "blocked"),
    [
        (hint(1, unbound("a"), "archived", True), proof(3, unbound("b"), "archived", False), LAGGING, True),
        (hint(1, unbound("a"), "archived", True), proof(4, unbound("b"), "archived", False), LAGGING, False),
        (proof(1, unbound("a"), "archived", True), proof(3, unbound("b"), "archived", False), LAGGING, False),
        (hint(1, unbound("a"), "archived", True), hint(3, unbound("b"), "archived", False), ON_HINTS, False),
        (hint(1, unbound("a"), "archived", True), hint(3, unbound("b"), "archived", False), LAGGING, True),
        (hint(1, unbound("a"), "archived", False), hint(3, unbound("b"), "archived", True), LAGGING, True),
        (hint(1, unbound("a"), "archived", True), proof(1, unbound("a"), "archived", False), LAGGING, True),
        (hint(2, unbound("b"), "archived", True), hint(1, unbound("a"), "archived", False), RULES, True),
        (hint(1, unbound("b"), "archived", True), hint(1, unbound("a"), "archived", False), RULES, False),
    ],
)
def test_of_a_repository_that_was_renamed_the_last_word_counts_unless_a_replica_may_not_have_heard(
    lost: Observation, last: Observation, rules: Rules, *, blocked: bool
) -> None:
    """Given a rename at 2, and replicas that may lag by 3."""
    life = Life(rules)
    life.hears(5, registered(0, "a"), hint(2, unbound("a"), "renamed_to", "b"), lost, last)
    assert ("repository_archived" in life.view["reasons"]) is blocked


@pytest.mark.parametrize(("at", "replaced"), [(0, True), (1, True), (4, True), (5, False), (6, False)])
def test_a_former_name_counts_only_if_it_was_taken_while_we_had_it(at: int, *, replaced: bool) -> None:
    """Given that GitHub can be asked, and was not since a rename was heard of at 5."""
    life = Life(WITH_PROOF)
    life.hears(6, PUBLIC, hint(5, HERE, "name", "gadgets"), held_by(at, NAME, OTHER_REPOSITORY))
    assert ("repository_replaced" in life.view["reasons"]) is replaced
