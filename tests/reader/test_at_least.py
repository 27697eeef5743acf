"""Written, and therefore read: no answer is older than the revisions that are asked for, wherever it comes from."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis

from tenure_reader import (
    AsyncFallback,
    AsyncReader,
    BehindError,
    Decision,
    Fallback,
    Mirror,
    Reader,
    UnavailableError,
)
from tenure_reader.freshness import MOST_POLICIES, WAIT_SECONDS
from tenure_reader.keys import partition_keys
from tests.conftest import wait_until
from tests.reader.relay import Relay
from tests.reader.test_mirror import SECONDS, follow, second
from tests.reader.world import CLAIMS, REPOSITORY, World
from tests.support import OWNER, registration_data
from worker.local.valkey import EmbeddedStore

__all__ = ["second"]

AHEAD = {"pol-1": 99}
WRITES = 30
"""Revisions that are written while everybody asks."""


def update(world: World, name: str, **github: object) -> None:
    """Another revision of pol-1, which stays usable."""
    given = {"repository_id": REPOSITORY, "visibility": "public", **github}
    world.tell("policy.updated", {**registration_data(**given), "name": name})  # type: ignore[arg-type]


def revision_of(decision: Decision) -> int:
    assert decision.grant is not None
    return decision.grant["revision"]


# One reader


def test_what_is_known_is_answered_at_once_and_what_is_not_is_refused(world: World, reader: Reader) -> None:
    world.register(visibility="public")
    update(world, "second")
    assert revision_of(reader.evaluate(CLAIMS, at_least={"pol-1": 2}, wait=0)) == 2
    with pytest.raises(BehindError, match=r"^policy pol-1 is at revision 2 here, and 3 is asked for$"):
        reader.evaluate(CLAIMS, at_least={"pol-1": 3}, wait=0)
    with pytest.raises(BehindError, match="policy nobody is at revision 0 here"):
        reader.evaluate(CLAIMS, at_least={"pol-1": 2, "nobody": 1}, wait=0)
    assert issubclass(BehindError, UnavailableError)


def test_a_reader_waits_for_a_revision_and_no_longer_than_it_is_told(world: World, reader: Reader) -> None:
    world.register(visibility="public")
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: reader.evaluate(CLAIMS, at_least={"pol-1": 2}, wait=SECONDS))
        time.sleep(0.05)  # It is asking by now; were it not, the answer would be the same.
        update(world, "second")
        assert revision_of(asked.result(SECONDS)) == 2
    begun = time.monotonic()
    with pytest.raises(BehindError):
        reader.evaluate(CLAIMS, at_least=AHEAD, wait=0.2)
    assert 0.2 <= time.monotonic() - begun < WAIT_SECONDS


def test_a_removed_policy_has_its_last_revision_too(world: World, reader: Reader) -> None:
    world.register(visibility="public")
    world.tell("policy.removed", {"policy_id": "pol-1"})
    assert not reader.evaluate(CLAIMS, at_least={"pol-1": 2}, wait=0).allowed
    with pytest.raises(BehindError, match="at revision 2 here, and 3"):
        reader.evaluate(CLAIMS, at_least={"pol-1": 3}, wait=0)


def test_a_policy_that_went_to_another_owner_is_known_from_everywhere(world: World, reader: Reader) -> None:
    """Given a policy of another partition now, when a token of its former owner is judged, its revision is known."""
    world.register(visibility="public")
    update(world, "moved", repository_owner_id=4242)
    assert not reader.evaluate(CLAIMS, at_least={"pol-1": 2}, wait=0).allowed
    theirs = {**CLAIMS, "repository_owner_id": "4242"}
    assert revision_of(reader.evaluate(theirs, at_least={"pol-1": 2}, wait=0)) == 2


def test_of_a_policy_that_has_not_changed_since_a_former_release_its_view_tells(world: World, reader: Reader) -> None:
    world.register(visibility="public")
    key = partition_keys(OWNER, world.app.keyspace.partitions).revisions
    for noted in (None, "0", "none of ours"):
        world.app.client.redis.delete(key)
        if noted is not None:
            world.app.client.redis.hset(key, "pol-1", noted)
        assert revision_of(reader.evaluate(CLAIMS, at_least={"pol-1": 1}, wait=0)) == 1
        with pytest.raises(BehindError):
            reader.evaluate(CLAIMS, at_least={"pol-1": 2}, wait=0)


@pytest.mark.parametrize(
    ("at_least", "message"),
    [
        ([("pol-1", 1)], "is not an object"),
        ({7: 1}, "no text"),
        ({"\ud800": 1}, "no text"),
        ({"pol-1": True}, "no whole number"),
        ({"pol-1": "1"}, "no whole number"),
        ({"pol-1": -1}, "no whole number"),
        ({"pol-1": 2**63}, "no whole number"),
        ({f"pol-{n}": 1 for n in range(MOST_POLICIES + 1)}, "more than 100 policies"),
    ],
)
def test_what_are_no_revisions_is_said(world: World, reader: Reader, at_least: object, message: str) -> None:
    world.register(visibility="public")
    with Mirror(world.app.settings.store_url()) as mirror:
        assert mirror.wait(SECONDS)
        for ask in (reader.evaluate, mirror.evaluate):
            with pytest.raises(ValueError, match=f"^at_least .*{message}"):
                ask(CLAIMS, at_least=at_least)  # type: ignore[arg-type]


# Mirrors


def test_a_mirror_refuses_at_once_and_a_fallback_asks_the_store(world: World, reader: Reader) -> None:
    """Given a mirror that is held up, when somebody asks for what it has not read, then it refuses and the store answers."""
    world.register(visibility="public")
    held, go_on = threading.Event(), threading.Event()

    class HoldsUp:
        def changed(self, _: object) -> None:
            held.set()
            go_on.wait(SECONDS)

        def reloaded(self, _: object) -> None:
            pass

    with Mirror(world.app.settings.store_url(), listener=HoldsUp(), max_lag=SECONDS) as mirror:
        assert mirror.wait(SECONDS)
        assert revision_of(mirror.evaluate(CLAIMS, at_least={"pol-1": 1})) == 1
        update(world, "second")
        assert held.wait(SECONDS)
        try:
            fallback = Fallback(mirror, reader)
            begun = time.monotonic()
            with pytest.raises(BehindError, match="at revision 1 here, and 2"):
                mirror.evaluate(CLAIMS, at_least={"pol-1": 2})
            assert time.monotonic() - begun < WAIT_SECONDS / 2
            assert revision_of(mirror.evaluate(CLAIMS)) == 1
            assert revision_of(fallback.evaluate(CLAIMS, at_least={"pol-1": 2})) == 2
            assert fallback.direct == 1
            with pytest.raises(BehindError, match="at revision 2 here, and 99"):
                fallback.evaluate(CLAIMS, at_least=AHEAD, wait=0)
        finally:
            go_on.set()
        wait_until(lambda: revision_of(mirror.evaluate(CLAIMS)) == 2, "it reads on", SECONDS)
        assert revision_of(mirror.evaluate(CLAIMS, at_least={"pol-1": 2})) == 2
        # It keeps nothing of a removed policy; the store does.
        world.tell("policy.removed", {"policy_id": "pol-1"})
        wait_until(lambda: not mirror.evaluate(CLAIMS).allowed, "it reads of the removal", SECONDS)
        with pytest.raises(BehindError):
            mirror.evaluate(CLAIMS, at_least={"pol-1": 3})
        assert not fallback.evaluate(CLAIMS, at_least={"pol-1": 3}).allowed


def test_the_same_for_asyncio(world: World) -> None:
    world.register(visibility="public")
    url = world.app.settings.store_url()

    async def ask(mirror: Mirror) -> None:
        reader = AsyncReader.connect(url)
        fallback = AsyncFallback(mirror, reader)
        try:
            waiting = [
                asyncio.create_task(asking.evaluate(CLAIMS, at_least={"pol-1": 2}, wait=SECONDS))
                for asking in (reader, fallback)
            ]
            await asyncio.sleep(0.02)
            await asyncio.to_thread(update, world, "second")
            assert [revision_of(await task) for task in waiting] == [2, 2]
            for asking in (reader, fallback):
                with pytest.raises(BehindError):
                    await asking.evaluate(CLAIMS, at_least=AHEAD, wait=0.02)
                with pytest.raises(ValueError, match="at_least"):
                    await asking.evaluate(CLAIMS, at_least={"pol-1": -1})
        finally:
            await reader.close()

    with Mirror(url) as mirror:
        assert mirror.wait(SECONDS)
        asyncio.run(ask(mirror))


# Races


@pytest.mark.one_server("it gives the one server a replica")
def test_writers_mirrors_and_a_replica_race_and_nobody_answers_from_something_older(
    world: World, store: EmbeddedStore, second: EmbeddedStore, tmp_path: Path
) -> None:
    """Given a writer, and readers of primary, replica and mirrors of both, when each asks for the revision that was written
    last, then it answers from that one or a later one, or says that it is behind.
    """
    world.register(visibility="public")
    with Relay(store.port) as relay, Redis(port=second.port) as replica:
        follow(replica, relay.port)
        near, far = Reader.connect(store.url), Reader.connect(second.url)
        with Mirror(store.url) as mirror, Mirror(second.url) as distant:
            assert mirror.wait(SECONDS)
            assert distant.wait(SECONDS)
            written = [1]
            over = threading.Event()
            ways: dict[str, Callable[[dict[str, int]], Decision]] = {
                "primary": lambda asked: near.evaluate(CLAIMS, at_least=asked),
                "replica": lambda asked: far.evaluate(CLAIMS, at_least=asked),
                "replica, no wait": lambda asked: far.evaluate(CLAIMS, at_least=asked, wait=0),
                "mirror": lambda asked: mirror.evaluate(CLAIMS, at_least=asked),
                "mirror of the replica": lambda asked: distant.evaluate(CLAIMS, at_least=asked),
                "fallback": lambda asked: Fallback(mirror, near).evaluate(CLAIMS, at_least=asked),
                "fallback to the replica": lambda asked: Fallback(distant, far).evaluate(CLAIMS, at_least=asked),
            }  # fmt: skip

            def asks(way: Callable[[dict[str, int]], Decision]) -> tuple[int, int, list[tuple[int, int]]]:
                answers = refusals = 0
                older: list[tuple[int, int]] = []
                while not over.is_set():
                    last = written[0]
                    try:
                        found = revision_of(way({"pol-1": last}))
                    except UnavailableError:
                        refusals += 1
                    else:
                        answers += 1
                        if found < last:
                            older.append((last, found))
                return answers, refusals, older

            with ThreadPoolExecutor(len(ways)) as pool:
                told = {name: pool.submit(asks, way) for name, way in ways.items()}
                try:
                    for n in range(WRITES):
                        update(world, f"name {n}")
                        written[0] += 1
                finally:
                    over.set()
                results = {name: asked.result(SECONDS) for name, asked in told.items()}
        assert {name: older for name, (_, _, older) in results.items() if older} == {}
        assert all(answers for answers, _, _ in results.values()), results
        # Whoever waits is answered: the last revision is there, or comes within the second.
        assert results["primary"][1] == results["fallback"][1] == 0
        far.close()
        near.close()


@pytest.mark.one_server("it gives the one server a replica")
def test_a_server_that_took_over_without_the_last_write_says_that_it_is_behind(
    world: World, store: EmbeddedStore, second: EmbeddedStore
) -> None:
    """Given a replica that takes over and lacks the last revision, when somebody who has seen that asks, it refuses."""
    world.register(visibility="public")
    with Relay(store.port) as relay, Redis(port=second.port) as successor:
        follow(successor, relay.port)
        reader = Reader.connect(second.url)
        assert revision_of(reader.evaluate(CLAIMS, at_least={"pol-1": 1}, wait=SECONDS)) == 1
        relay.cut()
        update(world, "second")
        successor.replicaof("NO", "ONE")
        assert revision_of(reader.evaluate(CLAIMS)) == 1
        with pytest.raises(BehindError, match="at revision 1 here, and 2"):
            reader.evaluate(CLAIMS, at_least={"pol-1": 2}, wait=0.05)
        reader.close()
