"""The same answers from memory; and none where the memory may be behind."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis

from tenure_reader import (
    AsyncFallback,
    AsyncReader,
    ChangeEvent,
    Fallback,
    Memory,
    Mirror,
    Reader,
    RepositoryRef,
    UnavailableError,
    UntrustedError,
)
from tenure_reader.mirror import STREAMS
from tests.conftest import Process, wait_until
from tests.reader.relay import Relay
from tests.reader.world import CLAIMS, OWNER, REPOSITORY, World
from tests.support import JSON
from worker.lifecycle.facts import DAY, SECOND
from worker.local.valkey import EmbeddedStore, free_port

SECONDS = 20.0


@pytest.fixture
def mirror(world: World, store: EmbeddedStore) -> Iterator[Mirror]:
    with Mirror(store.url) as running:
        assert running.wait(SECONDS), running.status()
        yield running


def until_told(mirror: Mirror, world: World) -> None:
    """Until the mirror has read as many changes as were published since it began."""
    published = sum(world.app.client.redis.xlen(p.changes) for p in world.app.keyspace.all())
    wait_until(lambda: mirror.status().changes >= published, "the mirror reads on", SECONDS)


def test_it_follows_what_the_reader_sees(world: World, mirror: Mirror, reader: Reader) -> None:
    asked = [
        CLAIMS,
        {**CLAIMS, "environment": "PROD"},
        {**CLAIMS, "repository_id": "8"},
        {**CLAIMS, "repository_id": "8", "repository": "octo/gadgets"},
        {**CLAIMS, "repository": "octo/Gadgets"},
        {**CLAIMS, "repository_owner_id": "42"},
        {**CLAIMS, "repository_owner_id": "-1"},
        {},
    ]

    def same() -> None:
        until_told(mirror, world)
        now = world.app.status.now()
        for claims in asked:
            assert mirror.evaluate(claims, now=now) == reader.evaluate(claims, now=now)

    same()
    world.register()
    same()
    world.register("staged", environment="prod")
    world.register("named", repository="gadgets", repository_id=None)
    same()
    world.login("named", repository_id=8)
    same()
    world.member("member_removed")
    same()
    world.member("member_added")
    world.webhook("repository.renamed", repository_name="g", changes={"repository": {"name": {"from": "widgets"}}})
    same()
    world.tell("policy.removed", {"policy_id": "staged"})
    same()
    # To another owner, and so to another partition.
    world.register("pol-1", repository_owner_id=43, repository_id=77)
    same()
    assert mirror.status().gaps == 0
    assert mirror.status().policies == 2


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_renamed_the_first_difference_is_the_readers(
    world: World, mirror: Mirror, store: EmbeddedStore, reader: Reader, seed: int
) -> None:
    chance = random.Random(seed)
    names, ids = ("widgets", "gadgets", "tools"), (REPOSITORY, 7, 8)
    asked = [
        {**CLAIMS, "repository_id": str(repository_id), "repository": f"octo/{name}"}
        for repository_id in (*ids, 99)
        for name in (*names, "none", "Widgets", "gad\u212aets")
    ]

    def step() -> None:
        policy_id, repository_id, name = f"p-{chance.randrange(4)}", chance.choice(ids), chance.choice(names)
        match chance.randrange(6):
            case 0 | 1:
                known = chance.choice((repository_id, None))
                world.register(policy_id, repository=name, repository_id=known, visibility="public")
            case 2:
                world.login(policy_id, repository_id)
            case 3 if chance.random() < 0.3:
                world.tell("policy.removed", {"policy_id": policy_id})
            case _:
                former: JSON = {"repository": {"name": {"from": chance.choice(names)}}}
                world.webhook("repository.renamed", repository_id, name, changes=former)

    def same(here: Mirror) -> None:
        now = world.app.status.now()
        for claims in asked:
            assert here.evaluate(claims, now=now) == reader.evaluate(claims, now=now), claims

    for _ in range(10):
        for _ in range(3):
            step()
        until_told(mirror, world)
        same(mirror)
    with Mirror(store.url) as late:
        assert late.wait(SECONDS)
        same(late)


def test_a_snapshot_has_what_was_there_before(world: World, store: EmbeddedStore, reader: Reader) -> None:
    world.register()
    world.register("named", repository="gadgets", repository_id=None)
    world.register("gone")
    world.tell("policy.removed", {"policy_id": "gone"})
    with Mirror(store.url) as mirror:
        assert mirror.wait(SECONDS)
        status = mirror.status()
        assert (status.policies, status.changes, status.loads, status.reason) == (2, 0, 1, "")
        now = world.app.status.now()
        assert mirror.evaluate(CLAIMS, now=now) == reader.evaluate(CLAIMS, now=now)
        found = mirror.standing("pol-1").grant
        assert found is not None
        assert found["repository_id"] == REPOSITORY
        assert mirror.standing("gone").grant is None


def test_a_window_closes_in_memory_too_by_the_stores_clock(world: World, mirror: Mirror) -> None:
    world.register()
    until_told(mirror, world)
    answer = mirror.evaluate(CLAIMS)
    assert abs(answer.at - world.app.status.now()) < SECOND
    assert answer.allowed
    assert not mirror.standing("pol-1").closed
    assert not mirror.evaluate(CLAIMS, now=answer.at + 8 * DAY).allowed


def test_an_idle_feed_is_no_lag(mirror: Mirror) -> None:
    before = mirror.status().confirmations
    # Through at least four looks at a feed in which nothing happens.
    wait_until(lambda: mirror.status().confirmations > before + 4, "it looks again and again", SECONDS)
    assert mirror.status().trusted
    assert mirror.status().lag_seconds < 1
    assert mirror.status().changes == 0


@pytest.mark.one_server("it is stopped, or its files are replaced")
def test_a_store_that_does_not_answer_is_refused_and_then_believed_again(
    world: World, mirror: Mirror, store: EmbeddedStore
) -> None:
    world.register()
    until_told(mirror, world)
    assert store.pid is not None
    os.kill(store.pid, signal.SIGSTOP)
    try:
        wait_until(lambda: not mirror.status().trusted, "it refuses", SECONDS)
        with pytest.raises(UntrustedError):
            mirror.evaluate(CLAIMS)
        with pytest.raises(UntrustedError):
            mirror.standing("pol-1")
    finally:
        os.kill(store.pid, signal.SIGCONT)
    assert mirror.wait(SECONDS)
    assert mirror.evaluate(CLAIMS).allowed
    assert mirror.status().loads == 1


@pytest.mark.one_server("it is stopped, or its files are replaced")
def test_after_a_restart_everything_is_loaded_again(world: World, mirror: Mirror, store: EmbeddedStore) -> None:
    world.register()
    until_told(mirror, world)
    store.stop()
    wait_until(lambda: not mirror.status().trusted, "it refuses", SECONDS)
    assert mirror.status().reason
    store.start()
    world.register("second", environment="prod")
    wait_until(lambda: mirror.status().loads == 2, "it loads again", SECONDS)
    assert mirror.wait(SECONDS)
    assert mirror.evaluate({**CLAIMS, "environment": "prod"}).allowed
    assert (mirror.status().loads, mirror.status().gaps) == (2, 0)


@pytest.mark.one_server("it is stopped, or its files are replaced")
def test_while_it_is_not_trusted_the_store_itself_is_asked(world: World, store: EmbeddedStore, reader: Reader) -> None:
    world.register()
    behind = Mirror(store.url)  # Not started: it knows nothing.
    with pytest.raises(UntrustedError, match="no snapshot"):
        behind.evaluate(CLAIMS)
    fallback = Fallback(behind, reader)
    assert fallback.evaluate(CLAIMS).allowed
    assert fallback.direct == 1

    async def ask() -> bool:
        there = AsyncReader.connect(store.url)
        try:
            return (await AsyncFallback(behind, there).evaluate(CLAIMS)).allowed
        finally:
            await there.close()

    assert asyncio.run(ask())
    store.stop()
    try:
        with pytest.raises(UnavailableError):
            fallback.evaluate(CLAIMS)
    finally:
        store.start()
    behind.stop()


def stream(world: World) -> str:
    return world.app.keyspace.of(OWNER).changes


def test_a_stream_that_was_trimmed_beyond_its_position_is_noticed(
    world: World, mirror: Mirror, store: EmbeddedStore
) -> None:
    world.register()
    until_told(mirror, world)
    # What it never saw, because it was published and trimmed in one step.
    pipeline = world.app.client.redis.pipeline()
    pipeline.xadd(stream(world), {"event": "lost"})
    pipeline.xtrim(stream(world), maxlen=0)
    pipeline.execute()
    wait_until(lambda: mirror.status().gaps == 1, "the gap is noticed", SECONDS)
    wait_until(lambda: mirror.status().loads == 2, "it loads again", SECONDS)
    assert mirror.wait(SECONDS)
    assert mirror.evaluate(CLAIMS).allowed


def test_a_registration_that_was_refused_is_no_reason_to_load_again(world: World, mirror: Mirror) -> None:
    world.register()
    until_told(mirror, world)
    notice = {"type": "registration.refused", "subject": "p-9", "data": {"code": "unknown_owner"}}
    pipeline = world.app.client.redis.pipeline()
    pipeline.xadd(stream(world), {"event": json.dumps(notice)})
    pipeline.incr("tenure:published")
    pipeline.execute()
    world.register("after-it")
    wait_until(lambda: mirror.status().policies == 2, "what comes after it is heard", SECONDS)
    assert (mirror.status().loads, mirror.status().gaps) == (1, 0)


FOLLOWS = """
import sys, time
from tests.reader.world import CLAIMS
from tenure_reader import Mirror, UntrustedError
with Mirror(sys.argv[1]) as mirror:
    assert mirror.wait(20)
    while True:
        try:
            said = "yes" if mirror.evaluate(CLAIMS).allowed else "no"
        except UntrustedError:
            said = "untrusted"
        print(said, flush=True)
        time.sleep(0.001)
