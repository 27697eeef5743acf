"""What one event, one owner and one script may cost, whoever sends it and whatever it names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.store.making import (
    Json,
    about_member,
    about_repository,
    plain,
    reasons,
    registration,
    settle_all,
    view,
    webhook,
)
from tests.support import JSON, OWNER, REPOSITORY, USER, account, hint, installation, repository
from worker.app import App
from worker.lifecycle import scopes
from worker.lifecycle.facts import Observation
from worker.store.client import Command
from worker.store.codec import encode_fact
from worker.store.inbox import Letter
from worker.store.policies import REMEMBERED

SCRIPT_MS = 20
"""No script may keep the server for longer."""
STRANGER = 4242


@pytest.fixture
def scripts(app: App) -> Iterator[list[float]]:
    """How long each script of the test took that took long, in ms; read when the test is over."""
    took: list[float] = []
    app.client.redis.config_set("slowlog-log-slower-than", SCRIPT_MS * 1000)
    app.client.redis.config_set("slowlog-max-len", 1000)
    yield took
    took += [
        entry["duration"] / 1000
        for entry in app.client.redis.slowlog_get(1000)
        if entry["command"].startswith((b"EVALSHA", b"EXEC"))
    ]
    assert took == []


def kept(app: App, owner: int = OWNER) -> dict[str, str]:
    """What is remembered of an owner: subject → fact."""
    with plain(app) as redis:
        key = app.keyspace.of(owner).observed(scopes.owner(owner))
        found = redis.hgetall(key)
        ordered = redis.zrange(app.keyspace.of(owner).observed_by_worth(scopes.owner(owner)), 0, -1)
    assert isinstance(found, dict)
    assert isinstance(ordered, list)
    assert sorted(found) == sorted(ordered)
    return found


def keys(app: App) -> list[str]:
    with plain(app) as redis:
        return list(redis.scan_iter("*observed*", 10_000))


def push(app: App, event_id: str, *, removed: list[str], owner: int = OWNER, **where: int) -> Letter:
    pushed = repository(where.get("repository_id", REPOSITORY), owner=account(owner))
    data: Json = {
        "ref": "refs/heads/main",
        "repository": pushed,
        "commits": [{"added": [], "modified": [], "removed": [f".github/workflows/{file}" for file in removed]}],
    }
    return webhook(app, "push", data, event_id, owner=owner)


def listing(app: App, event_id: str, action: str, count: int, *, owner: int = OWNER) -> Letter:
    """`installation_repositories`, with so many repositories, the policy's own among them."""
    ids = [REPOSITORY, *range(1_000_000, 1_000_000 + count - 1)]
    listed: list[JSON] = [{"id": n, "name": "widgets" if n == REPOSITORY else f"r-{n}"} for n in ids]
    data: Json = {
        "action": action,
        "installation": installation(account=account(owner)),
        f"repositories_{action}": listed,
    }
    return webhook(app, f"installation_repositories.{action}", data, event_id, owner=owner)


def test_a_push_of_300_000_workflow_files_by_a_stranger_leaves_nothing(app: App) -> None:
    """Given an owner that nobody has policies of, when it pushes 10 MB of names, then nothing of them is kept."""
    settle_all(app, push(app, "d-1", removed=[f"workflow-{n}.yml" for n in range(300_000)], owner=STRANGER))
    assert keys(app) == []


def test_an_owner_with_policies_may_push_as_much_and_fills_no_more_than_its_share(app: App) -> None:
    """Given an owner with a policy, when it pushes 10 MB of names, then a bounded part is kept, and the removed count."""
    settle_all(app, registration(app, "pol-1"))
    settle_all(app, about_member(app, "member_removed", "d-1", user=99))
    settle_all(app, push(app, "d-2", removed=[f"workflow-{n}.yml" for n in range(300_000)]))
    remembered = kept(app)
    assert len(remembered) == REMEMBERED
    assert f"member:{OWNER}:99 left -" in remembered
    assert len(keys(app)) <= 8


