"""What runs when, in one table."""

from __future__ import annotations

from typing import NamedTuple

from schedules import jobs
from worker.actors import Job


class Entry(NamedTuple):
    """One job. `every` is in seconds and divides a day; ticks are at its multiples, in UTC."""

    name: str
    every: int
    run: Job
    what: str


TABLE = (
    Entry("inbox", 1, jobs.ring_again, "wakes workers for events that are due"),
    Entry("due", 1, jobs.settle_due, "settles policies whose time has come"),
    Entry("checks", 5, jobs.run_checks, "checks the owners that hints asked for"),
    Entry("sample", 10, jobs.keep_sample, "remembers the vital signs of the last day"),
    Entry("trim", 3600, jobs.trim_feed, "drops change events older than 31 days"),
)

JOBS: dict[str, Job] = {entry.name: entry.run for entry in TABLE}
