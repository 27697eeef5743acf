"""Who answers must be who was asked about: logins that others have taken, and installations of other accounts."""

from __future__ import annotations

import pytest

from tests.store.making import about_member
from tests.support import NAME, OWNER, REPOSITORY, USER
from tests.verify.scene import INSTALLATION, Scene
from worker.demo.fakegithub import Fault
from worker.lifecycle.facts import DAY, HOUR, SECOND
from worker.lifecycle.views import micros

STRANGER, THEIRS, PAUL, OTHER = 666, 9666, 6, 1001


def squat(scene: Scene, *, installed: bool = True) -> None:
    """The organisation gets another login, of which nobody is told, and a stranger takes the former one."""
    world = scene.fake.world
    world.rename_account(OWNER, "octo-labs")
    world.add_org("octo", account_id=STRANGER)
    if installed:
        world.install(STRANGER, installation_id=THEIRS)


def until(scene: Scene) -> int:
    """When the policy closes by itself."""
    closes = scene.view()["usable_until"]
    assert closes is not None
    return micros_of(closes)


def micros_of(text: str) -> int:
    from datetime import datetime

    return micros(datetime.fromisoformat(text))


def test_members_of_a_squatted_login_are_nobody_s_members(scene: Scene) -> None:
    scene.registers()
    squat(scene)
    world = scene.fake.world
    world.remove_member(OWNER, USER)
    world.add_member(STRANGER, USER)
    for number in range(2):
        scene.hears(about_member(scene.app, "member_removed", f"h-{number}"))
        scene.checks()
        scene.wait(10 * SECOND)
        scene.checks()
        assert scene.stands() == ("disabled", ["creator_left_organization"])
    scene.sweeps()
    assert scene.stands() == ("disabled", ["creator_left_organization"])


def test_a_member_is_no_stranger_because_somebody_took_the_login(scene: Scene) -> None:
    """Nor does it prove absence: whoever squats the former login has no members of ours."""
    scene.registers()
    squat(scene)
    scene.sweeps()
    scene.checks()
    assert scene.stands() == ("provisional", [])
    assert scene.view()["repository_owner"] == "octo-labs"


def test_a_squatted_repository_binds_nothing(scene: Scene) -> None:
    world = scene.fake.world
    squat(scene)
    world.add_repository(STRANGER, NAME, repository_id=6666, visibility="public")
    scene.registers(repository_id=None)
    assert scene.view()["repository_id"] == REPOSITORY
    assert scene.stands() == ("provisional", [])


def test_a_squatted_login_transfers_nothing(scene: Scene) -> None:
    """Given that the repository cannot be seen, when a stranger has one of its name under the former login, then it was not
    transferred.
    """
    world = scene.fake.world
    world.take_repository_away(INSTALLATION, REPOSITORY)
    squat(scene)
    world.add_repository(STRANGER, NAME, repository_id=6666, visibility="public")
    scene.registers(repository_id=None)
    assert scene.view()["repository_id"] is None
    assert scene.stands() == ("provisional", [])


@pytest.mark.parametrize("login", ["octo", "evil"])
def test_a_stranger_s_installation_keeps_nobody_verified(scene: Scene, login: str) -> None:
    """The App is taken away, or was never there; whoever has the login that was registered shows the public repository."""
    world = scene.fake.world
    world.set_visibility(REPOSITORY, "public")
    if login == "octo":
        scene.registers()
        squat(scene)
    else:
        world.add_org("evil", account_id=STRANGER)
        world.install(STRANGER, installation_id=THEIRS)
    world.uninstall(INSTALLATION)
    if login == "evil":
        scene.registers(repository_owner="evil")
    for _ in range(5):
        scene.wait(20 * HOUR)
        scene.sweeps()
        scene.settles_due()
    assert "verification_lapsed" in scene.stands()[1]


def test_a_wrong_login_is_put_right(scene: Scene) -> None:
    scene.registers(repository_owner="evil")
    scene.sweeps()
    assert scene.view()["repository_owner"] == "octo"
    assert "policy.updated" in [event["type"] for event in scene.changes()]
    assert scene.stands()[1] == []


def test_a_removed_member_who_still_collaborates_stays_out(scene: Scene) -> None:
    """Removed without a webhook; looked at once, twice, thrice."""
    scene.registers()
    world = scene.fake.world
    world.remove_member(OWNER, USER)
    world.add_collaborator(REPOSITORY, USER)
    for _ in range(4):
        scene.sweeps()
        scene.wait(HOUR)
    assert scene.stands() == ("disabled", ["creator_left_organization"])
    world.add_member(OWNER, USER)
    scene.sweeps()
    assert scene.stands() == ("provisional", [])
    world.remove_member(OWNER, USER)
    scene.sweeps()
    scene.sweeps()
    assert scene.stands() == ("disabled", ["creator_left_organization"])


