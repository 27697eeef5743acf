"""The stream of changes: who may listen, how many, from where, and that it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Iterator

import httpx
import orjson
import pytest

from tests.console.calling import Caller
from tests.console.scene import put, scene
from tests.store.making import about_repository
from tests.web.site import Site, serve, until
from worker.console import changes
from worker.http.app import create_app
from worker.store.cursors import Cursor
from worker.store.feed import Feed
from worker.web import hub

STREAM = "/console/changes/stream"
OWNER = 600613


@pytest.fixture
def caller(site: Site) -> Iterator[Caller]:
    caller = Caller(site.url)
    with caller.http:
        yield caller.logged_in()


def events(answer: httpx.Response) -> Generator[tuple[str, dict[str, object]], None, None]:
    """The id and the data of each change."""
    identity = ""
    for line in answer.iter_lines():
        if line.startswith("id: "):
            identity = line[4:]
        if line.startswith("data: {"):
            yield identity, orjson.loads(line[6:])


def archive(site: Site, delivery: str, action: str = "archived") -> None:
    put(site, [about_repository(site.app, action, delivery, owner=OWNER, repository_id=71, name="gears")])


def test_who_comes_again_hears_what_was_missed(site: Site, caller: Caller) -> None:
    """Given a listener that went away, when it comes again with the last id, then it hears everything since."""
    scene(site)
    with caller.http.stream("GET", f"{STREAM}?after=0") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        heard = events(answer)
        first = [next(heard) for _ in range(12)]
        archive(site, "d-live")
        last, live = next(heard)
        assert live["event_id"] == "gears-nightly:4"
    archive(site, "d-missed", "unarchived")
    with caller.http.stream("GET", f"{STREAM}?after=0", headers={"Last-Event-ID": last}) as answer:
        heard = events(answer)
        again = [data["event_id"] for _, data in (next(heard), next(heard))]
    assert again[-1] == "gears-nightly:5"
    assert "gears-nightly:4" in again  # The moment itself is told again: others may have been published in it.
    names = [data["event_id"] for _, data in first]
    assert len(set(names)) == 12


def test_what_is_published_while_the_hub_begins_is_told(
    site: Site, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a thread that begins to follow the feed late, when something is published before, then it is told as well."""
    scene(site)
    begins, end = threading.Event(), Feed.end

    def late(feed: Feed) -> Cursor:
        if threading.current_thread().name == "feed":
            assert begins.wait(20)
        return end(feed)

    monkeypatch.setattr(Feed, "end", late)
    with caller.http.stream("GET", f"{STREAM}?after=0") as answer:
        heard = events(answer)
        assert len([next(heard) for _ in range(12)]) == 12
        archive(site, "d-early")
        begins.set()
        assert next(heard)[1]["event_id"] == "gears-nightly:4"


def test_nobody_listens_without_a_session(site: Site) -> None:
    assert site.http.get(STREAM).status_code == 401


def test_listeners_are_limited_and_leave(site: Site, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "MAX_STREAMS", 1)
    scene(site)
    with caller.http.stream("GET", f"{STREAM}?after=0") as answer:
        heard = events(answer)
        next(heard)
        full = caller.http.get(STREAM)
        assert full.status_code == 503
        assert "Too many browsers" in full.text
        heard.close()
    until(lambda: _opens(caller))


def _opens(caller: Caller) -> bool:
    with caller.http.stream("GET", f"{STREAM}?after=0") as answer:
        return answer.status_code == 200


def test_streams_end_when_the_server_does(site: Site) -> None:
    """Given an open stream, when the server stops, then it does not wait for the stream."""
    scene(site)
    with serve(create_app(site.app)) as port:
        caller = Caller(f"http://127.0.0.1:{port}")
        caller.logged_in()
        ended = threading.Event()
        begun = threading.Event()

        def listen() -> None:
            with caller.http.stream("GET", f"{STREAM}?after=0") as answer:
                for _ in events(answer):
                    begun.set()
            ended.set()

        listener = threading.Thread(target=listen)
        listener.start()
        assert begun.wait(10)
    assert ended.wait(5)
    listener.join()
    caller.http.close()


def test_a_session_that_ended_ends_a_stream_in_which_changes_keep_coming(
    site: Site, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a stream that is never silent, when its session ends, then so does the stream."""
    monkeypatch.setattr(changes, "SESSION_SECONDS", 0.1)
    scene(site)
    begun, ended = threading.Event(), threading.Event()
    other = Caller(site.url)

    def listen() -> None:
        with other.http.stream("GET", f"{STREAM}?after=0") as answer:
            for _ in events(answer):
                begun.set()
        ended.set()

    with other.http:
        other.http.cookies.update(caller.http.cookies)
        listener = threading.Thread(target=listen)
        listener.start()
        assert begun.wait(10)
        assert caller.post("/console/logout", {}).status_code == 303
        deadline = time.monotonic() + changes.BEAT_SECONDS - 1
        number = 0
        while not ended.is_set() and time.monotonic() < deadline:
            number += 1
            archive(site, f"d-{number}", "archived" if number % 2 else "unarchived")
        in_time = ended.is_set()
        listener.join()
    assert in_time


def test_what_was_told_already_is_no_gap(site: Site, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as many changes as are told in one moment, when a listener comes that knows it, then it has missed none."""
    scene(site)
    monkeypatch.setattr(changes, "SHOWN", 1)
    (newest,) = site.app.feed.latest(1)
    moment = int(newest.entry_id.partition("-")[0])
    for since, gap in ((moment, False), (moment - 1, True)):
        with caller.http.stream("GET", f"{STREAM}?after={since}") as answer:
            lines = answer.iter_lines()
            assert next(line for line in lines if line.startswith("data: {"))
            archive(site, f"d-{since}", "archived" if gap else "unarchived")
            # The next that is told is the gap, or what was published just now.
            assert (next(line for line in lines if line.startswith("event:")) == "event: gap") is gap


def test_no_more_listen_than_may(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given one that asked whether there is room before another came, then it is sent away when it sits down."""
    monkeypatch.setattr(hub, "MAX_STREAMS", 1)

    async def two() -> list[bool]:
        seats = hub.Hub(site.app)
        try:
            return [seats.join("one") is not None, seats.join("other") is not None]
        finally:
            seats.close()

    assert asyncio.run(two()) == [True, False]


def test_nobody_takes_all_the_streams(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "STREAMS_EACH", 2)

    async def many() -> list[bool]:
        seats = hub.Hub(site.app)
        try:
            return [seats.join(who) is not None for who in ("sam", "sam", "sam", "maria")]
        finally:
            seats.close()

    assert asyncio.run(many()) == [True, True, False, True]


def test_a_session_that_ended_ends_its_stream(site: Site, caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(changes, "SESSION_SECONDS", 0.1)
    scene(site)
    other = Caller(site.url)
    with other.http:
        other.http.cookies.update(caller.http.cookies)
        with other.http.stream("GET", STREAM) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("retry")
            assert caller.post("/console/logout", {}).status_code == 303
            assert all("change" not in line for line in lines)  # It ends.
