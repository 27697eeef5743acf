"""`Prefer: wait=N` on `POST /events`: written, and therefore read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import httpx
import orjson
import pytest

from tests.conftest import Processes
from tests.web.site import REGISTRY, Site, site_on, until
from tests.web.test_events import REGISTERED, cloud_event
from worker.local.valkey import EmbeddedStore
from worker.store.inbox import EVENTS
from worker.web import answers
from worker.web.events import MAX_EVENTS

FIRST = cloud_event("policy.registered")


def send(site: Site, content: object, seconds: object, **more: str) -> httpx.Response:
    batched = "-batch" if isinstance(content, list) else ""
    headers = {
        "Content-Type": f"application/cloudevents{batched}+json",
        "Authorization": f"Bearer {REGISTRY}",
        "Prefer": f"wait={seconds}",
        **more,
    }
    return httpx.post(f"{site.url}/events", content=orjson.dumps(content), headers=headers, timeout=60)


def sent(site: Site, content: object, seconds: int) -> Callable[[], httpx.Response]:
    """Send it beside the test, until it is in the inbox; what comes back is asked for later."""
    came: SimpleQueue[httpx.Response] = SimpleQueue()
    threading.Thread(target=lambda: came.put(send(site, content, seconds)), daemon=True).start()
    until(lambda: any("awaited" in held for held in site.held()))
    return lambda: came.get(timeout=60)


def policies(count: int) -> list[dict[str, object]]:
    """Registrations, each of another policy."""
    return [
        cloud_event("policy.registered", id=f"r-{n}", data={**REGISTERED, "policy_id": f"q-{n}"}) for n in range(count)
    ]


def give_up(site: Site) -> None:
    for partition in site.app.keyspace.all():
        for event in site.app.inbox.claim(partition, EVENTS, "test", 10).events:
            site.app.inbox.fail(event, error="E", message="m", trace="", worker="test", now=1, final=True)


@pytest.mark.processes
def test_what_workers_settle_is_answered_with_what_came_of_it(site: Site, processes: Processes) -> None:
    """Given a worker process, when an event is sent by who waits, then the answer has its revision; and so has the next."""
    processes.worker(site.app)
    response = send(site, FIRST, 30)
    assert (response.status_code, response.headers["preference-applied"]) == (200, "wait=30")
    revisions = [{"policy_id": "p-1", "revision": 1}]
    settled = {"source": "/registry", "id": "e-1", "state": "settled", "revisions": revisions, "more": 0}
    assert response.json() == {"accepted": 1, "events": [settled]}
    again = send(site, FIRST, 5)
    assert (again.status_code, again.json()) == (200, response.json())
    assert (site.send(FIRST).status_code, site.send(FIRST).json()) == (202, {"accepted": 1})
    whole = send(site, policies(MAX_EVENTS), 30)
    assert whole.status_code == 200
    told = whole.json()["events"]
    assert [event["id"] for event in told] == [f"r-{n}" for n in range(MAX_EVENTS)]
    assert [event["revisions"] for event in told] == [
        [{"policy_id": f"q-{n}", "revision": 1}] for n in range(MAX_EVENTS)
    ]


def test_a_signal_wakes_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a request that would not look by itself for a minute, when its event is settled, then it is answered."""
    monkeypatch.setattr(answers, "LOOK_SECONDS", 60.0)
    answer = sent(site, [FIRST, cloud_event("account.locked", id="e-2")], 30)
    began = time.monotonic()
    site.settle()
    response = answer()
    assert (response.status_code, [event["state"] for event in response.json()["events"]]) == (200, ["settled"] * 2)
    assert time.monotonic() - began < 15


def test_a_dead_letter_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "LOOK_SECONDS", 60.0)
    answer = sent(site, FIRST, 30)
    give_up(site)
    response = answer()
    (letter,) = site.app.dead.read(site.app.dead.places())
    assert response.status_code == 200
    assert response.json()["events"] == [{
        "source": "/registry", "id": "e-1", "state": "dead letter", "revisions": [], "more": 0, "letter": letter.event_id,
        "error": "E", "message": "m",
    }]  # fmt: skip
    site.app.dead.drop([letter], reason="not needed", by="maria")
    assert [event["state"] for event in send(site, FIRST, 5).json()["events"]] == ["dropped"]


def test_after_that_long_it_is_answered_as_ever(site: Site) -> None:
    began = time.monotonic()
    response = send(site, FIRST, 1)
    assert (response.status_code, response.json()) == (202, {"accepted": 1})
    assert "preference-applied" not in response.headers
    assert 1 <= time.monotonic() - began < 10
    assert send(site, FIRST, 0).status_code == 202
    site.settle()
    assert send(site, FIRST, 0).status_code == 200


def test_what_is_wrong_is_refused_at_once(site: Site) -> None:
    assert send(site, cloud_event("policy.renewed", data={}), 30).status_code == 422
    assert send(site, FIRST, "x").status_code == 202
    assert send(site, cloud_event("account.locked"), 30).status_code == 409
    assert send(site, [], 30).status_code == 202


def test_more_than_so_many_do_not_wait(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST", 1)
    first = sent(site, FIRST, 30)
    began = time.monotonic()
    assert send(site, cloud_event("account.locked", id="e-2"), 30).status_code == 202
    assert time.monotonic() - began < 15
    site.settle()
    assert first().status_code == 200


def test_a_lost_connection_loses_no_answer(site: Site) -> None:
    """Given a request that waits, when the connection of the signals is cut before its event is settled, then it is seen."""
    answer = sent(site, FIRST, 30)
    site.redis.client_kill_filter(_type="pubsub")
    site.settle()
    assert answer().status_code == 200


def test_a_store_that_stalls_meanwhile_takes_nothing_back(site: Site) -> None:
    """Given an event that was stored, when the store stalls until the time is over, then it is accepted, as it was."""
    answer = sent(site, FIRST, 2)
    site.redis.client_pause(3000)
    assert (answer().status_code, len(site.held())) == (202, 1)


def test_a_refused_login_is_answered_too(site: Site) -> None:
    answer = sent(site, [FIRST, cloud_event("login.refused", id="l-1")], 30)
    site.settle()
    assert [event["state"] for event in answer().json()["events"]] == ["settled", "settled"]
    assert [event["state"] for event in send(site, cloud_event("login.refused", id="l-1"), 1).json()["events"]] == [
        "settled"
    ]


def test_a_process_that_ends_waits_for_nobody(store: EmbeddedStore, tmp_path: Path, site: Site) -> None:
    """Given a request that waits, when its process is told to end, then it is answered at once, as ever."""
    came: SimpleQueue[httpx.Response] = SimpleQueue()
    with site_on(store, tmp_path) as other:
        threading.Thread(target=lambda: came.put(send(other, FIRST, 30)), daemon=True).start()
        until(lambda: any("awaited" in held for held in site.held()))
        began = time.monotonic()
    assert came.get(timeout=10).status_code == 202
    assert time.monotonic() - began < 8
