"""With every webhook lost, one sweep finds the truth; and what cannot be true is not believed."""

from __future__ import annotations

import pytest

from tests.support import NAME, OWNER, REPOSITORY, USER
from tests.verify.scene import INSTALLATION, Scene
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.lifecycle.facts import HOUR, SECOND
from worker.lifecycle.views import rfc3339


def many(scene: Scene, number: int) -> list[str]:
    """So many policies of octo's, each for a repository of its own, registered and verified."""
    for n in range(number):
        scene.fake.world.add_repository(OWNER, f"repo-{n}", repository_id=1000 + n)
        scene.registers(f"pol-{n}", repository_id=1000 + n, name=f"repo-{n}")
    return [f"pol-{n}" for n in range(number)]


def test_with_every_webhook_lost_all_policies_are_right_after_one_sweep(scene: Scene) -> None:
    many(scene, 9)
    world = scene.fake.world
    stranger = world.add_org("strangers").id
    world.archive(1000)
    world.delete_repository(1001)
    world.transfer(1002, stranger)
    world.set_visibility(1003, "public")
    world.transfer(1003, stranger)
    world.rename_repository(1004, "renamed")
    world.recreate(1005)
    world.set_visibility(1006, "public")
    world.take_repository_away(INSTALLATION, 1007)
    before = scene.now()
    scene.sweeps()
    assert {f"pol-{n}": scene.stands(f"pol-{n}") for n in range(9)} == {
        "pol-0": ("disabled", ["repository_archived"]),
        "pol-1": ("disabled", ["repository_unreachable"]),
        "pol-2": ("disabled", ["repository_unreachable"]),
        "pol-3": ("disabled", ["repository_transferred"]),
        "pol-4": ("provisional", []),
        "pol-5": ("disabled", ["repository_unreachable", "repository_replaced"]),
        "pol-6": ("active", []),
        "pol-7": ("disabled", ["repository_unreachable"]),
        "pol-8": ("provisional", []),
    }
    assert scene.view("pol-4")["repository"] == "renamed"
    assert all((scene.view(f"pol-{n}")["verified_at"] or "") > rfc3339(before) for n in range(9))


def test_a_creator_who_is_gone_without_a_word_is_found(scene: Scene) -> None:
    many(scene, 5)
    scene.fake.world.remove_member(OWNER, USER)
    scene.sweeps()
    assert all(scene.stands(f"pol-{n}") == ("disabled", ["creator_left_organization"]) for n in range(5))
    scene.fake.world.add_member(OWNER, USER)
    scene.wait(10 * SECOND)
    scene.sweeps()
    assert all(scene.stands(f"pol-{n}") == ("provisional", []) for n in range(5))


def test_somebody_who_was_never_a_member_may_work_from_outside(scene: Scene) -> None:
    outsider = scene.fake.world.add_user("olga").id
    scene.fake.world.add_collaborator(REPOSITORY, outsider)
    scene.registers(user=outsider)
    assert scene.stands() == ("provisional", [])
    scene.fake.world.remove_collaborator(REPOSITORY, outsider)
    scene.sweeps()
    assert scene.stands() == ("disabled", ["creator_lost_repository_access"])
    scene.fake.world.add_collaborator(REPOSITORY, outsider)
    scene.wait(10 * SECOND)
    scene.sweeps()
    assert scene.stands() == ("provisional", [])


def test_a_users_own_repositories_need_no_membership(scene: Scene) -> None:
    world = scene.fake.world
    world.install(USER)
    world.add_repository(USER, "dotfiles", repository_id=50)
    friend = world.add_user("frida").id
    world.add_collaborator(50, friend)
    scene.registers("pol-own", repository_id=50, owner=USER, name="dotfiles")
    scene.registers("pol-friend", repository_id=50, owner=USER, name="dotfiles", user=friend)
    assert scene.stands("pol-own") == ("provisional", [])
    assert scene.stands("pol-friend") == ("provisional", [])
    world.remove_collaborator(50, friend)
    scene.sweeps()
    assert scene.stands("pol-own") == ("provisional", [])
    assert scene.stands("pol-friend") == ("disabled", ["creator_lost_repository_access"])


def test_calls_grow_with_pages_and_not_with_policies(scene: Scene) -> None:
    many(scene, 12)
    for n in range(12, 40):
        scene.fake.world.add_repository(OWNER, f"repo-{n}", repository_id=1000 + n)
    for n in range(12):
        scene.registers(f"again-{n}", repository_id=1000 + n, name=f"repo-{n}")
    scene.fake.forget_calls()
    reports = scene.sweeps()
    assert scene.fake.calls == {"GET /installation/repositories": 1, "GET /organizations/{id}/members": 1}
    assert [report.policies for report in reports] == [24]
    assert scene.asking.sweeper.plan([OWNER]).calls >= sum(scene.fake.calls.values())


