"""What each step in the life of a policy is called, and what is published with it (contract, sections 2 and 4)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lifecycle.worlds import OTHER_NAME, OTHER_OWNER, OTHER_REPOSITORY
from tests.support import (
    CREATOR,
    LAGGING,
    MAX_ID,
    NAME,
    OWNER,
    PACKAGE_OWNER,
    POLICY,
    REMINDER,
    REPOSITORY,
    RULES,
    USER,
    WINDOW,
    WITH_PROOF,
    WORKFLOW,
    Life,
    held,
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
from worker.lifecycle.decide import decide
from worker.lifecycle.facts import Observation, ObservationSource, merge
from worker.lifecycle.policy import Policy, advance, concerns
from worker.lifecycle.policy_facts import once_a_member
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import ChangeType, rfc3339

HERE = repository_scope()
OWNED = scopes.owner(OWNER)
ARCHIVED = hint(2, HERE, "archived", True)
UNARCHIVED = hint(3, HERE, "archived", False)
LEFT = hint(2, scopes.member(OWNER, USER), "left", True)
REJOINED = hint(3, scopes.member(OWNER, USER), "left", False)
PUBLIC = registered(0, repository_id=REPOSITORY, visibility="public")
PRIVATE = registered(0, repository_id=REPOSITORY, visibility="private")


# First events


@pytest.mark.parametrize(
    ("told", "now", "expected", "state"),
    [
        ([registered(0)], 0, ChangeType.PROVISIONED, "provisional"),
        ([PRIVATE], 0, ChangeType.PROVISIONED, "provisional"),
        ([registered(0, visibility="public")], 0, ChangeType.PROVISIONED, "provisional"),
        ([PUBLIC], 0, ChangeType.ACTIVATED, "active"),
        ([registered(0), login(1)], 2, ChangeType.ACTIVATED, "active"),
        ([PRIVATE, ARCHIVED], 3, ChangeType.DISABLED, "disabled"),
        ([PUBLIC, ARCHIVED], 3, ChangeType.DISABLED, "disabled"),
        ([registered(0)], WINDOW, ChangeType.EXPIRED, "expired"),
        ([PRIVATE, ARCHIVED], WINDOW, ChangeType.EXPIRED, "expired"),
        ([PUBLIC, removed(1)], 2, ChangeType.REMOVED, "removed"),
        ([registered(0), removed(1)], 2 * WINDOW, ChangeType.REMOVED, "removed"),
    ],
)
def test_the_first_event_says_what_the_policy_already_is(
    told: list[Observation], now: int, expected: ChangeType, state: str
) -> None:
    life = Life()
    assert life.hears(now, *told) is expected
    assert (life.view["state"], life.view["revision"]) == (state, 1)
    assert life.step is not None
    assert life.step.previous_state is None


def test_the_first_view_shows_everything() -> None:
    life = Life()
    life.hears(1, registered(0, NAME, MAX_ID, owner=MAX_ID - 1, visibility="private", user=MAX_ID - 2))
    assert life.view == {
        "policy_id": POLICY,
        "revision": 1,
        "state": "provisional",
        "usable": True,
        "usable_until": rfc3339(WINDOW),
        "reasons": [],
        "advisories": [],
        "name": "publish",
        "package_owner": {"account": PACKAGE_OWNER, "kind": "organization"},
        "created_by": {"account": CREATOR, "github_user_id": MAX_ID - 2},
        "repository_owner": "octo",
        "repository_owner_id": MAX_ID - 1,
        "repository": NAME,
        "repository_id": MAX_ID,
        "visibility": "private",
        "workflow_file": WORKFLOW,
        "environment": None,
        "verified_at": None,
        "updated_at": rfc3339(1),
    }


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_767_225_600_000_001, "2026-01-01T00:00:00.000001Z"),
        (1_767_225_599_999_999, "2025-12-31T23:59:59.999999Z"),
    ],
)
def test_times_are_written_to_the_microsecond_in_utc(moment: int, text: str) -> None:
    assert rfc3339(moment) == text


# Becoming permanent


def test_the_first_login_inside_the_window_makes_it_permanent() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    assert life.hears(4, login(4)) is ChangeType.ACTIVATED
    assert (life.view["state"], life.view["usable_until"], life.due) == ("active", None, None)
    assert life.hears(5, login(5)) is None
    assert life.hears(100 * WINDOW) is None


@pytest.mark.parametrize(
    "useless",
    [
        login(WINDOW),
        login(3, OTHER_REPOSITORY),
        login(3, REPOSITORY, OTHER_OWNER),
    ],
    ids=["outside the window", "another repository", "another owner"],
)
def test_a_login_that_proves_nothing_changes_nothing(useless: Observation) -> None:
    life = Life()
    life.hears(0, PRIVATE)
    assert life.hears(3, useless) is None
    assert life.view["state"] == "provisional"
    assert life.hears(WINDOW) is ChangeType.EXPIRED


def test_a_login_before_the_registration_proves_nothing() -> None:
    life = Life()
    assert life.hears(9, login(3), registered(5)) is ChangeType.PROVISIONED
    assert life.view["repository_id"] is None


def test_the_first_login_binds_an_unknown_id_and_never_loses_a_digit() -> None:
    life = Life()
    life.hears(0, registered(0, owner=MAX_ID))
    assert life.hears(1, login(1, MAX_ID - 1, owner=OWNER)) is None
    assert life.hears(2, login(2, MAX_ID, owner=MAX_ID)) is ChangeType.ACTIVATED
    assert (life.view["repository_id"], life.view["repository_owner_id"]) == (MAX_ID, MAX_ID)


@pytest.mark.parametrize("order", [(3, 4), (4, 3)])
def test_of_two_racing_logins_the_earlier_binds_whichever_is_heard_first(order: tuple[int, int]) -> None:
    logins = {3: login(3, REPOSITORY), 4: login(4, OTHER_REPOSITORY)}
    life = Life()
    life.hears(0, registered(0))
    for at in order:
        life.hears(5, logins[at])
    assert (life.view["repository_id"], life.view["state"]) == (REPOSITORY, "active")


def test_a_public_repository_is_permanent_as_soon_as_its_id_is_known() -> None:
    life = Life()
    assert life.hears(0, registered(0, visibility="public")) is ChangeType.PROVISIONED
    assert life.hears(3, registered(3, repository_id=REPOSITORY, visibility="public")) is ChangeType.ACTIVATED


def test_going_public_inside_the_window_makes_it_permanent_and_going_private_later_does_not_undo_it() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    assert life.hears(3, hint(3, HERE, "visibility", "public")) is ChangeType.ACTIVATED
    assert life.view["advisories"] == ["visibility_changed"]
    assert life.hears(4, hint(4, HERE, "visibility", "private")) is ChangeType.REFRESHED
    assert (life.view["state"], life.view["advisories"]) == ("active", [])


def test_going_public_after_the_window_changes_nothing_but_what_is_shown() -> None:
    life = Life()
    life.hears(WINDOW, PRIVATE)
    assert life.hears(WINDOW, hint(WINDOW, HERE, "visibility", "public")) is ChangeType.REFRESHED
    assert (life.view["state"], life.view["visibility"]) == ("expired", "public")


def test_a_hint_of_the_same_instant_does_not_displace_a_proof() -> None:
    life = Life(WITH_PROOF)
    proven = proof(2, HERE, "visibility", "public")._replace(source=ObservationSource("github", "a", "check"))
    assert life.hears(3, PRIVATE, proven, hint(2, HERE, "visibility", "public")) is ChangeType.ACTIVATED


def test_where_github_can_be_asked_only_its_answer_makes_public() -> None:
    life = Life(WITH_PROOF)
    life.hears(0, PRIVATE)
    life.hears(3, hint(3, HERE, "visibility", "public"))
    assert life.view["state"] == "provisional"
    assert life.hears(4, proof(4, HERE, "visibility", "public")) is ChangeType.ACTIVATED


# The window closes


def test_the_reminder_comes_once_in_a_window_then_the_window_closes() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    assert life.due == WINDOW - REMINDER
    assert life.hears(WINDOW - REMINDER - 1) is None
    assert life.hears(WINDOW - REMINDER) is ChangeType.EXPIRING
    assert life.view["state"] == "provisional"
    assert life.due == WINDOW
    assert life.hears(WINDOW - 1) is None
    assert life.hears(WINDOW) is ChangeType.EXPIRED
    assert [life.view["usable"], life.view["usable_until"], life.due] == [False, None, None]
    assert life.hears(WINDOW + 1) is None
    assert life.view["revision"] == 3


def test_a_renewal_earns_a_reminder_of_its_own() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    life.hears(8)
    assert life.hears(9, renewed(9)) is ChangeType.RENEWED
    assert life.view["usable_until"] == rfc3339(9 + WINDOW)
    assert life.due == 9 + WINDOW - REMINDER
    assert life.hears(9 + WINDOW - REMINDER) is ChangeType.EXPIRING
    assert life.hears(9 + WINDOW) is ChangeType.EXPIRED
    assert life.changes.count(ChangeType.EXPIRING) == 2


def test_a_reminder_that_falls_due_with_another_change_follows_it() -> None:
    life = Life()
    assert life.hears(8, PRIVATE) is ChangeType.PROVISIONED
    assert life.due == WINDOW - REMINDER
    assert life.hears(8) is ChangeType.EXPIRING
    assert life.hears(8) is None


def test_a_disabled_policy_is_reminded_when_it_is_back() -> None:
    life = Life()
    life.hears(2, PRIVATE, ARCHIVED)
    assert life.due == WINDOW
    assert life.hears(8) is None
    assert life.hears(8, UNARCHIVED) is ChangeType.REENABLED
    assert life.hears(8) is ChangeType.EXPIRING
    assert life.hears(9, hint(9, HERE, "archived", True)) is ChangeType.DISABLED
    assert life.hears(9, proof(9, HERE, "archived", False), hint(9, HERE, "archived", False)) is None
    assert life.hears(9, proof(10, HERE, "archived", False)) is ChangeType.REENABLED
    assert life.hears(9) is None


def test_a_permanent_policy_is_not_reminded() -> None:
    life = Life()
    life.hears(8, PRIVATE, login(1))
    assert (life.changes, life.due) == ([ChangeType.ACTIVATED], None)


# Renewals


def test_a_renewal_after_expiry_opens_a_new_window() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    life.hears(50)
    assert life.view["state"] == "expired"
    assert life.hears(52, renewed(51)) is ChangeType.RENEWED
    assert (life.view["state"], life.view["usable_until"]) == ("provisional", rfc3339(51 + WINDOW))
    assert life.hears(55, login(55)) is ChangeType.ACTIVATED


def test_a_renewal_while_disabled_moves_the_window_and_nothing_else() -> None:
    life = Life()
    life.hears(3, PRIVATE, ARCHIVED)
    assert life.hears(4, renewed(4)) is ChangeType.RENEWED
    assert (life.view["state"], life.view["reasons"]) == ("disabled", ["repository_archived"])
    assert life.hears(12, UNARCHIVED) is ChangeType.REENABLED
    assert life.view["usable_until"] == rfc3339(4 + WINDOW)


def test_a_renewal_of_a_permanent_policy_is_nothing_new() -> None:
    life = Life()
    life.hears(0, PUBLIC)
    assert life.hears(4, renewed(4)) is None
    assert life.view["revision"] == 1


def test_the_same_renewal_twice_is_one() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    assert life.hears(4, renewed(4)) is ChangeType.RENEWED
    assert life.hears(4, renewed(4)) is None


def test_a_renewal_and_a_login_heard_together_make_it_permanent() -> None:
    life = Life()
    life.hears(30, PRIVATE)
    assert life.hears(30, renewed(20), login(25)) is ChangeType.ACTIVATED


# Late logins


def test_a_late_login_from_inside_the_window_ends_the_expiry() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    assert life.hears(40) is not None
    assert life.view["state"] == "expired"
    assert life.hears(41, login(WINDOW - 1)) is ChangeType.ACTIVATED
    assert life.step is not None
    assert life.step.previous_state == "expired"


def test_a_late_login_of_a_blocked_policy_ends_the_expiry_but_not_the_block() -> None:
    life = Life()
    life.hears(40, PRIVATE, ARCHIVED)
    assert (life.view["state"], life.view["reasons"]) == ("expired", ["repository_archived"])
    assert life.hears(41, login(5)) is ChangeType.UPDATED
    assert life.view["state"] == "disabled"
    assert life.hears(42, UNARCHIVED) is ChangeType.REENABLED
    assert life.view["state"] == "active"


def test_a_login_between_two_windows_proves_nothing() -> None:
    life = Life()
    life.hears(30, PRIVATE, renewed(25))
    assert life.hears(31, login(17)) is None
    assert life.view["state"] == "provisional"


# Updates


def test_an_update_to_another_repository_opens_a_new_window() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    life.hears(1, login(1))
    assert life.hears(20, registered(20, OTHER_NAME, OTHER_REPOSITORY)) is ChangeType.UPDATED
    assert life.view["state"] == "provisional"
    assert life.view["usable_until"] == rfc3339(20 + WINDOW)
    assert life.view["repository_id"] == OTHER_REPOSITORY
    assert life.hears(21, login(21)) is None
    assert life.hears(22, login(22, OTHER_REPOSITORY)) is ChangeType.ACTIVATED


@pytest.mark.parametrize(
    "update",
    [
        registered(20, OTHER_NAME),
        registered(20, repository_id=OTHER_REPOSITORY),
        registered(20, repository_id=REPOSITORY, owner=OTHER_OWNER),
    ],
    ids=["another name", "another id", "another owner"],
)
def test_an_expired_policy_that_names_another_repository_begins_anew(update: Observation) -> None:
    life = Life()
    life.hears(20, PRIVATE)
    assert life.view["state"] == "expired"
    assert life.hears(21, update) is ChangeType.UPDATED
    assert (life.view["state"], life.view["usable_until"]) == ("provisional", rfc3339(20 + WINDOW))


@pytest.mark.parametrize(
    "update",
    [
        registered(20, repository_id=REPOSITORY, environment="production"),
        registered(20, NAME.upper()),
        registered(20, OTHER_NAME, REPOSITORY),
        registered(20, label="another label"),
    ],
    ids=["environment", "case of the name", "name of the same id", "label"],
)
def test_an_update_on_the_same_repository_opens_no_window(update: Observation) -> None:
    life = Life()
    life.hears(20, PRIVATE)
    assert life.hears(21, update) is ChangeType.UPDATED
    assert (life.view["state"], life.view["repository_id"]) == ("expired", REPOSITORY)


def test_an_update_that_only_adds_the_id_keeps_the_window() -> None:
    life = Life()
    life.hears(0, registered(0))
    assert life.hears(4, registered(4, repository_id=REPOSITORY)) is ChangeType.UPDATED
    assert (life.view["usable_until"], life.view["repository_id"]) == (rfc3339(WINDOW), REPOSITORY)


def test_an_id_that_is_added_after_the_window_opens_nothing_however_public_the_repository() -> None:
    life = Life()
    life.hears(20, registered(0, visibility="public"), hint(2, HERE, "visibility", "public"))
    assert life.hears(20, registered(20, repository_id=REPOSITORY, visibility="public")) is ChangeType.UPDATED
    assert life.view["state"] == "expired"


def test_an_update_that_forgets_the_id_does_not_lose_it() -> None:
    life = Life()
    life.hears(1, registered(0), login(1))
    assert life.hears(4, registered(4)) is None
    assert (life.view["state"], life.view["repository_id"]) == ("active", REPOSITORY)


def test_an_older_update_heard_late_changes_nothing() -> None:
    life = Life()
    life.hears(5, registered(0), registered(5, repository_id=REPOSITORY, label="newest"))
    assert life.hears(6, registered(3, label="older")) is None
    assert life.view["name"] == "newest"


def test_blocks_of_the_former_repository_do_not_follow_to_another() -> None:
    life = Life()
    life.hears(3, PUBLIC, ARCHIVED)
    assert life.hears(4, registered(4, OTHER_NAME, OTHER_REPOSITORY)) is ChangeType.REENABLED
    assert life.view["reasons"] == []
    assert life.hears(5, registered(5, repository_id=REPOSITORY)) is ChangeType.DISABLED


# Blocking reasons


def test_of_two_reasons_only_one_is_cleared() -> None:
    life = Life()
    life.hears(0, PUBLIC)
    assert life.hears(2, ARCHIVED) is ChangeType.DISABLED
    assert life.hears(2, LEFT) is ChangeType.REFRESHED
    assert life.view["reasons"] == ["repository_archived", "creator_left_organization"]
    assert life.hears(3, UNARCHIVED) is ChangeType.REFRESHED
    assert (life.view["state"], life.view["reasons"]) == ("disabled", ["creator_left_organization"])
    assert life.hears(3, REJOINED) is ChangeType.REENABLED


def test_reasons_are_listed_also_while_expired() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    life.hears(30)
    assert life.hears(31, ARCHIVED, LEFT) is ChangeType.REFRESHED
    assert life.view["state"] == "expired"
    assert life.view["reasons"] == ["repository_archived", "creator_left_organization"]
    assert life.hears(32, renewed(32)) is ChangeType.RENEWED
    assert life.view["state"] == "disabled"


def test_a_disabled_policy_expires_when_its_window_closes() -> None:
    life = Life()
    life.hears(3, PRIVATE, ARCHIVED)
    assert life.hears(WINDOW) is ChangeType.EXPIRED
    assert life.hears(WINDOW + 1, UNARCHIVED) is ChangeType.REFRESHED
    assert life.view["state"] == "expired"


def test_direct_access_does_not_matter_to_a_known_member_of_the_organization() -> None:
    lost = hint(4, scopes.collaborator(HERE, USER), "lost", True)
    life = Life()
    life.hears(0, PUBLIC)
    life.hears(3, REJOINED)
    assert life.hears(4, lost) is None
    assert life.hears(5, hint(5, scopes.member(OWNER, USER), "left", True)) is ChangeType.DISABLED
    assert life.view["reasons"] == ["creator_left_organization", "creator_lost_repository_access"]


def test_a_creator_unknown_to_github_cannot_leave() -> None:
    life = Life()
    life.hears(0, registered(0, repository_id=REPOSITORY, visibility="public", user=None))
    assert life.hears(2, LEFT, hint(2, scopes.collaborator(HERE, USER), "lost", True)) is None


def test_where_github_can_be_asked_a_registrations_word_on_visibility_proves_nothing() -> None:
    life = Life(WITH_PROOF)
    assert life.hears(0, PUBLIC) is ChangeType.PROVISIONED
    assert life.hears(2, proof(2, HERE, "visibility", "private")) is ChangeType.REFRESHED
    assert (life.view["state"], life.view["advisories"]) == ("provisional", ["visibility_changed"])
    assert life.hears(4, proof(4, HERE, "visibility", "public")) is ChangeType.ACTIVATED


def test_somebody_who_never_was_a_member_works_from_outside() -> None:
    """Given GitHub's word that the creator is in no organisation and has access, then the access alone counts."""
    life = Life(WITH_PROOF)
    life.hears(0, PRIVATE)
    assert life.hears(2, proof(2, scopes.member(OWNER, USER), "left", True)) is ChangeType.DISABLED
    assert life.hears(3, proof(3, scopes.member(OWNER, USER), "left", None)) is ChangeType.REENABLED
    assert life.hears(4, proof(4, scopes.collaborator(HERE, USER), "lost", True)) is ChangeType.DISABLED
    assert life.view["reasons"] == ["creator_lost_repository_access"]


