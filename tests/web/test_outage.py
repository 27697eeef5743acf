"""The store goes away and comes back: 503 meanwhile, and whatever was answered 2xx is there afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import orjson
import pytest

from tests.web.site import OPERATOR, Site, site_on, until
from tests.web.test_events import cloud_event
from worker.local.valkey import EmbeddedStore, free_port
from worker.store.inbox import Receipt
from worker.web import inbox_writer, threads
from worker.web.problems import ServiceUnavailableError
from worker.web.webhooks import envelope_of

ARCHIVED = {"action": "archived", "repository": {"id": 11, "name": "widgets", "owner": {"id": 7}}}
HEADERS = {"Authorization": f"Bearer {OPERATOR}"}


@pytest.fixture
def alone(tmp_path: Path, lines: object) -> Iterator[Site]:
    """A site with a store of its own, that may be stopped."""
    with EmbeddedStore(tmp_path / "store", port=free_port()) as store, site_on(store, tmp_path) as site:
        yield site


def refused(response: httpx.Response) -> bool:
    return (
        response.status_code == 503
        and int(response.headers["retry-after"]) > 0
        and response.headers["content-type"] == "application/problem+json"
    )


def test_nothing_is_acknowledged_while_the_store_is_away(alone: Site) -> None:
    # Given an event that was acknowledged just before the store is killed
    assert alone.deliver(ARCHIVED, delivery="before").status_code == 202
    alone.store.kill()

    # When everything is asked meanwhile, then nothing is acknowledged, and the process lives
    assert refused(alone.deliver(ARCHIVED, delivery="meanwhile"))
    assert refused(alone.send(cloud_event()))
    assert refused(alone.send([cloud_event(), cloud_event(id="e-2")]))
    assert refused(alone.http.get("/policies/p-1", headers=HEADERS))
    assert refused(alone.http.post("/evaluate", json={"claims": {"repository_owner_id": 7}}, headers=HEADERS))
    assert refused(alone.http.get("/metrics"))
    ready = alone.http.get("/readyz")
    assert (ready.status_code, ready.json()["parts"]["store"]["ok"]) == (503, False)
    assert alone.http.get("/livez").status_code == 200
    assert alone.deliver(ARCHIVED, secret="canary-of-nobody").status_code == 401
    assert alone.deliver({}, event="star").json()["status"] == "ignored"

    # And when it is back, then what was acknowledged is there, and what was not can be sent again
    alone.store.start()
    until(lambda: alone.deliver(ARCHIVED, delivery="meanwhile").status_code == 202)
    assert {held["delivery"] for held in alone.held()} == {b"before", b"meanwhile"}
    until(lambda: alone.http.get("/metrics").status_code == 200)
    assert 'tenure_events_rejected_total{reason="signature"} 1.0' in alone.http.get("/metrics").text


def test_a_store_that_stalls_is_not_waited_for(alone: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_writer, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(threads, "READ_SECONDS", 0.3)
    assert alone.deliver(ARCHIVED, delivery="before").status_code == 202
    assert alone.store.pid is not None
    os.kill(alone.store.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert refused(alone.deliver(ARCHIVED, delivery="meanwhile"))
        assert refused(alone.deliver(ARCHIVED, delivery="behind"))
        assert alone.http.get("/readyz").status_code == 503
        assert alone.http.get("/livez").status_code == 200
        assert time.monotonic() - started < 5
    finally:
        os.kill(alone.store.pid, signal.SIGCONT)

    # What was under way may have been stored all the same, and sending it again is harmless. What waited behind it is not
    # stored for a sender that was told to come back.
    monkeypatch.undo()
    assert alone.deliver(ARCHIVED, delivery="meanwhile").status_code == 202
    assert {held["delivery"] for held in alone.held()} == {b"before", b"meanwhile"}


def test_no_more_wait_than_there_is_patience_for(alone: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_writer, "MAX_WAITING", 3)
    monkeypatch.setattr(inbox_writer, "PATIENCE_SECONDS", 2.0)
    assert alone.store.pid is not None
    os.kill(alone.store.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(8) as senders:
            answers = list(senders.map(lambda i: alone.deliver(ARCHIVED, delivery=f"d-{i}"), range(8)))
    finally:
        os.kill(alone.store.pid, signal.SIGCONT)
    assert all(refused(answer) for answer in answers)
    kinds = sorted(answer.json()["type"].rpartition(":")[2] for answer in answers)
    assert kinds == ["busy"] * 5 + ["store"] * 3


def test_many_at_once_are_all_held(alone: Site) -> None:
    """Requests go in together, and each gets its own answer."""
    with ThreadPoolExecutor(16) as senders:
        answers = list(senders.map(lambda i: alone.deliver({**ARCHIVED, "n": i}, delivery=f"d-{i % 50}"), range(100)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["delivery"] for answer in answers} == {f"d-{i}" for i in range(50)}
    assert {orjson.loads(held["body"])["n"] for held in alone.held()} == set(range(100))

    alone.settle()
    with ThreadPoolExecutor(16) as senders:
        again = list(senders.map(lambda i: alone.deliver({**ARCHIVED, "n": i}, delivery=f"d-{i % 50}"), range(120)))
    assert [answer.json()["status"] for answer in again[:100]] == ["duplicate"] * 100
    assert [answer.json()["status"] for answer in again[100:]] == ["queued"] * 20


def test_what_waits_is_finished_when_the_door_closes(alone: Site) -> None:
    letters = [envelope_of("repository", f"d-{i}", orjson.dumps(ARCHIVED), alone.app.keyspace) for i in range(5)]

    async def story(pid: int) -> list[list[Receipt]]:
        # Given letters that wait for a store that stalls
        closing = inbox_writer.InboxWriter(alone.app)
        await closing.start()
        os.kill(pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(closing.put([letter])) for letter in letters if letter is not None]
        await asyncio.sleep(0)
        # When the door is closed, and the store goes on some time later
        asyncio.get_running_loop().call_later(0.2, os.kill, pid, signal.SIGCONT)
        await closing.stop()
        # Then nobody was forgotten, and nobody else is let in
        with pytest.raises(ServiceUnavailableError):
            await closing.put([])
        return [await stored for stored in waiting]

    assert alone.store.pid is not None
    receipts = asyncio.run(story(alone.store.pid))
    assert [[receipt.duplicate for receipt in some] for some in receipts] == [[False]] * 5
    assert len(alone.held()) == 5
