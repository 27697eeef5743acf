"""A store that is away, stalls or crashes, a broker that forgets, repeats or garbles: nothing that was acknowledged is lost.

One test for each row of the design's table of defaults that is about the queue or the store.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dramatiq import Message
from redis import Redis

from tests.conftest import wait_until
from tests.resilience.conftest import Stack
from tests.store.making import (
    about_member,
    about_policy,
    assert_consistent,
    dead_letters,
    idle,
    login,
    lose_worker,
    published,
    put,
    put_and_ring,
    registration,
    settle_all,
    state,
    states,
    types,
)
from tests.support import OWNER
from worker.app import App, build
from worker.local.valkey import EmbeddedStore
from worker.settings import SettingsError, load
from worker.store.client import Client, Command, Reply, ScriptCall, StoreError
from worker.store.inbox import EVENTS

STALL_SECONDS = 8.0
"""Longer than the 5 s after which redis-py gives up by default."""


def broker_of(app: App) -> Redis:
    """A plain client to the database of wake-ups."""
    return Redis.from_url(app.settings.queue_url(), socket_timeout=60)


# The store


@pytest.mark.processes
def test_an_event_acknowledged_just_before_the_server_crashed_is_there_afterwards(
    app: App, store: EmbeddedStore
) -> None:
    """Given an event that was put, when the server is killed right after the answer, then the event is still there."""
    for n in range(5):
        put(app, registration(app, f"pol-{n}"))
        store.kill()
        store.start()
    settle_all(app)
    assert [state(app, f"pol-{n}") for n in range(5)] == ["provisional"] * 5
    # What was settled stays settled.
    store.kill()
    store.start()
    assert_consistent(app)
    assert all(receipt.duplicate for receipt in put(app, *(registration(app, f"pol-{n}") for n in range(5))))


@pytest.mark.processes
def test_events_in_work_while_the_store_goes_away_are_settled_when_it_is_back(stack: Stack) -> None:
    """Given workers in the middle of many events, when the store ends and comes back, then all are settled, once."""
    app = stack.app
    letters = [registration(app, f"away-{n}", owner=1000 + n % 10) for n in range(600)]
    before = app.status.counters().get("settled", 0)
    app.inbox.put([[item] for item in letters])
    for owner in range(10):
        app.wakeups.wake(app.keyspace.of(1000 + owner), EVENTS, "")
    wait_until(lambda: app.status.counters().get("settled", 0) > before, "workers are at work")
    stack.store.stop()
    with pytest.raises(StoreError):
        put(app, registration(app, "away-never"))
    stack.store.start()
    wait_until(lambda: idle(app), "everything settled after the store came back", 30)
    stack.assert_nobody_was_restarted()
    assert list(states(app, "away-").values()) == ["provisional"] * 600
    assert dead_letters(app) == []
    assert_consistent(app)


@pytest.mark.processes
def test_a_server_that_stalls_for_8_seconds_loses_and_repeats_nothing(stack: Stack) -> None:
    """Given a stream of events, when the server stalls in the middle, then all are settled, each once."""
    app = stack.app
    owners = [2000 + n % 10 for n in range(300)]
    app.inbox.put([[registration(app, f"stall-{n}", owner=owner)] for n, owner in enumerate(owners)])
    wait_until(lambda: idle(app), "everything registered")

    def send() -> None:
        for n, owner in enumerate(owners):
            put_and_ring(app, login(app, f"stall-{n}", owner=owner))
            put_and_ring(app, about_policy(app, "policy.renewed", f"stall-{n}", owner=owner))

    assert stack.store.pid is not None
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        wait_until(lambda: state(app, "stall-50", owner=2000) == "active", "the stream has begun")
        os.kill(stack.store.pid, signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                sending.result(STALL_SECONDS)
        finally:
            os.kill(stack.store.pid, signal.SIGCONT)
        sending.result(30)
    wait_until(lambda: idle(app), "everything settled after the stall", 30)
    stack.assert_nobody_was_restarted()
    assert list(states(app, "stall-").values()) == ["active"] * 300
    assert dead_letters(app) == []
    assert_consistent(app)


# The broker


@pytest.mark.processes
def test_a_message_that_cannot_be_decoded_is_put_aside_and_stops_no_other(stack: Stack) -> None:
    """Given garbage in a queue, when wake-ups follow, then they are heard, and nothing stays in a worker's hands."""
    app = stack.app
    with broker_of(app) as broker:
        for n, garbage in enumerate((b"\xff\xfe not json", b"{}", b'["events"]')):
            broker.hset("{tenure}:events.msgs", f"garbage-{n}", garbage)
            broker.rpush("{tenure}:events", f"garbage-{n}")
        put_and_ring(app, registration(app, "garbled"))
        wait_until(lambda: state(app, "garbled") == "provisional", "the event behind the garbage is settled")
        wait_until(lambda: broker.zcard("{tenure}:events.XQ") == 3, "the garbage is put aside")
        held = broker.sunion(list(broker.scan_iter("{tenure}:__acks__*")) or ["none"])
        assert not [message_id for message_id in held if message_id.startswith(b"garbage")]
    stack.assert_nobody_was_restarted()
    put_and_ring(app, login(app, "garbled"))
    wait_until(lambda: state(app, "garbled") == "active", "workers go on")


