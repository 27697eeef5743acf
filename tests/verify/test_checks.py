"""Disable on hint, enable on proof: what a check asks, and what comes of the answers."""

from __future__ import annotations

import pytest

from tests.store.making import about_member, about_repository, login
from tests.support import NAME, OWNER, REPOSITORY, USER
from tests.verify.scene import INSTALLATION, Scene
from worker.demo.fakegithub import Fault
from worker.lifecycle.facts import SECOND
from worker.lifecycle.views import rfc3339
from worker.verify.losses import LEAST


def test_a_registered_policy_is_verified_at_once(scene: Scene) -> None:
    before = scene.now()
    scene.registers()
    assert scene.stands() == ("provisional", [])
    assert (scene.view()["verified_at"] or "") > rfc3339(before)


def test_a_public_repository_makes_a_policy_permanent_once_github_says_so(scene: Scene) -> None:
    scene.fake.world.set_visibility(REPOSITORY, "public")
    scene.registers()
    assert scene.stands() == ("active", [])
    assert scene.view()["advisories"] == ["visibility_changed"]


def test_a_hint_disables_and_only_github_enables(scene: Scene) -> None:
    scene.registers()
    scene.fake.world.archive(REPOSITORY)
    scene.hears(about_repository(scene.app, "archived", "h-1"))
    assert scene.stands() == ("disabled", ["repository_archived"])
    scene.hears(about_repository(scene.app, "unarchived", "h-2"))
    scene.checks()
    assert scene.stands() == ("disabled", ["repository_archived"])
    scene.fake.world.archive(REPOSITORY, archived=False)
    scene.hears(about_repository(scene.app, "unarchived", "h-3"))
    assert scene.stands() == ("disabled", ["repository_archived"])
    scene.checks()
    assert scene.stands() == ("provisional", [])


def test_a_member_who_left_is_let_in_by_github_only(scene: Scene) -> None:
    scene.registers()
    scene.fake.world.remove_member(OWNER, USER)
    scene.hears(about_member(scene.app, "member_removed", "h-1"))
    scene.checks()
    assert scene.stands() == ("disabled", ["creator_left_organization"])
    scene.hears(about_member(scene.app, "member_added", "h-2"))
    scene.checks()
    assert scene.stands() == ("disabled", ["creator_left_organization"])
    scene.fake.world.add_member(OWNER, USER, state="pending")
    scene.hears(about_member(scene.app, "member_added", "h-3"))
    scene.checks()
    assert scene.stands() == ("disabled", ["creator_left_organization"])
    scene.fake.world.add_member(OWNER, USER)
    scene.hears(about_member(scene.app, "member_added", "h-4"))
    scene.checks()
    assert scene.stands() == ("provisional", [])


def test_a_burst_of_hints_for_one_owner_costs_one_check(scene: Scene) -> None:
    scene.registers()
    scene.fake.forget_calls()
    scene.hears(*(about_repository(scene.app, "unarchived", f"h-{n}") for n in range(500)))
    scene.asks()
    assert scene.fake.calls["GET /repositories/{id}"] == 1


def test_a_repository_without_an_id_is_bound_by_githubs_answer(scene: Scene) -> None:
    scene.registers(repository_id=None)
    assert scene.view()["repository_id"] == REPOSITORY
    assert scene.stands() == ("provisional", [])


def test_a_private_repository_that_the_app_cannot_see_is_bound_at_first_login(scene: Scene) -> None:
    scene.fake.world.uninstall(INSTALLATION)
    scene.fake.world.install(OWNER, installation_id=INSTALLATION + 1, repositories=[])
    scene.registers(repository_id=None)
    assert scene.stands() == ("provisional", [])
    assert scene.view()["repository_id"] is None
    scene.hears(login(scene.app, "pol-1"))
    assert scene.stands() == ("active", [])
    assert scene.view()["repository_id"] == REPOSITORY


