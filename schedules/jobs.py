"""The jobs themselves, run by a worker. Each may run twice or late without harm."""

from __future__ import annotations

import time

from worker.lifecycle.facts import DAY, SECOND
from worker.logs import logger
from worker.processes import JobContext
from worker.queue.wakeups import ASKING, QUEUES
from worker.settling.processor import error_text, log_changes, worker_name
from worker.store.inbox import SUSPECT
from worker.store.samples import Samples, sample_of

FEED_KEPT = 31 * DAY
"""The contract promises 30 days."""
DUE_BATCH = 100
"""Due policies of each partition that are settled at once."""
DUE_SECONDS = 2.0
"""How long one tick works on due policies before it leaves the rest to the next."""
DUE_HOLD = 4 * SECOND
"""How long others leave due policies to a worker that does not answer any more; they are to be settled within 5 s."""
SWEEP_SECONDS = 15.0
"""How long one tick sweeps before it lets another worker go on."""
SWEEP_HOLD = 300 * SECOND
"""How long others leave sweeping to a worker that does not answer any more."""

log = logger("schedule")


def wake_again(parts: JobContext) -> None:
    """Wake workers for events that are due: the wake-up was lost, a worker ended, or a retry has come up."""
    app = parts.app
    overdue = app.inbox.overdue(app.status.now())
    for partition, lane in overdue:
        if lane != SUSPECT:
            app.wakeups.wake(partition, lane, "")
    quarantined = [partition for partition, lane in overdue if lane == SUSPECT]
    if quarantined:
        app.wakeups.wake(quarantined[0], SUSPECT, "")


def settle_due(parts: JobContext) -> None:
    """Let the clock look at policies whose time has come: windows, reminders, lapses."""
    app, me = parts.app, worker_name()
    if not app.status.hold("due", me, DUE_HOLD):
        return
    try:
        deadline = time.monotonic() + DUE_SECONDS
        while time.monotonic() < deadline:
            outcomes = app.settler.settle_due(app.status.now(), DUE_BATCH)
            for outcome in outcomes:
                log_changes(outcome, event_name="clock")
                if outcome.error is not None:
                    log.error(
                        "a due policy cannot be settled",
                        error=type(outcome.error).__name__,
                        message=error_text(outcome.error),
                    )
            if not any(outcome.changes for outcome in outcomes):
                break
    finally:
        app.status.release("due", me)


def follow_switches(parts: JobContext) -> None:
    """Finish switches that a process left half-closed or half-opened, and place views where switches and settings put them."""
    app, me = parts.app, worker_name()
    if not app.status.hold("switches", me, DUE_HOLD):
        return
    try:
        finished = app.switches.finish()
        moved = app.placement.run(DUE_SECONDS, app.status.now())
    finally:
        app.status.release("switches", me)
    if finished or moved:
        log.info("switches followed", finished=finished, views_moved=moved)


def run_checks(parts: JobContext) -> None:
    """Ask GitHub what hints asked for, if no wake-up was heard, and what is to be looked at again."""
    parts.verifying.checker.begin()


def run_sweeps(parts: JobContext) -> None:
    """Verify owners whose turn it is. One worker does so at a time, in the whole installation."""
    me = worker_name()
    if not parts.app.status.hold("sweep", me, SWEEP_HOLD):
        return
    try:
        parts.verifying.sweeper.run(me, SWEEP_SECONDS)
    finally:
        parts.app.status.release("sweep", me)


def look_for_deliveries(parts: JobContext) -> None:
    """Have GitHub send again what did not reach us."""
    me = worker_name()
    if not parts.app.status.hold("deliveries", me, SWEEP_HOLD):
        return
    try:
        run = parts.verifying.redeliverer.run()
    finally:
        parts.app.status.release("deliveries", me)
    if run.failed or run.redelivered or run.given_up:
        log.info("failed deliveries", failed=run.failed, asked_again=run.redelivered, given_up=run.given_up)


def trim_feed(parts: JobContext) -> None:
    """Drop change events that are older than the feed promises to be, and wake-ups that nobody answers for any more."""
    app = parts.app
    dropped = app.feed.trim(app.status.now() - FEED_KEPT)
    log.info("change feed trimmed", dropped=dropped)
    app.broker.forget_ended((*QUEUES, *ASKING))


def keep_sample(parts: JobContext) -> None:
    """Remember the vital signs, for the console's charts."""
    app = parts.app
    now = app.status.now()
    sample = sample_of(now, app.status.counters(), app.inbox.depth(), app.inbox.oldest(), app.status.due_lag(now))
    Samples(app.client).keep(sample)
