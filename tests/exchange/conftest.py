from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from examples.circle.issuer import AUDIENCE, Issuer
from examples.exchange.settings import ExchangeSettings
from tests.exchange.service import INDEX_TOKEN, Service, serving
from tests.reader.world import World
from tests.web.site import REGISTRY, Site, site_on
from worker.local.valkey import EmbeddedStore, free_port


@pytest.fixture(scope="package")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Tenure's doors on a store of their own; nobody settles unless told to."""
    with EmbeddedStore(tmp_path_factory.mktemp("store"), port=free_port()) as store:
        with Redis(port=store.port) as client:
            client.config_set("appendfsync", "no")
        with site_on(store, tmp_path_factory.mktemp("data")) as site:
            yield site


@pytest.fixture(scope="package")
def issuing() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
def issuer(issuing: Issuer) -> Issuer:
    issuing.broken, issuing.garbled = False, None
    return issuing


@pytest.fixture
def site(doors: Site) -> Site:
    doors.clear()
    return doors


@pytest.fixture
def world(site: Site) -> World:
    return World(site.app)


@pytest.fixture
def settings(site: Site, issuer: Issuer) -> ExchangeSettings:
    return ExchangeSettings(
        audience=AUDIENCE,
        tenure_redis_url=site.store.url,
        redis_url=site.store.url.rpartition("/")[0] + "/5",
        tenure_url=site.url,
        tenure_token=REGISTRY,
        index_token=INDEX_TOKEN,
        issuer=issuer.url,
        jwks_url=issuer.jwks_url,
    )


@pytest.fixture
def start(settings: ExchangeSettings, issuer: Issuer) -> Iterator[Callable[..., Service]]:
    """Starts exchanges with these settings, or some of them changed."""
    with ExitStack() as exits:

        def starting(**changed: object) -> Service:
            return exits.enter_context(serving(dataclasses.replace(settings, **changed), issuer))  # type: ignore[arg-type]

        yield starting


@pytest.fixture
def service(start: Callable[..., Service]) -> Service:
    return start()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path