@pytest.mark.processes
def test_a_broker_that_forgets_all_wake_ups_delays_events_by_seconds_only(stack: Stack) -> None:
    """Given events that wait, when the broker loses everything, then the schedule wakes workers for them."""
    app = stack.app
    for worker in stack.workers:
        worker.send(signal.SIGSTOP)
    put_and_ring(app, *(registration(app, f"forgotten-{n}", owner=3000 + n) for n in range(20)))
    with broker_of(app) as broker:
        broker.flushdb()
    for worker in stack.workers:
        worker.send(signal.SIGCONT)
    wait_until(lambda: idle(app), "settled by the schedule's wake-up", 5)
    assert list(states(app, "forgotten-").values()) == ["provisional"] * 20
    stack.assert_nobody_was_restarted()


@pytest.mark.processes
def test_wake_ups_that_are_delivered_twice_change_nothing_twice(stack: Stack) -> None:
    """Given every wake-up sent several times over, when events are settled, then each has one change."""
    app = stack.app
    letters = [registration(app, f"twice-{n}", owner=4000 + n % 5) for n in range(100)]
    app.inbox.put([[item] for item in letters])
    for item in letters:
        kwargs = {"partition": item.partition.number, "event_id": item.event_id}
        message: Message[None] = Message(EVENTS, f"settle_{EVENTS}", (), kwargs, {})
        for _ in range(3):
            app.broker.enqueue(message)
    wait_until(lambda: idle(app), "everything settled")
    changes = published(app)
    assert [len(changes[f"twice-{n}"]) for n in range(100)] == [1] * 100
    assert_consistent(app)


@pytest.mark.processes
def test_the_brokers_listing_of_keys_meets_none_of_the_store(stack: Stack) -> None:
    """Given a stack at work, when both databases are looked at, then each holds its own keys only."""
    put_and_ring(stack.app, registration(stack.app, "apart"))
    wait_until(lambda: state(stack.app, "apart") == "provisional", "settled")
    with broker_of(stack.app) as broker:
        keys = list(broker.scan_iter("*", count=1000))
        assert keys
        assert all(key.startswith(b"{tenure}:") for key in keys)
    assert all(key.startswith(b"tenure:") for key in stack.app.client.redis.scan_iter("*", count=1000))


def test_store_and_broker_in_one_database_are_refused() -> None:
    """Given the same database for both, when settings are read, then one line says what to change."""
    url = "redis://127.0.0.1:6379/2"
    with pytest.raises(SettingsError, match="TENURE_BROKER_URL: give the broker its own database"):
        load({"TENURE_REDIS_URL": url, "TENURE_BROKER_URL": url})
    assert load({"TENURE_REDIS_URL": url}).queue_url() == "redis://127.0.0.1:6379/3"


def test_none_of_dramatiqs_own_middleware_runs(app: App) -> None:
    """Given the broker as a process builds it, when its middleware is listed, then there is none but ours."""
    assert app.broker.middleware == []


@pytest.mark.processes
def test_workers_open_no_port(stack: Stack) -> None:
    """Given a running worker, when its sockets are looked at, then none of them listens."""
    for worker in stack.workers:
        owned = {str(link.readlink()) for link in Path(f"/proc/{worker.pid}/fd").iterdir() if link.is_symlink()}
        listening = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/{worker.pid}/net/{table}").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        ]
        assert [fields for fields in listening if f"socket:[{fields[9]}]" in owned] == []


# A client that repeats what it does not know to be done


class Twice(Client):
    """Runs everything twice, and gives the answer of the second time: the first was lost on its way."""

    def run(self, calls: Sequence[ScriptCall | Command], *, atomic: bool = False) -> list[Reply]:
        if not any(isinstance(call, ScriptCall) and call.script == "claim" for call in calls):
            super().run(calls, atomic=atomic)
        return super().run(calls, atomic=atomic)


def test_scripts_that_run_twice_come_to_the_same_end(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a client that runs every script twice, when events are settled, then as if it had run them once."""
    monkeypatch.setattr("worker.app.Client", Twice)
    doubled = build(app.settings)
    events = [registration(app, f"pol-{n}", user=n % 3) for n in range(60)]
    settle_all(doubled, *events)
    settle_all(doubled, login(app, "pol-1"))
    settle_all(doubled, about_member(app, "member_removed", "d-1", user=1))
    settle_all(doubled, registration(app, "pol-2", "moved", owner=42), about_policy(app, "policy.removed", "pol-3"))
    assert idle(app)
    assert app.status.counters()["settled"] == 64
    assert types(app, "pol-1") == ["policy.provisioned", "policy.activated", "policy.disabled"]
    assert types(app, "pol-4") == ["policy.provisioned", "policy.disabled"]
    assert_consistent(app)
    doubled.broker.close()
    doubled.client.redis.close()


def test_a_claim_whose_answer_was_lost_is_made_again_when_its_lease_is_over(app: App) -> None:
    """Given a claim that nobody heard the answer of, when its lease is over, then the events are settled."""
    put(app, *(registration(app, f"pol-{n}") for n in range(3)))
    unheard = app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "one", 10)
    settle_all(app)
    assert states(app, "pol-") == {}
    lose_worker(app, unheard.events)
    settle_all(app)
    assert list(states(app, "pol-").values()) == ["provisional"] * 3
    assert_consistent(app)