def test_a_workflow_file_that_another_policy_of_the_owner_will_name_is_remembered(app: App) -> None:
    """Given an owner with one policy, when a push removes a file, then a policy for it that comes later knows."""
    settle_all(app, registration(app, "pol-1"))
    settle_all(app, push(app, "d-1", removed=["release.yml"], repository_id=8))
    settle_all(app, registration(app, "pol-2", repository_id=8, name="gadgets"))
    seen = view(app, "pol-2", repository_id=8)
    assert seen is not None
    assert seen["advisories"] == ["workflow_missing"]


@pytest.mark.usefixtures("scripts")
def test_what_takes_access_away_is_the_last_to_be_forgotten(app: App) -> None:
    """Given hints that block and thousands that do not, when a policy comes, then it learns what blocks."""
    settle_all(
        app, about_member(app, "member_removed", "left", owner=STRANGER), about_repository(app, "archived", "gone", owner=STRANGER)
    )  # fmt: skip
    settle_all(app, listing(app, "d-1", "added", 3_000, owner=STRANGER))
    remembered = kept(app, STRANGER)
    assert len(remembered) == REMEMBERED
    settle_all(app, registration(app, "pol-1", owner=STRANGER))
    seen = view(app, "pol-1", owner=STRANGER)
    assert seen is not None
    assert seen["reasons"] == ["repository_archived", "creator_left_organization"]


@pytest.mark.usefixtures("scripts")
def test_of_what_takes_access_away_the_oldest_goes_first_and_people_go_last(app: App) -> None:
    """Given more hints that block than may be kept, when they are counted, then the newest of them are there."""
    settle_all(app, about_member(app, "member_removed", "left", owner=STRANGER))
    settle_all(app, about_repository(app, "archived", "early", owner=STRANGER, repository_id=5))
    settle_all(app, listing(app, "d-1", "removed", 2_000, owner=STRANGER))
    settle_all(app, about_repository(app, "archived", "late", owner=STRANGER, repository_id=6))
    remembered = kept(app, STRANGER)
    assert len(remembered) == REMEMBERED
    assert f"member:{STRANGER}:{USER} left -" in remembered
    assert f"repository:{STRANGER}:6 archived -" in remembered
    assert f"repository:{STRANGER}:5 archived -" not in remembered


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("action", ["removed", "added"])
def test_a_list_of_30_000_repositories_counts_for_every_policy_that_it_names(app: App, action: str) -> None:
    """Given policies in and outside of a long list, when it is taken away or given, then those in it hear of it."""
    settle_all(app, registration(app, "pol-1"), registration(app, "pol-2", repository_id=8, name="gadgets"))
    if action == "added":
        settle_all(app, listing(app, "d-1", "removed", 1))
    settle_all(app, listing(app, "d-2", action, 30_000))
    assert reasons(app, "pol-1") == (["repository_unreachable"] if action == "removed" else [])
    assert reasons(app, "pol-2") == []
    assert len(kept(app)) == REMEMBERED


@pytest.mark.usefixtures("scripts")
def test_events_that_touch_forty_policies_each_share_no_run_that_is_too_long(app: App) -> None:
    """Given more policies than one run loads, forty of each repository, when all repositories are archived at once, then all hear."""
    letters = [
        registration(app, f"pol-{r}-{n}", repository_id=1000 + r, name=f"r-{r}") for r in range(27) for n in range(40)
    ]
    settle_all(app, *letters)
    settle_all(
        app, *(about_repository(app, "archived", f"d-{r}", repository_id=1000 + r, name=f"r-{r}") for r in range(27))
    )
    found = [policy.view for policy in app.policies.listed()]
    assert {tuple(seen["reasons"]) for seen in found if seen} == {("repository_archived",)}
    assert len(found) == 27 * 40


def test_what_a_former_release_remembered_is_still_read(app: App) -> None:
    """Given what was kept scope by scope, when a policy is registered, then it knows of it."""
    archived = hint(app.status.now(), scopes.repository(OWNER, REPOSITORY), "archived", True)
    write_as_before(app, archived)
    settle_all(app, registration(app, "pol-1"))
    assert reasons(app, "pol-1") == ["repository_archived"]


def write_as_before(app: App, fact: Observation) -> None:
    key = f"{app.keyspace.of(OWNER).prefix}observed:{fact.scope}"
    app.client.one(Command(("HSET", key, f"{fact.scope} {fact.aspect} -", f"{fact.at} {encode_fact(fact).decode()}")))