"""
"""A process that says all the time what its mirror says."""


def test_after_a_pause_nothing_is_admitted_that_was_taken_back_and_trimmed_meanwhile(
    world: World, store: EmbeddedStore, tmp_path: Path
) -> None:
    world.register()
    following = Process(["-c", FOLLOWS, store.url], {}, tmp_path, tmp_path / "said.log")
    try:
        wait_until(lambda: "yes" in following.log, "it admits", SECONDS)
        following.send(signal.SIGSTOP)
        until = world.app.status.now() + SECOND + SECOND // 10
        world.member("member_removed")
        for partition in world.app.keyspace.all():
            world.app.client.redis.xtrim(partition.changes, maxlen=0)
        wait_until(lambda: world.app.status.now() > until, "what the mirror knew is older than a second")
        # It may have been stopped between its answer and the line that says so.
        before = len(following.log.splitlines()) + 1
        following.send(signal.SIGCONT)
        wait_until(lambda: "no" in following.log, "it knows", SECONDS)
        assert "yes" not in following.log.splitlines()[before:]
    finally:
        following.kill()


def test_only_a_comparison_confirms_and_its_cost_hardly_grows_with_partitions(world: World, mirror: Mirror) -> None:
    """A few streams are asked about in each comparison, in turn, however many partitions there are."""
    world.register()
    until_told(mirror, world)
    redis = world.app.client.redis

    def asked() -> tuple[int, int]:
        told = cast("dict[str, dict[str, int]]", redis.info("commandstats"))
        return told["cmdstat_time"]["calls"], told["cmdstat_xinfo|stream"]["calls"]

    redis.config_resetstat()
    confirmed = mirror.status().confirmations
    wait_until(lambda: mirror.status().confirmations >= confirmed + 5, "it compares", SECONDS)
    confirmed = mirror.status().confirmations - confirmed
    times, streams = asked()
    # Reading the feed confirms nothing: what was trimmed before it was read does not show there.
    assert confirmed <= times + 1
    assert times >= 5
    assert streams <= STREAMS * times
    assert mirror.status().gaps == 0


def test_trimming_what_was_read_is_no_gap(world: World, mirror: Mirror) -> None:
    world.register()
    until_told(mirror, world)
    world.app.client.redis.xtrim(stream(world), maxlen=0)
    before = mirror.status().confirmations
    wait_until(lambda: mirror.status().confirmations > before + 5, "it has compared", SECONDS)
    assert mirror.status().gaps == 0


def published(world: World) -> list[dict[str, Any]]:
    entries = cast("list[Any]", world.app.client.redis.xrange(stream(world)))
    return [json.loads(fields[b"event"]) for _, fields in entries]


@pytest.mark.parametrize("skipped", [2, 1000])
def test_a_revision_that_is_skipped_is_noticed(world: World, mirror: Mirror, skipped: int) -> None:
    world.register()
    until_told(mirror, world)
    event = published(world)[0]
    event["data"]["view"]["revision"] += skipped
    world.app.client.redis.xadd(stream(world), {"event": json.dumps(event)})
    wait_until(lambda: mirror.status().gaps == 1, "the gap is noticed", SECONDS)
    assert mirror.wait(SECONDS)
    found = mirror.standing("pol-1").grant
    assert found is not None
    assert found["revision"] == 1  # What the views say.


def test_an_entry_that_cannot_be_read_is_not_passed_over(world: World, mirror: Mirror) -> None:
    world.register()
    until_told(mirror, world)
    world.app.client.redis.xadd(stream(world), {"event": "{"})
    wait_until(lambda: mirror.status().gaps == 1, "it is noticed", SECONDS)
    assert mirror.wait(SECONDS)


def test_another_store_in_the_place_of_the_old_one_is_noticed(world: World, mirror: Mirror, reader: Reader) -> None:
    world.register()
    until_told(mirror, world)
    client = world.app.client.redis
    client.flushall()
    wait_until(lambda: not mirror.status().trusted, "it refuses", SECONDS)
    client.set("tenure:partitions", world.app.keyspace.partitions)
    assert mirror.wait(SECONDS)
    assert not mirror.evaluate(CLAIMS).allowed
    assert mirror.status().policies == 0


@pytest.fixture
def second(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """Another server."""
    with EmbeddedStore(tmp_path / "second", port=free_port()) as running:
        with Redis(port=running.port) as client:
            client.config_set("appendfsync", "no")
        yield running


def follow(client: Redis, port: int) -> None:
    """Make a server the replica of another, and wait until it has everything."""
    with Redis(port=port) as primary:
        primary.config_set("repl-diskless-sync-delay", 0)
    client.replicaof("127.0.0.1", port)
    wait_until(lambda: client.role()[3] == b"connected", "the replica is connected", SECONDS)


@pytest.mark.one_server("it gives the one server a replica")
def test_a_replica_that_has_lost_its_primary_gives_no_answer(
    world: World, store: EmbeddedStore, second: EmbeddedStore
) -> None:
    world.register(visibility="public")
    with Relay(store.port) as relay, Redis(port=second.port) as replica, Mirror(second.url) as mirror:
        follow(replica, relay.port)
        assert mirror.wait(SECONDS)
        reader, place = Reader.connect(second.url), RepositoryRef(OWNER, REPOSITORY, "widgets")
        fallback = Fallback(mirror, reader)
        assert fallback.evaluate(CLAIMS).allowed
        assert reader.evaluate(CLAIMS).allowed
        assert not reader.standing("pol-1", place).closed
        relay.cut()
        wait_until(lambda: replica.role()[3] != b"connected", "the link is lost", SECONDS)
        world.webhook("repository.archived")
        for ask in (lambda: reader.evaluate(CLAIMS), lambda: reader.standing("pol-1", place)):
            with pytest.raises(UnavailableError, match="lost its primary"):
                ask()
        wait_until(lambda: not mirror.status().trusted, "it refuses", SECONDS)
        with pytest.raises(UnavailableError, match="lost its primary"):
            fallback.evaluate(CLAIMS)
        relay.mend(store.port)
        wait_until(lambda: replica.role()[3] == b"connected", "the link is back", SECONDS)
        wait_until(lambda: not reader.evaluate(CLAIMS).allowed, "the replica catches up", SECONDS)
        reader.close()


@pytest.mark.one_server("it gives the one server a replica")
def test_a_server_that_took_over_without_the_last_write_is_read_anew(
    world: World, store: EmbeddedStore, second: EmbeddedStore
) -> None:
    """Its clock is behind, so that what it published since adds up with what was read of the one before it."""
    world.register(visibility="public")
    world.webhook("repository.archived")
    with Relay(store.port) as relay, Redis(port=second.port) as successor:
        follow(successor, store.port)
        successor.replicaof("NO", "ONE")
        with Mirror(f"redis://127.0.0.1:{relay.port}/0") as mirror:
            reader = Reader.connect(second.url)
            assert mirror.wait(SECONDS)
            world.webhook("repository.unarchived")
            wait_until(lambda: mirror.evaluate(CLAIMS).allowed, "the mirror reads on", SECONDS)
            relay.cut()
            wait_until(lambda: not mirror.status().trusted, "it refuses", SECONDS)
            last = world.app.client.redis.xinfo_stream(stream(world))["last-generated-id"].decode()
            known = successor.xinfo_stream(stream(world))["last-generated-id"].decode()
            event = published(world)[0]
            for number, entry_id in enumerate((f"{known.split('-')[0]}-9", f"{int(last.split('-')[0]) + 5}-0")):
                event["data"]["view"].update(policy_id=f"other-{number}", repository_id=1000 + number)
                successor.xadd(stream(world), {"event": json.dumps(event)}, id=entry_id)
            relay.mend(second.port)
            assert mirror.wait(SECONDS)
            assert not reader.evaluate(CLAIMS).allowed
            assert not mirror.evaluate(CLAIMS).allowed
            assert (mirror.status().loads, mirror.status().gaps) == (2, 0)


@pytest.mark.parametrize(
    "odd",
    [
        {"usable_until": 5}, {"usable_until": "x"}, {"usable_until": "2030-01-01T00:00:00"}, {"reasons": None},
        {"workflow_file": None}, {"repository": None}, {"environment": 5}, {"package_owner": None}, {"revision": "1"},
    ],
)  # fmt: skip
def test_a_view_with_fields_of_other_kinds_gives_no_answer_and_harms_no_other(
    world: World, store: EmbeddedStore, reader: Reader, odd: dict[str, object]
) -> None:
    world.register(visibility="public")
    world.register("other", repository_id=8, visibility="public")
    key = world.app.keyspace.of(OWNER).repository(OWNER, REPOSITORY)
    client = world.app.client.redis
    view = json.loads(client.hget(key, "pol-1") or b"")
    client.hset(key, "pol-1", json.dumps({**view, **odd}))
    with pytest.raises(UnavailableError, match="cannot be read"):
        reader.evaluate({**CLAIMS, "environment": "prod"})
    assert reader.evaluate({**CLAIMS, "repository_id": "8"}).allowed
    with Mirror(store.url) as mirror:
        # A mirror that cannot be built leaves all questions to the store.
        wait_until(
            lambda: mirror.status().trusted or "cannot be read" in mirror.status().reason, "it has read", SECONDS
        )
        fallback = Fallback(mirror, reader)
        with pytest.raises(UnavailableError, match="cannot be read"):
            mirror.evaluate({**CLAIMS, "environment": "prod"})
        with pytest.raises(UnavailableError, match="cannot be read"):
            fallback.evaluate({**CLAIMS, "environment": "prod"})
        assert fallback.evaluate({**CLAIMS, "repository_id": "8"}).allowed


class Heard:
    """A listener that fails the first time that it hears of a change."""

    def __init__(self) -> None:
        self.changes: list[ChangeEvent] = []
        self.reloads = 0
        self.failed = threading.Event()

    def changed(self, change: ChangeEvent) -> None:
        if not self.failed.is_set():
            self.failed.set()
            raise RuntimeError("the other store is down")
        self.changes.append(change)

    def reloaded(self, memory: Memory) -> None:
        self.policies = len(memory)
        self.reloads += 1


def test_a_listener_hears_everything_and_again_if_it_failed(world: World, store: EmbeddedStore) -> None:
    heard = Heard()
    with Mirror(store.url, listener=heard) as mirror:
        assert mirror.wait(SECONDS)
        world.register()
        world.member("member_removed")
        until_told(mirror, world)
        assert mirror.wait(SECONDS)
        told = [(change.policy_id, change.revision, change.type) for change in heard.changes]
        assert told == [("pol-1", 1, "policy.provisioned"), ("pol-1", 2, "policy.disabled")]
        assert heard.failed.is_set()
        assert heard.reloads == 1
        assert not mirror.evaluate(CLAIMS).allowed


def knows(mirror: Mirror, expected: dict[str, int]) -> bool:
    found = {policy_id: mirror.standing(policy_id).grant for policy_id in expected}
    return {policy_id: grant["revision"] for policy_id, grant in found.items() if grant} == expected


def test_what_is_published_while_the_snapshot_is_read_counts(
    world: World, store: EmbeddedStore, reader: Reader
) -> None:
    """Policies come, go, and move to other partitions, while mirrors begin."""
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            world.register(f"p-{number % 7}", repository_owner_id=OWNER + number % 3, repository_id=number % 5 + 1)
            world.tell("policy.removed", {"policy_id": f"gone-{number}"})
            world.register(f"gone-{number + 2}", repository_id=number % 5 + 1)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        mirrors = []
        for _ in range(8):
            mirrors.append(Mirror(store.url))
            mirrors[-1].start()
            assert mirrors[-1].wait(SECONDS)
    finally:
        stop.set()
        thread.join()
    try:
        expected = {
            policy_id: policy.revision for policy_id, policy in world.app.policies.listed() if policy is not None
        }
        for mirror in mirrors:
            wait_until(lambda mirror=mirror: knows(mirror, expected), "it has caught up", SECONDS)  # type: ignore[misc]
            assert mirror.status().policies == len(expected)
            assert mirror.status().gaps == 0
    finally:
        for mirror in mirrors:
            mirror.stop()