@pytest.mark.parametrize(
    ("known", "reason"), [(REPOSITORY, "repository_transferred"), (None, "owner_deleted")], ids=["by id", "by name"]
)
def test_a_repository_of_another_owner_is_a_clear_reason(scene: Scene, known: int | None, reason: str) -> None:
    """The registration names an owner's id that does not go with the owner's name, and that nobody has."""
    scene.registers("pol-2", repository_id=known, owner=OWNER + 1)
    assert scene.stands("pol-2")[0] == "disabled"
    assert reason in scene.stands("pol-2")[1]


def test_a_renamed_repository_is_followed(scene: Scene) -> None:
    scene.registers()
    scene.fake.world.rename_repository(REPOSITORY, "gadgets")
    scene.sweeps()
    assert scene.view()["repository"] == "gadgets"
    assert scene.view()["advisories"] == ["renamed"]
    assert scene.stands() == ("provisional", [])


def test_another_spelling_of_a_name_is_no_rename(scene: Scene) -> None:
    scene.registers(name=NAME.upper())
    assert scene.view()["advisories"] == []


def test_a_login_that_contradicts_the_bound_id_proves_nothing_and_is_kept(scene: Scene) -> None:
    scene.registers()
    scene.hears(login(scene.app, "pol-1", "l-1", repository_id=REPOSITORY + 1))
    scene.hears(login(scene.app, "pol-1", "l-1", repository_id=REPOSITORY + 1))
    assert scene.stands() == ("provisional", [])
    home = scene.app.policies.load(["pol-1"])["pol-1"].home
    told = [entry for entry in scene.app.policies.history("pol-1", home) if entry.type == "login.contradicted"]
    assert [entry.cause["id"] for entry in told] == ["l-1"]
    assert scene.app.status.counters()["logins:contradicted"] == 1


# When GitHub cannot be asked


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=502),
        Fault(kind="truncated"),
        Fault(kind="wrong_type"),
        Fault(kind="wrong_shape"),
        Fault(kind="reset"),
        Fault(kind="status", status=401),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
def test_a_fault_changes_nothing_and_is_asked_again(scene: Scene, fault: Fault) -> None:
    scene.registers()
    scene.fake.world.archive(REPOSITORY)
    scene.hears(about_repository(scene.app, "archived", "h-1"))
    scene.checks()
    scene.fake.world.archive(REPOSITORY, archived=False)
    scene.fake.faults.add(fault)
    scene.hears(about_repository(scene.app, "unarchived", "h-2"))
    scene.checks()
    assert scene.stands() == ("disabled", ["repository_archived"])
    scene.fake.faults.heal()
    scene.wait(60 * SECOND)
    scene.checks()
    assert scene.stands() == ("provisional", [])


def test_a_limited_installation_waits_and_others_do_not(scene: Scene) -> None:
    scene.fake.world.add_org("acme", account_id=OWNER + 2)
    scene.fake.world.add_member(OWNER + 2, USER)
    scene.fake.world.add_repository(OWNER + 2, "anvil", repository_id=77)
    other = scene.fake.world.install(OWNER + 2)
    scene.registers()
    scene.registers("pol-2", repository_id=77, owner=OWNER + 2, name="anvil")
    assert scene.view("pol-2")["verified_at"] is not None
    scene.fake.faults.add(Fault(kind="primary_limit", installation=INSTALLATION, retry_after=600))
    scene.hears(
        about_repository(scene.app, "archived", "h-1"),
        about_repository(scene.app, "archived", "h-2", owner=OWNER + 2, repository_id=77, name="anvil"),
    )
    scene.fake.forget_calls()
    scene.checks()
    assert scene.stands() == ("disabled", ["repository_archived"])
    assert scene.stands("pol-2") == ("provisional", [])
    asked = [call.who for call in scene.fake.requests if call.route == "GET /repositories/{id}"]
    assert asked.count(INSTALLATION) <= 1
    assert asked.count(other.id) >= 1
    assert scene.app.ledger.trouble().failures == 0


# A 404 is no verdict


