"""Each node of a cluster may go back in time by itself: that is noticed, and a failover that loses nothing is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr
from redis import Redis

from tests.conftest import wait_until
from tests.engines import Cluster, Sentinels
from tests.store.test_epoch import Host
from worker.app import build
from worker.settings import Settings


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), replicas=1, arguments=("--appendfsync", "no")) as running:
        yield running


@pytest.fixture
def far(cluster: Cluster, tmp_path: Path) -> Iterator[Host]:
    """On a cluster, of which each node may go back by itself."""
    built = build(Settings(_env_file=None, redis_url=SecretStr(cluster.url), witness_dir=tmp_path / "apart"))
    yield Host(built, tmp_path / "apart")
    built.broker.close()
    built.client.close()


@pytest.mark.parametrize("place", range(3))
def test_a_node_that_lost_its_last_writes_in_a_failover_is_noticed(far: Host, cluster: Cluster, place: int) -> None:
    """Given a replica that was away, when it takes over, then all is closed, once, whoever looks first."""
    running, other = far.process(), far.process()
    for process in (running, other):
        process.beat()
    victim, (behind,) = cluster.primaries[place], cluster.replicas_of(place)
    with victim.redis() as primary, behind.redis() as replica:
        wait_until(lambda: _offset(primary) == _offset(replica), "the replica has everything")
    behind.kill()
    for process in (running, other, running):
        process.beat()
    victim.kill()
    behind.start()
    cluster.await_failover(behind)
    for process in (other, running, far.process(), running):
        process.beat()
    assert {found.epoch for found in far.closed} == {2}
    assert far.closed[0].since < far.closed[0].found


def test_a_failover_that_lost_nothing_is_no_new_epoch(far: Host, cluster: Cluster) -> None:
    running = far.process()
    for place in range(3):
        running.beat()
        victim, (replica,) = cluster.primaries[place], cluster.replicas_of(place)
        with victim.redis() as primary, replica.redis() as follower:
            wait_until(lambda: _offset(primary) == _offset(follower), "the replica has everything")
        if place:
            victim.kill()
            cluster.await_failover(replica)
    running.beat()
    far.process().beat()
    assert not far.closed


def test_behind_sentinels_too(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Given a replica that was away, when it takes over, then all is closed."""
    with Sentinels(tmp_path_factory.mktemp("sentinels"), replicas=1) as sentinels:
        settings = Settings(_env_file=None, redis_url=SecretStr(sentinels.url), witness_dir=tmp_path / "apart")
        built = build(settings)
        host = Host(built, tmp_path / "apart")
        running, (behind,) = host.process(), sentinels.replicas
        running.beat()
        with sentinels.primary.redis() as primary, behind.redis() as replica:
            wait_until(lambda: _offset(primary) == _offset(replica), "the replica has everything")
        behind.kill()
        for _ in range(2):
            running.beat()
        sentinels.primary.kill()
        behind.start()
        sentinels.await_failover(sentinels.primary)
        behind.wait(lambda redis: redis.role()[0] == b"master", "it took over")
        for process in (running, host.process()):
            process.beat()
        assert {found.epoch for found in host.closed} == {2}
        built.broker.close()
        built.client.close()


def _offset(redis: Redis) -> object:
    return cast("dict[str, object]", redis.info("replication"))["master_repl_offset"]
