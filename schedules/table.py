"""What runs when, in one table."""

from __future__ import annotations

from schedules import jobs
from worker.processes import ScheduledJob
from worker.queue.wakeups import ASKING, CHECKS, CLOCK, SWEEPS
from worker.settings import Settings

TABLE = (
    ScheduledJob("inbox", 1, 0, CLOCK, jobs.wake_again, "wakes workers for events that are due"),
    ScheduledJob("due", 1, 0, CLOCK, jobs.settle_due, "settles policies whose time has come"),
    ScheduledJob("switches", 1, 0, CLOCK, jobs.follow_switches, "has every partition follow switches and settings"),
    ScheduledJob("sample", 10, 0, CLOCK, jobs.keep_sample, "remembers the vital signs of the last day"),
    ScheduledJob("trim", 3600, 60, CLOCK, jobs.trim_feed, "drops change events older than 31 days"),
    ScheduledJob("checks", 1, 0, CHECKS, jobs.run_checks, "asks GitHub about what hints were heard of"),
    ScheduledJob("sweep", 20, 5, SWEEPS, jobs.run_sweeps, "verifies owners again, the stalest first"),
    ScheduledJob(
        "deliveries", 300, 60, SWEEPS, jobs.look_for_deliveries, "has GitHub send again what did not reach us"
    ),
)
"""What is in the queues of asking runs only where there are GitHub credentials."""


def entries(settings: Settings) -> list[ScheduledJob]:
    """What runs here: without credentials, nobody listens in the queues of asking GitHub."""
    return [entry for entry in TABLE if settings.asks_github or entry.queue not in ASKING]
