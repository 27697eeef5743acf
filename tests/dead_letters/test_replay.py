"""Replays: back into the inbox, once, at a rate; stopped and gone on with; and what a letter says counts by its date."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import Processes, wait_until
from tests.dead_letters.test_finding import wrong
from tests.store.making import (
    about_repository,
    assert_consistent,
    everything,
    exhaust,
    feed,
    give_up_on,
    idle,
    letter,
    login,
    ping,
    put_and_ring,
    reasons,
    registration,
    settle_all,
    state,
    types,
)
from tests.support import JSON, OWNER
from worker import dead_letters
from worker.app import App
from worker.dead_letters import Filter, Progress
from worker.dead_letters.pace import GROUP
from worker.store.client import Command
from worker.store.keys import hold

LETTERS = 200
RATE = 200.0
"""Letters a second."""


def everything_dead(app: App) -> list[str]:
    return [letter.delivery for letter in dead_letters.find(app)]


def replay_all(app: App, **how: object) -> Progress:
    chosen, _ = dead_letters.select(app)
    return dead_letters.replay(app, chosen, reason="a test", by="maria", **how)  # type: ignore[arg-type]


def actions(app: App) -> list[str]:
    return [entry.action for entry in app.audit.since(0)]


@pytest.mark.processes
def test_a_real_failure_is_put_right_by_a_replay(app: App, processes: Processes) -> None:
    """Given an event whose retries were exhausted, when its cause is mended and it is replayed, then all stands right.

    And replaying the same letters again changes nothing more.
    """
    settle_all(app, registration(app, "pol-1"), login(app, "pol-1"))
    key = app.keyspace.of(OWNER).policy("pol-1")
    record = app.client.redis.get(key)
    assert isinstance(record, bytes)
    app.client.one(Command(("SET", key, "rubbish")))
    exhaust(app, about_repository(app, "archived", "d-1"))
    chosen, _ = dead_letters.select(app)
    assert [letter.error for letter in chosen] == ["UnreadableError"]

    app.client.one(Command(("SET", key, record)))
    processes.worker(app)
    came = dead_letters.replay(app, chosen, reason="the record is restored", by="maria")
    assert (came.state, came.handled, came.failed, came.waiting, came.left) == ("ended", 1, 0, 0, 0)
    assert state(app, "pol-1") == "disabled"
    assert reasons(app, "pol-1") == ["repository_archived"]
    before, published = feed(app), types(app, "pol-1")
    again = dead_letters.replay(app, chosen, reason="once more", by="maria")
    assert (again.handled, again.failed) == (1, 0)
    assert (feed(app), types(app, "pol-1")) == (before, published)
    assert_consistent(app)

    started, over, *_ = app.audit.since(0)
    assert (started.action, started.by, started.reason) == ("replay.started", "maria", "the record is restored")
    assert started.subjects == over.subjects == (came.replay.batch,)
    assert (over.action, over.details["settled"]) == ("replay.ended", 1)
    assert over.details["changed"] == [
        {"change": "pol-1:3", "type": "policy.disabled", "before": "active", "after": "disabled",
         "reasons": ["repository_archived"]}
    ]  # fmt: skip
    assert actions(app) == ["replay.started", "replay.ended"] * 2


@pytest.mark.processes
def test_a_letter_that_fails_again_is_the_same_letter_with_one_more_attempt(app: App, processes: Processes) -> None:
    """Given a letter of the wrong form among good ones, when all are replayed, then it alone is a letter again."""
    settle_all(app, registration(app, "pol-1"), wrong(app))
    (first,) = dead_letters.find(app)
    give_up_on(app, about_repository(app, "archived", "d-1"))
    processes.worker(app)
    came = replay_all(app)
    assert (came.replay.total, came.handled, came.failed, came.waiting) == (2, 1, 1, 0)
    with pytest.raises(dead_letters.ReplayError, match="already"):
        replay_all(app, batch=came.replay.batch)
    (again,) = dead_letters.find(app)
    assert (again.event_id, again.received_at, again.attempts) == (first.event_id, first.received_at, 2)
    assert again.died_at > first.died_at
    whole = dead_letters.show(app, again.event_id)
    assert whole is not None
    assert [attempt.error for attempt in whole.attempts] == ["UnusableEventError"] * 2
    assert state(app, "pol-1") == "disabled"


def test_an_old_letter_does_not_override_what_is_newer(app: App) -> None:
    """Given a block that was given up on and a newer clearing, when the block is replayed, then it stays cleared."""
    settle_all(app, registration(app, "pol-1"))
    give_up_on(app, about_repository(app, "archived", "d-old"))
    (letter,) = dead_letters.find(app)
    settle_all(app, about_repository(app, "unarchived", "d-newer"))
    before = types(app, "pol-1")
    replay_all(app)
    event = app.inbox.get(letter.partition, letter.event_id)
    assert event is not None
    assert event.received_at == letter.received_at
    settle_all(app)
    assert (types(app, "pol-1"), state(app, "pol-1")) == (before, "provisional")
    assert_consistent(app)


def test_letters_go_at_the_rate_that_was_asked_for(app: App, measured: Callable[[str], None]) -> None:
    """Given 200 letters, when they are replayed at 200 a second, then none goes early, and all go in time."""
    give_up_on(app, *(ping(app, f"d-{n}") for n in range(LETTERS)))
    gone: list[tuple[float, int]] = []
    begun = time.monotonic()
    replay_all(app, rate=RATE, advance=lambda count: gone.append((time.monotonic() - begun, count)))
    total = 0
    for moment, count in gone:
        total += count
        # The first goes at once.
        assert total <= moment * RATE + 1
    assert total == LETTERS
    took = gone[-1][0]
    measured(f"{LETTERS} dead letters went back at {(LETTERS - 1) / took:.0f}/s of {RATE:.0f}/s asked for")
    assert (LETTERS - 1) / RATE <= took < 2 * LETTERS / RATE
    assert app.inbox.depth()["events"] == LETTERS


def test_a_replay_is_stopped_between_letters_and_goes_on_where_it_was(app: App) -> None:
    """Given a replay, when it is stopped from elsewhere, then the rest stays; resumed, each has gone once."""
    give_up_on(app, *(ping(app, f"d-{n}", owner=n) for n in range(LETTERS)))
    batch = dead_letters.batch_id()

    def stop(_: int) -> None:
        # The console's or another terminal's doing, after the first group.
        if dead_letters.status(app, batch).state == "running":
            dead_letters.stop_replay(app, batch, by="alice", reason="wait a moment")

    first = replay_all(app, batch=batch, advance=stop)
    assert first.state == "stopped"
    assert first.replay.done == GROUP < LETTERS
    assert first.left == len(everything_dead(app)) == LETTERS - first.replay.done
    with pytest.raises(dead_letters.ReplayError, match="does not run"):
        dead_letters.stop_replay(app, batch, by="alice")
    settle_all(app)
    assert dead_letters.status(app, batch).handled == first.replay.done

    over = dead_letters.resume(app, batch, by="alice", reason="go on")
    assert (over.state, over.left) == ("ended", 0)
    settle_all(app)
    assert dead_letters.status(app, batch).handled == LETTERS
    assert everything_dead(app) == []
    assert [(entry.action, entry.by) for entry in app.audit.since(0)] == [
        ("replay.started", "maria"), ("replay.stopped", "alice"), ("replay.resumed", "alice"), ("replay.ended", "alice"),
    ]  # fmt: skip
    with pytest.raises(dead_letters.ReplayError, match="is over"):
        dead_letters.resume(app, batch, by="alice")
    with pytest.raises(dead_letters.UnknownReplayError):
        dead_letters.status(app, "nobody")


def test_a_replay_that_waits_for_its_next_letter_stops_at_once(app: App) -> None:
    """Given a replay at a letter in a hundred seconds, when it is told to stop, then it does not wait for the next."""
    give_up_on(app, *(ping(app, f"d-{n}") for n in range(3)))
    stop = threading.Event()
    came = replay_all(app, rate=0.01, stop=stop, advance=lambda _: stop.set())
    assert (came.state, came.replay.done, came.left) == ("stopped", 1, 2)
    assert actions(app) == ["replay.started", "replay.stopped"]


def test_a_replay_that_waits_is_stopped_from_elsewhere(app: App) -> None:
    """Given a replay at a letter in a hundred seconds, when another stops it, then no more goes, and its place is free."""
    give_up_on(app, *(ping(app, f"d-{n}") for n in range(3)))
    batch, gone = dead_letters.batch_id(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: replay_all(app, batch=batch, rate=0.01, advance=lambda _: gone.set()))
        assert gone.wait(10)
        dead_letters.stop_replay(app, batch, by="alice")
        came = running.result(timeout=10)
    assert (came.state, came.running, came.replay.done) == ("stopped", False, 1)


def test_a_stop_comes_before_the_letters_that_were_just_about_to_go(app: App) -> None:
    """Given letters that are at hand to be put back, when it is stopped first, then they stay dead letters."""
    give_up_on(app, *(ping(app, f"d-{n}") for n in range(3)))
    ends = threading.Event()
    batch = replay_all(app, rate=0.01, ends=ends, advance=lambda _: ends.set()).replay.batch
    members = app.replays.pending(batch, 2)
    dead_letters.stop_replay(app, batch, by="alice")
    before = everything(app)
    receipts, state = app.replays.put_back(batch, members)
    assert (state, [receipt.wake for receipt in receipts]) == ("stopped", ["", ""])
    assert everything(app) == before


def test_a_replay_whose_process_ends_is_interrupted_and_nobody_has_stopped_it(app: App) -> None:
    give_up_on(app, *(ping(app, f"d-{n}") for n in range(3)))
    ends = threading.Event()
    came = replay_all(app, rate=0.01, ends=ends, advance=lambda _: ends.set())
    assert (came.state, came.left) == ("interrupted", 2)
    assert actions(app) == ["replay.started"]


def test_of_several_who_go_on_with_a_replay_one_is_entered(app: App) -> None:
    """Given an interrupted replay, when four go on with it at once, then one does, and the audit trail names that one."""
    give_up_on(app, *(ping(app, f"d-{n}") for n in range(3)))
    ends, stop, all_there = threading.Event(), threading.Event(), threading.Barrier(4)
    batch = replay_all(app, rate=0.01, ends=ends, advance=lambda _: ends.set()).replay.batch

    def go_on(number: int) -> str | None:
        all_there.wait()
        try:
            dead_letters.resume(app, batch, by=f"operator {number}", stop=stop)
        except dead_letters.ReplayError:
            # The one that is at it waits for its next letter until the others were refused.
            refused.release()
            return None
        return f"operator {number}"

    refused = threading.Semaphore(0)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(go_on, number) for number in range(4)]
        assert all(refused.acquire(timeout=10) for _ in range(3))
        stop.set()
        (went,) = [name for one in asked if (name := one.result(timeout=10))]
    resumed = [entry.by for entry in app.audit.since(0) if entry.action == "replay.resumed"]
    assert resumed == [went]


@pytest.mark.processes
def test_a_replay_whose_process_is_killed_is_gone_on_with(app: App, processes: Processes) -> None:
    """Given a replay on the command line, when it is killed, then it counts as interrupted and can be resumed."""
    give_up_on(app, *(ping(app, f"d-{n}", owner=n) for n in range(20)))
    killed = processes.start("-m", "worker", "dead", "replay", "--all", "--apply", "--reason=x", "--rate=10/s")
    wait_until(lambda: app.inbox.depth()["events"], "the first letter went")
    killed.kill()
    (batch,) = app.replays.newest(10)
    # Its hold passes by itself; a test need not wait for that.
    app.client.redis.delete(hold(f"replay:{batch}"))
    (found,) = dead_letters.interrupted(app)
    assert found.state == "interrupted"
    assert 0 < found.left < 20
    gone: list[int] = []
    over = dead_letters.resume(app, batch, by="maria", advance=gone.append)
    assert (over.left, sum(gone)) == (0, found.left)
    settle_all(app)
    assert everything_dead(app) == []
    assert actions(app) == ["replay.started", "replay.resumed", "replay.ended"]


def test_a_letter_that_is_none_any_more_is_left_as_it_is(app: App) -> None:
    """Given a selection of which one was dropped and one settled, when it is replayed, then neither comes back."""
    give_up_on(app, ping(app, "d-1"), ping(app, "d-2"), ping(app, "d-3"))
    chosen, _ = dead_letters.select(app)
    dead_letters.drop(app, chosen[:1], reason="a test", by="maria")
    put_and_ring(app, ping(app, "d-2"))
    settle_all(app)
    before = everything(app)
    came = dead_letters.replay(app, chosen[:2], reason="a test", by="maria")
    assert (came.replay.done, came.handled) == (2, 2)
    assert idle(app)
    changed = {key for key, value in everything(app).items() if before.get(key) != value}
    assert all(b":inbox:event:" not in key and b":policy:" not in key for key in changed)
    assert everything_dead(app) == ["d-3"]


@pytest.mark.parametrize(
    ("how", "chosen"),
    [({"rate": 0.0}, 1), ({"rate": 0.0001}, 1), ({"rate": -1.0}, 1), ({"reason": " "}, 1), ({}, 0)],
    ids=str,
)
def test_a_replay_wants_letters_a_reason_and_a_rate(app: App, how: dict[str, object], chosen: int) -> None:
    give_up_on(app, ping(app, "d-1"))
    found = list(dead_letters.find(app, Filter()))[:chosen]
    with pytest.raises(ValueError, match="reason"):
        dead_letters.replay(app, found, **{"reason": "a test", "by": "maria", **how})  # type: ignore[arg-type]
    assert actions(app) == []


@pytest.mark.processes
def test_the_event_that_tells_of_a_refused_registration_is_replayed_like_any_other(
    app: App, processes: Processes
) -> None:
    """Given one that a former release gave up on, since it knew no such event, when it is replayed, then the feed tells of it
    once, and it counts as no change of a policy.
    """
    said: dict[str, JSON] = {
        "code": "unknown_owner",
        "cause": {"kind": "registry", "id": "r-1", "event": "policy.registered"},
    }
    notice = {"type": "registration.refused", "subject": "pol-9", "data": said}
    event = letter(app, "registration.refused", {"policy_id": "pol-9", **said}, "r-1", kind="registry")
    give_up_on(app, event._replace(notice=json.dumps(notice).encode(), refused="unknown_owner"))
    assert feed(app) == []
    processes.worker(app)
    came = replay_all(app)
    assert (came.state, came.handled, came.failed) == ("ended", 1, 0)
    assert feed(app) == [notice]
    assert [*app.audit.since(0)][-1].details["changes"] == 0
    (entry,) = app.event_ledger.find("r-1")
    assert (entry.state, entry.problem) == ("refused", "unknown_owner")
