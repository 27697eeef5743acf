"""One web server and one store for all tests of this folder."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from tests.engines import store_in
from tests.web.site import Site, site_on
from worker import logs
from worker.http import app
from worker.local.valkey import EmbeddedStore
from worker.web import events, guard, inbox_writer, webhooks


@pytest.fixture(scope="package")
def lines() -> Iterator[io.StringIO]:
    """Everything that is logged, down to the smallest. No secret, token, signature or body may be in it."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    for module in (app, inbox_writer, events, guard, webhooks):
        # A logger keeps the configuration that it was first used with.
        setattr(module, "log", logs.logger("web"))  # noqa: B010 - a module, whose names mypy takes for constants
    yield stream
    root.handlers[:], root.level = before
    assert "canary" not in stream.getvalue()


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    with store_in(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="package")
def running(store: EmbeddedStore, tmp_path_factory: pytest.TempPathFactory, lines: io.StringIO) -> Iterator[Site]:
    with site_on(store, tmp_path_factory.mktemp("data")) as site:
        yield site


@pytest.fixture
def site(running: Site) -> Site:
    """The running site with an empty store."""
    running.clear()
    return running
