"""Owners of two GitHubs in one store: where their policies are, what is remembered of them, and who is to be swept."""

from __future__ import annotations

from itertools import count

import pytest

from tests.store.making import about_repository, plain, published, registration, settle_all
from tests.support import OWNER
from worker.app import App
from worker.lifecycle.owners import DEFAULT, OwnerRef, owner_at
from worker.lifecycle.views import View
from worker.store import clock_reset
from worker.store.keys import GitHubKeys, Partition

pytestmark = pytest.mark.usefixtures("server_program")

GHES = "ghes"
THERE = owner_at(GHES, OWNER)


def view(app: App, policy_id: str = "pol-1") -> View:
    policy = app.policies.load([policy_id])[policy_id].policy
    assert policy is not None
    assert policy.view is not None
    return policy.view


def swept(app: App, issuer: str) -> list[OwnerRef]:
    return [owner for owner, _ in app.checks.at(issuer).stalest(100)]


def test_views_of_two_with_the_same_ids_stand_under_keys_of_their_own(app: App) -> None:
    settle_all(app, registration(app, "here"), registration(app, "there", issuer=GHES))
    home, away = app.keyspace.of(OWNER), app.keyspace.of(THERE)
    with plain(app) as redis:
        found = {key for key in redis.scan_iter("tenure:{*}:repository*") if redis.type(key) == "hash"}
    repository = view(app, "here")["repository_id"]
    assert found == {home.repository(OWNER, repository or 0), away.repository_v2(THERE, repository or 0)}
    assert away.repository_v2(THERE, 1).endswith(f"repository-v2:{GHES}/{OWNER}:1")


def test_what_was_heard_of_one_before_its_policy_is_not_the_other_s(app: App) -> None:
    settle_all(app, about_repository(app, "archived", "h-1", issuer=GHES))
    settle_all(app, registration(app, "here"), registration(app, "there", issuer=GHES))
    assert (view(app, "here")["state"], view(app, "there")["state"]) == ("provisional", "disabled")


@pytest.mark.parametrize(("first", "then"), [(DEFAULT, GHES), (GHES, DEFAULT)])
def test_a_policy_that_moves_to_the_same_ids_elsewhere_is_what_is_known_there(app: App, first: str, then: str) -> None:
    """Given an archived repository at the one and none at the other, when a policy moves, then it begins anew there."""
    settle_all(app, about_repository(app, "archived", "h-1", issuer=then))
    settle_all(app, registration(app, "pol-1", "r-1", issuer=first))
    assert view(app)["state"] == "provisional"
    settle_all(app, registration(app, "pol-1", "r-2", issuer=then))
    assert (view(app)["state"], view(app).get("issuer", DEFAULT)) == ("disabled", then)
    settle_all(app, about_repository(app, "unarchived", "h-2", issuer=first))
    assert view(app)["state"] == "disabled"
    settle_all(app, about_repository(app, "unarchived", "h-3", issuer=then))
    assert view(app)["state"] == "provisional"
    change = published(app)["pol-1"][1]
    data = change["data"]
    assert isinstance(data, dict)
    assert (data["previous_owner_id"], data.get("previous_issuer", DEFAULT)) == (OWNER, first)
    assert (swept(app, first), swept(app, then)) == ([owner_at(first, OWNER)], [owner_at(then, OWNER)])


def test_an_owner_is_swept_who_gets_a_policy_from_another_of_the_same_partition(app: App) -> None:
    home: Partition = app.keyspace.of(OWNER)
    other = next(owner for owner in count(OWNER + 1) if app.keyspace.of(owner) == home)
    settle_all(app, registration(app, "pol-1", "r-1"))
    settle_all(app, registration(app, "pol-1", "r-2", owner=other))
    assert set(swept(app, DEFAULT)) == {OWNER, other}


@pytest.mark.parametrize("issuer", [DEFAULT, GHES, "a-1"])
def test_a_reset_of_the_clock_finds_what_is_noted_of_every_instance(issuer: str) -> None:
    noted, partition = GitHubKeys(issuer), Partition(3)
    waiting = [noted.missing, noted.suspects, noted.lost, noted.asked, noted.losing]
    waiting += [partition.owners(issuer), partition.checks(issuer), partition.checking(issuer)]
    assert all(map(clock_reset._WAITING.fullmatch, waiting))
    assert all(map(clock_reset._NOTED.fullmatch, (noted.installations_doubted, noted.breaker, noted.trouble)))
    assert clock_reset._READ.fullmatch(noted.installations_at)