@pytest.mark.parametrize(("asked", "proven"), [(3, False), (4, False), (5, True)])
def test_an_answer_just_after_a_repository_was_made_private_proves_nothing_for_good(
    asked: int, *, proven: bool
) -> None:
    """Given replicas that may lag by 3: who asks sooner may hear of a repository that still is public there."""
    life = Life(LAGGING)
    life.hears(2, hint(2, HERE, "visibility", "private"), registered(3, repository_id=REPOSITORY))
    life.hears(asked, proof(asked, HERE, "visibility", "public"))
    assert life.view["state"] == ("active" if proven else "provisional")


@pytest.mark.parametrize(("told", "proven"), [
    (hint(2, HERE, "visibility", "public"), True),
    (hint(3, HERE, "visibility", "private"), False),
    (hint(4, HERE, "visibility", "private"), True),
    (proof(2, HERE, "visibility", "private"), True),
], ids=["a hint that it is public", "of the same instant", "a later one", "an answer"])  # fmt: skip
def test_only_a_hint_just_before_it_that_it_is_private_makes_an_answer_too_early(
    told: Observation, *, proven: bool
) -> None:
    """Given replicas that may lag by 3, and an answer at 3 that the repository is public."""
    life = Life(LAGGING)
    life.hears(5, registered(1, repository_id=REPOSITORY), told, proof(3, HERE, "visibility", "public"))
    assert life.view["state"] == ("active" if proven else "provisional")


