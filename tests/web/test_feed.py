"""`GET /policies` and `GET /changes`: a snapshot and what becomes of it, over plain HTTP."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import orjson
import pytest
from redis import Redis

from tenure_reader.keys import is_views
from tests.conftest import ROOT
from tests.console.scene import put
from tests.store.making import about_policy, about_repository, login, registration
from tests.web.following import Client, Copy
from tests.web.site import OPERATOR, READER, REGISTRY, SECOND_REGISTRY, Site, serve, until
from worker.http.app import create_app
from worker.store.client import Command
from worker.store.cursors import Position, sealed
from worker.store.feed import FeedEntry
from worker.store.switches import Scope
from worker.web import feed, hub, live
from worker.web.course import PLACED, Course, FeedFilter
from worker.web.hub import Batch, Hub, Seat, Word
from worker.web.query import TYPES

OTHER = 41


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    # What follows an emptied store ends those who listen.
    until(lambda: listeners() == 0)
    client = Client(site)
    with client.http:
        yield client


def listeners() -> int:
    """How many threads follow a feed."""
    return sum(thread.name == "feed" for thread in threading.enumerate())


def some(site: Site, number: int = 5, *, begin: int = 0) -> None:
    """So many policies, of as many owners."""
    put(site, [registration(site.app, f"pol-{n}", owner=1000 + n) for n in range(begin, begin + number)])


def archive(site: Site, owner: int, delivery: str, action: str = "archived") -> None:
    put(site, [about_repository(site.app, action, delivery, owner=owner)])


def at_rest(site: Site, redis: Redis | None = None) -> dict[str, Any]:
    """All views that an exchange reads in the store, or in another."""
    found = {}
    store = redis or site.redis
    for key in store.scan_iter("tenure:{p*}:repository*"):
        if is_views(key):
            views = cast("dict[bytes, bytes]", store.hgetall(key))
            found.update({name.decode(): orjson.loads(view) for name, view in views.items()})
    return found


def ids(answer: dict[str, Any]) -> list[str]:
    return [change["id"] for change in answer["changes"]]


# The snapshot


def test_all_views_come_in_pages_and_end_with_a_cursor(site: Site, client: Client) -> None:
    some(site, 12)
    copy = Copy(client)
    pages = []
    copy.load(5, lambda: pages.append(copy.cursor))
    assert copy.views == at_rest(site)
    assert len(copy.views) == 12
    # It is the one from before the first page.
    assert set(pages) == {copy.cursor}
    assert client.answer("/changes", cursor=copy.cursor)["changes"] == []


def test_an_empty_store_has_a_cursor_too(client: Client) -> None:
    answer = client.answer("/policies")
    assert (answer["policies"], answer["next"], answer["unreadable"]) == ([], None, [])
    assert client.answer("/changes", cursor=answer["cursor"])["changes"] == []


def test_a_removed_policy_is_in_no_snapshot(site: Site, client: Client) -> None:
    some(site, 2)
    put(site, [about_policy(site.app, "policy.removed", "pol-0", owner=1000)])
    assert [view["policy_id"] for view in client.answer("/policies")["policies"]] == ["pol-1"]
    assert client.answer("/policies", policy="pol-0")["policies"] == []


def test_a_snapshot_of_an_owner_and_of_some_policies(site: Site, client: Client) -> None:
    put(site, [registration(site.app, f"a-{n}", owner=OTHER, repository_id=n, name=f"r{n}") for n in range(7)])
    some(site, 3)
    copy = Copy(client, owner=OTHER)
    copy.load(3)
    assert sorted(copy.views) == [f"a-{n}" for n in range(7)]
    both = client.answer("/policies", policy=["a-1", "pol-2", "nobody"])
    assert [view["policy_id"] for view in both["policies"]] == ["a-1", "pol-2"]
    assert both["next"] is None
    assert client.answer("/policies", policy=["a-1", "pol-2"], owner=OTHER)["policies"][0]["policy_id"] == "a-1"


def test_a_record_that_cannot_be_read_is_named_and_hides_no_other(site: Site, client: Client) -> None:
    some(site, 3)
    site.redis.set(site.app.keyspace.of(1001).policy("pol-1"), "canary")
    answer = client.answer("/policies")
    assert sorted(view["policy_id"] for view in answer["policies"]) == ["pol-0", "pol-2"]
    assert answer["unreadable"] == ["pol-1"]
    assert client.answer("/policies", policy="pol-1")["unreadable"] == ["pol-1"]


def test_a_snapshot_has_the_switches_that_are_closed_and_the_settings_that_decide(site: Site, client: Client) -> None:
    home = site.app.keyspace.all()[0]
    site.redis.hset(home.switches, "owner:5", '{"reason": "a leak"}')
    # One that another partition has alone, and that cannot be read, is closed as well.
    site.redis.hset(site.app.keyspace.all()[7].switches, "all", "not JSON")
    site.redis.hset(home.settings, "workflow_binds", "caller")
    answer = client.answer("/policies")
    assert answer["switches"] == {"owner:5": {"reason": "a leak"}, "all": None}
    assert answer["settings"] == {"workflow_binds": "caller"}


# Changes


def test_what_is_published_after_the_cursor_comes_once(site: Site, client: Client) -> None:
    some(site)
    cursor = client.cursor()
    archive(site, 1000, "d-1")
    put(site, [login(site.app, "pol-3", owner=1003)])
    answer = client.answer("/changes", cursor=cursor)
    assert ids(answer) == ["pol-0:2", "pol-3:2"]
    assert answer["complete_at"].endswith("Z")
    assert client.answer("/changes", cursor=answer["cursor"])["changes"] == []
    # The same question has the same answer.
    assert ids(client.answer("/changes", cursor=cursor)) == ["pol-0:2", "pol-3:2"]


def test_an_answer_that_is_not_all_says_so(site: Site, client: Client) -> None:
    cursor = client.cursor()
    some(site, 7)
    told = []
    answers = 0
    while True:
        answer = client.answer("/changes", cursor=cursor, limit=3)
        assert len(answer["changes"]) <= 3
        told += ids(answer)
        cursor = answer["cursor"]
        answers += 1
        if answer["complete_at"] is not None:
            break
    assert sorted(told) == [f"pol-{n}:1" for n in range(7)]
    assert answers == 3


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"owner": 1001}, ["pol-1:1", "pol-1:2"]),
        ({"policy": ["pol-0", "pol-2"]}, ["pol-0:1", "pol-2:1"]),
        ({"type": ["policy.disabled", "policy.removed"]}, ["pol-1:2"]),
        ({"owner": 1001, "type": "policy.provisioned"}, ["pol-1:1"]),
        ({"owner": 1001, "policy": "pol-2"}, []),
    ],
)
def test_changes_are_filtered_and_the_cursor_moves_over_what_is_not_wanted(
    site: Site, client: Client, query: dict[str, object], wanted: list[str]
) -> None:
    cursor = client.cursor()
    some(site, 3)
    archive(site, 1001, "d-1")
    answer = client.answer("/changes", cursor=cursor, **query)
    assert ids(answer) == wanted
    assert client.answer("/changes", cursor=answer["cursor"])["changes"] == []


def test_of_very_much_that_is_not_wanted_one_answer_looks_through_a_part(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LOOK", 4)
    cursor = client.cursor()
    some(site, 9)
    answers: list[dict[str, Any]] = []
    while not answers or answers[-1]["complete_at"] is None:
        answers.append(client.answer("/changes", cursor=cursor, policy="pol-8"))
        cursor = answers[-1]["cursor"]
    assert len(answers) == 3
    assert [change for answer in answers for change in ids(answer)] == ["pol-8:1"]


def test_switches_are_in_the_snapshot_and_among_the_changes(site: Site, client: Client) -> None:
    cursor = client.cursor()
    switches, scope = site.app.switches, Scope("owner", "1001")
    switches.close(scope, reason="a leak", by="maria", at=site.app.status.now(), request_id="r-1")
    assert client.answer("/policies")["switches"]["owner:1001"]["reason"] == "a leak"
    switches.open(scope, reason="mended", by="maria", at=site.app.status.now(), request_id="r-1")
    told = client.answer("/changes", cursor=cursor, policy="any")["changes"]
    assert [(notice["type"], notice["subject"]) for notice in told] == [
        ("switch.closed", "owner:1001"), ("switch.opened", "owner:1001"),
    ]  # fmt: skip
    assert client.answer("/policies")["switches"] == {}


def test_every_type_of_the_feed_may_be_asked_for() -> None:
    schemas = (ROOT / "docs/schemas/change-event.json", ROOT / "docs/schemas/feed-notice.json")
    known = [orjson.loads(schema.read_bytes())["properties"]["type"]["enum"] for schema in schemas]
    assert {*TYPES} == {*known[0], *known[1]} - {PLACED}


def test_what_is_about_no_single_policy_comes_to_everybody_who_wants_its_type(site: Site, client: Client) -> None:
    cursor = client.cursor()
    event = {"specversion": "1.0", "id": "all", "source": "tenure", "type": "a.type.to.come", "data": {"who": "all"}}
    for partition in site.app.keyspace.all():
        site.app.client.one(Command(("XADD", partition.changes, "*", "event", orjson.dumps(event))))
    # Every partition says it, and it is told once.
    assert ids(client.answer("/changes", cursor=cursor, owner=5, policy="pol-1")) == ["all"]
    assert ids(client.answer("/changes", cursor=cursor, type="policy.disabled")) == []


# Waiting


def test_a_long_poll_answers_as_soon_as_something_that_is_wanted_is_published(site: Site, client: Client) -> None:
    some(site, 2)
    cursor = client.cursor()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.answer, "/changes", cursor=cursor, owner=1001, wait=30)
        until(lambda: listeners() == 1)
        begun = time.monotonic()
        archive(site, 1000, "d-unwanted")
        assert not asked.done()
        archive(site, 1001, "d-wanted")
        answer = asked.result()
    assert ids(answer) == ["pol-1:2"]
    assert time.monotonic() - begun < 10
    assert answer["complete_at"] is not None
    until(lambda: listeners() == 0)


def test_a_long_poll_that_hears_nothing_says_up_to_where_nothing_is_missing(site: Site, client: Client) -> None:
    some(site, 2)
    cursor = client.cursor()
    before = client.answer("/changes", cursor=cursor)["complete_at"]
    answer = client.answer("/changes", cursor=cursor, wait=1)
    assert answer["changes"] == []
    assert answer["complete_at"] > before


def test_a_filtered_long_poll_moves_its_cursor_over_what_it_did_not_want(site: Site, client: Client) -> None:
    some(site, 2)
    cursor = client.cursor()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.answer, "/changes", cursor=cursor, owner=5, wait=2)
        until(lambda: listeners() == 1)
        archive(site, 1000, "d-unwanted")
        answer = asked.result()
    assert answer["changes"] == []
    assert client.answer("/changes", cursor=answer["cursor"])["changes"] == []


# What is gone, and what is wrong


def gone(answer: Any) -> bool:
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    return (answer.status_code, problem["type"], problem["snapshot"]) == (410, "urn:tenure:problem:gone", "/policies")


@pytest.mark.parametrize("query", [{}, {"owner": 5}, {"type": "policy.removed"}, {"wait": 5}])
def test_a_cursor_whose_place_was_trimmed_is_gone_whatever_is_asked_for(
    site: Site, client: Client, query: dict[str, object]
) -> None:
    some(site, 3)
    cursor = client.cursor()
    archive(site, 1001, "d-1")
    site.redis.xtrim(site.app.keyspace.of(1001).changes, maxlen=0, approximate=False)
    assert gone(client.get("/changes", cursor=cursor, **query))
    copy = Copy(client)
    copy.load(100)
    copy.catch_up()
    assert copy.views == at_rest(site)


def test_a_cursor_of_another_store_is_gone(site: Site, client: Client) -> None:
    some(site, 3)
    cursor = client.cursor()
    site.clear()
    assert gone(client.get("/changes", cursor=cursor))
    some(site, 3)
    assert gone(client.get("/changes", cursor=cursor))


def test_a_change_that_cannot_be_read_is_gone_and_the_snapshot_leads_on(site: Site, client: Client) -> None:
    cursor = client.cursor()
    site.app.client.one(Command(("XADD", site.app.keyspace.all()[1].changes, "*", "event", "canary")))
    assert gone(client.get("/changes", cursor=cursor))
    assert client.get("/changes", cursor=client.cursor()).status_code == 200


@pytest.mark.parametrize(
    ("path", "query", "fields"),
    [
        ("/changes", {}, ["cursor"]),
        ("/changes", {"cursor": ""}, ["cursor"]),
        ("/changes", {"cursor": "canary"}, ["cursor"]),
        ("/changes", {"cursor": ["canary", "canary"]}, ["cursor", "cursor"]),
        ("/changes", {"cursor": "A" * 5000}, ["cursor"]),
        ("/changes", {"cursor": "canary", "wait": "31", "limit": "0"}, ["cursor", "limit", "wait"]),
        ("/changes", {"cursor": "canary", "wait": "-1", "limit": "1001"}, ["cursor", "limit", "wait"]),
        ("/changes", {"cursor": "canary", "owner": "octo", "type": "canary"}, ["cursor", "owner", "type"]),
        ("/changes", {"cursor": "canary", "policy": ["x"] * 101}, ["cursor", "policy"]),
        ("/changes", {"cursor": "canary", "onwer": "5"}, ["cursor", "query"]),
        ("/policies", {"owner": str(2**63)}, ["owner"]),
        ("/policies", {"owner": "9" * 25}, ["owner"]),
        ("/policies", {"policy": ""}, ["policy"]),
        ("/policies", {"policy": "x" * 201}, ["policy"]),
        ("/policies", {"page": "canary"}, ["page"]),
        ("/policies", {"limit": "x", "state": "active"}, ["limit", "query"]),
    ],
)
def test_what_is_wrong_with_an_address_is_named(
    client: Client, path: str, query: dict[str, object], fields: list[str]
) -> None:
    answer = client.get(path, **query)
    assert answer.status_code == 422, answer.text
    assert sorted(error["field"] for error in answer.json()["errors"]) == fields
    assert "canary" not in answer.text


def test_a_cursor_that_was_cut_or_taken_from_elsewhere_is_a_wrong_field(site: Site, client: Client) -> None:
    some(site, 3)
    answer = client.answer("/policies", limit=1)
    cursor, page = answer["cursor"], answer["next"]
    for path, query in (
        ("/changes", {"cursor": cursor[:-1]}),
        ("/changes", {"cursor": page}),
        ("/policies", {"page": cursor}),
        ("/policies", {"page": page[:-2]}),
        ("/policies", {"page": page, "owner": "5"}),
        ("/policies", {"page": page, "policy": "pol-1"}),
    ):
        assert client.get(path, **query).status_code == 422


@pytest.mark.parametrize("rest", ["", "x 0:", "-1 0:", f"{'9' * 25} 0:", " 99:x", " \x00:\uffff", " 1:" + "y" * 900])
def test_a_page_that_somebody_made_up_is_a_wrong_field_or_begins_anew(site: Site, client: Client, rest: str) -> None:
    made = sealed(b"p", site.app.feed.end().packed() + rest.encode())
    assert client.get("/policies", page=made).status_code in {200, 422}


@pytest.mark.parametrize("numbers", [(0, 0, 1, 0), (2**64 - 1,) * 4, (1, 0, 0, 0), (2**63, 1, 0, 7)])
def test_a_cursor_that_somebody_made_up_is_gone(site: Site, client: Client, numbers: tuple[int, int, int, int]) -> None:
    some(site, 3)
    made = site.app.feed.end().after(3, Position(*numbers)).text()
    assert gone(client.get("/changes", cursor=made))
    assert client.http.put("/consumers/made-up", json={"cursor": made}).status_code == 410


@pytest.mark.parametrize("token", [OPERATOR, REGISTRY, READER])
def test_whoever_may_read_policies_may_follow_them(site: Site, token: str) -> None:
    client = Client(site, token)
    with client.http:
        assert client.get("/changes", cursor=client.cursor()).status_code == 200


@pytest.mark.parametrize("path", ["/policies", "/policies/", "/changes", "/changes/"])
def test_nobody_else_does(site: Site, path: str) -> None:
    assert site.http.get(path).status_code == 401
    assert site.http.get(path, headers={"Accept": "text/event-stream"}).status_code == 401
    assert site.http.post(path).status_code == 405


# Server-sent events


def test_a_stream_tells_what_was_missed_then_what_is_published_and_that_nothing_is_missing(
    site: Site, client: Client
) -> None:
    cursor = client.cursor()
    some(site, 3)
    with client.stream(query={"cursor": cursor}) as (answer, events):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        early = [next(events) for _ in range(4)]
        assert [said.event for said in early] == ["change"] * 3 + ["complete"]
        archive(site, 1001, "d-1")
        live = next(said for said in events if said.event == "change")
        assert live.data["id"] == "pol-1:2"
        # Nothing is said to be whole that is not.
        complete = next(said for said in events if said.event == "complete" and said.id == live.id)
        assert complete.data["complete_at"] > early[-1].data["complete_at"]
    # The stream's ids are cursors.
    assert ids(client.answer("/changes", cursor=early[1].id)) == ["pol-2:1", "pol-1:2"]
    assert client.answer("/changes", cursor=live.id)["changes"] == []


def test_who_comes_again_goes_on_after_the_last_event(site: Site, client: Client) -> None:
    cursor = client.cursor()
    some(site, 4)
    with client.stream(query={"cursor": cursor}) as (_, events):
        seen = [next(events) for _ in range(2)]
    archive(site, 1003, "d-1")
    # A browser's EventSource comes by the same address.
    with client.stream(seen[-1].id, {"cursor": cursor}) as (_, events):
        rest = [next(events) for _ in range(3)]
    assert [said.data["id"] for said in [*seen, *rest]] == ["pol-0:1", "pol-1:1", "pol-2:1", "pol-3:1", "pol-3:2"]


def test_a_stream_is_filtered_and_its_heartbeats_move_over_what_is_not_wanted(site: Site, client: Client) -> None:
    cursor = client.cursor()
    with client.stream(query={"cursor": cursor, "owner": "1002"}) as (_, events):
        assert next(events).event == "complete"
        some(site, 3)
        assert next(said for said in events if said.event == "change").data["id"] == "pol-2:1"
        beat = next(said for said in events if said.event == "complete")
    assert client.answer("/changes", cursor=beat.id)["changes"] == []


def test_a_stream_from_what_is_gone_is_refused_and_one_that_loses_its_place_ends(site: Site, client: Client) -> None:
    some(site, 2)
    cursor = client.cursor()
    with client.stream(query={"cursor": cursor}) as (_, events):
        assert next(events).event == "complete"
        site.clear()
        assert [said for said in events if said.event == "change"] == []  # It ends.
    with client.stream(cursor) as (answer, _):
        answer.read()
        assert gone(answer)
    with client.stream("canary") as (answer, _):
        answer.read()
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Last-Event-ID")


def test_nobody_takes_all_the_streams(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given one who follows as often as one may, then others follow too, and that one is told when to come again."""
    monkeypatch.setattr(hub, "STREAMS_EACH", 2)
    monkeypatch.setattr(hub, "MAX_STREAMS", 3)
    one, other, third = Client(site), Client(site, REGISTRY), Client(site, SECOND_REGISTRY)
    cursor = one.cursor()
    with one.stream(cursor) as (_, first), one.stream(cursor) as (_, second):
        assert next(first).event == next(second).event == "complete"
        for answer in (
            one.get("/changes", cursor=cursor, wait=1),
            one.http.get("/changes", params={"cursor": cursor}, headers={"Accept": "text/event-stream"}),
        ):
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:tenure:problem:busy")
            assert int(answer.headers["retry-after"]) > 0
        # Who does not wait takes no place.
        assert one.get("/changes", cursor=cursor).status_code == 200
        with other.stream(cursor) as (_, events):
            assert next(events).event == "complete"
            assert third.get("/changes", cursor=cursor, wait=1).status_code == 503
        until(lambda: third.get("/changes", cursor=cursor, wait=1).status_code == 200)
    for client in (one, other, third):
        client.http.close()


