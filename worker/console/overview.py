"""The overview: what needs somebody, how much happens, how long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTimeError
from typing import NamedTuple

from starlette.responses import Response

from schedules.table import entries
from worker.app import App
from worker.console.changes import ChangeRow, changes_of
from worker.console.charts import BROKEN, charts
from worker.console.session import Visit
from worker.doctor.diagnostics import diagnose
from worker.doctor.finding import OK, PROBLEM, WARNING, Finding
from worker.doctor.github_app import ask_app
from worker.lifecycle.decide import State
from worker.lifecycle.facts import SECOND, Micros
from worker.processes import ScheduledJob
from worker.store.losses import LossTally
from worker.store.samples import STEPS, Samples
from worker.store.status import JobRun

FRESH_SECONDS = 5.0
"""Findings are looked for again after so long; many may look at them."""
GITHUB_SECONDS = 60.0
"""GitHub is asked about the App again after so long."""
PATIENCE_SECONDS = 3.0
"""A queue that does not answer must not keep the rest of the page waiting."""
RECENT = 12


class Findings:
    """What `tenure doctor` would say, looked up by one thread at a time."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._doctor = ThreadPoolExecutor(1, thread_name_prefix="doctor")
        self._asked: Future[list[Finding]] | None = None
        self._asked_at = 0.0
        self._github = ThreadPoolExecutor(1, thread_name_prefix="doctor-github")
        self._told: Future[list[Finding]] | None = None
        self._told_at = 0.0
        self._said: list[Finding] = []

    def now(self) -> list[Finding] | None:
        """What was found in the last seconds; None if that takes too long.

        Raises:
            StoreError: the store cannot be reached.
        """
        with self._lock:
            old = time.monotonic() - self._asked_at > FRESH_SECONDS
            if self._asked is None or (self._asked.done() and old):
                self._asked = self._doctor.submit(lambda: list(diagnose(self._app, self._of_github)))
                self._asked_at = time.monotonic()
            pending = self._asked
        try:
            return pending.result(PATIENCE_SECONDS)
        except NotInTimeError:
            return None

    def _of_github(self, app: App) -> list[Finding]:
        """What GitHub said last of the App; it is asked again beside this, and its answer is in the next findings."""
        summary = self._told
        if summary is not None and summary.done():
            self._told = None
            if summary.exception() is None:
                self._said = summary.result()
        if self._told is None and (not self._told_at or time.monotonic() - self._told_at > GITHUB_SECONDS):
            self._told = self._github.submit(ask_app, app)
            self._told_at = time.monotonic()
        return self._said


class HealthSummary(NamedTuple):
    """The findings, in the order of their weight."""

    sentence: str
    problems: list[Finding]
    warnings: list[Finding]
    fine: list[Finding]
    complete: bool


def health_of(findings: list[Finding] | None) -> HealthSummary:
    all_findings = findings or []
    problems, warnings, fine = ([f for f in all_findings if f.level == level] for level in (PROBLEM, WARNING, OK))
    if findings is None:
        sentence = "Not every check has answered within 3 seconds: the store is slow, or the queue cannot be reached."
    elif problems:
        more = f", {_counted(warnings, 'warning')}" if warnings else ""
        sentence = f"{_counted(problems, 'problem')}{more}"
    elif warnings:
        sentence = f"Healthy, {_counted(warnings, 'warning')}"
    else:
        sentence = "Healthy"
    return HealthSummary(sentence, problems, warnings, fine, findings is not None)


def _counted(findings: list[Finding], noun: str) -> str:
    return f"{len(findings)} {noun}{'' if len(findings) == 1 else 's'}"


class StateShare(NamedTuple):
    """How many policies are in a state, and where its part of a bar begins and how wide it is, of 100."""

    state: str
    policies: int
    begin: float
    width: float


def shares(counters: Mapping[str, int]) -> list[StateShare]:
    counts = {state: max(0, counters.get(f"state:{state.value}", 0)) for state in State if state is not State.REMOVED}
    total = sum(counts.values())
    parts: list[StateShare] = []
    begin = 0.0
    for state, count in counts.items():
        width = 100 * count / total if total else 0.0
        parts.append(StateShare(state.value, count, round(begin, 3), round(width, 3)))
        begin += width
    return parts


class Overview:
    def __init__(self, app: App) -> None:
        self._findings = Findings(app)

    def show(self, visit: Visit) -> Response:
        app = visit.app
        step = 300 if visit.query.get("span") == "day" else 10
        counters = app.status.counters()
        samples = Samples(app.client).ring(step)
        return visit.page(
            "overview.html",
            {
                "health": health_of(self._findings.now()),
                "charts": charts(samples, step),
                "stale": samples[-1].at if samples and visit.now - samples[-1].at > BROKEN * step * SECOND else None,
                "step": step,
                "hours": step * STEPS[step] // 3600,
                "shares": shares(counters),
                "counters": counters,
                "removed": max(0, counters.get("state:removed", 0)),
                "schedule": jobs_of(app),
                "githubs": instances_of(app, visit.now),
                "changes": recent(app, RECENT),
            },
        )


def recent(app: App, count: int) -> list[ChangeRow]:
    return changes_of(app.feed.latest(count))


class JobRow(NamedTuple):
    """A job of the schedule, and its last run, None if it never ran."""

    entry: ScheduledJob
    run: JobRun | None


def jobs_of(app: App) -> list[JobRow]:
    due = entries(app.settings)
    runs = app.status.runs([entry.name for entry in due])
    return [JobRow(entry, runs[entry.name]) for entry in due]


class VerificationSummary(NamedTuple):
    """How verifying with GitHub stands."""

    waiting: int
    owners: int
    stalest: Micros | None
    """When the owner was verified that was not for longest; None if one never was, or there is none."""
    failures: int
    open_since: Micros | None
    passing_until: Micros | None
    tally: LossTally


def instances_of(app: App, now: Micros) -> dict[str, VerificationSummary]:
    """By alias, of each instance of GitHub that can be asked."""
    return {issuer: _summary(app, issuer, now) for issuer in app.settings.instances if issuer in app.settings.asked}


def _summary(app: App, issuer: str, now: Micros) -> VerificationSummary:
    checks, missing = app.checks.at(issuer), app.missing_scopes.at(issuer)
    breaker, stalest = missing.breaker(), checks.stalest(1)
    return VerificationSummary(
        waiting=checks.waiting(),
        owners=checks.owners(),
        stalest=stalest[0][1] or None if stalest else None,
        failures=app.ledger.at(issuer).trouble().failures,
        open_since=breaker.open_since,
        passing_until=breaker.passing_until if breaker.passing_until > now else None,
        tally=missing.tally(now),
    )
