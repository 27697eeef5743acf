"""The scheduler process: APScheduler, which only sends wake-ups.

A tick is known by its job and its planned time, so any number of schedulers may run: the first worker to claim a tick
runs it. Jobs are kept in memory, since they are all in the table; a store of jobs shared by two schedulers would run
each of them twice.
"""

from __future__ import annotations

import signal
import threading
import time
from datetime import UTC, datetime

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.cron import CronTrigger

from schedules.table import TABLE, entries
from worker.app import App, build
from worker.lifecycle.facts import SECOND, Micros
from worker.logs import Outage, logger, scrubbed
from worker.processes import ScheduledJob, beat_until
from worker.settings import Settings
from worker.store.client import StoreError

SET_BACK = 0.5
"""Seconds by which a clock has to be set back to matter: jobs run once a second at most."""

log = logger("scheduler")


def trigger(entry: ScheduledJob) -> CronTrigger:
    """Fires at the multiples of `every`, up to `jitter` seconds late."""
    jitter = entry.jitter or None
    if entry.every < 60:
        return CronTrigger(second=f"*/{entry.every}", timezone=UTC, jitter=jitter)
    if entry.every < 3600:
        return CronTrigger(minute=f"*/{entry.every // 60}", second=0, timezone=UTC, jitter=jitter)
    return CronTrigger(hour=f"*/{entry.every // 3600}", minute=0, second=0, timezone=UTC, jitter=jitter)


def planned(entry: ScheduledJob, now: Micros) -> int:
    """Which tick is due at `now`, by its time in seconds since 1970: the nearest one, since `now` is the store's time, and
    this machine's clock, which woke us, may be a little behind or ahead of that.
    """
    every = entry.every * SECOND
    return (now + every // 2) // every * entry.every


def send(app: App, entry: ScheduledJob, outage: Outage) -> None:
    """Send the tick that is due now: when that is, the store says."""
    try:
        now = app.status.now()
    except StoreError as error:
        outage.failed("the store cannot say what is due; ticks wait", error=scrubbed(str(error)))
        return
    outage.over("the store says again what is due")
    app.wakeups.tick(entry.queue, entry.name, planned(entry, now), now // SECOND)


def keep_going(scheduler: BaseScheduler, stopped: threading.Event) -> None:
    """Run every job at once when this machine's clock was set back: else none would until it shows again what it had shown,
    since APScheduler waits for a time of day. Returns when `stopped` is set.
    """
    ahead = time.time() - time.monotonic()
    while not stopped.wait(1.0):
        before, ahead = ahead, time.time() - time.monotonic()
        if ahead < before - SET_BACK:
            log.warning("this machine's clock was set back", seconds=round(before - ahead, 1))
            for job in scheduler.get_jobs():
                job.modify(next_run_time=datetime.now(UTC))


def run_scheduler(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    app = build(settings)
    app.publish_settings()
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(len(TABLE))},
        # One late tick stands for all that were missed; the default would drop a tick that is a second late.
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 3600},
    )
    due, outage = entries(settings), Outage(log)
    for entry in due:
        scheduler.add_job(send, trigger(entry), args=(app, entry, outage), id=entry.name)
    scheduler.start()
    log.info("scheduler ready", jobs=[entry.name for entry in due])
    threading.Thread(target=keep_going, args=(scheduler, stopped), daemon=True).start()
    beat_until(app, "scheduler", stopped)
    scheduler.shutdown()
    app.broker.close()
