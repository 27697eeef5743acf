"""One store for all tests of this folder, emptied before each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.cli.running import Tenure
from tests.engines import plain_client, store_in, waiting_for_replicas
from worker.app import App, build
from worker.local.valkey import EmbeddedStore
from worker.settings import Settings


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with store_in(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture
def app(store: EmbeddedStore) -> Iterator[App]:
    """The parts of a process on the empty store."""
    with plain_client(store.url) as plain:
        plain.flushall()
    built = build(Settings(redis_url=SecretStr(store.url)))
    yield built
    built.broker.close()
    built.client.redis.close()


@pytest.fixture
def tenure(app: App, store: EmbeddedStore, tmp_path: Path) -> Tenure:
    """The command, on an empty store."""
    return Tenure(tmp_path, store.url, waiting_for_replicas(store))