# Too much to be true


def organizations(scene: Scene, count: int) -> list[int]:
    """So many organisations, each with a policy of maria's for its repository."""
    world, made = scene.fake.world, [2000 + n for n in range(count)]
    for n, owner in enumerate(made):
        world.add_org(f"org-{n}", account_id=owner)
        world.add_member(owner, USER)
        world.add_repository(owner, NAME, repository_id=3000 + n)
        world.install(owner, installation_id=9100 + n)
        scene.registers(f"pol-{owner}", repository_id=3000 + n, owner=owner)
    scene.sweeps()
    return made


def owners(scene: Scene, count: int) -> list[int]:
    """The same, all verified for a day."""
    made = organizations(scene, count)
    scene.wait(26 * HOUR)
    scene.sweeps()
    return made


def test_what_one_owner_loses_is_its_own_business(scene: Scene) -> None:
    """Given an owner that loses fourteen repositories at once, then they are gone, and others are looked at as ever."""
    (other,) = owners(scene, 1)
    names = many(scene, 14)
    for n in range(14):
        scene.fake.world.delete_repository(1000 + n)
    scene.fake.world.remove_member(other, USER)
    scene.sweeps()
    assert scene.app.missing_scopes.breaker().open_since is None
    assert all(scene.stands(name) == ("disabled", ["repository_unreachable"]) for name in names)
    assert scene.stands(f"pol-{other}") == ("disabled", ["creator_left_organization"])


def test_when_half_of_all_owners_lose_something_new_losses_alone_are_withheld(scene: Scene) -> None:
    made = owners(scene, 6)
    names = [f"pol-{owner}" for owner in made]
    verified = {name: scene.view(name)["verified_at"] for name in names}
    for n in range(5):
        scene.fake.world.delete_repository(3000 + n)
    scene.fake.world.archive(3005)
    scene.sweeps()
    assert all(scene.stands(name) == ("provisional", []) for name in names[:5])
    assert scene.app.missing_scopes.breaker().open_since is not None
    assert scene.app.status.counters()["checks:withheld"] >= 5
    # Everything else goes on, and what is withheld renews no lease.
    assert scene.stands(names[5]) == ("disabled", ["repository_archived"])
    assert {name: scene.view(name)["verified_at"] for name in names[:5]} == {name: verified[name] for name in names[:5]}
    scene.app.checks.bring_forward([made[5]])
    scene.fake.forget_calls()
    scene.asking.sweeper.run("test", 1.0)
    assert scene.fake.calls
    scene.app.missing_scopes.let_through(scene.now() + HOUR)
    scene.sweeps()
    assert all(scene.stands(name) == ("disabled", ["repository_unreachable"]) for name in names[:5])


