"""GitHub's replicas that have not heard yet of what a webhook just told: their answer counts for nothing, and is asked again."""

from __future__ import annotations

import pytest

from tests.store.making import Json, webhook
from tests.support import NAME, OWNER, REPOSITORY, account, repository
from tests.verify.scene import Scene
from worker.lifecycle.facts import SECOND
from worker.verify.verifier import Report

LABS, SHARED, STRANGER = 40, 70, 666
FILE = "/.github/workflows/publish.yml"


def owner_renamed(scene: Scene, owner: int, old: str, new: str) -> None:
    """GitHub tells of it; its replicas do not know it yet."""
    data: Json = {
        "action": "renamed", "organization": {**account(owner), "login": new}, "changes": {"login": {"from": old}},
    }  # fmt: skip
    scene.hears(webhook(scene.app, "organization.renamed", data, f"renamed-{new}", owner=owner))


def test_a_renamed_owner_keeps_the_new_login(scene: Scene) -> None:
    """The check that the webhook itself asks for comes early. A stranger who has the old login by then has nothing of it."""
    scene.fake.world.add_repository(OWNER, "shared", repository_id=SHARED)
    scene.registers(workflow_file=f"octo/shared{FILE}")
    owner_renamed(scene, OWNER, "octo", "octo-labs")
    scene.asks()
    scene.fake.world.rename_account(OWNER, "octo-labs")
    scene.fake.world.add_org("octo", account_id=STRANGER)
    for _ in range(3):
        scene.asks()
        assert scene.view()["repository_owner"] == "octo-labs"
        assert scene.view()["workflow_file"] == f"octo-labs/shared{FILE}"


@pytest.mark.parametrize("true", [False, True])
def test_a_renamed_repository_is_asked_about_again(scene: Scene, *, true: bool) -> None:
    """Whether the webhook was right, an answer after the replicas' lag tells."""
    scene.registers()
    told = repository(REPOSITORY, "gadgets", owner=account(OWNER))
    data: Json = {"action": "renamed", "repository": told, "changes": {"repository": {"name": {"from": NAME}}}}
    scene.hears(webhook(scene.app, "repository.renamed", data, "renamed"))
    scene.asks()
    assert scene.view()["repository"] == "gadgets"
    if true:
        scene.fake.world.rename_repository(REPOSITORY, "gadgets")
    for _ in range(3):
        scene.asks()
    assert scene.view()["repository"] == ("gadgets" if true else NAME)


def called(scene: Scene) -> None:
    """A policy that calls a workflow of another owner's repository, which is known by its ids."""
    world = scene.fake.world
    world.add_org("labs", account_id=LABS)
    world.add_repository(LABS, "shared", repository_id=SHARED, visibility="public")
    scene.registers(workflow_file=f"labs/shared{FILE}")
    scene.sweeps()


def test_another_owner_s_workflow_keeps_the_new_address(scene: Scene) -> None:
    called(scene)
    owner_renamed(scene, LABS, "labs", "labs-new")
    scene.wait(SECOND)
    scene.asking.sweeper.sweep(OWNER, "test")
    assert scene.view()["workflow_file"] == f"labs-new/shared{FILE}"
    scene.fake.world.rename_account(LABS, "labs-new")
    scene.sweeps()
    assert scene.view()["workflow_file"] == f"labs-new/shared{FILE}"


def test_another_owner_s_repository_is_asked_about_again(scene: Scene) -> None:
    """Given that it was said to be deleted, which it is not, and a sweep asked too early, then nobody waits for the next."""
    called(scene)
    gone = repository(SHARED, "shared", owner={**account(LABS), "login": "labs"})
    scene.hears(webhook(scene.app, "repository.deleted", {"action": "deleted", "repository": gone}, "gone", owner=LABS))
    assert scene.view()["advisories"] == ["workflow_missing"]
    scene.wait(SECOND)
    scene.asking.sweeper.sweep(OWNER, "test")
    for _ in range(4):
        scene.asks()
    assert scene.view()["advisories"] == []


def test_what_is_asked_again_outlives_whoever_asked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a process that ends when it has answered for a check, then another asks what was to be asked again."""
    scene.registers()
    told = repository(REPOSITORY, NAME, owner=account(OWNER))
    scene.hears(webhook(scene.app, "repository.archived", {"action": "archived", "repository": told}, "archived"))

    def ends(_: Report) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(scene.asking.checker, "report", ends)
        scene.asks()
    for _ in range(4):
        scene.asks()
    assert scene.stands() == ("provisional", [])
