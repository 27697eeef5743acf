"""Another server takes over while somebody follows the feed by HTTP: nothing is missing, or that is said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self, cast

import httpx
import orjson
import pytest
from pydantic import SecretStr
from redis import Redis

from tests.conftest import wait_until
from tests.console.scene import put
from tests.reader.relay import Relay
from tests.store.making import about_policy, about_repository, registration
from tests.web.following import Client, Copy
from tests.web.site import Site, site_on, until
from tests.web.test_feed import at_rest
from worker.local.valkey import EmbeddedStore, free_port

SECONDS = 30.0


class Pair(NamedTuple):
    """A site that reaches its store through a relay, and another server that can take over."""

    site: Site
    relay: Relay
    successor: Redis
    port: int

    def follow(self) -> None:
        """Let the successor have everything."""
        self.site.redis.config_set("repl-diskless-sync-delay", 0)
        self.successor.replicaof("127.0.0.1", self.site.store.port)
        wait_until(lambda: self.successor.role()[3] == b"connected", "the replica is connected", SECONDS)
        self.caught_up()

    def caught_up(self) -> None:
        self.site.redis.wait(1, 10_000)

    def fail_over(self) -> None:
        self.relay.cut()
        self.successor.replicaof("NO", "ONE")
        self.relay.mend(self.port)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with (
        EmbeddedStore(tmp_path / "one", free_port()) as one,
        EmbeddedStore(tmp_path / "two", free_port()) as two,
        Relay(one.port) as relay,
        Redis(port=two.port) as successor,
        site_on(one, tmp_path, redis_url=SecretStr(f"redis://127.0.0.1:{relay.port}/0")) as site,
    ):
        yield Pair(site, relay, successor, two.port)


class Keeper:
    """Keeps a copy, in a thread."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.copy = Copy(client)
        self._stop = threading.Event()

    def _run(self) -> None:
        """Until it has to stop."""
        raise NotImplementedError

    @contextmanager
    def keeping(self) -> Iterator[Self]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(SECONDS)
            assert not thread.is_alive()


class Listener(Keeper):
    """By a stream: comes again when it ends, and loads everything when that is said."""

    loads = 0
    complete_at = ""

    def _run(self) -> None:
        loaded = False
        while not self._stop.is_set():
            try:
                if not loaded:
                    self.copy.views, self.copy.removed = {}, {}
                    self.copy.load(100)
                    self.loads, loaded = self.loads + 1, True
                loaded = self._listen()
            except (httpx.HTTPError, AssertionError):
                # Nobody answers, or 503: again.
                self._stop.wait(0.1)

    def _listen(self) -> bool:
        with self._client.stream(self.copy.cursor) as (answer, events):
            if answer.status_code != 200:
                return answer.status_code != 410
            for said in events:
                if said.event == "change":
                    self.copy.take(said.data["data"]["view"])
                else:
                    self.copy.removed.clear()
                    self.complete_at = said.data["complete_at"]
                self.copy.cursor = said.id
                if self._stop.is_set():
                    return True
        return True

    def knows(self, views: object) -> bool:
        return self.copy.views == views


def some(pair: Pair, *numbers: int) -> None:
    put(pair.site, [registration(pair.site.app, f"pol-{n}", owner=1000 + n) for n in numbers])


def test_who_follows_goes_on_over_a_failover_without_a_gap(pair: Pair) -> None:
    """Given a server that took over and has everything, then the stream goes on, or comes again, from where it was."""
    client = Client(pair.site)
    some(pair, *range(8))
    pair.follow()
    with client.http, Listener(client).keeping() as listener:
        until(lambda: listener.knows(at_rest(pair.site)) and listener.complete_at != "")
        cursor = client.cursor()
        pair.caught_up()
        pair.fail_over()
        some(pair, *range(8, 12))
        put(pair.site, [about_policy(pair.site.app, "policy.removed", "pol-3", owner=1003)])
        found = at_rest(pair.site, pair.successor)
        assert "pol-3" not in found
        until(lambda: listener.knows(found))
        assert listener.loads == 1
        # And by plain questions.
        assert sorted(change["id"] for change in client.answer("/changes", cursor=cursor)["changes"]) == [
            "pol-10:1", "pol-11:1", "pol-3:2", "pol-8:1", "pol-9:1",
        ]  # fmt: skip