@pytest.mark.parametrize(
    "seen",
    [
        proof(2, scopes.member(OWNER, USER), "belonged", True),
        hint(2, scopes.member(OWNER, USER), "left", True),
        hint(2, scopes.member(OWNER, USER), "left", False),
    ],
    ids=["a proof", "a removal heard of", "an arrival heard of"],
)
@pytest.mark.parametrize("late", [False, True], ids=["in order", "late"])
def test_who_ever_was_seen_as_a_member_does_not_work_from_outside(seen: Observation, *, late: bool) -> None:
    """Whoever asked did not know it, and found somebody who is no member and may write: that gives nothing back."""
    outside = proof(4, scopes.member(OWNER, USER), "left", None)
    life = Life(WITH_PROOF)
    life.hears(0, PRIVATE)
    life.hears(4, *([outside, seen] if late else [seen, outside]))
    assert life.view["reasons"] == ["creator_left_organization"]


def test_a_stranger_is_out_of_his_own_repository_only_and_until_he_may_write() -> None:
    access = scopes.collaborator(HERE, USER)
    life = Life(WITH_PROOF)
    life.hears(0, PRIVATE)
    elsewhere = scopes.collaborator(repository_scope(REPOSITORY + 1), USER)
    assert not concerns(life.policy, proof(1, elsewhere, "stranger", True))
    assert life.hears(2, proof(2, access, "stranger", True)) is ChangeType.DISABLED
    assert life.view["reasons"] == ["creator_left_organization"]
    assert life.hears(3, proof(3, access, "stranger", False), proof(3, access, "lost", False)) is ChangeType.REENABLED
    assert life.hears(4, proof(4, access, "stranger", True)) is ChangeType.DISABLED
    assert life.hears(5, proof(5, scopes.member(OWNER, USER), "left", False)) is ChangeType.REENABLED


