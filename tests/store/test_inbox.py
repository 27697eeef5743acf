"""The inbox: stored once, dated once, handed out to one worker at a time, kept until it is answered for."""

from __future__ import annotations

import json

import pytest

from tests.store.making import (
    come_due,
    dead_letters,
    idle,
    login,
    lose_worker,
    ping,
    plain,
    put,
    registration,
    settle_all,
    state,
)
from tests.support import OWNER
from worker.app import App
from worker.lifecycle.facts import SECOND
from worker.store.client import Command, StoreError
from worker.store.inbox import (
    EVENTS,
    LARGE,
    LEASE,
    MAX_DEATHS,
    MAX_FAILURES,
    SEEN_LATELY,
    SUSPECT,
    Event,
    Inbox,
    backoff,
)
from worker.store.keys import alive

pytestmark = pytest.mark.usefixtures("server_program")


def claim(app: App, worker: str = "one", *, lane: str = EVENTS, limit: int = 10) -> list[Event]:
    return app.inbox.claim(app.keyspace.of(OWNER), lane, worker, limit).events


def fail(app: App, event: Event, *, worker: str = "one", final: bool = False) -> None:
    now = app.status.now()
    app.inbox.fail(event, error="ValueError", message="no", trace="line 1", worker=worker, now=now, final=final)


# Put


def test_events_are_dated_once_and_strictly_in_order(app: App) -> None:
    """Given events put one after another, when they are read back, then each is later than the one before."""
    letters = [ping(app, f"d-{n}") for n in range(20)]
    put(app, *letters)
    dates = [app.inbox.get(x.partition, x.event_id).received_at for x in letters]  # type: ignore[union-attr]
    assert dates == sorted(set(dates))
    put(app, *reversed(letters))
    assert dates == [app.inbox.get(x.partition, x.event_id).received_at for x in letters]  # type: ignore[union-attr]


def test_a_clock_that_is_set_back_does_not_date_an_event_before_an_earlier_one(app: App) -> None:
    """Given a last date in the future, when an event is put, then it is dated just after that."""
    partition = app.keyspace.of(OWNER)
    future = app.status.now() + 10**12
    app.client.one(Command(("SET", partition.stamp, future)))
    put(app, ping(app, "d-1"))
    event = app.inbox.get(partition, ping(app, "d-1").event_id)
    assert event is not None
    assert event.received_at == future + 1


def test_a_redelivery_of_a_settled_event_is_a_duplicate(app: App) -> None:
    """Given a settled event, when it is delivered again, then it is a duplicate and nothing waits."""
    first = put(app, ping(app, "d-1"))
    settle_all(app)
    assert [first[0].duplicate, put(app, ping(app, "d-1"))[0].duplicate] == [False, True]
    assert idle(app)
    assert app.status.counters()["duplicates"] == 1


def test_a_redelivery_of_an_unsettled_event_is_taken_again(app: App) -> None:
    """Given an event that waits for its next attempt, when it is delivered again, then it is due at once, once."""
    put(app, ping(app, "d-1"))
    (event,) = claim(app)
    fail(app, event)
    assert claim(app) == []
    assert not put(app, ping(app, "d-1"))[0].duplicate
    (again,) = claim(app)
    assert (again.event_id, again.received_at, again.failures) == (event.event_id, event.received_at, 1)


def test_a_redelivery_of_an_event_that_a_worker_holds_is_left_to_that_worker(app: App) -> None:
    """Given a claimed event, when it is delivered again, then nobody else can claim it."""
    put(app, ping(app, "d-1"))
    (event,) = claim(app)
    put(app, ping(app, "d-1"))
    assert claim(app, "two") == []
    app.inbox.acknowledge([event])
    assert idle(app)


def test_a_redelivery_of_a_dead_letter_is_taken_again(app: App) -> None:
    """Given a dead letter, when GitHub delivers it again, then it is tried again and keeps what is known of it."""
    put(app, ping(app, "d-1"))
    fail(app, claim(app)[0], final=True)
    assert app.inbox.depth()["dead"] == 1
    assert not put(app, ping(app, "d-1"))[0].duplicate
    assert app.inbox.depth()["dead"] == 0
    (event,) = claim(app)
    assert (event.failures, event.error) == (1, "ValueError")


def test_only_the_first_of_many_rings(app: App) -> None:
    """Given a burst of events, when a worker has not looked yet, then one wake-up is enough; then the next rings."""
    assert [receipt.wake for receipt in put(app, *(ping(app, f"d-{n}") for n in range(3)))] == ["events", "", ""]
    claim(app)
    assert [receipt.wake for receipt in put(app, ping(app, "d-4"))] == ["events"]


