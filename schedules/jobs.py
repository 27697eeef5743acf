"""The jobs themselves, run by a worker. Each may run twice or late without harm."""

from __future__ import annotations

import time

from worker.app import App
from worker.lifecycle.facts import DAY, SECOND
from worker.logs import logger
from worker.process import Processor, log_changes, told, worker_name
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

log = logger("schedule")


def ring_again(app: App, _: Processor) -> None:
    """Wake workers for events that are due: the wake-up was lost, a worker ended, or a retry has come up."""
    overdue = app.inbox.overdue(app.status.now())
    for partition, lane in overdue:
        if lane != SUSPECT:
            app.bell.ring(partition, lane, "")
    suspects = [partition for partition, lane in overdue if lane == SUSPECT]
    if suspects:
        app.bell.ring(suspects[0], SUSPECT, "")


def settle_due(app: App, _: Processor) -> None:
    """Let the clock look at policies whose time has come: windows, reminders, lapses."""
    me = worker_name()
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
                        message=told(outcome.error),
                    )
            if not any(outcome.changes for outcome in outcomes):
                break
    finally:
        app.status.release("due", me)


def run_checks(app: App, _: Processor) -> None:
    """Check the GitHub owners that hints asked for. Without access to GitHub, the newest signed hint counts."""
    owners = app.status.take_checks(app.status.now())
    if owners:
        app.status.count({"checks:unconfigured": len(owners)})


def trim_feed(app: App, _: Processor) -> None:
    """Drop change events that are older than the feed promises to be."""
    dropped = app.feed.trim(app.status.now() - FEED_KEPT)
    log.info("change feed trimmed", dropped=dropped)


def keep_sample(app: App, _: Processor) -> None:
    """Remember the vital signs, for the console's charts."""
    now = app.status.now()
    sample = sample_of(now, app.status.counters(), app.inbox.depth(), app.inbox.oldest(), app.status.due_lag(now))
    Samples(app.client).keep(sample)
