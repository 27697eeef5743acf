"""The clock: due policies are settled in time and once, at a cost that depends on how many are due."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import pytest

from tests.conftest import Processes, wait_until
from tests.store.making import assert_consistent, plain, published, registration, settle_all, types
from worker.app import App
from worker.lifecycle.facts import DAY, SECOND, Micros
from worker.lifecycle.views import rfc3339

SETTLED_WITHIN = 5.0
"""Seconds after its time that a due policy is settled (the issue's figure)."""
WINDOW = 4 * SECOND


@pytest.mark.processes
def test_windows_close_in_time_and_once_under_two_schedulers(
    app: App, processes: Processes, measured: Callable[[str], None]
) -> None:
    """Given windows about to close and two schedulers, when they close, then each policy expires once, within 5 s."""
    settings = {"TENURE_PROVISIONAL_DAYS": repr(WINDOW / DAY)}
    begun = app.status.now()
    schedulers = [processes.scheduler(app, **settings) for _ in range(2)]
    for _ in range(2):
        processes.worker(app, **settings)
    opened = app.status.now()
    app.inbox.put([[registration(app, f"pol-{n}", owner=n, at=opened)] for n in range(50)])
    wait_until(lambda: app.status.counters().get("changes:policy.expired") == 50, "all windows closed", 15)
    late = (app.status.now() - opened - WINDOW) / SECOND
    measured(f"windows were closed {late:.1f} s after their time")
    assert 0 <= late <= SETTLED_WITHIN
    for scheduler in schedulers:
        assert scheduler.end() == 0
    for policy_id, events in published(app).items():
        # The reminder is due 48 hours before the end, which for so short a window is at once.
        assert [event["type"] for event in events] == ["policy.provisioned", "policy.expiring", "policy.expired"], (
            policy_id
        )
        assert cast("dict[str, dict[str, str]]", events[-1]["data"])["view"]["updated_at"] >= rfc3339(opened + WINDOW)
    assert_consistent(app)
    assert_every_tick_ran_once(app, begun)


def assert_every_tick_ran_once(app: App, begun: Micros) -> None:
    """The job `inbox` has a tick a second, which both schedulers send."""
    run = app.status.runs(["inbox"])["inbox"]
    assert run is not None
    assert WINDOW / SECOND <= run.runs <= (run.planned - begun) / SECOND + 1


def commands_for_due(app: App) -> int:
    """How many commands it costs to settle what is due."""
    with plain(app) as redis:
        before = cast("dict[str, int]", redis.info("stats"))["total_commands_processed"]
        outcomes = app.settler.settle_due(100)
        after = cast("dict[str, int]", redis.info("stats"))["total_commands_processed"]
    assert sum(len(outcome.changes) for outcome in outcomes) == 5
    return after - before


def test_the_clock_costs_what_is_due_and_not_what_exists(app: App) -> None:
    """Given five due policies, when a hundred or two thousand others exist, in every partition, then settling them
    costs the same commands.
    """
    due_soon = app.status.now() - 6 * DAY
    costs = []
    others = 0
    for existing in (100, 2000):
        settle_all(app, *(registration(app, f"far-{n}", owner=n % 50) for n in range(others, existing)))
        others = existing
        settle_all(app, *(registration(app, f"due-{existing}-{n}", owner=n, at=due_soon) for n in range(5)))
        costs.append(commands_for_due(app))
    assert costs[0] == costs[1]
    assert types(app, "due-100-0") == ["policy.provisioned", "policy.expiring"]


def test_many_due_policies_are_settled_in_batches(app: App) -> None:
    """Given hundreds that are due at once, when the clock looks, then a limited number is taken from each partition."""
    due_soon = app.status.now() - 6 * DAY
    settle_all(app, *(registration(app, f"pol-{n:03d}", at=due_soon) for n in range(250)))
    rounds = []
    begun = time.monotonic()
    while outcomes := app.settler.settle_due(100):
        rounds.append(len(outcomes))
        assert time.monotonic() - begun < 20
    assert rounds == [100, 100, 50]
    assert_consistent(app)
