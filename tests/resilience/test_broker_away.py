"""The broker away, ended or hanging: what is due is found without wake-ups, within 2 s, and wake-ups are heard again later."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dramatiq import Message

from tests.conftest import Processes, settings_of, wait_until
from tests.store.making import assert_consistent, dead_letters, idle, login, put, registration, state
from worker.app import App, build
from worker.lifecycle.facts import DAY, SECOND
from worker.local.valkey import EmbeddedStore, free_port
from worker.queue.broker import BlockingBroker
from worker.queue.wakeups import PAUSE_SECONDS, WakeUps
from worker.settings import load

WITHIN = 2.0
"""Seconds in which a change has to come."""
EVENTS = 12


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path / "broker", free_port()) as started:
        yield started


@pytest.fixture
def split(store: EmbeddedStore, broker: EmbeddedStore, tmp_path: Path) -> Iterator[tuple[App, Processes]]:
    """Two workers and a scheduler, with wake-ups on a server of their own."""
    settings = {**settings_of(store), "TENURE_BROKER_URL": f"redis://127.0.0.1:{broker.port}/0"}
    app = build(load(settings))
    processes = Processes(settings, tmp_path)
    try:
        processes.worker(app)
        processes.worker(app)
        processes.scheduler(app)
        yield app, processes
    finally:
        processes.kill()
        app.broker.close()
        app.client.redis.close()


@pytest.mark.processes
@pytest.mark.parametrize("hangs", [False, True], ids=["ended", "hangs"])
def test_changes_come_within_2_seconds_without_a_broker(
    split: tuple[App, Processes], broker: EmbeddedStore, hangs: bool
) -> None:
    """Given a broker that ended, or answers no more, when events come and a window closes, then each change comes within 2 s."""
    app, _ = split
    assert broker.pid is not None
    put(app, registration(app, "before"))
    wait_until(lambda: state(app, "before") == "provisional", "settled with the broker")
    if hangs:
        os.kill(broker.pid, signal.SIGSTOP)
    else:
        broker.kill()
    try:
        for n in range(EVENTS):
            name = f"pol-{n}"
            put(app, registration(app, name))
            wait_until(lambda name=name: state(app, name) == "provisional", f"{name} is registered", WITHIN)  # type: ignore[misc]
            put(app, login(app, name))
            wait_until(lambda name=name: state(app, name) == "active", f"{name} is active", WITHIN)  # type: ignore[misc]
        closes = 2 * SECOND
        put(app, registration(app, "closing", at=app.status.now() - 7 * DAY + closes))
        wait_until(lambda: state(app, "closing") == "provisional", "the window is open", WITHIN)
        wait_until(lambda: state(app, "closing") == "expired", "the clock closed it", closes / SECOND + WITHIN)
    finally:
        if hangs:
            os.kill(broker.pid, signal.SIGCONT)
        else:
            broker.start()
    wait_until(lambda: not _missed(app, broker), "workers listen again", 10)
    put(app, login(app, "before"))
    app.wakeups.wake(app.keyspace.all()[0], "events", "")
    wait_until(lambda: state(app, "before") == "active", "settled with the broker again", 5)
    wait_until(lambda: idle(app), "nothing is left")
    assert dead_letters(app) == []
    assert_consistent(app)


def _missed(app: App, broker: EmbeddedStore) -> int:
    """Wake-ups that nobody fetched."""
    app.wakeups.tick("clock", "inbox", 0, 0)
    return int(app.broker.client.llen("{tenure}:clock"))


class Refusing(BlockingBroker):
    """A broker that counts what it is asked to send, and sends nothing while it is `broken`."""

    broken = True
    asked = 0

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        assert delay is None
        self.asked += 1
        if self.broken:
            raise ConnectionError
        return message


def test_a_sender_does_not_wait_for_a_broker_that_is_away(app: App) -> None:
    """Given a broker that refuses, when many wake-ups are to be sent, then one a second is tried, and all once it is back."""
    now = [0.0]
    refusing = Refusing(app.broker.client, [])
    wakeups = WakeUps(refusing, lambda: now[0])
    for _ in range(100):
        wakeups.check()
    assert refusing.asked == 1
    now[0] += PAUSE_SECONDS
    for _ in range(100):
        wakeups.check()
    assert refusing.asked == 2
    refusing.broken = False
    now[0] += PAUSE_SECONDS
    for _ in range(100):
        wakeups.check()
    assert refusing.asked == 102