def test_streams_and_long_polls_end_when_the_server_does(site: Site) -> None:
    with ThreadPoolExecutor(2) as pool, Client(site).http as http:
        served = create_app(site.app)
        with serve(served) as port:
            http.base_url = f"http://127.0.0.1:{port}"
            client = Client(site)
            client.http = http
            cursor, begun = client.cursor(), threading.Event()

            def listen() -> None:
                with client.stream(cursor) as (_, events):
                    for _ in events:
                        begun.set()

            streamed = pool.submit(listen)
            polled = pool.submit(client.answer, "/changes", cursor=cursor, wait=30)
            assert begun.wait(10)
            until(lambda: len(served.state.console.hub._seats) == 2)
            stopped = time.monotonic()
        assert polled.result()["changes"] == []
        streamed.result()
        assert time.monotonic() - stopped < 9


def test_who_leaves_while_waiting_frees_its_place(site: Site, client: Client) -> None:
    cursor = client.cursor()
    served = create_app(site.app)
    seats = served.state.console.hub._seats
    with serve(served) as port:
        with socket.create_connection(("127.0.0.1", port)) as asking:
            request = (
                f"GET /changes?wait=30&cursor={cursor} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {READER}\r\n\r\n"
            )
            asking.sendall(request.encode())
            until(lambda: len(seats) == 1)
        begun = time.monotonic()
        until(lambda: not seats)
        assert time.monotonic() - begun < 5


