"""A reusable workflow of another owner: what is heard of it reaches policies in any partition."""

from __future__ import annotations

import pytest

from tests.store.making import (
    assert_consistent,
    letter,
    put,
    settle_all,
    view,
    webhook,
)
from tests.support import JSON, OWNER, REPOSITORY, account, registration_data, repository
from worker.app import App
from worker.store.inbox import Envelope

pytestmark = pytest.mark.usefixtures("server_program")

LABS = 4242
SHARED = 70


def calling(app: App, policy_id: str, *, owner: int = OWNER, event_id: str = "") -> Envelope:
    """A policy whose workflow is `labs/shared`'s `publish.yml`."""
    data = registration_data(
        repository_owner="octo",
        repository_owner_id=owner,
        repository_id=REPOSITORY,
        visibility="public",
        workflow_file="labs/shared/.github/workflows/publish.yml",
    )
    event_id = event_id or f"register-{policy_id}"
    return letter(app, "policy.registered", {**data, "policy_id": policy_id}, event_id, owner=owner, kind="registry")


def renamed_owner(app: App, old: str, new: str, event_id: str) -> Envelope:
    data: dict[str, JSON] = {
        "action": "renamed",
        "organization": account(LABS, new),
        "changes": {"login": {"from": old}},
    }
    return webhook(app, "organization.renamed", data, event_id, owner=LABS)


def about_shared(app: App, action: str, event_id: str, **fields: JSON) -> Envelope:
    name, login = str(fields.pop("name", "shared")), str(fields.pop("login", "labs"))
    data: dict[str, JSON] = {
        "action": action,
        "repository": repository(SHARED, name, owner=account(LABS, login)),
        **fields,
    }
    return webhook(app, f"repository.{action}", data, event_id, owner=LABS)


def workflow(app: App, policy_id: str, owner: int = OWNER) -> str:
    found = view(app, policy_id, owner=owner)
    assert found is not None
    return str(found["workflow_file"])


def test_policies_of_all_owners_follow_the_owner_of_their_workflow(app: App) -> None:
    """Given policies of many owners that call one workflow, when its owner and its repository are renamed, then all follow;
    and what a stranger does under the old login concerns none.
    """
    owners = range(600, 620)
    settle_all(app, *(calling(app, f"pol-{owner}", owner=owner) for owner in owners))
    settle_all(app, renamed_owner(app, "labs", "labs-new", "d-1"))
    was: dict[str, JSON] = {"changes": {"repository": {"name": {"from": "shared"}}}}
    settle_all(app, about_shared(app, "renamed", "d-2", name="common", login="labs-new", **was))
    stranger: dict[str, JSON] = {"action": "deleted", "repository": repository(99, "shared", owner=account(99, "labs"))}
    settle_all(app, webhook(app, "repository.deleted", stranger, "d-3", owner=99))
    for owner in owners:
        assert workflow(app, f"pol-{owner}", owner) == "labs-new/common/.github/workflows/publish.yml"
        found = view(app, f"pol-{owner}", owner=owner)
        assert found is not None
        assert found["advisories"] == []
    assert_consistent(app)


def test_a_rename_that_races_with_the_registration_is_learnt(app: App) -> None:
    """Given a rename waits behind a registration in another partition, when both are settled, then the policy knows it."""
    put(app, calling(app, "pol-1"))
    settle_all(app, renamed_owner(app, "labs", "labs-new", "d-1"))
    assert workflow(app, "pol-1") == "labs-new/shared/.github/workflows/publish.yml"


def file_removed(app: App, event_id: str, login: str = "labs") -> Envelope:
    push: dict[str, JSON] = {
        "ref": "refs/heads/main",
        "repository": repository(SHARED, "shared", owner={**account(LABS, login), "name": login}),
        "commits": [{"removed": [".github/workflows/publish.yml"]}],
    }
    return webhook(app, "push", push, event_id, owner=LABS)


def test_the_end_of_its_file_right_after_a_rename_of_its_owner_is_told_of(app: App) -> None:
    """Given a rename and a push under the new login, when one batch holds both, then nothing of them is lost."""
    settle_all(app, calling(app, "pol-1"))
    settle_all(app, renamed_owner(app, "labs", "labs-new", "d-1"), file_removed(app, "d-2", "labs-new"))
    found = view(app, "pol-1")
    assert found is not None
    assert found["workflow_file"] == "labs-new/shared/.github/workflows/publish.yml"
    assert found["advisories"] == ["workflow_missing"]


def test_the_end_of_its_repository_and_of_its_file_are_told_of(app: App) -> None:
    settle_all(app, calling(app, "pol-1"))
    settle_all(app, file_removed(app, "d-1"))
    found = view(app, "pol-1")
    assert found is not None
    assert (found["state"], found["advisories"]) == ("active", ["workflow_missing"])
    settle_all(app, about_shared(app, "deleted", "d-2"), about_shared(app, "created", "d-3"))
    found = view(app, "pol-1")
    assert found is not None
    assert found["advisories"] == ["workflow_missing"]
    settle_all(app, calling(app, "pol-1", event_id="again"))
    found = view(app, "pol-1")
    assert found is not None
    assert found["advisories"] == []