def test_a_server_that_took_over_without_the_last_change_is_told_of_as_gone(pair: Pair) -> None:
    """Given that what the successor has published since adds up, then who follows loads everything all the same."""
    client, stream = Client(pair.site), pair.site.app.keyspace.of(1001).changes
    some(pair, 1)
    put(pair.site, [about_repository(pair.site.app, "archived", "d-1", owner=1001)])
    pair.follow()
    pair.successor.replicaof("NO", "ONE")
    with client.http, Listener(client).keeping() as listener:
        put(pair.site, [about_repository(pair.site.app, "unarchived", "d-2", owner=1001)])
        until(lambda: listener.copy.views.get("pol-1", {}).get("usable") is True)
        lost = client.cursor()
        pair.relay.cut()
        last = pair.site.redis.xinfo_stream(stream)["last-generated-id"].decode()
        known = pair.successor.xinfo_stream(stream)["last-generated-id"].decode()
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", pair.successor.xrange(stream))
        event = orjson.loads(entries[0][1][b"event"])
        for number, entry_id in enumerate((f"{known.split('-')[0]}-9", f"{int(last.split('-')[0]) + 5}-0")):
            event["data"]["view"].update(policy_id=f"other-{number}", repository_id=1000 + number)
            pair.successor.xadd(stream, {"event": orjson.dumps(event)}, id=entry_id)
        pair.relay.mend(pair.port)
        until(lambda: client.get("/changes", cursor=lost).status_code == 410)
        until(lambda: listener.copy.views.get("pol-1", {}).get("usable") is False)
        assert listener.loads == 2


def test_a_store_that_is_away_ends_no_stream_and_says_nothing_is_complete(pair: Pair) -> None:
    client = Client(pair.site)
    some(pair, 1)
    with client.http, Listener(client).keeping() as listener:
        until(lambda: listener.complete_at != "")
        cursor = client.cursor()
        pair.relay.cut()
        polled = client.get("/changes", cursor=cursor)
        assert (polled.status_code, polled.json()["type"]) == (503, "urn:tenure:problem:store")
        assert int(polled.headers["retry-after"]) > 0
        before = listener.complete_at
        pair.relay.mend(pair.site.store.port)
        some(pair, 2)
        until(lambda: listener.knows(at_rest(pair.site)) and listener.complete_at > before)
        assert listener.loads == 1


class Poller(Keeper):
    """By plain questions that wait, with what the contract says of each answer."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.copy.load(100)
        self.refused: list[tuple[int, str]] = []
        """What it was answered in place of changes: status, and `Retry-After`."""
        self.refused_again = threading.Event()

    def _run(self) -> None:
        while not self._stop.is_set():
            response = self._client.get("/changes", cursor=self.copy.cursor, wait=1)
            if response.status_code == 200:
                answer = response.json()
                for change in answer["changes"]:
                    self.copy.take(change["data"]["view"])
                self.copy.cursor = answer["cursor"]
            else:
                self.refused.append((response.status_code, response.headers.get("retry-after", "")))
                self.refused_again.set()
                self._stop.wait(0.1)


def test_who_polls_goes_on_over_a_restart_of_the_store_without_a_gap(tmp_path: Path) -> None:
    """Given a store that is killed while a client waits for changes, when it is back, then the client goes on from its cursor:
    nothing is missing, nothing is told as gone, and meanwhile it was told to come again.
    """
    with EmbeddedStore(tmp_path / "store", free_port()) as store, site_on(store, tmp_path) as site:
        client = Client(site)
        put(site, [registration(site.app, f"pol-{n}", owner=1000 + n) for n in range(4)])
        with client.http, Poller(client).keeping() as poller:
            for number in range(3):
                put(site, [about_repository(site.app, "archived", f"d-{number}", owner=1000 + number)])
                poller.refused_again.clear()
                store.kill()
                assert poller.refused_again.wait(SECONDS)
                store.start()
                put(site, [registration(site.app, f"pol-{10 + number}", owner=1010 + number)])
            put(site, [about_policy(site.app, "policy.removed", "pol-3", owner=1003)])
            found = at_rest(site)
            assert found.keys() == {f"pol-{n}" for n in (0, 1, 2, 10, 11, 12)}
            until(lambda: poller.copy.views == found)
        assert {status for status, _ in poller.refused} == {503}
        assert all(after.isdigit() and int(after) > 0 for _, after in poller.refused)