def test_a_batch_is_taken_whole(app: App) -> None:
    """Given a batch over several partitions, when it is put, then all of it is there."""
    batch = [ping(app, f"d-{owner}", owner=owner) for owner in range(50)]
    (receipts,) = app.inbox.put([batch])
    assert len(receipts) == 50
    assert app.inbox.depth()[EVENTS] == 50


# Claim


@pytest.mark.one_server("it has no replica")
def test_what_is_on_too_few_replicas_is_not_acknowledged(app: App) -> None:
    """Given a replica that is to have each event, and is not there, when one is put, then that fails; put again, it is there once."""
    with pytest.raises(StoreError, match="has it, and 0 of its replicas, of 1"):
        Inbox(app.client, app.keyspace, replicas=1).put([[ping(app, "d-1")]])
    put(app, ping(app, "d-1"))
    assert len(claim(app)) == 1


def test_a_claimed_event_is_nobody_elses_for_its_lease(app: App) -> None:
    """Given a claimed event, when another worker looks, then it sees nothing until the lease is over."""
    put(app, ping(app, "d-1"))
    (event,) = claim(app)
    assert claim(app, "two") == []
    with plain(app) as redis:
        until = redis.zscore(event.partition.waiting(EVENTS), event.event_id)
    assert isinstance(until, float)
    assert 0 < until - app.status.now() <= LEASE


def test_a_batch_has_a_limit_and_says_that_there_is_more(app: App) -> None:
    """Given five events, when two are claimed at a time, then the first two say that more are due, the last does not."""
    put(app, *(ping(app, f"d-{n}") for n in range(5)))
    claimed = [app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "one", 2) for _ in range(3)]
    assert [(len(batch.events), batch.more) for batch in claimed] == [(2, True), (2, True), (1, False)]
    assert {event.delivery for batch in claimed for event in batch.events} == {f"d-{n}" for n in range(5)}


def test_what_a_lost_worker_held_becomes_suspect_and_harms_no_other(app: App) -> None:
    """Given a worker that ended, when another looks, then it gets the others, and the suspects one at a time."""
    put(app, ping(app, "d-1"), ping(app, "d-2"))
    held = claim(app)
    put(app, ping(app, "d-3"))
    lose_worker(app, held)
    claimed = app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "two", 10)
    assert [event.delivery for event in claimed.events] == ["d-3"]
    assert claimed.quarantined
    suspects = [event for _ in range(2) for event in claim(app, "two", lane=SUSPECT, limit=1)]
    assert sorted(event.delivery for event in suspects) == ["d-1", "d-2"]
    assert {(event.lane, event.attempts) for event in suspects} == {(SUSPECT, 2)}


def test_an_event_whose_workers_end_three_times_is_given_up_on(app: App) -> None:
    """Given an event that ends every worker, when the third has ended, then it is a dead letter, and no other is."""
    put(app, ping(app, "d-poison"), ping(app, "d-good"))
    lose_worker(app, claim(app))
    claim(app)
    for death in range(1, MAX_DEATHS):
        suspects = claim(app, f"worker-{death}", lane=SUSPECT)
        app.inbox.acknowledge([event for event in suspects if event.delivery == "d-good"])
        lose_worker(app, [event for event in suspects if event.delivery == "d-poison"])
    assert claim(app, "last", lane=SUSPECT) == []
    assert idle(app)
    (dead,) = dead_letters(app)
    assert (dead.delivery, dead.error) == ("d-poison", "WorkerLost")
    assert dead.message == "the worker that held this event ended 3 times without an answer; the last was worker-2"
    assert app.status.counters()["dead:WorkerLost"] == 1


def test_a_failure_in_between_shows_that_an_event_ends_no_worker(app: App) -> None:
    """Given an event that was held by a worker that ended, when an attempt fails normally, then its ends count anew."""
    put(app, ping(app, "d-1"))
    lose_worker(app, claim(app))
    claim(app)
    (event,) = claim(app, lane=SUSPECT)
    fail(app, event)
    for _ in range(MAX_DEATHS - 1):
        come_due(app, event.partition, event.event_id, SUSPECT)
        assert len(claim(app, lane=SUSPECT)) == 1
    assert dead_letters(app) == []


def test_a_worker_that_is_late_and_alive_has_not_died(app: App) -> None:
    """Given a worker that was seen since, when its lease is over, then its events are claimed as if nothing had been."""
    put(app, ping(app, "d-1"))
    for _ in range(MAX_DEATHS + 1):
        app.status.beat("worker", "late")
        (event,) = claim(app, "late")
        assert (event.lane, event.fields.get("deaths")) == (EVENTS, None)
        lose_worker(app, [event])
    # Not for ever: it may be this event that keeps its workers so long.
    app.status.beat("worker", "late")
    assert claim(app, "other") == []
    assert [event.delivery for event in claim(app, "other", lane=SUSPECT)] == ["d-1"]


