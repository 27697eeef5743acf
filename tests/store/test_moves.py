"""A policy goes from one owner's partition to another's: whoever ends or is late, it is in one place, and never open in two."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from random import Random

import pytest

from tests.store.making import assert_consistent, come_due, exhaust, idle, plain, put, registration, settle_all
from tests.store.stepping import EndedError, Stepping
from worker.app import App, assemble
from worker.lifecycle.facts import SECOND
from worker.store.client import Call, Client, Reply, ScriptCall, StoreError
from worker.store.event_ledger import Came
from worker.store.inbox import EVENTS, Envelope

OWNERS = (41, 42, 43)
STEPS = 40
"""More round trips than any of this takes."""


def open_in(app: App) -> list[int]:
    """The partitions in which a reader finds the policy usable."""
    with plain(app) as redis:
        views = [
            (key, json.loads(view)) for key in redis.scan_iter("tenure:{p*}:repository:*") for view in redis.hvals(key)
        ]
    return [
        partition.number
        for partition in app.keyspace.all()
        for key, view in views
        if view["usable"] and key.startswith(partition.prefix)
    ]


def at_most_once(app: App) -> None:
    assert len(open_in(app)) <= 1


def records(app: App) -> list[int]:
    """The partitions in which something stands where its record would."""
    with plain(app) as redis:
        return [p.number for p in app.keyspace.all() if redis.exists(p.policy("pol-1"))]


def going(app: App, number: int, owner: int) -> Envelope:
    return registration(
        app, "pol-1", f"e-{number}", owner=owner, visibility="public", at=app.status.now() - (100 - number) * SECOND
    )


def retried(app: App) -> None:
    """Whatever a worker held and never answered for is settled by another."""
    with plain(app) as redis:
        for partition in app.keyspace.all():
            for event_id in redis.zrange(partition.waiting(EVENTS), 0, -1):
                come_due(app, partition, str(event_id))
    exhaust(app)


def drained(app: App, client: Client) -> None:
    """Work with that client, as far as it comes."""
    working = assemble(app.settings, client, app.keyspace, app.broker)
    processor = working.processor("late")
    for partition, lane in app.inbox.overdue():
        processor.drain(partition, lane)


def finished_by_the_clock(app: App) -> None:
    app.settler.settle_due(100)


def finished_by_who_looks(app: App) -> None:
    app.policies.load(["pol-1"])


def finished_by_whoever_settles_it_again(_: App) -> None:
    """It is what comes next anyway."""


FINISHES = (finished_by_the_clock, finished_by_who_looks, finished_by_whoever_settles_it_again)


@pytest.mark.parametrize("seed", range(20))
def test_a_move_that_ends_after_any_step_is_finished(app: App, seed: int) -> None:
    """Given a worker that ends after any step of a move, when anybody comes by, then the policy arrives, once. Each step is
    tried twenty times, between other partitions.
    """
    finish = FINISHES[seed % len(FINISHES)]
    random = Random(seed)
    first, second = (
        next(o for o in iter(lambda: random.getrandbits(40), None) if app.keyspace.of(o) == p)
        for p in random.sample(app.keyspace.all(), 2)
    )

    ended = 0
    for step in range(STEPS):
        app.client.redis.flushdb()
        settle_all(app, going(app, 1, first))
        assert open_in(app) == [app.keyspace.of(first).number]
        put(app, going(app, 2, second))
        client = Stepping(app.client.topology, step, look=lambda: at_most_once(app))
        try:
            drained(app, client)
        except EndedError:
            ended += 1
        at_most_once(app)
        finish(app)
        at_most_once(app)
        retried(app)
        # What still stands where it was is due.
        finished_by_the_clock(app)
        assert idle(app)
        assert records(app) == open_in(app) == [app.keyspace.of(second).number]
        assert_consistent(app)
        located = app.policies.load(["pol-1"])["pol-1"]
        assert located.policy is not None
        assert located.policy.revision == 2
        assert [entry.revision for entry in app.policies.history("pol-1", located.home)] == [2, 1]
        if not client.happened:
            break
    assert ended > 8
    assert ended < STEPS


@pytest.mark.parametrize("path", [(1,), (1, 2), (1, 0), (1, 2, 0), (1, 0, 1)])
def test_who_is_late_with_a_move_brings_nothing_back(app: App, path: Sequence[int]) -> None:
    """Given a worker that is paused before any step of a move, and others who finish that, and move the policy on, when it goes
    on, then the policy is where it was brought last.
    """
    for step in range(STEPS):
        app.client.redis.flushdb()
        settle_all(app, going(app, 1, OWNERS[0]))
        put(app, going(app, 2, OWNERS[1]))

        def others() -> None:
            retried(app)
            for number, place in enumerate(path[1:], 3):
                settle_all(app, going(app, number, OWNERS[place]))

        client = Stepping(app.client.topology, step, others, lambda: at_most_once(app))
        drained(app, client)
        if not client.happened:
            break
        retried(app)
        finished_by_the_clock(app)
        assert records(app) == open_in(app) == [app.keyspace.of(OWNERS[path[-1]]).number]
        assert_consistent(app)
        located = app.policies.load(["pol-1"])["pol-1"]
        assert located.policy is not None
        assert located.policy.revision == len(path) + 1
    assert 8 < step < STEPS - 1


class Resent(Client):
    """What commits is sent again, since no reply came: both were done."""

    def run(self, calls: Sequence[Call], *, atomic: bool = False) -> list[Reply]:
        if any(isinstance(call, ScriptCall) and call.script == "commit" for call in calls):
            super().run(calls, atomic=atomic)
        return super().run(calls, atomic=atomic)


def test_what_came_of_an_event_is_known_if_its_commit_was_sent_twice(app: App) -> None:
    """Given an event that waits in another partition than its policy, when the reply to its commit is lost, and it is sent again,
    then the ledger names the revision that came of it.
    """
    settle_all(app, registration(app, "pol-0", "e-0", owner=OWNERS[0]))
    event = going(app, 1, OWNERS[0])
    elsewhere = next(p for p in app.keyspace.all() if p != app.keyspace.of(OWNERS[0]))
    put(app, event._replace(partition=elsewhere))
    drained(app, Resent(app.client.topology))
    (entry,) = app.event_ledger.find("e-1")
    assert (entry.state, entry.came, entry.more) == ("settled", (Came("pol-1", 1),), 0)


class Interrupted(Client):
    """Of a cluster: the node whose policy was just committed cannot be reached for a moment."""

    interrupted = False
    apart = True

    def run(self, calls: Sequence[Call], *, atomic: bool = False) -> list[Reply]:
        replies = super().run(calls, atomic=atomic)
        if not self.interrupted and any(isinstance(call, ScriptCall) and call.script == "commit" for call in calls):
            self.interrupted = True
            raise StoreError("the node is away")
        return replies


def test_what_came_of_an_event_is_known_if_it_is_tried_again_without_others(app: App) -> None:
    """Given two events of a batch that wait in another partition than their policies, when a node is lost after it committed, and
    each is tried by itself, then the ledger names what came of both.
    """
    elsewhere = next(p for p in app.keyspace.all() if p != app.keyspace.of(OWNERS[0]))
    for number in (1, 2):
        event = registration(app, f"pol-{number}", f"e-{number}", owner=OWNERS[0])
        put(app, event._replace(partition=elsewhere))
    drained(app, Interrupted(app.client.topology))
    found = [entry for number in (1, 2) for entry in app.event_ledger.find(f"e-{number}")]
    assert [(entry.state, entry.came) for entry in found] == [
        ("settled", (Came("pol-1", 1),)),
        ("settled", (Came("pol-2", 1),)),
    ]


def test_what_came_of_an_event_is_known_whenever_its_worker_ends(app: App) -> None:
    """Given an event that waits in another partition than its policy, when its worker ends at any step, then the ledger names
    the revision that came of it, once it is settled by another.
    """

    for step in range(STEPS):
        app.client.redis.flushdb()
        event = going(app, 1, OWNERS[0])
        elsewhere = next(p for p in app.keyspace.all() if p != app.keyspace.of(OWNERS[0]))
        put(app, event._replace(partition=elsewhere))
        client = Stepping(app.client.topology, step)
        with contextlib.suppress(EndedError):
            drained(app, client)
        retried(app)
        (entry,) = app.event_ledger.find("e-1")
        assert (entry.state, entry.came, entry.more) == ("settled", (Came("pol-1", 1),), 0), step
        if not client.happened:
            break
    assert 6 < step < STEPS - 1