# Proofs grow old


def test_a_policy_lapses_when_the_last_proof_is_too_old() -> None:
    life = Life(WITH_PROOF)
    life.hears(0, PUBLIC, proof(0, HERE, "visibility", "public"))
    assert life.view["usable_until"] == rfc3339(12)
    assert life.hears(5, proof(5, HERE, "verified", True)) is ChangeType.REFRESHED
    assert (life.view["verified_at"], life.view["usable_until"]) == (rfc3339(5), rfc3339(17))
    assert life.due == 17
    assert life.hears(16) is None
    assert life.hears(17) is ChangeType.DISABLED
    assert life.view["reasons"] == ["verification_lapsed"]
    assert life.hears(18, proof(18, HERE, "verified", True)) is ChangeType.REENABLED


def test_a_new_verification_alone_is_no_revision_and_still_keeps_it_from_lapsing() -> None:
    """Given a disabled policy, whose view has no lease to extend, when it is verified again, then nothing is published."""
    life = Life(WITH_PROOF)
    life.hears(0, PUBLIC, proof(0, HERE, "visibility", "public"))
    assert life.hears(1, proof(1, HERE, "archived", True), proof(1, HERE, "verified", True)) is ChangeType.DISABLED
    revision = life.view["revision"]
    for at in (2, 3, 11):
        assert life.hears(at, proof(at, HERE, "archived", True), proof(at, HERE, "verified", True)) is None
    assert (life.view["revision"], life.due) == (revision, 23)
    assert life.hears(14) is None
    assert life.hears(15, proof(15, HERE, "archived", False), proof(15, HERE, "verified", True)) is ChangeType.REENABLED
    # Usable, the lease is seen: each proof extends it.
    assert (life.view["verified_at"], life.view["usable_until"]) == (rfc3339(15), rfc3339(27))
    assert life.hears(16, proof(16, HERE, "verified", True)) is ChangeType.REFRESHED
    assert life.view["usable_until"] == rfc3339(28)