def test_a_listener_that_takes_nothing_loses_its_place(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a listener that reads no more, when more is published than fits on the way, then its place is free again."""
    monkeypatch.setattr(live, "TAKEN_SECONDS", 0.5)
    client = Client(site)
    cursor = client.cursor()
    client.http.close()
    served = create_app(site.app)
    seats = served.state.console.hub._seats
    event = orjson.dumps({"type": "policy.updated", "data": {}, "padding": "x" * 100_000})
    key = site.app.keyspace.all()[0].changes
    request = f"GET /changes HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nLast-Event-ID: {cursor}\r\n"
    with serve(served) as port, socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.connect(("127.0.0.1", port))
        listener.sendall(f"{request}Authorization: Bearer {READER}\r\n\r\n".encode())
        until(lambda: len(seats) == 1)
        for _ in range(100):
            site.app.client.one(Command(("XADD", key, "*", "event", event)))
        until(lambda: not seats)


# A copy, whatever happens meanwhile


def test_a_copy_that_is_made_while_policies_come_move_and_go_is_the_store_at_rest(site: Site, client: Client) -> None:
    """Given policies that are registered, moved to other owners, disabled and removed while they are paged and followed."""
    app = site.app
    some(site, 30)
    step = iter(range(10_000))

    def more() -> None:
        n = next(step)
        put(site, [
            registration(app, f"new-{n}", owner=2000 + n),
            # To another partition, from one that was read already or was not.
            registration(app, f"pol-{n * 7 % 30}", f"move-{n}", owner=3000 + 11 * n, at=app.status.now()),
            about_policy(app, "policy.removed", f"pol-{(n * 7 + 3) % 30}", f"remove-{n}", owner=1000 + (n * 7 + 3) % 30),
        ])  # fmt: skip
        archive(site, 1000 + n * 3 % 30, f"d-{n}")

    copy = Copy(client)
    owners = {owner: Copy(client, owner=owner) for owner in (1007, 1014, 3000, 3011)}
    for filtered in owners.values():
        filtered.load(3)
    assert "pol-7" in owners[1007].views
    copy.load(4, more)
    for _ in range(10):
        more()
        copy.follow(limit=3)
    copy.catch_up(limit=5)
    found = at_rest(site)
    assert copy.views == found
    assert len(found) > 20
    for owner, filtered in owners.items():
        filtered.catch_up(limit=2)
        assert filtered.views == {name: view for name, view in found.items() if view["repository_owner_id"] == owner}
    assert "pol-7" not in owners[1007].views


def test_a_copy_that_is_kept_by_a_stream_is_the_store_at_rest(site: Site, client: Client) -> None:
    """Given a stream that breaks again and again, when it goes on after the last event each time, then nothing is missing."""
    some(site, 10)
    copy = Copy(client)
    copy.load(100)
    for n in range(6):
        with client.stream(copy.cursor, {"cursor": copy.cursor}) as (_, events):
            put(site, [
                registration(site.app, f"new-{n}", owner=2000 + n),
                about_policy(site.app, "policy.removed", f"pol-{n}", owner=1000 + n),
            ])  # fmt: skip
            for said in events:
                copy.cursor = said.id
                if said.event == "change":
                    copy.take(said.data["data"]["view"])
                    break
    copy.catch_up()
    assert copy.views == at_rest(site)


# What listeners are told


def entry(app_partition: int, added: int) -> FeedEntry:
    event = {"type": "policy.updated", "data": {"view": {"repository_owner_id": 7, "policy_id": f"pol-{added}"}}}
    return FeedEntry(app_partition, f"{1000 + added}-0", orjson.dumps(event), added)


def test_a_listener_is_told_each_change_once_and_notices_what_it_did_not_hear(site: Site) -> None:
    begin = site.app.feed.end()
    course = Course(FeedFilter(), begin)
    one, two, four = entry(2, 1), entry(2, 2), entry(2, 4)
    after_two = begin.after(2, two.position)
    told, whole = course.take(Batch([one, two], after_two, None))
    assert ([said.entry for said in told], whole) == ([one, two], True)
    assert told[0].cursor == begin.after(2, one.position)
    assert course.take(Batch([one, two], after_two, 1)) == ([], True)
    assert course.take(Batch([four], begin.after(2, four.position), None)) == ([], False)
    assert course.cursor == after_two
    # Nothing is told, and still something was published meanwhile.
    assert course.take(Batch([], begin.after(3, one.position), 1)) == ([], False)


def test_a_slow_listener_is_told_that_it_missed_something_and_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "WAITING", 6)
    cursor = site.app.feed.end()

    async def slow() -> list[Batch | Word]:
        seat = Seat("sam")
        for n in range(6):
            seat.tell(Batch([entry(2, n + 1)], cursor, None))
        await asyncio.sleep(0)
        heard = [await seat.next(1), await seat.next(0.01)]
        seat.tell(Batch([], cursor, 5))
        heard.append(await seat.next(1))
        seat.tell(None)
        heard += [await seat.next(1), await seat.next(1)]
        return heard

    assert asyncio.run(slow()) == [Word.MISSED, Word.NOTHING, Batch([], cursor, 5), Word.END, Word.END]


def test_one_thread_follows_for_all(site: Site) -> None:
    until(lambda: listeners() == 0)

    async def many() -> int:
        seats = Hub(site.app)
        try:
            joined = [seats.join(f"token-{n}") for n in range(20)]
            threads = listeners()
            for seat in joined:
                assert seat is not None
                await seat.next(5)
                seats.leave(seat)
            await asyncio.to_thread(until, lambda: listeners() == 0)
            return threads
        finally:
            seats.close()

    assert asyncio.run(many()) == 1
