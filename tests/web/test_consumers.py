"""Named consumers of the feed: whose they are, where they go on, how far behind they are, and that they are bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.console.calling import Caller
from tests.console.scene import put
from tests.store.making import about_repository, registration
from tests.web.following import Client
from tests.web.site import OPERATOR, REGISTRY, SECOND_REGISTRY, Site
from worker.store import consumers
from worker.store.consumers import MOST_EACH
from worker.web.consumers import LONGEST_BODY


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    client = Client(site)
    with client.http:
        yield client


@pytest.fixture
def other(site: Site) -> Iterator[Client]:
    other = Client(site, REGISTRY)
    with other.http:
        yield other


def acknowledge(client: Client, cursor: object, name: str = "keys") -> httpx.Response:
    return client.http.put(f"/consumers/{name}", json={"cursor": cursor})


def some(site: Site, *numbers: int) -> None:
    put(site, [registration(site.app, f"pol-{n}", owner=1000 + n) for n in numbers])


def ids(answer: dict[str, Any]) -> list[str]:
    return [change["id"] for change in answer["changes"]]


def test_a_consumer_goes_on_where_it_acknowledged_last(site: Site, client: Client) -> None:
    made = acknowledge(client, client.cursor())
    assert (made.status_code, made.json()) == (200, {"consumer": "keys", "changes_left": 0})
    some(site, 1, 2)
    first = client.answer("/changes", consumer="keys", limit=1)
    # What was not acknowledged comes again.
    assert client.answer("/changes", consumer="keys", limit=1) == {**first, "complete_at": None}
    assert acknowledge(client, first["cursor"]).json() == {"consumer": "keys", "changes_left": 1}
    second = client.answer("/changes", consumer="keys")
    assert len({*ids(first), *ids(second)}) == 2
    acknowledge(client, second["cursor"])
    assert client.answer("/changes", consumer="keys")["changes"] == []
    # It may go back.
    acknowledge(client, first["cursor"])
    assert ids(client.answer("/changes", consumer="keys")) == ids(second)


def test_a_consumer_may_listen(site: Site, client: Client) -> None:
    acknowledge(client, client.cursor())
    some(site, 1)
    with client.stream(query={"consumer": "keys"}) as (_, events):
        said = next(events)
    assert said.data["id"] == "pol-1:1"
    some(site, 2)
    # The last event that was heard counts more.
    with client.stream(said.id, {"consumer": "keys"}) as (_, events):
        assert next(events).data["id"] == "pol-2:1"


def test_a_consumer_is_its_token_s(site: Site, client: Client, other: Client) -> None:
    cursor = client.cursor()
    assert acknowledge(client, cursor).status_code == 200
    for answer in (acknowledge(other, cursor), other.get("/changes", consumer="keys")):
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:tenure:problem:role")
    assert client.get("/changes", consumer="keys").status_code == 200


def test_a_consumer_that_nobody_made_is_not_found(client: Client) -> None:
    answer = client.get("/changes", consumer="nobody")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:tenure:problem:unknown_consumer")
    assert "/policies" in answer.json()["detail"]


@pytest.mark.parametrize("name", ["Keys", "-x", "a" * 65, "a b", "%C3%A9", "a%0A"])
def test_a_name_is_short_and_plain(client: Client, name: str) -> None:
    answer = acknowledge(client, client.cursor(), name)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["consumer"])


@pytest.mark.parametrize("cursor", [None, 7, "", "canary", "A" * 5000])
def test_what_is_no_cursor_is_not_acknowledged(client: Client, cursor: object) -> None:
    answer = acknowledge(client, cursor)
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["cursor"])
    assert client.get("/changes", consumer="keys").status_code == 404


def test_one_of_cursor_and_consumer_is_given(client: Client) -> None:
    answer = client.get("/changes", consumer="keys", cursor=client.cursor())
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["cursor"])
    answer = client.get("/changes", consumer="KEYS")
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, ["consumer"])


def test_bodies_are_small_objects_of_json(client: Client) -> None:
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b" " * (LONGEST_BODY + 1), "application/json", 413),
    ):
        assert client.http.put("/consumers/keys", content=content, headers={"Content-Type": kind}).status_code == status
    assert httpx.put(f"{client.http.base_url}/consumers/keys", json={}).status_code == 401


def test_there_is_room_for_so_many(site: Site, client: Client, other: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "MOST", MOST_EACH + 1)
    cursor = client.cursor()
    for n in range(MOST_EACH):
        assert acknowledge(client, cursor, f"c-{n}").status_code == 200
    full = acknowledge(client, cursor, "one-more")
    assert (full.status_code, full.json()["type"]) == (409, "urn:tenure:problem:too_many")
    assert client.get("/changes", consumer="one-more").status_code == 404
    # Those that are there go on, and others have room until there are as many as may be in all.
    assert acknowledge(client, cursor, "c-1").status_code == 200
    assert acknowledge(other, cursor, "other").status_code == 200
    assert acknowledge(other, cursor, "another").status_code == 409


def test_a_position_that_was_trimmed_is_gone_and_is_said_to_be(site: Site, client: Client) -> None:
    acknowledge(client, client.cursor())
    stale = client.cursor()
    some(site, 1)
    site.redis.xtrim(site.app.keyspace.of(1001).changes, maxlen=0, approximate=False)
    for answer in (client.get("/changes", consumer="keys"), acknowledge(client, stale)):
        assert (answer.status_code, answer.json()["snapshot"]) == (410, "/policies")
    (lag,) = site.app.consumers.lags()
    assert lag.gone
    assert 'tenure_consumer_gone{consumer="keys"} 1.0' in site.http.get("/metrics").text
    # The way out.
    assert acknowledge(client, client.cursor()).status_code == 200
    assert client.get("/changes", consumer="keys").status_code == 200


def test_how_far_it_is_behind_is_counted_and_shown(site: Site, client: Client) -> None:
    acknowledge(client, client.cursor())
    some(site, 1, 2, 3)
    put(site, [about_repository(site.app, "archived", "d-1", owner=1001)])
    metrics = site.http.get("/metrics").text
    assert 'tenure_consumer_changes{consumer="keys"} 4.0' in metrics
    assert 'tenure_consumer_gone{consumer="keys"} 0.0' in metrics
    (lag,) = site.app.consumers.lags()
    assert (lag.changes, lag.gone, lag.consumer.by, lag.consumer.role) == (4, False, "sam", "reader")
    assert 0 < lag.seconds < 60
    caller = Caller(site.url)
    with caller.http:
        shown = caller.logged_in(OPERATOR).get("/console/changes").text
    assert "Named consumers" in shown
    assert "keys" in shown
    acknowledge(client, client.cursor())
    (lag,) = site.app.consumers.lags()
    assert (lag.changes, lag.seconds) == (0, 0)


def test_what_cannot_be_read_of_a_consumer_hides_no_other(site: Site, client: Client) -> None:
    acknowledge(client, client.cursor())
    site.redis.hset("tenure:{all}:consumers", "broken", "canary")
    assert [(lag.consumer.name, lag.gone) for lag in site.app.consumers.lags()] == [("broken", True), ("keys", False)]
    assert client.get("/changes", consumer="broken").status_code == 403


def test_tokens_rotate_and_the_name_stays(site: Site, client: Client) -> None:
    """Given a consumer of one registry token, then the other token, which has the same name, goes on with it."""
    one, second = Client(site, REGISTRY), Client(site, SECOND_REGISTRY)
    with one.http, second.http:
        assert acknowledge(one, one.cursor()).status_code == 200
        assert second.get("/changes", consumer="keys").status_code == 200
