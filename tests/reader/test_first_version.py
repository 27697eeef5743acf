"""What a reader of the contract's first version finds in today's store: everything plain, and nothing else."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from tenure_reader import Mirror, Reader
from tenure_reader.keys import CONDITIONS, conditional
from tests.conftest import wait_until
from tests.reader.first_version import FirstMirror, found, open_to
from tests.reader.world import CLAIMS, OWNER, REPOSITORY, World
from tests.support import registered
from worker.lifecycle.facts import ObservationSource
from worker.lifecycle.policy import Policy, advance, learn
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import View
from worker.local.valkey import EmbeddedStore
from worker.store.policies import Commit

SECONDS = 20.0
CAUSE = ObservationSource("registry", "e-1", "policy.registered")


ASKED: dict[str, object] = {
    "ref_protected": True, "workflow_binds": "caller", "called_workflow": "*", "runner": "self-hosted",
    **{member: ["x"] for member in ("refs", "events", "packages", "actions")}, "issuer": "ghes",
}  # fmt: skip


def commit(world: World, policy_id: str, *, repository_id: int | None = REPOSITORY, **members: object) -> View:
    """One more revision of a policy, whose view has these members, too."""
    policies, now = world.app.policies, world.app.status.now()
    located = policies.load([policy_id])[policy_id]
    before = located.policy or Policy(policy_id, {})
    label = f"revision {before.revision + 1}"
    said = registered(now, "widgets", repository_id, policy_id=policy_id, visibility="public", label=label)
    rules = Rules()
    step = advance(learn(before, [said], rules), now, rules, learnt=True)
    assert step is not None
    assert step.policy.view is not None
    assert step.change is not None
    view = cast("View", {**step.policy.view, **members})
    step = step._replace(policy=step.policy._replace(view=view))
    assert policies.commit([Commit(located, step, CAUSE, None)]) == [True]
    return view


def where(world: World, policy_id: str) -> list[str]:
    """The hashes that hold a policy's view, without the partition and the owner."""
    redis = world.app.client.redis
    keys = redis.scan_iter("tenure:{p*}:repository*")
    return sorted(key.decode().split(":")[2] for key in keys if redis.hexists(key, policy_id))


@pytest.mark.parametrize("member", sorted(CONDITIONS))
@pytest.mark.parametrize("repository_id", [REPOSITORY, None])
def test_a_view_with_a_condition_is_closed_to_it(
    world: World, reader: Reader, member: str, repository_id: int | None
) -> None:
    """Given policies with and without a condition, when both versions look, then the first finds the plain one only."""
    plain = commit(world, "plain", repository_id=repository_id)
    limited = commit(world, "limited", repository_id=repository_id, **{member: ASKED[member]})
    assert not conditional(cast("dict[str, object]", plain))
    assert found(world.app.client.redis, OWNER, REPOSITORY, "widgets") == [plain]
    kind = "repository" if repository_id else "repository-name"
    assert where(world, "plain") == [kind]
    assert where(world, "limited") == [f"{kind}-v2"]
    tried = [match.policy_id for match in reader.evaluate(CLAIMS).matches]
    # What is another GitHub's owner's is under another key, too.
    assert sorted(map(str, tried)) == (["plain"] if member == "issuer" else ["limited", "plain"])
    assert limited["usable"]


def test_a_view_is_in_one_hash_whatever_becomes_of_it(world: World) -> None:
    """Given a policy that gets a condition and loses it, and is bound to its id meanwhile, then its view is never in two."""
    for repository_id, members, kind in (
        (None, {}, "repository-name"),
        (None, {"refs": ["refs/tags/*"]}, "repository-name-v2"),
        (REPOSITORY, {"refs": ["refs/tags/*"]}, "repository-v2"),
        (REPOSITORY, {}, "repository"),
        (REPOSITORY, {"runner": "self-hosted"}, "repository-v2"),
    ):
        commit(world, "pol-1", repository_id=repository_id, **members)
        assert where(world, "pol-1") == [kind]
    world.tell("policy.removed", {"policy_id": "pol-1"})
    assert where(world, "pol-1") == []


def test_its_mirror_is_closed_too_and_ours_is_not(world: World, store: EmbeddedStore) -> None:
    """Given mirrors of both versions, when a condition comes and goes, then the first's is closed while it is there."""
    redis = world.app.client.redis
    view = commit(world, "pol-1")
    first = FirstMirror(redis)
    with Mirror(store.url) as ours:
        assert ours.wait(SECONDS), ours.status()
        changes: tuple[dict[str, Any], ...] = ({"events": ["release"]}, {}, {"refs": ["refs/heads/main"]})
        for members in changes:
            view = commit(world, "pol-1", **members)
            first.follow()
            wait_until(lambda: ours.standing("pol-1").grant is not None, "the mirror has it", SECONDS)
            wait_until(lambda v=view: _revision(ours) == v["revision"], "the mirror reads on", SECONDS)  # type: ignore[misc]
            assert first.lets("pol-1", world.app.status.now()) == (not members)
            assert not ours.standing("pol-1").closed
            assert FirstMirror(redis).lets("pol-1", world.app.status.now()) == (not members)
    last = cast(
        "list[tuple[bytes, dict[bytes, bytes]]]", redis.xrevrange(world.app.keyspace.of(OWNER).changes, count=1)
    )
    told: dict[str, Any] = json.loads(last[0][1][b"event"])["data"]["view"]
    assert (told.pop("usable"), told.pop("usable_v2")) == (False, True)
    assert not open_to({**view, "usable": False}, world.app.status.now())
    assert {**told, "usable": True} == view


def _revision(mirror: Mirror) -> int:
    grant = mirror.standing("pol-1").grant
    return 0 if grant is None else grant["revision"]