def test_a_404_is_believed_at_the_second_look_only(scene: Scene) -> None:
    scene.registers()
    scene.fake.faults.add(Fault(kind="status", status=404, route="GET /repositories/{id}", times=1))
    scene.hears(about_repository(scene.app, "publicized", "h-1"))
    scene.asks()
    assert scene.stands() == ("provisional", [])
    scene.checks()
    assert scene.stands() == ("provisional", [])
    assert scene.app.missing_scopes.suspected() == []


def test_a_404_is_not_believed_while_github_does_not_know_what_it_must(scene: Scene) -> None:
    scene.registers()
    scene.fake.faults.add(Fault(kind="status", status=404, route="GET /repositories/{id}"))
    scene.fake.faults.add(Fault(kind="status", status=404, route="GET /installation/repositories"))
    scene.hears(about_repository(scene.app, "publicized", "h-1"))
    scene.checks()
    scene.checks()
    assert scene.stands() == ("provisional", [])


def test_a_repository_that_is_gone_is_out_of_reach_until_it_is_seen_again(scene: Scene) -> None:
    scene.registers()
    scene.fake.faults.add(Fault(kind="status", status=404, path=f"/repositories/{REPOSITORY}"))
    scene.hears(about_repository(scene.app, "publicized", "h-1"))
    scene.checks()
    assert scene.stands() == ("disabled", ["repository_unreachable"])
    scene.fake.faults.heal()
    scene.wait(10 * SECOND)
    scene.checks()
    assert scene.stands() == ("provisional", [])