def test_a_worker_that_is_silent_has_died(app: App) -> None:
    """Given a worker that was last seen too long ago, when its lease is over, then what it held is suspect."""
    put(app, ping(app, "d-1"))
    claim(app, "silent")
    app.client.one(Command(("ZADD", alive("worker"), app.status.now() - SEEN_LATELY - 1, "silent")))
    app.client.one(Command(("ZADD", app.keyspace.of(OWNER).waiting(EVENTS), "XX", 0, ping(app, "d-1").event_id)))
    assert claim(app, "other") == []
    assert len(claim(app, "other", lane=SUSPECT)) == 1


def test_only_the_holder_releases_a_hold(app: App) -> None:
    """Given a hold that has passed to another worker, when the former one releases it, then it stays."""
    assert app.status.hold("due", "one", 60 * SECOND)
    app.status.release("due", "two")
    assert not app.status.hold("due", "two", 60 * SECOND)
    app.status.release("due", "one")
    assert app.status.hold("due", "two", 60 * SECOND)


# Fail


def test_attempts_wait_longer_each_time_and_end_as_a_dead_letter(app: App) -> None:
    """Given an event that always fails, when it was tried often enough, then it is kept for good, with every attempt."""
    put(app, ping(app, "d-1"))
    partition, event_id = app.keyspace.of(OWNER), ping(app, "d-1").event_id
    with plain(app) as redis:
        for attempt in range(1, MAX_FAILURES + 1):
            (event,) = claim(app, f"worker-{attempt}")
            assert (event.attempts, event.failures) == (attempt, attempt - 1)
            before = app.status.now()
            fail(app, event, worker=f"worker-{attempt}")
            if attempt < MAX_FAILURES:
                due = redis.zscore(partition.waiting(EVENTS), event_id)
                assert isinstance(due, float)
                assert before + backoff(attempt - 1) <= due <= app.status.now() + backoff(attempt - 1)
                assert redis.zscore(partition.dead, event_id) is None
                come_due(app, partition, event_id)
        assert idle(app)
        # Kept until an operator decides: nothing lets it expire.
        assert (redis.pttl(partition.event(event_id)), redis.pttl(partition.dead)) == (-1, -1)
    (dead,) = dead_letters(app)
    assert (dead.error, dead.message, dead.failures) == ("ValueError", "no", MAX_FAILURES)
    attempts = [json.loads(dead.fields[f"failure:{n}"]) for n in range(1, MAX_FAILURES + 1)]
    assert [attempt["worker"] for attempt in attempts] == [f"worker-{n}" for n in range(1, MAX_FAILURES + 1)]
    assert {(a["error"], a["message"], a["trace"]) for a in attempts} == {("ValueError", "no", "line 1")}
    assert dead.body == ping(app, "d-1").body


def test_what_can_never_be_handled_is_a_dead_letter_at_once(app: App) -> None:
    """Given a body of the wrong form, when it is settled with others, then it alone is put aside."""
    wrong = ping(app, "d-wrong")._replace(name="repository.archived", body=b'{"repository": {"id": "x"}}')
    settle_all(app, registration(app, "pol-1"), wrong, login(app, "pol-1"))
    assert state(app, "pol-1") == "active"
    (dead,) = dead_letters(app)
    assert (dead.delivery, dead.error, dead.attempts) == ("d-wrong", "UnusableEventError", 1)
    assert "repository.id" in str(dead.message)


def test_a_late_answer_to_a_settled_event_changes_nothing(app: App) -> None:
    """Given a paused worker whose event another has settled, when it answers at last, then nothing comes back."""
    put(app, ping(app, "d-1"))
    (late,) = claim(app)
    lose_worker(app, [late])
    claim(app, "two")
    app.inbox.acknowledge(claim(app, "two", lane=SUSPECT))
    fail(app, late)
    assert not app.inbox.resume_later(late, "0@0:x")
    app.inbox.acknowledge([late])
    assert idle(app)
    assert dead_letters(app) == []
    assert app.status.counters()["settled"] == 1


# Resume


def test_a_large_event_goes_on_in_its_own_lane_where_it_left_off(app: App) -> None:
    """Given an event that got as far as a cursor, when the large lane is claimed, then it comes with that cursor."""
    put(app, ping(app, "d-1"))
    (event,) = claim(app)
    assert app.inbox.resume_later(event, "2@0:pol-7")
    assert claim(app) == []
    (large,) = claim(app, lane=LARGE)
    assert (large.cursor, large.lane, large.received_at) == ("2@0:pol-7", LARGE, event.received_at)
    app.inbox.acknowledge([large])
    assert idle(app)