def test_a_later_policy_knows_that_its_creator_was_a_member(scene: Scene) -> None:
    scene.registers()
    world = scene.fake.world
    world.remove_member(OWNER, USER)
    world.add_collaborator(REPOSITORY, USER)
    scene.sweeps()
    scene.registers("pol-2")
    scene.sweeps()
    assert scene.stands("pol-2") == ("disabled", ["creator_left_organization"])


def test_writing_to_one_repository_lets_nobody_into_another(scene: Scene) -> None:
    world = scene.fake.world
    world.add_user("paul", account_id=PAUL)
    world.add_repository(OWNER, "gadgets", repository_id=OTHER)
    world.add_collaborator(REPOSITORY, PAUL)
    scene.registers("pol-1", user=PAUL)
    scene.registers("pol-2", user=PAUL, repository_id=OTHER, name="gadgets")
    scene.sweeps()
    assert scene.stands("pol-1") == ("provisional", [])
    assert scene.stands("pol-2") == ("disabled", ["creator_lost_repository_access"])
    world.add_collaborator(OTHER, PAUL)
    scene.sweeps()
    assert scene.stands("pol-2") == ("provisional", [])


def test_what_was_no_answer_is_asked_again_while_somebody_is_kept_out(scene: Scene) -> None:
    """Given a hint that was wrong, when GitHub does not let us ask for some seconds, then it is put right soon after."""
    scene.registers()
    scene.fake.faults.add(Fault(kind="status", status=403, path="/orgs/octo/memberships/maria"))
    scene.fake.faults.add(Fault(kind="status", status=403, path=f"/organizations/{OWNER}/members"))
    scene.hears(about_member(scene.app, "member_removed", "h-1"))
    scene.checks()
    assert scene.stands() == ("disabled", ["creator_left_organization"])
    scene.fake.faults.heal()
    for _ in range(6):
        scene.wait(5 * SECOND)
        scene.asks()
    assert scene.stands() == ("provisional", [])


def test_days_later_too(scene: Scene) -> None:
    scene.registers()
    squat(scene)
    for _ in range(3):
        scene.wait(DAY)
        scene.sweeps()
    assert scene.stands() == ("provisional", [])


def test_a_creator_of_whom_nobody_may_ask_renews_nothing(scene: Scene) -> None:
    """Given a public repository that the App is not given any more, then it is seen, but not whether its creator, who is no
    member, still may write: what was proven last counts as long as a proof does, and no longer.
    """
    world = scene.fake.world
    world.add_user("paul", account_id=PAUL)
    world.set_visibility(REPOSITORY, "public")
    world.add_repository(OWNER, "gadgets", repository_id=OTHER)
    world.add_collaborator(REPOSITORY, PAUL)
    scene.registers("pol-1", user=PAUL, visibility="public")
    scene.registers("pol-2", user=USER, visibility="public")
    scene.sweeps()
    world.take_repository_away(INSTALLATION, REPOSITORY)
    for _ in range(7):
        scene.wait(12 * HOUR)
        scene.sweeps()
    assert scene.stands("pol-1") == ("disabled", ["verification_lapsed"])
    assert scene.stands("pol-2") == ("active", [])
    world.give_repository(INSTALLATION, REPOSITORY)
    scene.sweeps()
    assert scene.stands("pol-1") == ("active", [])


def test_a_look_that_was_cut_short_renews_no_lease(scene: Scene) -> None:
    """Given that GitHub shows the repositories, and answers nothing about people, then creators are not taken for verified."""
    scene.registers()
    closes = until(scene)
    scene.fake.faults.add(Fault(kind="status", status=502, path="/orgs/octo/memberships/"))
    scene.fake.faults.add(Fault(kind="status", status=502, path=f"/organizations/{OWNER}/members"))
    scene.wait(12 * HOUR)
    scene.sweeps()
    assert until(scene) == closes
    scene.fake.faults.heal()
    scene.sweeps()
    assert until(scene) > closes


def test_a_first_look_renews_no_lease(scene: Scene) -> None:
    """Given a creator who is not found any more, when nobody lives to look again, then the last proof counts, not this look."""
    scene.registers()
    closes = until(scene)
    scene.wait(12 * HOUR)
    scene.fake.world.remove_member(OWNER, USER)
    scene.asking.sweeper.sweep(OWNER, "test")
    assert until(scene) == closes