def test_the_first_verification_is_seen() -> None:
    life = Life(WITH_PROOF)
    life.hears(0, PUBLIC, hint(0, HERE, "archived", True))
    assert life.view["verified_at"] is None
    assert life.hears(1, proof(1, HERE, "archived", True), proof(1, HERE, "verified", True)) is ChangeType.REFRESHED
    assert life.view["verified_at"] == rfc3339(1)


def test_a_policy_registered_after_the_last_proof_has_time_since_its_registration() -> None:
    life = Life(WITH_PROOF)
    public = registered(50, repository_id=REPOSITORY, visibility="public")
    told = (proof(2, HERE, "verified", True), proof(2, HERE, "visibility", "public"))
    assert life.hears(51, public, *told) is ChangeType.ACTIVATED
    assert life.due == 50 + WITH_PROOF.proof_max_age


def test_blindness_sets_the_deadline_at_once_and_sight_lifts_it() -> None:
    owner = scopes.owner(OWNER)
    life = Life()
    life.hears(0, PUBLIC)
    assert life.hears(4, hint(4, owner, "blind", True)) is ChangeType.REFRESHED
    assert (life.view["usable"], life.view["usable_until"], life.due) == (True, rfc3339(16), 16)
    assert life.hears(16) is ChangeType.DISABLED
    assert life.hears(20, hint(20, owner, "blind", False)) is ChangeType.REENABLED
    assert life.view["usable_until"] is None


