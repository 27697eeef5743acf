"""What a token exchange is answered, by a real store, in one round trip."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis
from redis import Redis

from tenure_reader import AsyncReader, Decision, Mirror, Reader, RepositoryRef, UnavailableError
from tests.docs.markdown import blocks, text
from tests.reader.world import CLAIMS, OWNER, REPOSITORY, World
from worker.app import build
from worker.lifecycle.facts import DAY
from worker.local.valkey import EmbeddedStore


def differs(decision: Decision) -> tuple[str, str] | None:
    """Stage and code of what differs first; None if it is allowed."""
    assert decision.allowed == (decision.difference is None)
    return None if decision.difference is None else (decision.difference.stage, decision.difference.code)


def test_a_token_of_the_right_run_may_publish(world: World, reader: Reader) -> None:
    world.register()
    decision = reader.evaluate(CLAIMS)
    assert decision.allowed
    assert decision.grant is not None
    assert decision.grant["policy_id"] == "pol-1"
    assert decision.grant["package_owner"] == {"account": "acme", "kind": "organization"}
    assert decision.grant["repository_id"] == REPOSITORY


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"repository_owner_id": "42"}, ("repository_owner", "owner_id")),
        ({"repository_id": "8"}, ("repository", "name_reused")),
        ({"repository_id": "8", "repository": "octo/other"}, ("repository", "repository_id")),
        ({"repository_id": str(REPOSITORY - 1)}, ("repository", "name_reused")),
        (
            {"job_workflow_ref": "octo/widgets/.github/workflows/x.yml@refs/heads/main"},
            ("workflow_file", "workflow_file"),
        ),
        (
            {"job_workflow_ref": "octo/shared/.github/workflows/release.yml@refs/heads/main"},
            ("workflow_file", "workflow_repository"),
        ),
        ({"job_workflow_ref": "octo/widgets"}, ("workflow_file", "workflow_unreadable")),
        ({"event_name": "pull_request_target"}, ("event", "event_forbidden")),
        ({"event_name": "workflow_run"}, ("event", "event_forbidden")),
        ({"repository_id": None}, ("claims", "claims_missing")),
        ({"repository_id": float(REPOSITORY)}, ("claims", "claims_malformed")),
        ({"repository_id": f"0{REPOSITORY}"}, ("claims", "claims_malformed")),
        ({"repository_id": 2**64 + REPOSITORY}, ("repository", "name_reused")),
        ({"repository_owner_id": 2**64 + OWNER}, ("repository_owner", "owner_id")),
        ({"repository": "octo/\ud800"}, ("claims", "claims_malformed")),
        ({"repository": ["octo/widgets"]}, ("claims", "claims_malformed")),
    ],
)
def test_the_first_thing_that_differs_is_named(
    world: World, reader: Reader, changed: dict[str, object], difference: tuple[str, str]
) -> None:
    world.register(visibility="public")
    assert differs(reader.evaluate({**CLAIMS, **changed})) == difference


def test_a_resurrected_owner_is_a_stranger(world: World, reader: Reader) -> None:
    world.register()
    answer = reader.evaluate({**CLAIMS, "repository_owner_id": "4100", "repository_id": "4101"})
    assert differs(answer) == ("repository_owner", "owner_id")
    assert answer.difference is not None
    assert "no policy lets this repository publish" in answer.difference.told


def test_a_repository_that_was_made_again_is_a_stranger_and_the_old_one_is_disabled(
    world: World, reader: Reader
) -> None:
    world.register()
    world.login()
    world.webhook("repository.deleted")
    world.webhook("repository.created", repository_id=8)
    answer = reader.evaluate({**CLAIMS, "repository_id": "8"})
    assert differs(answer) == ("repository", "name_reused")
    assert differs(reader.evaluate(CLAIMS)) == ("standing", "disabled")


@pytest.mark.parametrize("given", ["release.yml", "octo/widgets/.github/workflows/release.yml"])
def test_a_renamed_repository_goes_on_before_and_after_the_rename_is_heard(
    world: World, reader: Reader, given: str
) -> None:
    world.register(workflow_file=given)
    renamed = {
        **CLAIMS,
        "repository": "octo/gadgets",
        "job_workflow_ref": "octo/gadgets/.github/workflows/release.yml@refs/heads/main",
    }
    assert reader.evaluate(renamed).allowed
    world.webhook(
        "repository.renamed", repository_name="gadgets", changes={"repository": {"name": {"from": "widgets"}}}
    )
    assert reader.evaluate(renamed).allowed


def test_a_window_closes_by_itself_at_its_last_instant(world: World, reader: Reader) -> None:
    world.register(at=world.app.status.now() - 6 * DAY)
    allowed = reader.evaluate(CLAIMS)
    assert allowed.grant is not None
    assert allowed.grant["usable_until"] is not None
    until = allowed.at + 2 * DAY
    assert differs(reader.evaluate(CLAIMS, now=until)) == ("standing", "window_closed")
    # By the store's clock, too, though no scheduler ran and the view still says usable.
    world.register("late", at=world.app.status.now() - 8 * DAY, workflow_file="late.yml", repository_id=8)
    late = {**CLAIMS, "repository_id": "8", "job_workflow_ref": "octo/widgets/.github/workflows/late.yml@refs/heads/x"}
    assert differs(reader.evaluate(late)) == ("standing", "expired")


def test_why_it_is_disabled_is_for_operators_only(world: World, reader: Reader) -> None:
    world.register(visibility="public")
    world.member("member_removed")
    difference = reader.evaluate(CLAIMS).difference
    assert difference is not None
    assert (difference.stage, difference.code) == ("standing", "disabled")
    assert "creator_left_organization" in difference.detail
    assert difference.told == "the policy is disabled; its owner can look up why"
    world.member("member_added")
    assert reader.evaluate(CLAIMS).allowed


def test_of_two_policies_the_one_that_names_the_environment_counts(world: World, reader: Reader) -> None:
    world.register("a-plain")
    world.register("b-staged", environment="Production")
    assert reader.evaluate(CLAIMS).grant == reader.evaluate({**CLAIMS, "environment": "staging"}).grant
    plain, staged = reader.evaluate(CLAIMS), reader.evaluate({**CLAIMS, "environment": "PRODUCTION"})
    assert [grant["policy_id"] for grant in plain.granted] == ["a-plain"]
    assert [grant["policy_id"] for grant in staged.granted] == ["b-staged", "a-plain"]
    world.tell("policy.removed", {"policy_id": "a-plain"})
    assert differs(reader.evaluate(CLAIMS)) == ("environment", "environment")
    assert differs(reader.evaluate({**CLAIMS, "environment": "Production "})) == ("environment", "environment")
    assert reader.evaluate({**CLAIMS, "environment": "production"}).allowed


def test_a_letter_that_only_looks_alike_names_another_environment(world: World, reader: Reader) -> None:
    world.register(environment="marketing-kiosk")
    assert differs(reader.evaluate({**CLAIMS, "environment": "mar\u212aeting-\u212aios\u212a"})) == (
        "environment",
        "environment",
    )
    assert reader.evaluate({**CLAIMS, "environment": "Marketing-Kiosk"}).allowed


def test_a_name_counts_until_a_login_tells_the_id(world: World, reader: Reader) -> None:
    world.register(repository_id=None)
    assert reader.evaluate({**CLAIMS, "repository": "octo/WIDGETS"}).allowed
    assert differs(reader.evaluate({**CLAIMS, "repository": "octo/gadgets"})) == ("repository", "repository_id")
    world.login()
    assert reader.evaluate(CLAIMS).allowed
    assert differs(reader.evaluate({**CLAIMS, "repository_id": "8"})) == ("repository", "name_reused")


def test_a_repository_that_is_known_under_another_name_gets_nothing_by_the_name_that_it_took(
    world: World, reader: Reader
) -> None:
    """Its admin renamed it onto a name for which a policy waits, and nobody has heard of that yet."""
    world.register("bound", workflow_file="other.yml")
    world.register("waiting", repository="gadgets", repository_id=None)
    taken = {
        **CLAIMS,
        "repository": "octo/gadgets",
        "job_workflow_ref": "octo/gadgets/.github/workflows/release.yml@refs/heads/main",
    }
    answer = reader.evaluate(taken)
    assert not answer.allowed
    codes = {m.policy_id: next(s.code for s in m.stages if s.outcome == "failed") for m in answer.matches}
    assert codes == {"bound": "workflow_file", "waiting": "name_contradicted"}
    assert reader.evaluate({**taken, "repository_id": "8"}).allowed
    # A second policy of the same repository may still be registered by the name that both know.
    world.register("second", repository_id=None)
    assert reader.evaluate(CLAIMS).allowed


def test_a_reusable_workflow_of_another_repository_counts_only_if_it_is_named(world: World, reader: Reader) -> None:
    shared = "octo/shared/.github/workflows/publish.yml"
    world.register(workflow_file=shared)
    assert reader.evaluate({**CLAIMS, "job_workflow_ref": f"{shared}@refs/tags/v3"}).allowed
    assert differs(reader.evaluate(CLAIMS)) == ("workflow_file", "workflow_repository")
    assert differs(reader.evaluate({**CLAIMS, "job_workflow_ref": f"evil/{shared}@refs/tags/v3"})) is not None


@pytest.mark.parametrize("file", ["release@v2.yml", "@.yml", "a@refs.yml"])
def test_a_workflow_file_may_have_an_at_sign_in_its_name(world: World, reader: Reader, file: str) -> None:
    world.register(workflow_file=file)
    for ref in ("refs/heads/main", "refs/heads/x@y", "refs/tags/@", "0a1b2c"):
        reference = f"octo/widgets/.github/workflows/{file}@{ref}"
        assert reader.evaluate({**CLAIMS, "job_workflow_ref": reference}).allowed, reference
    assert not reader.evaluate(CLAIMS).allowed


@pytest.mark.one_server("it counts what one connection sends")
def test_a_decision_costs_one_round_trip(world: World, store: EmbeddedStore) -> None:
    world.register()
    world.register("by-name", repository_id=None)
    sent: list[bytes] = []

    class Counting(redis.Connection):
        def send_packed_command(self, command: Any, check_health: bool = True) -> None:
            sent.append(b"".join(command) if isinstance(command, list) else bytes(command, "utf-8"))
            super().send_packed_command(command, check_health)  # type: ignore[no-untyped-call]

    with Redis(connection_pool=redis.ConnectionPool(connection_class=Counting, port=store.port)) as client:
        reader = Reader(client)
        reader.evaluate(CLAIMS)
        sent.clear()
        assert reader.evaluate(CLAIMS).allowed
        assert not reader.evaluate({**CLAIMS, "repository_id": "8", "repository": "octo/nobody"}).allowed
    assert len(sent) == 2
    assert all(b"HVALS" in packed and b"EXEC" in packed for packed in sent)


def test_a_store_that_was_begun_by_the_release_before_is_asked_once_more(world: World, reader: Reader) -> None:
    """Its partitions do not say how many there are. The first start of this release has each say so."""
    world.register()
    client, settings = world.app.client.redis, world.app.keyspace.of(OWNER).settings
    client.hdel(settings, "partitions")
    assert reader.evaluate(CLAIMS).allowed
    started = build(world.app.settings)
    started.broker.close()
    started.client.close()
    assert client.hget(settings, "partitions") == b"16"


def test_the_asynchronous_form_answers_the_same(world: World, reader: Reader, store: EmbeddedStore) -> None:
    world.register()
    asked = [CLAIMS, {**CLAIMS, "repository_id": "8"}, {**CLAIMS, "repository_owner_id": "x"}, {}]
    now = world.app.status.now()

    async def answers() -> list[Decision]:
        there = AsyncReader.connect(store.url)
        try:
            return [await there.evaluate(claims, now=now) for claims in asked]
        finally:
            await there.close()

    assert asyncio.run(answers()) == [reader.evaluate(claims, now=now) for claims in asked]


def test_one_policy_is_read_by_where_it_was(world: World, reader: Reader) -> None:
    world.register()
    here = RepositoryRef(OWNER, REPOSITORY, "widgets")
    found = reader.standing("pol-1", here)
    assert found.grant is not None
    assert (found.grant["revision"], found.closed) == (1, False)
    world.member("member_removed")
    assert reader.standing("pol-1", here).closed
    world.tell("policy.removed", {"policy_id": "pol-1"})
    gone = reader.standing("pol-1", here)
    assert (gone.grant, gone.closed) == (None, True)


@pytest.mark.parametrize("until", ["x", "2099-01-01T00:00:00"])
def test_a_limit_that_cannot_be_read_counts_as_past(world: World, reader: Reader, until: str) -> None:
    world.register()
    client, key = world.app.client.redis, world.app.keyspace.of(OWNER).repository(OWNER, REPOSITORY)
    view = json.loads(client.hget(key, "pol-1") or b"")
    client.hset(key, "pol-1", json.dumps({**view, "usable_until": until}))
    assert reader.standing("pol-1", RepositoryRef(OWNER, REPOSITORY, "widgets")).closed


def test_an_empty_or_foreign_store_gives_no_answer_at_all(world: World, reader: Reader) -> None:
    world.register()
    reader.evaluate(CLAIMS)
    world.app.client.redis.flushall()
    for stored in (None, "", "0", "-1", "1001", "x", "1.5"):
        if stored is not None:
            world.app.client.redis.set("tenure:partitions", stored)
        for each in (reader, Reader(world.app.client.redis)):
            with pytest.raises(UnavailableError, match="no store of Tenure"):
                each.evaluate(CLAIMS)


def test_a_store_with_another_number_of_partitions_is_asked_again(world: World, reader: Reader) -> None:
    world.register()
    assert reader.evaluate(CLAIMS).allowed
    client, policies = world.app.client.redis, world.app.policies
    view = client.hget(policies.keyspace.of(OWNER).repository(OWNER, REPOSITORY), "pol-1")
    client.flushall()
    client.set("tenure:partitions", 1)
    client.hset(f"tenure:{{p00}}:repository:{OWNER}:{REPOSITORY}", "pol-1", view or b"")
    assert reader.evaluate(CLAIMS).allowed


@pytest.mark.parametrize("written", [b"{", b"[]", b"7", b'{"policy_id": "x"}', b"\xff", b"null"])
def test_a_view_that_cannot_be_read_gives_no_answer(world: World, reader: Reader, written: bytes) -> None:
    world.register()
    world.app.client.redis.hset(world.app.keyspace.of(OWNER).repository(OWNER, REPOSITORY), "odd", written)
    with pytest.raises(UnavailableError, match="cannot be read"):
        reader.evaluate(CLAIMS)


def test_usable_is_true_and_nothing_like_it(world: World, reader: Reader) -> None:
    world.register()
    client, key = world.app.client.redis, world.app.keyspace.of(OWNER).repository(OWNER, REPOSITORY)
    view = json.loads(client.hget(key, "pol-1") or b"")
    client.hset(key, "pol-1", json.dumps({**view, "usable": "false"}))
    assert not reader.evaluate(CLAIMS).allowed


def test_a_store_that_is_down_or_stalled_gives_no_answer() -> None:
    reader = Reader.connect("redis://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="ConnectionError"):
        reader.evaluate(CLAIMS)


def test_a_user_of_the_store_who_may_only_read_what_the_contract_names_will_do(
    world: World, store: EmbeddedStore
) -> None:
    world.register()
    client = world.app.client
    command = next(block.code for block in blocks(text("reader/README.md")) if block.code.startswith("ACL"))
    client.each(*command.replace("PASSWORD", "word").split())
    url = store.url.replace("redis://", "redis://exchange:word@")
    try:
        assert Reader.connect(url).evaluate(CLAIMS, at_least={"pol-1": 1}).allowed
        with Mirror(url) as mirror:
            assert mirror.wait(20), mirror.status()
            assert mirror.evaluate(CLAIMS).allowed
            renamed = Reader.connect(url).evaluate({**CLAIMS, "repository_id": "8"})
            assert differs(renamed) == ("repository", "name_reused")
    finally:
        client.each("ACL", "DELUSER", "exchange")
