"""A running stack that tests share which leave it as healthy as they found it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Process, Processes, settings_of
from tests.resilience.clocks import compiled
from worker.app import App, build
from worker.local.valkey import EmbeddedStore, free_port
from worker.settings import load


@dataclass(frozen=True)
class Stack:
    """A store, two workers and a scheduler."""

    app: App
    store: EmbeddedStore
    workers: tuple[Process, Process]
    scheduler: Process

    def assert_nobody_was_restarted(self) -> None:
        assert all(process.running for process in (*self.workers, self.scheduler))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("stack")
    with EmbeddedStore(directory / "store", free_port()) as store:
        app = build(load(settings_of(store)))
        processes = Processes(settings_of(store), directory)
        try:
            started = [processes.start("-m", "worker", "worker", "--single", "--part=small") for _ in range(2)]
            processes.ready(app, "bulky", processes.start("-m", "worker", "worker", "--single", "--part=bulky"))
            scheduler = processes.scheduler(app)
            one, other = (processes.ready(app, "worker", process) for process in started)
            yield Stack(app, store, (one, other), scheduler)
        finally:
            processes.kill()
            app.broker.close()
            app.client.redis.close()


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With it before a server, its clock can be set."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("no C compiler, or no Linux: a server's clock cannot be set")
    return compiled(compiler, tmp_path_factory.mktemp("setclock"))
