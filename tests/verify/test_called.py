"""A reusable workflow of another owner, where GitHub can be asked: bound by ids, and followed without a webhook."""

from __future__ import annotations

import pytest

from tests.support import OWNER
from tests.verify.scene import Scene
from worker.demo.fakegithub import Fault
from worker.lifecycle.facts import HOUR

LABS, SHARED, THEIRS, STRANGER = 40, 70, 9040, 666
FILE = "/.github/workflows/publish.yml"


@pytest.fixture
def calling(scene: Scene) -> Scene:
    """A policy that calls a workflow of the public repository labs/shared, where the App is not installed."""
    world = scene.fake.world
    world.add_org("labs", account_id=LABS)
    world.add_repository(LABS, "shared", repository_id=SHARED, visibility="public")
    scene.registers(workflow_file=f"labs/shared{FILE}")
    return scene


def known(scene: Scene) -> tuple[str, list[str]]:
    view = scene.view()
    assert view["usable"], "it is advice, and never blocks"
    return view["workflow_file"].removesuffix(FILE), view["advisories"]


def test_a_renamed_owner_is_followed_and_whoever_takes_the_login_is_nobody(calling: Scene) -> None:
    world = calling.fake.world
    world.rename_account(LABS, "labs-new")
    world.add_org("labs", account_id=STRANGER)
    world.install(STRANGER, installation_id=9666)
    world.add_repository(STRANGER, "shared", repository_id=6666, visibility="public")
    calling.sweeps()
    assert known(calling) == ("labs-new/shared", [])
    calling.sweeps()
    assert known(calling) == ("labs-new/shared", [])


def test_owner_and_repository_may_both_have_another_name(calling: Scene) -> None:
    world = calling.fake.world
    world.rename_repository(SHARED, "common")
    world.rename_account(LABS, "labs-new")
    calling.sweeps()
    assert known(calling) == ("labs-new/common", [])
    world.rename_repository(SHARED, "base")
    calling.wait(HOUR)
    calling.sweeps()
    assert known(calling) == ("labs-new/base", [])


def test_a_repository_that_was_deleted_and_made_anew_is_another(calling: Scene) -> None:
    world = calling.fake.world
    world.delete_repository(SHARED)
    world.add_repository(LABS, "shared", repository_id=71, visibility="public")
    calling.sweeps()
    assert known(calling) == ("labs/shared", ["workflow_missing"])
    calling.sweeps()
    assert known(calling) == ("labs/shared", ["workflow_missing"])
    # The owner confirms: what has the address now is meant.
    calling.wait(HOUR)
    calling.registers(workflow_file=f"labs/shared{FILE}")
    calling.sweeps()
    assert known(calling) == ("labs/shared", [])


def test_a_repository_that_goes_to_somebody_else_is_told_of(calling: Scene) -> None:
    world = calling.fake.world
    world.add_org("evil", account_id=STRANGER)
    world.transfer(SHARED, STRANGER)
    calling.sweeps()
    assert known(calling) == ("labs/shared", ["workflow_missing"])


def test_what_is_seen_again_under_its_id_is_there(calling: Scene) -> None:
    world = calling.fake.world
    world.set_visibility(SHARED, "private")
    calling.sweeps()
    assert known(calling) == ("labs/shared", ["workflow_missing"])
    world.set_visibility(SHARED, "public")
    calling.sweeps()
    assert known(calling) == ("labs/shared", [])


def test_its_own_installation_sees_what_is_private(scene: Scene) -> None:
    world = scene.fake.world
    world.add_org("labs", account_id=LABS)
    world.add_repository(LABS, "shared", repository_id=SHARED, visibility="private")
    world.install(LABS, installation_id=THEIRS)
    scene.registers(workflow_file=f"labs/shared{FILE}")
    world.rename_account(LABS, "labs-new")
    scene.sweeps()
    assert known(scene) == ("labs-new/shared", [])


def test_an_address_that_was_left_before_anybody_asked_binds_nobody(scene: Scene) -> None:
    world = scene.fake.world
    world.add_org("labs", account_id=LABS)
    world.add_repository(LABS, "shared", repository_id=SHARED, visibility="public")
    world.rename_account(LABS, "labs-new")
    scene.registers(workflow_file=f"labs/shared{FILE}")
    assert known(scene) == ("labs/shared", ["workflow_missing"])


def test_another_owner_s_trouble_is_not_ours(calling: Scene) -> None:
    calling.fake.faults.add(Fault(kind="status", status=502, path=f"/repositories/{SHARED}"))
    calling.wait(HOUR)
    (report, *_) = calling.sweeps()
    assert report.outcome == "done"
    assert known(calling) == ("labs/shared", [])


def test_what_nobody_ever_saw_is_followed_by_webhooks_alone(scene: Scene) -> None:
    scene.registers(workflow_file=f"labs/shared{FILE}")
    scene.sweeps()
    assert known(scene) == ("labs/shared", [])


def test_a_repository_of_the_same_owner_is_followed_without_a_webhook(scene: Scene) -> None:
    world = scene.fake.world
    world.add_repository(OWNER, "shared", repository_id=SHARED)
    scene.registers(workflow_file=f"octo/shared{FILE}")
    world.rename_repository(SHARED, "common")
    world.rename_account(OWNER, "octo-labs")
    scene.sweeps()
    assert known(scene) == ("octo-labs/common", ["renamed"])
