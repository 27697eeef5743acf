"""The ledger of events: what was settled is a duplicate, and what came of it is told, in a few bytes for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from tests.conftest import settings_of
from tests.store.making import (
    about_repository,
    come_due,
    lose_worker,
    ping,
    plain,
    put,
    registration,
    settle_all,
    webhook,
)
from tests.support import OWNER
from worker.app import App, build
from worker.lifecycle.facts import HOUR, SECOND
from worker.local.valkey import EmbeddedStore
from worker.settings import load
from worker.settling.processor import Processor
from worker.store import inbox
from worker.store.event_ledger import KEPT, KEPT_LONG, Came, Entry
from worker.store.inbox import EVENTS, SUSPECT, Event, Inbox
from worker.store.keys import LEDGER_SINCE, Keyspace

pytestmark = pytest.mark.usefixtures("server_program")


class NeverAnswers(Inbox):
    """Of a worker that ends before it has answered."""

    def acknowledge(self, events: Sequence[Event]) -> bool:
        return not events


@pytest.fixture
def narrow(app: App, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """One shelf in each partition, with so much room, that keeps entries for so long."""

    def make(room: int, kept: int) -> None:
        monkeypatch.setattr("worker.store.event_ledger.SHELVES", 1)
        monkeypatch.setattr(inbox, "ROOM", room)
        monkeypatch.setattr(app.inbox, "_kept", kept)

    return make


def the_one(app: App, delivery: str) -> Entry:
    (found,) = app.event_ledger.find(delivery)
    return found


def settle(app: App, first: int, last: int) -> None:
    for n in range(first, last):
        settle_all(app, ping(app, f"d-{n}"))


def known(app: App, count: int) -> list[int]:
    """Which of so many events are duplicates."""
    receipts = put(app, *(ping(app, f"d-{n}") for n in range(count)))
    return [n for n, receipt in enumerate(receipts) if receipt.duplicate]


def test_an_event_that_was_settled_leaves_an_entry_and_no_key_of_its_own(app: App) -> None:
    with plain(app) as redis:
        settle(app, 0, 1)
        before = set(redis.scan_iter())
        for n in range(1, 400):
            put(app, ping(app, f"d-{n}"))
        settle_all(app)
        new = [key for key in set(redis.scan_iter()) - before if ":ledger:" not in key]
    assert new == []
    assert the_one(app, "d-7").state == "settled"


def test_what_came_of_an_event_is_told_with_its_revisions(app: App) -> None:
    """Given two policies of a repository, when a webhook disables both, then both revisions came of it."""
    settle_all(app, registration(app, "pol-1"), registration(app, "pol-2"))
    before = app.status.now()
    settle_all(app, about_repository(app, "archived", "d-1"), ping(app, "d-2"))
    disabled = the_one(app, "d-1")
    assert (disabled.kind, disabled.state, disabled.more) == ("github", "settled", 0)
    assert set(disabled.came) == {Came("pol-1", 2), Came("pol-2", 2)}
    assert before - SECOND <= disabled.received_at <= app.status.now()
    assert the_one(app, "d-2").came == ()
    assert the_one(app, "register-pol-1").came == (Came("pol-1", 1),)
    assert app.event_ledger.find("d-3") == []


def test_of_many_revisions_the_first_are_named_and_the_others_counted(app: App) -> None:
    """Given many policies with long ids, when a webhook disables all, then its shelf stays small, and the sum is right."""
    names = [f"policy-{n:03d}-{'x' * 60}" for n in range(60)]
    settle_all(app, *(registration(app, name) for name in names))
    settle_all(app, about_repository(app, "archived", "d-1"))
    found = the_one(app, "d-1")
    assert len(found.came) + found.more == 60
    assert 5 < len(found.came) < 30
    assert {came.policy_id for came in found.came} <= set(names)
    with plain(app) as redis:
        shelves = list(redis.scan_iter("tenure:{*}:ledger:*"))
        assert {redis.object("encoding", key) for key in shelves} == {"listpack"}


def test_what_came_of_an_event_is_known_if_its_worker_ended_just_after_the_commit(app: App) -> None:
    """Given a worker that ends between commit and answer, when another settles the event, then nothing is forgotten."""
    settle_all(app, registration(app, "pol-1"))
    put(app, about_repository(app, "archived", "d-1"))
    claimed = app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "ends", 10)
    Processor(
        name="ends", keyspace=app.keyspace, inbox=NeverAnswers(app.client, app.keyspace), settler=app.settler, checks=app.checks, status=app.status,
        wakeups=app.wakeups, asked=(),
    ).process(claimed)  # fmt: skip
    waiting = the_one(app, "d-1")
    assert (waiting.state, waiting.name, waiting.came) == ("waits", "repository.archived", (Came("pol-1", 2),))
    lose_worker(app, claimed.events)
    app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "other", 10)
    come_due(app, app.keyspace.of(OWNER), claimed.events[0].event_id, SUSPECT)
    settle_all(app)
    assert the_one(app, "d-1")[1:5] == ("settled", waiting.received_at, (Came("pol-1", 2),), 0)


def test_an_event_that_is_answered_for_twice_is_entered_once(app: App) -> None:
    """Given an event that another has settled, when a late worker answers for it, too, then what came of it stays."""
    settle_all(app, registration(app, "pol-1"))
    put(app, about_repository(app, "archived", "d-1"))
    claimed = app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "one", 10)
    app.processor("one").process(claimed)
    app.inbox.acknowledge(claimed.events)
    assert the_one(app, "d-1").came == (Came("pol-1", 2),)


def test_what_waits_and_what_is_a_dead_letter_is_told_with_its_problem(app: App) -> None:
    wrong = webhook(app, "repository.archived", {"repository": {"id": "x"}}, "d-wrong")
    settle_all(app, wrong)
    put(app, ping(app, "d-1"))
    assert the_one(app, "d-1").state == "waits"
    dead = the_one(app, "d-wrong")
    assert (dead.state, dead.event_id, dead.name) == ("dead letter", wrong.event_id, "repository.archived")
    assert (dead.problem or "").startswith("UnusableEventError: ")
    app.dead.drop(list(app.dead.read(app.dead.places())), reason="no use", by="maria")
    assert the_one(app, "d-wrong").state == "dropped"
    assert put(app, wrong)[0].duplicate


def test_two_events_of_one_delivery_id_are_two(app: App) -> None:
    """Given a delivery id that somebody used for another body, when it is looked for, then both are told."""
    settle_all(app, ping(app, "d-1"))
    other = ping(app, "d-1")._replace(event_id=inbox.identity("github", "other body"))
    assert not put(app, other)[0].duplicate
    assert sorted(entry.state for entry in app.event_ledger.find("d-1")) == ["settled", "waits"]
    assert [x.state for x in app.event_ledger.find("d-1", other.event_id)] == ["waits"]


def test_when_a_shelf_is_full_the_oldest_are_forgotten(app: App, narrow: Callable[[int, int], None]) -> None:
    """Given shelves with room for 4, when 30 events were settled, then the newest are known, and since when is told."""
    narrow(4, 0)
    settle(app, 0, 30)
    with plain(app) as redis:
        assert max(redis.hlen(key) for key in redis.scan_iter("tenure:{*}:ledger:*")) <= 4 + 1
    left = [n for n in range(30) if app.event_ledger.find(f"d-{n}")]
    assert left == list(range(30 - len(left), 30))
    assert 4 <= len(left) <= 8
    since = app.event_ledger.since()
    assert since is not None
    assert the_one(app, f"d-{left[0]}").received_at <= since <= app.status.now()


def test_under_a_flood_nothing_is_forgotten_too_early(app: App, narrow: Callable[[int, int], None]) -> None:
    """Given shelves that are full many times over, when nothing is old yet, then all of it is known."""
    narrow(4, HOUR)
    settle(app, 0, 40)
    assert known(app, 40) == list(range(40))


def test_a_shelf_goes_on_after_its_clock_was_reset(app: App, narrow: Callable[[int, int], None]) -> None:
    """Given a shelf that was begun while the clock was ahead, when it is full, then it counts from now on."""
    narrow(4, HOUR)
    settle(app, 0, 12)
    newer, _ = app.keyspace.of(OWNER).shelf(0)
    with plain(app) as redis:
        redis.hset(newer, "", app.status.now() + 10**12)
        settle(app, 12, 13)
        assert float(redis.hget(newer, "") or "0") <= app.status.now()
    assert known(app, 13) == list(range(13))


def test_the_ledger_says_from_when_on_it_has_everything(app: App) -> None:
    since = app.event_ledger.since()
    settle(app, 0, 2)
    assert since is not None
    assert since <= app.status.now()
    assert app.event_ledger.since() == since
    with plain(app) as redis:
        redis.delete(LEDGER_SINCE)
    assert app.event_ledger.since() is None
    app.event_ledger.begin(app.status.now())
    since = app.event_ledger.since()
    app.event_ledger.begin(app.status.now())
    assert app.event_ledger.since() == since
    with plain(app) as redis:
        assert redis.exists(LEDGER_SINCE)


@pytest.mark.parametrize("partitions", [1, 3, 16, 100])
def test_all_partitions_have_a_million_together(partitions: int) -> None:
    from worker.store.event_ledger import ROOM, _sought

    numbers = {_sought(Keyspace(partitions), f"d-{n}")[0] for n in range(40_000)}
    assert len(numbers) * partitions * ROOM >= 1_000_000


@pytest.mark.parametrize(("days", "kept"), [(3, KEPT), (7, KEPT_LONG)])
def test_a_server_that_redelivers_for_a_week_makes_duplicates_known_for_longer(
    store: EmbeddedStore, days: int, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given shelves that are full, when twice as much comes just before the time is over, then all of it is known still."""
    monkeypatch.setattr("worker.store.event_ledger.SHELVES", 1)
    monkeypatch.setattr(inbox, "ROOM", 2)
    issuers = {"ghes": {"issuers": ["https://ghes.example.org/_services/token"], "redelivery_days": days}}
    app = build(load({**settings_of(store), "TENURE_ISSUERS": json.dumps(issuers)}))
    settle(app, 0, 8)
    with plain(app) as redis:
        began = [(key, int(redis.hget(key, "") or 0)) for key in redis.scan_iter("tenure:{*}:ledger:*")]
        for key, at in began:
            redis.hset(key, "", at - kept + 60_000_000)
    settle(app, 8, 24)
    assert known(app, 24) == list(range(24))
    app.broker.close()
