"""A store that the release before this one wrote: what was in it is found by this one, and means what it meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from tests.conftest import settings_of
from tests.store.making import assert_consistent, dead_letters, everything, settle_all, state
from tests.store.stepping import EndedError, Stepping
from worker.app import App, build
from worker.local.valkey import EmbeddedStore
from worker.settings import SettingsError, load
from worker.store.keys import hold
from worker.store.switches import Scope
from worker.store.upgrade import LAYOUT_KEY, UpgradeError, upgrade

WRITTEN = Path(__file__).with_name("former_store.json")
"""Every key of a store in which the former release has settled some events: its type, and what it holds, a character a byte."""
NOBODY = "nobody else"

pytestmark = pytest.mark.one_server("the release before kept a store on one server")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _fill(redis: Redis) -> None:
    for key, (kind, value) in cast("dict[str, tuple[str, object]]", json.loads(WRITTEN.read_text())).items():
        name = _bytes(key)
        if kind == "string":
            redis.set(name, _bytes(cast("str", value)))
        elif kind == "hash":
            redis.hset(name, mapping={_bytes(f): _bytes(v) for f, v in cast("dict[str, str]", value).items()})
        elif kind == "list":
            redis.rpush(name, *map(_bytes, cast("list[str]", value)))
        elif kind == "zset":
            redis.zadd(name, {_bytes(member): score for member, score in cast("list[tuple[str, float]]", value)})
        else:
            for entry_id, entry in cast("list[tuple[str, dict[str, str]]]", value):
                redis.xadd(name, {_bytes(f): _bytes(v) for f, v in entry.items()}, id=entry_id)


@pytest.fixture
def former(store: EmbeddedStore) -> Iterator[Redis]:
    with Redis(port=store.port) as redis:
        _fill(redis)
        yield redis


def test_what_the_former_release_wrote_means_what_it_meant(store: EmbeddedStore, former: Redis) -> None:
    app = build(load(settings_of(store)))
    assert not [key for key in former.scan_iter("tenure:*") if b"{" not in key and key != b"tenure:partitions"]
    assert former.get(LAYOUT_KEY) == b"2"
    assert_consistent(app)
    assert [state(app, f"pol-{n}", owner=(41, 42)[n % 2], repository_id=100 + n) for n in (0, 2, 1)] == [
        "disabled", "provisional", "provisional",
    ]  # fmt: skip
    loaded = app.policies.load([f"pol-{n}" for n in range(4)])
    assert [located.policy.revision for located in loaded.values() if located.policy] == [2, 1, 1, 2]
    told = [app.logins.of(located.policy) for located in loaded.values() if located.policy]
    assert [bool(logins.succeeded) for logins in told] == [True, True, False, False]
    assert told[0].refused
    assert told[0].refused.every.times == 1
    assert [entry.action for entry in app.audit.since(0)] == ["sweep.let_through", "switch.closed"]
    assert [switch.scope for switch in app.switches.all()] == ["owner:42"]
    assert [letter.delivery for letter in dead_letters(app)] == ["bad-1"]
    assert [entry.state for entry in app.event_ledger.find("register-pol-0")] == ["settled"]
    assert [entry.state for entry in app.event_ledger.find("register-pol-9")] == ["waits"]
    # What waited is settled, where it waits now.
    settle_all(app)
    assert state(app, "pol-0", owner=41, repository_id=100) == "provisional"
    assert state(app, "pol-9", owner=41, repository_id=109) == "provisional"
    app.switches.open(Scope("owner", "42"), reason="over", by="maria", at=app.status.now(), request_id="r")
    assert app.switches.all() == []
    assert_consistent(app)


def test_an_upgrade_that_was_interrupted_goes_on(app: App, store: EmbeddedStore) -> None:
    """Given an upgrade that ends after any of its steps, when another begins, then it comes to the same."""
    with Redis(port=store.port) as redis:

        def upgraded(after: int) -> bool:
            redis.flushdb()
            _fill(redis)
            ended = False
            try:
                upgrade(Stepping(app.client.topology, after), app.keyspace, NOBODY, _waits_for_nobody)
            except EndedError:
                ended = True
                redis.delete(hold("upgrade"))
                upgrade(app.client, app.keyspace, NOBODY, _waits_for_nobody)
            return ended

        assert not upgraded(10_000)
        whole = everything(app)
        after = 1
        while upgraded(after):
            assert everything(app) == whole, after
            after += 9
        assert after > 50


def test_a_store_of_a_later_release_is_left_alone(app: App) -> None:
    app.client.redis.set(LAYOUT_KEY, 3)
    with pytest.raises(UpgradeError, match="a later release"):
        upgrade(app.client, app.keyspace, NOBODY, _waits_for_nobody)


def test_nothing_is_upgraded_while_the_former_release_runs(store: EmbeddedStore, former: Redis) -> None:
    seconds, _ = former.time()
    former.zadd("tenure:alive:worker", {"host:1": seconds * 1_000_000, "host:2": (seconds - 60) * 1_000_000})
    with pytest.raises(SettingsError, match=r"are alive \(host:1\): end them"):
        build(load(settings_of(store)))
    assert former.exists("tenure:locator:pol-0")


def test_one_process_upgrades_and_the_others_wait_for_it(app: App, store: EmbeddedStore) -> None:
    with Redis(port=store.port) as redis:
        redis.flushdb()
        _fill(redis)
        redis.set(hold("upgrade"), "another")
        waited: list[int] = []

        def wait() -> None:
            waited.append(1)
            redis.set(LAYOUT_KEY, 2)

        assert not upgrade(app.client, app.keyspace, NOBODY, wait)
        assert waited == [1]


def _waits_for_nobody() -> None:
    raise AssertionError("nobody else upgrades")
