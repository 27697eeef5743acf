from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import RedisCluster

from tenure_reader import Reader
from tests.engines import Cluster, plain_client, store_in
from tests.reader.published import Published
from tests.reader.world import World
from worker.app import App
from worker.local.valkey import EmbeddedStore


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """One server for these tests."""
    with store_in(tmp_path_factory.mktemp("store")) as running:
        with plain_client(running.url) as client:
            client.config_set("appendfsync", "no")
        yield running


@pytest.fixture
def store(server: EmbeddedStore) -> EmbeddedStore:
    """It, empty."""
    with plain_client(server.url) as client:
        client.flushall()
    return server


@pytest.fixture
def world(app: App) -> World:
    return World(app)


@pytest.fixture
def reader(world: World) -> Reader:
    return Reader(world.app.client.redis)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), arguments=("--appendfsync", "no")) as running:
        yield running


@pytest.fixture
def published(cluster: Cluster) -> Iterator[Published]:
    with RedisCluster.from_url(f"redis://{cluster.servers[0].name}", require_full_coverage=True) as redis:
        store = Published(redis)
        store.begin()
        yield store
