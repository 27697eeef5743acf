"""Nodes of a cluster have clocks of their own: what a node dated is compared with that node's clock, and with no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from tests.conftest import Processes, settings_of, wait_until
from tests.engines import Cluster, EngineStore
from tests.resilience.clocks import Clock
from tests.store.making import about_member, assert_consistent, ping, published, put, registration, settle_all
from tests.support import OWNER
from worker.app import App, build
from worker.lifecycle.facts import DAY, SECOND, Micros
from worker.lifecycle.views import micros
from worker.settings import load
from worker.settling.processor import Processor
from worker.store.client import ScriptCall
from worker.store.inbox import EVENTS, LEASE
from worker.store.keys import CLOCK, Keyspace, Partition
from worker.store.status import times_of

BEHIND: Micros = 60 * SECOND
OWNERS = range(32)
"""They have policies on every node."""
LATE = 5 * SECOND
"""After its time a due policy is settled within this."""
WINDOW = 6 * SECOND


@pytest.fixture(params=["the installation's", "an owner's"])
def cluster(request: pytest.FixtureRequest, library: Path, tmp_path: Path) -> Iterator[Cluster]:
    """One of whose nodes has a clock that is a minute behind."""
    clock = Clock(tmp_path, library)
    owners = Keyspace(16).of(OWNER).clock
    others = Cluster(tmp_path / "unused").place_of
    place = others(CLOCK if request.param == "the installation's" else owners)
    assert others(CLOCK) != others(owners)
    arguments = ("--hz", "500")
    with Cluster(tmp_path / "cluster", replicas=0, arguments=arguments, programs={place: str(clock.server)}) as made:
        with made.servers[place].redis() as clock.redis:
            clock.move(-BEHIND)
        yield made


@pytest.fixture
def settings(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    return settings_of(EngineStore(cluster, tmp_path / "cluster"))


@pytest.fixture
def app(settings: dict[str, str]) -> Iterator[App]:
    built = build(load(settings))
    with closing(built.broker), closing(built.client):
        yield built


def now_in(app: App, partition: Partition) -> Micros:
    return times_of(app.client.one(ScriptCall("now", (partition.clock,), ()))).now


def test_what_waits_is_found_when_it_is_due_on_its_node(app: App) -> None:
    """Given events on every node, then all are found at once; when they are somebody's, then none is looked for in vain."""
    events = [about_member(app, "member_removed", f"h-{owner}", owner=owner) for owner in OWNERS]
    put(app, *events)
    waiting = {(event.partition, EVENTS) for event in events}
    assert set(app.inbox.overdue()) == waiting
    assert 0 <= app.inbox.lag() < BEHIND // 2
    for partition, lane in waiting:
        assert app.inbox.claim(partition, lane, "test", 128).events
    assert app.inbox.overdue() == []
    assert app.inbox.lag() == 0
    assert app.status.ahead() < SECOND


def test_the_clock_looks_at_policies_when_they_are_due_on_their_node(app: App) -> None:
    """Given reminders that are due half a minute ago, or in half a minute, when the clock looks, then it settles the former."""
    for owner in OWNERS:
        due = now_in(app, app.keyspace.of(owner)) - 5 * DAY
        past, future = due - BEHIND // 2, due + BEHIND // 2
        settle_all(
            app,
            registration(app, f"past-{owner}", owner=owner, at=past),
            registration(app, f"future-{owner}", owner=owner, at=future),
        )
    assert BEHIND // 2 <= app.policies.due_lag() < BEHIND
    settled = [policy.policy_id for outcome in app.settler.settle_due(100) for policy, _ in outcome.changes]
    assert sorted(settled) == sorted(f"past-{owner}" for owner in OWNERS)
    assert app.policies.due_lag() == 0


def test_a_check_that_a_hint_asks_for_is_due_at_once(app: App) -> None:
    """Also for an owner whose events are dated by a clock that is ahead of the one by which checks are made."""
    processor = Processor(
        name="test", keyspace=app.keyspace, inbox=app.inbox, settler=app.settler, checks=app.checks, status=app.status,
        wakeups=app.wakeups, asked=("github",),
    )  # fmt: skip
    settle_all(app, *(registration(app, f"pol-{owner}", owner=owner) for owner in OWNERS))
    begun = app.status.now()
    for owner in OWNERS:
        put(app, about_member(app, "member_removed", f"h-{owner}", owner=owner))
        processor.drain(app.keyspace.of(owner), EVENTS)
    now = app.status.now()
    due = [check for p in app.checks.due(now) for check in app.checks.take(p, "test", now, 100)]
    assert {check.owner_id for check in due} == set(OWNERS)
    # Since when it is wanted decides what is asked of GitHub anew.
    assert all(begun <= at <= now for check in due for at in check.scopes.values())


@pytest.mark.processes
def test_windows_close_and_what_was_lost_is_tried_again_in_time(
    app: App, settings: dict[str, str], tmp_path: Path
) -> None:
    """Given a worker that was lost with an event of every owner, and windows that are about to close, then the events are
    settled when their leases are over, and each window closes in time, by the clock of its node.
    """
    processes = Processes({**settings, "TENURE_PROVISIONAL_DAYS": repr(WINDOW / DAY)}, tmp_path)
    lost = [ping(app, f"lost-{owner}", owner=owner) for owner in OWNERS]
    put(app, *lost)
    for partition in {event.partition for event in lost}:
        assert app.inbox.claim(partition, EVENTS, "lost", 128).events
    try:
        processes.worker(app)
        processes.scheduler(app)
        opened = {owner: now_in(app, app.keyspace.of(owner)) for owner in OWNERS}
        put(app, *(registration(app, f"pol-{owner}", owner=owner, at=at) for owner, at in opened.items()))
        patience = (LEASE + WINDOW + 2 * LATE) / SECOND
        wait_until(
            lambda: app.status.counters().get("changes:policy.expired") == len(OWNERS), "all windows closed", patience
        )
        wait_until(lambda: app.inbox.depth() == dict.fromkeys(app.inbox.depth(), 0), "nothing waits", patience)
    finally:
        processes.kill()
    told = published(app)
    for owner, at in opened.items():
        expired = next(event for event in told[f"pol-{owner}"] if event["type"] == "policy.expired")
        closed = micros(datetime.fromisoformat(str(expired["time"])))
        assert at + WINDOW <= closed <= at + WINDOW + LATE, owner
    assert_consistent(app)
