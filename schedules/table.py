"""What runs when, in one table."""

from __future__ import annotations

from typing import NamedTuple

from schedules import jobs
from worker.processes import Job
from worker.queue.wakeups import ASKING, CHECKS, CLOCK, SWEEPS
from worker.settings import Settings


class Entry(NamedTuple):
    """One job. `every` is in seconds and divides a day; ticks are at its multiples, in UTC, and up to `jitter` seconds
    later, so that many installations do not ask GitHub at the same instant.
    """

    name: str
    every: int
    jitter: int
    queue: str
    run: Job
    what: str


TABLE = (
    Entry("inbox", 1, 0, CLOCK, jobs.wake_again, "wakes workers for events that are due"),
    Entry("due", 1, 0, CLOCK, jobs.settle_due, "settles policies whose time has come"),
    Entry("sample", 10, 0, CLOCK, jobs.keep_sample, "remembers the vital signs of the last day"),
    Entry("trim", 3600, 60, CLOCK, jobs.trim_feed, "drops change events older than 31 days"),
    Entry("checks", 1, 0, CHECKS, jobs.run_checks, "asks GitHub about what hints were heard of"),
    Entry("sweep", 20, 5, SWEEPS, jobs.run_sweeps, "verifies owners again, the stalest first"),
    Entry("deliveries", 300, 60, SWEEPS, jobs.look_for_deliveries, "has GitHub send again what did not reach us"),
)
"""What is in the queues of asking runs only where there are GitHub credentials."""

JOBS: dict[str, Job] = {entry.name: entry.run for entry in TABLE}


def entries(settings: Settings) -> list[Entry]:
    """What runs here: without credentials, nobody listens in the queues of asking GitHub."""
    return [entry for entry in TABLE if settings.asks_github or entry.queue not in ASKING]
