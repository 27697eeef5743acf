"""A server with one database, a queue that nobody consumes, and consumers that ended: wake-ups stay few, and are found."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from dramatiq.common import current_millis
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.conftest import Processes, wait_until
from tests.store.making import about_repository, registration
from worker.app import App, build
from worker.lifecycle.views import View
from worker.local.valkey import find_server, free_port
from worker.queue.broker import ENDED_MS, QUEUE_MAX
from worker.queue.wakeups import QUEUES
from worker.settings import load
from worker.web.health import parts_of


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[str]:
    """The address of a server that has one database, as managed ones do."""
    port = free_port()
    server = subprocess.Popen(
        [
            find_server(),
            "--port",
            str(port),
            "--bind",
            "127.0.0.1",
            "--databases",
            "1",
            "--dir",
            str(tmp_path),
            "--save",
            "",
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        with Redis(port=port) as redis:

            def answers() -> bool:
                try:
                    return bool(redis.ping())
                except RedisConnectionError:
                    return False

            wait_until(answers, "the server answers")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.processes
def test_on_a_server_with_one_database_events_settle(alone: str, tmp_path: Path) -> None:
    environment = {"TENURE_REDIS_URL": alone, "TENURE_WEBHOOK_SECRETS": "s", "TENURE_LOG_FORMAT": "json"}
    app = build(load(environment))
    processes = Processes(environment, tmp_path)
    try:
        processes.ready(app, "worker", processes.start("-m", "worker", "worker", "--single"))
        for letter in (registration(app, "pol-1"), about_repository(app, "archived", "h-1")):
            (receipt,) = app.inbox.put([[letter]])[0]
            app.wakeups.wake(letter.partition, "events", letter.event_id)
            assert not receipt.duplicate
        wait_until(lambda: (view := view_of(app)) is not None and view["state"] == "disabled", "disabled")
        assert parts_of(app)["queue"]["ok"]
        found = {key.partition(b":")[0] for key in app.client.redis.scan_iter("*", count=1000)}
        assert found == {b"tenure", b"{tenure}"}
    finally:
        processes.kill()
        app.broker.close()
        app.client.redis.close()


def test_a_queue_that_nobody_consumes_is_bounded(app: App) -> None:
    for n in range(QUEUE_MAX + 20):
        app.wakeups.tick("clock", "inbox", n, n)
    assert app.broker.client.llen("{tenure}:clock") == QUEUE_MAX
    assert app.broker.client.hlen("{tenure}:clock.msgs") == QUEUE_MAX


def test_what_a_consumer_had_fetched_when_it_ended_is_dropped(app: App) -> None:
    client = app.broker.client
    app.wakeups.tick("clock", "inbox", 1, 1)
    (fetched,) = app.broker.do_fetch("clock", 1)
    assert fetched
    assert app.broker.forget_ended(QUEUES) == 0
    client.zadd("{tenure}:__heartbeats__", {app.broker.broker_id: current_millis() - ENDED_MS - 1})
    assert app.broker.forget_ended(QUEUES) == 1
    assert client.hlen("{tenure}:clock.msgs") == 0
    assert not client.exists(f"{{tenure}}:__acks__.{app.broker.broker_id}.clock", "{tenure}:__heartbeats__")


def test_readiness_tells_of_a_queue_that_cannot_be_reached(app: App) -> None:
    """It is reported only: workers look by themselves."""
    away = load({**settings_of_app(app), "TENURE_BROKER_URL": f"redis://127.0.0.1:{free_port()}/0"})
    lost = build(away)
    try:
        assert not parts_of(lost)["queue"]["ok"]
        assert parts_of(lost)["store"]["ok"]
    finally:
        lost.broker.close()
        lost.client.redis.close()


def view_of(app: App) -> View | None:
    policy = app.policies.load(["pol-1"])["pol-1"].policy
    return None if policy is None else policy.view


def settings_of_app(app: App) -> dict[str, str]:
    return {"TENURE_REDIS_URL": app.settings.store_url(), "TENURE_WEBHOOK_SECRETS": "s"}


@pytest.mark.processes
def test_a_store_that_is_only_read_is_said_in_a_line(app: App, processes: Processes) -> None:
    """Given a worker whose server becomes a replica for a while, then its log has a few lines, no trace, and it goes on."""
    worker = processes.ready(app, "worker", processes.start("-m", "worker", "worker", "--single"))
    redis = app.client.redis
    redis.replicaof("127.0.0.1", free_port())
    wait_until(lambda: "wake-ups cannot be" in worker.log, "it is said")
    redis.replicaof("NO", "ONE")
    wait_until(lambda: "wake-ups are fetched again" in worker.log, "it is over")
    told = worker.log
    assert "Traceback" not in told
    assert "dramatiq" not in told
    assert told.count("wake-ups cannot be") <= 2
