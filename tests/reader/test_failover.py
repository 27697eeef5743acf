"""What readers and mirrors do when servers end, fall silent and come back, and when slots move: nobody answers from before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

import pytest

from tenure_reader import (
    AsyncReader,
    Fallback,
    Mirror,
    Reader,
    RepositoryRef,
    UnavailableError,
    UntrustedError,
)
from tenure_reader.keys import partition_keys
from tenure_reader.routing import BELIEVED, LIMIT
from tenure_reader.topology import slot_of
from tests.conftest import wait_until
from tests.engines import Cluster, Sentinels, paused
from tests.reader.published import COUNT, Published, claims_of, elsewhere, home
from tests.reader.world import CLAIMS, OWNER, REPOSITORY

SECONDS = 30.0
HERE = RepositoryRef(OWNER, REPOSITORY, "widgets")


def answered(reader: Reader, revision: int = 0) -> None:
    """Wait until it answers, by a revision. No question may take longer than is promised."""
    begun = time.monotonic()
    while True:
        asked_at = time.monotonic()
        try:
            reader.evaluate(CLAIMS, at_least={"pol-1": revision})
        except UnavailableError:
            assert time.monotonic() - asked_at < 2 * LIMIT + 1
            assert time.monotonic() - begun < SECONDS, "it does not recover"
        else:
            return


def test_when_a_primary_ends_readers_and_mirrors_go_on_with_who_took_over(
    cluster: Cluster, published: Published
) -> None:
    published.publish("pol-1", 1)
    other = elsewhere(cluster)
    published.publish("other", 1, other)
    victim = cluster.primaries[home(cluster)]
    with Mirror(cluster.url) as mirror:
        reader = Reader.connect(cluster.url)
        fallback = Fallback(mirror, reader)
        assert mirror.wait(SECONDS)
        assert reader.evaluate(CLAIMS).allowed
        victim.kill()
        wait_until(lambda: not mirror.status().trusted, "it refuses", SECONDS)
        with pytest.raises(UntrustedError):
            mirror.evaluate(claims_of(other))
        answered(reader)
        assert reader.evaluate(CLAIMS).allowed
        assert asyncio.run(_allowed(cluster.url))
        assert fallback.evaluate(claims_of(other)).allowed
        wait_until(lambda: mirror.status().trusted, "it is trusted again", SECONDS)
        assert mirror.status().loads >= 2
        cluster.await_failover(cluster.replicas_of(home(cluster))[0])
        with cluster.replicas_of(home(cluster))[0].redis() as successor:
            Published(successor).write("pol-1", 2, usable=False)
        wait_until(lambda: not mirror.evaluate(CLAIMS).allowed, "it reads on", SECONDS)
        reader.close()


def test_a_paused_node_closes_its_partitions_only_and_a_mirror_whole(cluster: Cluster, published: Published) -> None:
    """No replica takes over so soon. Others are asked as before; and what was let through while it was away ends."""
    published.publish("pol-1", 1)
    other = elsewhere(cluster)
    published.publish("other", 1, other)
    with Mirror(cluster.url) as mirror:
        reader = Reader.connect(cluster.url)
        fallback = Fallback(mirror, reader)
        assert mirror.wait(SECONDS)
        assert reader.evaluate(CLAIMS).allowed
        with paused(cluster.primaries[home(cluster)]):
            begun = time.monotonic()
            assert reader.evaluate(claims_of(other)).allowed
            assert time.monotonic() - begun < LIMIT
            wait_until(lambda: not mirror.status().trusted, "it refuses", SECONDS)
            with suppress(UnavailableError):  # Another may have taken over by then.
                fallback.evaluate(CLAIMS)
            assert fallback.evaluate(claims_of(other)).allowed
        wait_until(lambda: mirror.status().trusted, "it is trusted again", SECONDS)
        answered(reader)
        assert mirror.evaluate(CLAIMS).allowed
        reader.close()


def test_a_primary_that_was_away_while_another_took_over_is_not_believed_when_it_is_back(
    cluster: Cluster, published: Published
) -> None:
    """Given a primary that is paused, when its replica took over and closed a policy, then nobody is let through when it is back."""
    published.publish("pol-1", 1)
    place = home(cluster)
    old, successor = cluster.primaries[place], cluster.replicas_of(place)[0]
    with Mirror(cluster.url) as mirror:
        reader = Reader.connect(cluster.url)
        fresh = [
            Reader.connect(f"redis://{old.name}"),
            Reader.connect(f"redis://{old.name},{cluster.servers[-1].name}"),
        ]
        assert mirror.wait(SECONDS)
        assert reader.evaluate(CLAIMS).allowed
        with paused(old):
            successor.wait(lambda redis: redis.role()[0] == b"master", "it took over")
            with successor.redis() as redis:
                Published(redis).write("pol-1", 2, usable=False)
            closed_at = time.monotonic()
            wait_until(lambda: time.monotonic() > closed_at + BELIEVED, "nobody is believed for as long")
        answers = 0
        until = time.monotonic() + 2
        while time.monotonic() < until:
            everybody: list[Reader | Mirror] = [reader, mirror, *fresh]
            for asked in everybody:
                with suppress(UnavailableError):
                    assert not asked.evaluate(CLAIMS).allowed
                    answers += 1
        assert answers > 20
        for each in (reader, *fresh):
            each.close()


def refuses(reader: Reader) -> bool:
    try:
        reader.evaluate(CLAIMS)
    except UnavailableError:
        return True
    return False


def test_a_slot_that_moves_key_by_key_is_read_where_its_keys_are(cluster: Cluster, published: Published) -> None:
    """Given a policy that is closed and one that is open, while their partition moves, then every answer is the same; a mirror may
    give none meanwhile. What was moved is followed without loading anything again.
    """
    published.publish("open", 1)
    published.publish("pol-1", 1)
    published.publish("pol-1", 2, usable=False)
    slot, place = slot_of(partition_keys(OWNER, COUNT).settings), home(cluster)
    to = (place + 1) % 3
    with Mirror(cluster.url) as mirror:
        reader = Reader.connect(cluster.url)
        assert mirror.wait(SECONDS)
        steps = []
        for step in cluster.migrate_keys(slot, place, to):
            steps.append(step)
            assert [grant["policy_id"] for grant in reader.evaluate(CLAIMS, at_least={"pol-1": 2}).granted] == ["open"]
            status = reader.standing("open", RepositoryRef(OWNER, REPOSITORY, "widgets"))
            assert not status.closed
            with suppress(UnavailableError):
                assert [grant["policy_id"] for grant in mirror.evaluate(CLAIMS).granted] == ["open"]
        assert len(steps) > 4
        # A read that began before the end may still be answered.
        confirmed = mirror.status().confirmations
        wait_until(
            lambda: mirror.status().trusted and mirror.status().confirmations > confirmed, "it is trusted", SECONDS
        )
        published.publish("open", 2, usable=False)
        wait_until(lambda: not mirror.evaluate(CLAIMS).allowed, "it reads on", SECONDS)
        assert (mirror.status().loads, mirror.status().gaps) == (1, 0)
        reader.close()


def test_a_slot_that_moves_at_once_is_followed(cluster: Cluster, published: Published) -> None:
    published.publish("pol-1", 1)
    slot, place = slot_of(partition_keys(OWNER, COUNT).settings), home(cluster)
    to = (place + 1) % 3
    with (
        Mirror(cluster.url) as mirror,
        cluster.primaries[place].redis() as here,
        cluster.primaries[to].redis() as there,
    ):
        reader = Reader.connect(cluster.url)
        assert mirror.wait(SECONDS)
        here.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", cluster.ids[to])

        def moved() -> bool:
            assert reader.evaluate(CLAIMS).allowed
            with suppress(UntrustedError):
                assert mirror.evaluate(CLAIMS).allowed
            return bool(there.execute_command("CLUSTER", "COUNTKEYSINSLOT", slot)) and not here.execute_command(
                "CLUSTER", "COUNTKEYSINSLOT", slot
            )

        wait_until(moved, "the slot has moved", SECONDS)
        assert reader.evaluate(CLAIMS).allowed
        published.publish("pol-1", 2, usable=False)
        assert not reader.evaluate(CLAIMS, at_least={"pol-1": 2}).allowed
        wait_until(lambda: mirror.status().trusted and not mirror.evaluate(CLAIMS).allowed, "it reads on", SECONDS)
        assert (mirror.status().loads, mirror.status().gaps) == (1, 0)
        reader.close()


@pytest.fixture
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with Sentinels(tmp_path_factory.mktemp("sentinels"), replicas=1) as running:
        yield running


def test_behind_sentinels_the_primary_answers_and_who_takes_over(sentinels: Sentinels) -> None:
    """Given a primary that is paused, when a replica took over and closed a policy, then nobody is let through when it is back."""
    with sentinels.primary.redis() as redis:
        store = Published(redis)
        store.begin()
        store.publish("pol-1", 1)
        wait_until(lambda: cast("int", redis.wait(1, 1000)) == 1, "the replica has it", SECONDS)
    successor = sentinels.replicas[0]
    with Mirror(sentinels.url) as mirror:
        reader = Reader.connect(sentinels.url)
        assert mirror.wait(SECONDS), mirror.status()
        assert reader.evaluate(CLAIMS, at_least={"pol-1": 1}).allowed
        assert asyncio.run(_allowed(sentinels.url))
        with paused(sentinels.primary):
            wait_until(lambda: not mirror.status().trusted, "it refuses", SECONDS)
            sentinels.await_failover(sentinels.primary)
            successor.wait(lambda redis: redis.role()[0] == b"master", "it took over")
            with successor.redis() as redis:
                Published(redis).write("pol-1", 2, usable=False)
            answered(reader, 2)
        for _ in range(200):
            for asked in (reader, mirror):
                with suppress(UnavailableError):
                    assert not asked.evaluate(CLAIMS).allowed
        wait_until(lambda: mirror.status().trusted, "it is trusted again", SECONDS)
        assert not mirror.evaluate(CLAIMS).allowed
        assert mirror.status().loads == 2
        # Nobody says any more who the primary is.
        for sentinel in sentinels.sentinels:
            sentinel.kill()
        wait_until(lambda: not mirror.status().trusted, "it refuses", SECONDS)
        wait_until(lambda: refuses(reader), "nobody is believed any more", SECONDS)
        reader.close()


async def _allowed(url: str) -> bool:
    """By the asynchronous form, for many at once."""
    reader = AsyncReader.connect(url)
    try:
        questions = [reader.evaluate(CLAIMS, at_least={"pol-1": 1}) for _ in range(20)]
        return all(decision.allowed for decision in await asyncio.gather(*questions))
    finally:
        await reader.close()