def test_a_repository_that_stays_away_is_looked_at_less_and_less_and_nothing_more_is_published(scene: Scene) -> None:
    """Each look is as far away as a quarter of the time for which it has been missing; none is a revision."""
    scene.registers()
    scene.fake.faults.add(Fault(kind="status", status=404, path=f"/repositories/{REPOSITORY}"))
    scene.hears(about_repository(scene.app, "publicized", "h-1"))
    missing_since = scene.now()
    scene.checks()
    revision = scene.view()["revision"]
    for _ in range(6):
        due = scene.app.checks.oldest()
        assert due is not None
        scene.wait(max(0, due - scene.now()))
        at = scene.now()
        scene.asks()
        again = scene.app.checks.oldest()
        assert again is not None
        missing = at - missing_since
        assert max(LEAST, missing // 5) <= again - at <= max(2 * LEAST, missing // 2)
    assert scene.now() - missing_since > 40 * SECOND
    assert scene.stands() == ("disabled", ["repository_unreachable"])
    assert (scene.view()["revision"], scene.changes()[-1]["type"]) == (revision, "policy.disabled")


def test_a_repository_blocked_by_github_is_out_of_reach(scene: Scene) -> None:
    scene.registers()
    scene.fake.world.block(REPOSITORY)
    scene.hears(about_repository(scene.app, "publicized", "h-1"))
    scene.checks()
    assert scene.stands() == ("disabled", ["repository_unreachable"])


def test_a_deleted_repository_stays_a_tombstone_and_its_name_is_not_bound_anew(scene: Scene) -> None:
    scene.registers()
    scene.fake.world.recreate(REPOSITORY, new_id=REPOSITORY + 1)
    scene.hears(
        about_repository(scene.app, "deleted", "h-1"),
        about_repository(scene.app, "created", "h-2", repository_id=REPOSITORY + 1),
    )
    scene.checks()
    scene.checks()
    assert scene.stands() == ("disabled", ["repository_deleted", "repository_replaced"])
    assert scene.view()["repository_id"] == REPOSITORY


# Defects that were found


def test_a_declared_visibility_is_not_believed_also_where_the_truth_was_known_before(scene: Scene) -> None:
    scene.registers()
    scene.registers("pol-2", visibility="public")
    assert scene.stands("pol-2") == ("provisional", [])
    assert (scene.view("pol-2")["visibility"], scene.view("pol-2")["advisories"]) == ("private", ["visibility_changed"])


def test_somebody_who_had_no_access_gets_in_with_it_without_ever_being_a_member(scene: Scene) -> None:
    outsider = scene.fake.world.add_user("olga").id
    scene.registers(user=outsider)
    assert scene.stands() == ("disabled", ["creator_left_organization"])
    scene.fake.world.add_collaborator(REPOSITORY, outsider)
    scene.hears(about_member(scene.app, "member_added", "h-1", user=USER))
    scene.sweeps()
    assert scene.stands() == ("provisional", [])
    scene.fake.world.remove_collaborator(REPOSITORY, outsider)
    scene.sweeps()
    assert scene.stands() == ("disabled", ["creator_lost_repository_access"])


def test_where_the_repository_could_not_be_asked_about_nothing_is_learnt_of_who_works_from_outside(
    scene: Scene,
) -> None:
    outsider = scene.fake.world.add_user("olga").id
    scene.fake.world.add_collaborator(REPOSITORY, outsider)
    scene.fake.world.block(REPOSITORY)
    scene.registers(user=outsider)
    assert scene.stands() == ("disabled", ["repository_unreachable"])
    scene.fake.world.block(REPOSITORY, blocked=False)
    scene.wait(10 * SECOND)
    scene.checks()
    assert scene.stands() == ("provisional", [])


def test_an_organization_is_asked_under_its_present_name(scene: Scene) -> None:
    scene.registers()
    scene.fake.world.rename_account(OWNER, "octo-labs")
    scene.fake.faults.add(Fault(kind="status", status=404, path="/orgs/octo/"))
    scene.hears(about_member(scene.app, "member_added", "h-1"))
    scene.checks()
    scene.checks()
    assert scene.stands() == ("provisional", [])


@pytest.mark.parametrize("status", [403, 451, 401, 404])
def test_an_answer_that_soon_is_another_one_is_asked_for_again(scene: Scene, status: int) -> None:
    scene.registers()
    scene.fake.world.archive(REPOSITORY)
    scene.hears(about_repository(scene.app, "archived", "h-1"))
    scene.checks()
    scene.fake.world.archive(REPOSITORY, archived=False)
    scene.fake.faults.add(Fault(kind="status", status=status))
    scene.hears(about_repository(scene.app, "unarchived", "h-2"))
    scene.checks()
    scene.fake.faults.heal()
    for _ in range(2):
        scene.wait(4 * SECOND)
        scene.checks()
    assert scene.stands() == ("provisional", [])


def test_a_token_that_is_refused_for_a_moment_drops_no_hint(scene: Scene) -> None:
    scene.registers()
    scene.fake.world.archive(REPOSITORY)
    scene.hears(about_repository(scene.app, "archived", "h-1"))
    scene.checks()
    scene.fake.world.archive(REPOSITORY, archived=False)
    scene.fake.rotate_tokens()
    scene.fake.faults.add(Fault(kind="status", status=403, route="POST /app/installations/{id}/access_tokens", times=1))
    scene.hears(about_repository(scene.app, "unarchived", "h-2"))
    scene.checks()
    scene.checks()
    assert scene.stands() == ("provisional", [])


def test_an_answer_from_before_a_hint_gives_nothing_back(scene: Scene) -> None:
    """Given a replica of GitHub's that has not heard of the archiving, when it is asked at once, then nobody believes it."""
    scene.registers()
    scene.hears(about_repository(scene.app, "archived", "h-1"))
    scene.asks()
    assert scene.stands() == ("disabled", ["repository_archived"])
    scene.fake.world.archive(REPOSITORY)
    scene.checks()
    assert scene.stands() == ("disabled", ["repository_archived"])
    scene.fake.world.archive(REPOSITORY, archived=False)
    scene.sweeps()
    assert scene.stands() == ("provisional", [])


def test_what_a_webhook_explains_leaves_no_suspect_behind(scene: Scene) -> None:
    scene.registers()
    scene.fake.world.delete_repository(REPOSITORY)
    scene.hears(about_repository(scene.app, "publicized", "h-1"))
    scene.asks()
    assert scene.app.missing_scopes.tally(scene.now()).pending == 1
    scene.hears(about_repository(scene.app, "deleted", "h-2"))
    scene.checks()
    tally = scene.app.missing_scopes.tally(scene.now())
    assert (tally.pending, tally.lost) == (0, 0)
