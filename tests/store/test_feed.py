"""The change feed, and the number of partitions that every reader computes keys from."""

from __future__ import annotations

import json

import pytest

from tests.conftest import settings_of
from tests.store.making import login, plain, registration, settle_all
from worker.app import App, build
from worker.lifecycle.facts import HOUR
from worker.local.valkey import EmbeddedStore
from worker.settings import SettingsError, load
from worker.store.client import Command

pytestmark = pytest.mark.usefixtures("server_program")


def test_the_feed_is_read_in_the_order_of_publication_over_all_partitions(app: App) -> None:
    """Given changes in many partitions, when they are read a few at a time, then all come, by time, each once."""
    for owner in range(20):
        settle_all(app, registration(app, f"pol-{owner}", owner=owner))
    settle_all(app, *(login(app, f"pol-{owner}", owner=owner) for owner in range(20)))
    entries = list(app.feed.since(0, page=3))
    ids = [json.loads(entry.event)["id"] for entry in entries]
    assert sorted(ids) == sorted(f"pol-{owner}:{revision}" for owner in range(20) for revision in (1, 2))
    times = [int(entry.entry_id.split("-")[0]) for entry in entries]
    assert times == sorted(times)


def test_only_what_is_newer_than_a_moment_is_read(app: App) -> None:
    """Given changes before and after a moment, when the feed is read since then, then only the later ones come."""
    partition = app.keyspace.all()[0]
    for at in (1000, 2000, 3000):
        app.client.one(Command(("XADD", partition.changes, f"{at}-0", "event", str(at))))
    assert [entry.event for entry in app.feed.since(2000 * 1000)] == [b"2000", b"3000"]


def test_trimming_drops_only_what_is_older_than_promised(app: App) -> None:
    """Given changes before and after a moment, when the feed is trimmed, then no later one goes, and most earlier do."""
    now = app.status.now()
    oldest = now - HOUR
    partition = app.keyspace.all()[3]
    old = [f"{(oldest // 1000) - 1000 + n}-0" for n in range(500)]
    new = [f"{(oldest // 1000) + n}-0" for n in range(5)]
    for entry_id in old + new:
        app.client.one(Command(("XADD", partition.changes, entry_id, "event", "{}")))
    assert app.feed.trim(oldest) >= 400
    with plain(app) as redis:
        assert [entry_id for entry_id, _ in redis.xrange(partition.changes)][-5:] == new


def test_the_number_of_partitions_is_fixed_at_first_start(app: App, store: EmbeddedStore) -> None:
    """Given a store made with 16 partitions, when a process is set to 8, then it does not start, and says why."""
    with pytest.raises(SettingsError, match="TENURE_PARTITIONS: is 8, but this store was made with 16"):
        build(load({**settings_of(store), "TENURE_PARTITIONS": "8"}))
    with plain(app) as redis:
        assert redis.get("tenure:partitions") == "16"