@pytest.mark.parametrize(("proven_at", "deadline"), [(2, 16), (6, 18)])
def test_the_blind_have_time_since_they_last_saw_or_went_blind(proven_at: int, deadline: int) -> None:
    life = Life()
    life.hears(8, PUBLIC, proof(proven_at, HERE, "verified", True), hint(4, scopes.owner(OWNER), "blind", True))
    assert life.due == deadline


@pytest.mark.parametrize("again", [5, 15, 17])
def test_going_blind_again_moves_no_deadline_and_opens_nothing(again: int) -> None:
    """`installation.suspend` is often followed by `installation.deleted`."""
    life = Life()
    life.hears(0, PUBLIC)
    life.hears(4, hint(4, scopes.owner(OWNER), "blind", True))
    if again > 16:
        assert life.hears(16) is ChangeType.DISABLED
    assert life.hears(again, hint(again, scopes.owner(OWNER), "blind", True)) is None
    if again < 16:
        assert life.view["usable_until"] == rfc3339(16)
        assert life.hears(16) is ChangeType.DISABLED
    assert life.view["reasons"] == ["verification_lapsed"]


def test_sight_in_between_begins_the_time_of_the_blind_anew() -> None:
    owner = scopes.owner(OWNER)
    life = Life()
    life.hears(0, PUBLIC)
    told = [hint(4, owner, "blind", True), hint(6, owner, "blind", False), hint(8, owner, "blind", True)]
    life.hears(9, *reversed(told))
    assert life.due == 8 + RULES.proof_max_age


def test_the_nearer_of_window_and_lapse_limits_use() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    assert life.view["usable_until"] == rfc3339(WINDOW)
    life.hears(1, hint(1, scopes.owner(OWNER), "blind", True))
    assert life.view["usable_until"] == rfc3339(WINDOW)
    life.hears(2, renewed(2), renewed(8))
    assert life.view["usable_until"] == rfc3339(1 + RULES.proof_max_age)


# The end


@pytest.mark.parametrize("told", [[PUBLIC], [PRIVATE], [PRIVATE, ARCHIVED]], ids=["active", "provisional", "disabled"])
def test_removal_is_final(told: list[Observation]) -> None:
    life = Life()
    life.hears(4, *told)
    assert life.hears(5, removed(5)) is ChangeType.REMOVED
    revision = life.view["revision"]
    late = [renewed(6), login(6), registered(7, OTHER_NAME, OTHER_REPOSITORY, visibility="public"), held(7, False)]
    assert [life.hears(8, observation) for observation in late] == [None] * 4
    assert (life.view["state"], life.view["revision"], life.due) == ("removed", revision, None)
    assert life.policy.watching == {scopes.policy(POLICY)}


