"""The jobs themselves, run by a worker. Each may run twice or late without harm."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from worker.lifecycle.facts import DAY, SECOND
from worker.lifecycle.owners import DEFAULT
from worker.logs import logger
from worker.processes import JobContext
from worker.queue.wakeups import ASKING, QUEUES
from worker.settling.processor import error_text, log_changes, worker_name
from worker.store.inbox import SUSPECT
from worker.store.samples import Samples, sample_of
from worker.verify.build import VerificationParts

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
    overdue = app.inbox.overdue()
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
            outcomes = app.settler.settle_due(DUE_BATCH)
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
    for asking in parts.verifying:
        asking.checker.begin()


def run_sweeps(parts: JobContext) -> None:
    """Verify owners whose turn it is. One worker does so at a time for each instance of GitHub, in the whole installation."""
    _at_each(parts, "sweep", lambda asking, me: asking.sweeper.run(me, SWEEP_SECONDS))


def look_for_deliveries(parts: JobContext) -> None:
    """Have GitHub send again what did not reach us."""

    def look(asking: VerificationParts, _: str) -> None:
        run = asking.redeliverer.run()
        if run.failed or run.redelivered or run.given_up:
            log.info(
                "failed deliveries",
                issuer=asking.issuer,
                failed=run.failed,
                asked_again=run.redelivered,
                given_up=run.given_up,
            )

    _at_each(parts, "deliveries", look)


def _at_each(parts: JobContext, name: str, ask: Callable[[VerificationParts, str], None]) -> None:
    """Ask each instance of GitHub something for a while, unless another worker does: all at once, so that one that does not
    answer keeps no other waiting.
    """
    status, me = parts.app.status, worker_name()

    def run(asking: VerificationParts) -> None:
        held = name if asking.issuer == DEFAULT else f"{name}@{asking.issuer}"
        if not status.hold(held, me, SWEEP_HOLD):
            return
        try:
            ask(asking, me)
        finally:
            status.release(held, me)

    first, *others = parts.verifying
    if not others:
        run(first)
        return
    with ThreadPoolExecutor(len(parts.verifying), thread_name_prefix=name) as pool:
        asked = [pool.submit(run, asking) for asking in parts.verifying]
    for one in asked:
        one.result()


def trim_feed(parts: JobContext) -> None:
    """Drop change events that are older than the feed promises to be, and wake-ups that nobody answers for any more."""
    app = parts.app
    dropped = app.feed.trim(app.status.now() - FEED_KEPT)
    log.info("change feed trimmed", dropped=dropped)
    app.broker.forget_ended((*QUEUES, *ASKING))


def keep_sample(parts: JobContext) -> None:
    """Remember the vital signs, for the console's charts."""
    app = parts.app
    sample = sample_of(
        app.status.now(), app.status.counters(), app.inbox.depth(), app.inbox.lag(), app.policies.due_lag()
    )
    Samples(app.client).keep(sample)