def test_a_member_that_is_withheld_renews_no_lease_either(scene: Scene) -> None:
    made = owners(scene, 5)
    verified = {owner: scene.view(f"pol-{owner}")["verified_at"] for owner in made}
    for owner in made:
        scene.fake.world.remove_member(owner, USER)
    scene.sweeps()
    scene.wait(HOUR // 2)
    before = {owner: scene.view(f"pol-{owner}")["verified_at"] for owner in made}
    scene.sweeps()
    assert scene.app.missing_scopes.breaker().open_since is not None
    assert {owner: scene.view(f"pol-{owner}")["verified_at"] for owner in made} == before
    assert verified != {}


def test_new_owners_do_not_make_github_look_ill(scene: Scene) -> None:
    """Given a stranger who makes six organisations and deletes their repositories, then they alone are the worse for it."""
    organizations(scene, 6)
    scene.wait(2 * HOUR)
    scene.sweeps()
    for n in range(6):
        scene.fake.world.delete_repository(3000 + n)
    scene.sweeps()
    assert scene.app.missing_scopes.breaker().open_since is None
    assert all(scene.stands(f"pol-{2000 + n}") == ("disabled", ["repository_unreachable"]) for n in range(6))


def test_the_breaker_closes_by_itself_when_github_is_well_again(scene: Scene) -> None:
    made = owners(scene, 6)
    for n in range(6):
        scene.fake.world.take_repository_away(9100 + n, 3000 + n)
    scene.sweeps()
    assert scene.app.missing_scopes.breaker().open_since is not None
    for n in range(6):
        scene.fake.world.give_repository(9100 + n, 3000 + n)
    scene.wait(70 * SECOND)
    scene.checks()
    scene.sweeps()
    scene.fake.world.delete_repository(3000)
    scene.sweeps()
    assert scene.app.missing_scopes.breaker().open_since is None
    assert all(scene.stands(f"pol-{owner}")[0] == "provisional" for owner in made[1:])


# Whose turn it is


def test_the_stalest_owner_is_swept_first_and_nobody_twice(scene: Scene, fake: FakeGitHub) -> None:
    scene.registers()
    fake.world.add_org("acme", account_id=OWNER + 2)
    fake.world.add_member(OWNER + 2, USER)
    fake.world.add_repository(OWNER + 2, "anvil", repository_id=77)
    fake.world.install(OWNER + 2)
    scene.registers("pol-2", repository_id=77, owner=OWNER + 2, name="anvil")
    scene.asking.sweeper.run("test", 5.0)
    assert [swept > 0 for _, swept in scene.app.checks.stalest(10)] == [True, True]
    scene.fake.forget_calls()
    scene.asking.sweeper.run("test", 5.0)
    assert not scene.fake.calls
    scene.wait(12 * HOUR)
    scene.asking.sweeper.run("test", 5.0)
    assert scene.fake.calls["GET /installation/repositories"] == 2


def test_an_owner_without_policies_is_forgotten(scene: Scene) -> None:
    from tests.store.making import about_policy

    scene.registers()
    scene.hears(about_policy(scene.app, "policy.removed", "pol-1"))
    assert scene.app.checks.owners() == 1
    scene.asking.sweeper.run("test", 5.0)
    assert scene.app.checks.owners() == 0


@pytest.mark.parametrize("hours", [71, 73])
def test_a_policy_lapses_when_github_could_not_be_asked_for_too_long(scene: Scene, hours: int) -> None:
    scene.registers()
    scene.fake.faults.add(Fault(kind="status", status=503))
    scene.wait(hours * HOUR)
    scene.sweeps()
    scene.settles_due()
    lapsed = hours > 72
    assert scene.stands() == (("disabled", ["verification_lapsed"]) if lapsed else ("provisional", []))
    scene.fake.faults.heal()
    scene.sweeps()
    assert scene.stands() == ("provisional", [])


# Defects that were found


def test_owners_that_must_wait_keep_nobody_else_from_being_swept(scene: Scene, fake: FakeGitHub) -> None:
    for n in range(6):
        owner = OWNER + 10 + n
        fake.world.add_org(f"org-{n}", account_id=owner)
        fake.world.add_member(owner, USER)
        fake.world.add_repository(owner, "anvil", repository_id=700 + n)
        fake.world.install(owner, installation_id=100 + n)
    for n in range(6):
        scene.registers(f"pol-{n}", repository_id=700 + n, owner=OWNER + 10 + n, name="anvil")
    for n in range(5):
        fake.faults.add(Fault(kind="primary_limit", installation=100 + n, retry_after=600))
    scene.asking.sweeper.run("test", 5.0)
    assert sum(swept > 0 for _, swept in scene.app.checks.stalest(10)) == 1


def test_a_lost_repository_outside_the_selection_is_found_again(scene: Scene, fake: FakeGitHub) -> None:
    fake.world.uninstall(INSTALLATION)
    fake.world.install(OWNER, installation_id=INSTALLATION, repositories=[])
    fake.world.set_visibility(REPOSITORY, "public")
    scene.registers()
    assert scene.stands() == ("active", [])
    fake.world.set_visibility(REPOSITORY, "private")
    scene.sweeps()
    assert scene.stands() == ("disabled", ["repository_unreachable"])
    fake.world.set_visibility(REPOSITORY, "public")
    scene.wait(48 * HOUR)
    scene.sweeps()
    assert scene.stands() == ("active", [])


def test_questions_that_are_never_answered_keep_no_others_from_being_asked(scene: Scene, fake: FakeGitHub) -> None:
    names = many(scene, 4)
    fake.world.uninstall(INSTALLATION)
    fake.world.install(OWNER, installation_id=INSTALLATION, repositories=[1002, 1003])
    for poisoned in (1000, 1001):
        fake.faults.add(Fault(kind="status", status=500, path=f"/repositories/{poisoned}"))
    fake.world.remove_member(OWNER, USER)
    scene.sweeps()
    assert all("creator_left_organization" in scene.stands(name)[1] for name in names)