def test_a_removed_id_stays_removed_also_when_the_removal_is_older_than_the_registration() -> None:
    life = Life()
    assert life.hears(9, removed(1)) is None
    assert life.hears(9, registered(5, visibility="public", repository_id=REPOSITORY)) is ChangeType.REMOVED


# What is written


def test_learning_something_unseen_is_written_without_a_revision() -> None:
    life = Life()
    life.hears(0, PUBLIC)
    assert life.hears(1, login(1)) is None
    assert (life.policy.revision, life.policy.edition) == (1, 1)
    assert life.hears(2, ARCHIVED) is ChangeType.DISABLED
    assert (life.policy.revision, life.policy.edition) == (2, 0)
    before = life.policy
    assert advance(before, 2, RULES, learnt=False) is None


def test_time_does_not_run_backwards_for_a_policy() -> None:
    """A worker that was paused comes with a time that others have passed."""
    life = Life()
    life.hears(WINDOW, PRIVATE)
    assert life.hears(WINDOW - 1, hint(1, HERE, "visibility", "private")) is None
    assert life.hears(WINDOW - 1, ARCHIVED) is ChangeType.REFRESHED
    assert (life.view["state"], life.view["updated_at"]) == ("expired", rfc3339(WINDOW))
    assert life.hears(5, UNARCHIVED) is ChangeType.REFRESHED
    assert life.policy.decided_at == WINDOW


def test_what_was_learnt_quietly_holds_the_time_too() -> None:
    life = Life()
    life.hears(0, PRIVATE)
    life.hears(6, hint(5, HERE, "visibility", "private"))
    assert life.hears(3, ARCHIVED) is ChangeType.DISABLED
    assert life.view["updated_at"] == rfc3339(6)


def test_a_policy_listens_to_everything_until_it_is_registered_and_then_to_what_bears_on_it() -> None:
    stranger = hint(1, repository_scope(99), "archived", True)
    assert concerns(Policy(POLICY, {}), stranger)
    life = Life()
    life.hears(0, PUBLIC)
    assert not concerns(life.policy, stranger)
    assert concerns(life.policy, ARCHIVED)


MEMBERSHIP = scopes.member(OWNER, USER)


@pytest.mark.parametrize(("told", "once"), [
    ([], False),
    ([proof(2, MEMBERSHIP, "left", False)], True),
    ([proof(2, MEMBERSHIP, "left", True)], False),
    ([proof(2, MEMBERSHIP, "left", None)], False),
    ([hint(2, MEMBERSHIP, "left", True)], True),
    ([hint(2, MEMBERSHIP, "left", False)], True),
    ([proof(2, MEMBERSHIP, "belonged", True)], True),
    ([proof(2, scopes.member(OWNER, USER + 1), "left", False)], False),
])  # fmt: skip
def test_whoever_began_or_ended_to_be_a_member_once_was_one(told: list[Observation], *, once: bool) -> None:
    assert once_a_member(merge({}, told), MEMBERSHIP) is once


def windows_of(*told: Observation) -> tuple[tuple[int, int], ...]:
    standing = decide(knowing(told).facts, POLICY, 9, RULES)
    assert standing is not None
    return standing.tenure.windows


def test_windows_begin_with_the_registration_and_with_each_renewal_since() -> None:
    assert windows_of(registered(5)) == ((5, 15),)
    assert windows_of(registered(5), renewed(3), renewed(5)) == ((5, 15),)
    assert windows_of(registered(5), renewed(20), renewed(6)) == ((5, 15), (6, 16), (20, 30))


def test_an_update_that_repeats_the_id_does_not_forget_since_when_it_was_known() -> None:
    life = Life()
    told = [hint(2, HERE, "visibility", "public"), hint(3, HERE, "visibility", "private")]
    life.hears(4, registered(0, repository_id=REPOSITORY), *told)
    life.hears(WINDOW + 2, registered(WINDOW + 1, repository_id=REPOSITORY))
    assert life.view["state"] == "active"


@pytest.mark.parametrize("rules", [RULES, WITH_PROOF])
def test_of_a_workflow_file_the_newest_push_counts_whoever_can_be_asked(rules: Rules) -> None:
    file = scopes.workflow(HERE, WORKFLOW)
    life = Life(rules)
    life.hears(1, PRIVATE)
    life.hears(2, hint(2, file, "missing", True))
    assert life.view["advisories"] == ["workflow_missing"]
    life.hears(3, hint(3, file, "missing", False))
    assert life.view["advisories"] == []


