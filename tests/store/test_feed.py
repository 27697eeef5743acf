"""The change feed, and the number of partitions that every reader computes keys from."""

from __future__ import annotations

import json
from typing import cast

import pytest

from tests.conftest import settings_of
from tests.store.making import login, plain, registration, settle_all
from worker.app import App, build
from worker.lifecycle.facts import HOUR
from worker.local.valkey import EmbeddedStore
from worker.settings import SettingsError, load
from worker.store.client import Command
from worker.store.cursors import Cursor
from worker.store.feed import CursorGoneError, past

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
    with pytest.raises(SettingsError, match="TENURE_PARTITIONS: is 8, but this store has 16"):
        build(load({**settings_of(store), "TENURE_PARTITIONS": "8"}))
    with plain(app) as redis:
        assert redis.get("tenure:partitions") == "16"


# From a cursor


def add(app: App, number: int, *events: str, milliseconds: int | None = None) -> None:
    """Publish in one partition; the events are no CloudEvents."""
    for event in events:
        where = "*" if milliseconds is None else f"{milliseconds}-*"
        app.client.one(Command(("XADD", app.keyspace.all()[number].changes, where, "event", event)))


def read_all(app: App, cursor: Cursor, count: int = 500) -> tuple[list[str], Cursor]:
    """Everything after a cursor, a few at a time."""
    told: list[str] = []
    while True:
        reading = app.feed.read(cursor, count)
        told += [entry.event.decode() for entry in reading.entries]
        cursor = reading.cursor
        if reading.at is not None:
            return told, cursor


@pytest.mark.parametrize("count", [1, 3, 7, 500])
def test_what_follows_a_cursor_comes_once_however_it_is_cut(app: App, count: int) -> None:
    add(app, 2, "before")
    cursor = app.feed.end()
    add(app, 2, *(f"a{n}" for n in range(10)))
    add(app, 5, *(f"b{n}" for n in range(4)))
    add(app, 9, "c0")
    told, end = read_all(app, cursor, count)
    assert sorted(told) == sorted([*(f"a{n}" for n in range(10)), *(f"b{n}" for n in range(4)), "c0"])
    assert [event for event in told if event[0] == "a"] == [f"a{n}" for n in range(10)]
    assert end == app.feed.end()
    assert read_all(app, end) == ([], end)


def test_a_stream_is_heard_from_the_same_cursor(app: App) -> None:
    """Given a cursor, when what follows is waited for, then it is numbered as when it is read."""
    add(app, 2, "before", "more")
    cursor = app.feed.end()
    add(app, 2, "one", "two")
    add(app, 3, "three")
    assert app.feed.wait(cursor, 10) == app.feed.read(cursor).entries
    assert past(cursor, app.feed.wait(cursor, 10)) == app.feed.end()
    assert app.feed.wait(app.feed.end(), 10) == []


def test_trimming_what_was_read_is_no_gap(app: App) -> None:
    add(app, 2, *"abc")
    cursor = app.feed.end()
    app.client.one(Command(("XTRIM", app.keyspace.all()[2].changes, "MAXLEN", 0)))
    assert read_all(app, cursor) == ([], cursor)
    add(app, 2, "d")
    assert read_all(app, cursor)[0] == ["d"]


@pytest.mark.parametrize("kept", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 500])
def test_trimming_what_was_not_read_is_a_gap(app: App, kept: int, count: int) -> None:
    add(app, 2, "read")
    cursor = app.feed.end()
    add(app, 2, *"abc")
    app.client.one(Command(("XTRIM", app.keyspace.all()[2].changes, "MAXLEN", kept)))
    with pytest.raises(CursorGoneError):
        read_all(app, cursor, count)


def test_trimming_up_to_the_cursor_is_no_gap(app: App) -> None:
    add(app, 2, "read")
    cursor = app.feed.end()
    add(app, 2, *"abc")
    app.client.one(Command(("XTRIM", app.keyspace.all()[2].changes, "MAXLEN", 3)))
    assert read_all(app, cursor)[0] == list("abc")


@pytest.mark.parametrize("count", [1, 500])
def test_an_entry_that_somebody_deleted_is_a_gap(app: App, count: int) -> None:
    cursor = app.feed.end()
    key = app.keyspace.all()[2].changes
    add(app, 2, *"abc")
    with plain(app) as redis:
        (_, (middle, _), _) = redis.xrange(key)
        redis.xdel(key, middle)
    with pytest.raises(CursorGoneError):
        read_all(app, cursor, count)


def test_another_store_is_a_gap(app: App) -> None:
    """Given a store that was emptied, or has as many entries of its own, then a cursor of before leads nowhere."""
    add(app, 2, "a", "b", milliseconds=1000)
    cursor = app.feed.end()
    app.client.redis.delete(app.keyspace.all()[2].changes)
    with pytest.raises(CursorGoneError):
        app.feed.read(cursor)
    add(app, 2, "x", "y", milliseconds=2000)
    with pytest.raises(CursorGoneError):
        app.feed.read(cursor)
    add(app, 2, "z")
    with pytest.raises(CursorGoneError):
        app.feed.read(cursor)


def test_a_store_that_was_restored_from_before_the_cursor_is_a_gap(app: App) -> None:
    """Given a stream that went back by one entry and on by another, then what was read is not what is there."""
    key = app.keyspace.all()[2].changes
    add(app, 2, "a")
    with plain(app) as redis:
        backup = cast("bytes", app.client.redis.dump(key))
        add(app, 2, "lost")
        cursor = app.feed.end()
        redis.delete(key)
    app.client.redis.restore(key, 0, backup)
    with pytest.raises(CursorGoneError):
        app.feed.read(cursor)
    add(app, 2, "new")
    with pytest.raises(CursorGoneError):
        app.feed.read(cursor)
    add(app, 2, *"more")
    with pytest.raises(CursorGoneError):
        app.feed.read(cursor, 1)


def test_a_cursor_of_other_partitions_is_a_gap(app: App) -> None:
    with pytest.raises(CursorGoneError):
        app.feed.read(Cursor(app.feed.end().positions[:-1]))


def test_a_feed_of_which_nobody_heard_is_read_from_the_beginning(app: App) -> None:
    cursor = app.feed.end()
    add(app, 0, *"abc")
    assert read_all(app, cursor)[0] == list("abc")