@pytest.mark.parametrize("aspect", ["deleted", "transferred"])
def test_where_github_can_be_asked_what_explains_it_takes_the_place_of_out_of_reach(aspect: str) -> None:
    told = [proof(2, HERE, "unreachable", True), proof(2, HERE, aspect, True)]
    asked, heard = Life(WITH_PROOF), Life()
    asked.hears(3, PRIVATE, *told)
    heard.hears(3, PRIVATE, *told)
    assert asked.view["reasons"] == [f"repository_{aspect}"]
    assert set(heard.view["reasons"]) == {f"repository_{aspect}", "repository_unreachable"}


def test_who_goes_blind_at_the_beginning_of_time_has_as_long_as_anybody() -> None:
    life = Life()
    life.hears(1, registered(0, repository_id=REPOSITORY, visibility="public"), hint(0, OWNED, "blind", True))
    assert life.view["usable_until"] == rfc3339(RULES.proof_max_age)


@pytest.mark.parametrize(("at", "scope", "shown"), [
    (1, scopes.unbound(OWNER, "a"), "internal"),
    (2, scopes.unbound(OWNER, "a"), "private"),
    (3, scopes.unbound(OWNER, "a"), "internal"),
    (4, scopes.unbound(OWNER, "a"), "internal"),
    (2, scopes.unbound(OWNER, "b"), "internal"),
    (3, scopes.unbound(OWNER, "b"), "private"),
])  # fmt: skip
def test_the_visibility_of_a_name_is_shown_only_while_it_had_it(at: int, scope: str, shown: str) -> None:
    """Given a repository known by its name, registered at 2 and renamed at 3."""
    life = Life()
    told = [registered(2, "a", visibility="internal"), hint(3, scopes.unbound(OWNER, "a"), "renamed_to", "b")]
    life.hears(5, *told, hint(at, scope, "visibility", "private"))
    assert life.view["visibility"] == shown


@pytest.mark.parametrize(("at", "shown"), [(1, "octo"), (2, "octo"), (3, "labs")])
@pytest.mark.parametrize("say", [hint, proof])
def test_the_login_that_the_owner_was_given_since_the_registration_is_shown(
    at: int, shown: str, say: Callable[[int, str, str, str], Observation]
) -> None:
    life = Life()
    life.hears(5, registered(2), say(at, OWNED, "owner_login", "labs"))
    assert (life.view["repository_owner"], life.view["advisories"]) == (shown, ["renamed"] if shown == "labs" else [])


def test_another_spelling_of_a_name_is_no_other_name() -> None:
    life = Life()
    told = [hint(3, OWNED, "owner_login", "OCTO"), hint(3, HERE, "name", NAME.upper())]
    life.hears(5, registered(2, repository_id=REPOSITORY), *told)
    assert life.view["advisories"] == []
    assert (life.view["repository_owner"], life.view["repository"]) == ("OCTO", NAME.upper())


@pytest.mark.parametrize("rules", [RULES, WITH_PROOF])
def test_a_creator_unknown_to_github_loses_nothing_there(rules: Rules) -> None:
    life = Life(rules)
    others = [hint(1, scopes.collaborator(HERE, USER), aspect, True) for aspect in ("lost", "stranger")]
    life.hears(2, registered(0, repository_id=REPOSITORY, user=None), *others)
    assert (life.view["state"], life.view["reasons"]) == ("provisional", [])


UNASKED = proof(20, scopes.collaborator(HERE, USER), "unasked", True)


@pytest.mark.parametrize(
    ("told", "since"),
    [
        ((), 50),
        ((UNASKED,), 20),
        ((UNASKED, proof(30, UNASKED.scope, "unasked", False)), 50),
        ((UNASKED, proof(40, scopes.member(OWNER, USER), "left", False)), 50),
        ((UNASKED, proof(40, scopes.member(OWNER, USER), "left", None)), 20),
        ((proof(1, UNASKED.scope, "unasked", True),), 1),
    ],
)
def test_what_could_not_be_asked_of_a_creator_renews_no_lease(told: tuple[Observation, ...], since: int) -> None:
    """What is seen of the repository counts for no longer than what was last known of a creator who is no member."""
    seen = proof(50, HERE, "verified", True)
    lapses = since + WITH_PROOF.proof_max_age
    facts = knowing([PUBLIC, login(1), seen, *told], WITH_PROOF).facts
    for now, reasons in ((lapses - 1, ()), (lapses, ("verification_lapsed",))):
        standing = decide(facts, POLICY, now, WITH_PROOF)
        assert standing is not None
        assert standing.reasons == reasons


def test_a_login_told_by_a_webhook_holds_against_an_answer_that_comes_too_soon() -> None:
    told, lag = hint(5, OWNED, "owner_login", "octo-labs"), LAGGING.replica_lag
    for at, login_then in ((4, "octo-labs"), (5, "octo-labs"), (4 + lag, "octo-labs"), (5 + lag, "octo")):
        view = knowing([PUBLIC, told, proof(at, OWNED, "owner_login", "octo")], LAGGING)
        standing = decide(view.facts, POLICY, 9, LAGGING)
        assert standing is not None
        assert standing.repository_owner == login_then, at
