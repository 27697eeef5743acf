"""The overview: what needs somebody, how much happens, how long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTimeError
from typing import NamedTuple

from starlette.responses import Response

from schedules.table import TABLE
from worker.app import App
from worker.checks import OK, PROBLEM, WARNING, Finding, look
from worker.lifecycle.decide import State
from worker.lifecycle.facts import SECOND
from worker.store.client import Command
from worker.store.samples import STEPS, Samples
from worker.web.console.changes import Change, change_of
from worker.web.console.charts import BROKEN, charts
from worker.web.console.frame import Visit

FRESH_SECONDS = 5.0
"""Findings are looked for again after so long; many may look at them."""
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

    def now(self) -> list[Finding] | None:
        """What was found in the last seconds; None if that takes too long.

        Raises:
            StoreError: the store cannot be reached.
        """
        with self._lock:
            old = time.monotonic() - self._asked_at > FRESH_SECONDS
            if self._asked is None or (self._asked.done() and old):
                self._asked = self._doctor.submit(lambda: list(look(self._app)))
                self._asked_at = time.monotonic()
            asked = self._asked
        try:
            return asked.result(PATIENCE_SECONDS)
        except NotInTimeError:
            return None


class Health(NamedTuple):
    """The findings, in the order of their weight."""

    sentence: str
    problems: list[Finding]
    warnings: list[Finding]
    fine: list[Finding]
    complete: bool


def health_of(findings: list[Finding] | None) -> Health:
    found = findings or []
    problems, warnings, fine = ([f for f in found if f.level == level] for level in (PROBLEM, WARNING, OK))
    if findings is None:
        sentence = "Not every check has answered within 3 seconds: the store is slow, or the queue cannot be reached."
    elif problems:
        sentence = f"{_counted(len(problems), 'thing is', 'things are')} wrong."
    elif warnings:
        sentence = f"It works. {_counted(len(warnings), 'thing wants', 'things want')} a look."
    else:
        sentence = "Everything works."
    return Health(sentence, problems, warnings, fine, findings is not None)


def _counted(count: int, one: str, many: str) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six")
    return f"{words[count] if count < len(words) else count} {one if count == 1 else many}"


class Share(NamedTuple):
    """How many policies are in a state, and where its part of a bar begins and how wide it is, of 100."""

    state: str
    policies: int
    begin: float
    width: float


def shares(counters: Mapping[str, int]) -> list[Share]:
    counts = {state: max(0, counters.get(f"state:{state.value}", 0)) for state in State if state is not State.REMOVED}
    total = sum(counts.values())
    found: list[Share] = []
    begin = 0.0
    for state, count in counts.items():
        width = 100 * count / total if total else 0.0
        found.append(Share(state.value, count, round(begin, 3), round(width, 3)))
        begin += width
    return found


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
                "schedule": TABLE,
                "checks": _checks_waiting(app),
                "changes": recent(app, RECENT),
            },
        )


def recent(app: App, count: int) -> list[Change]:
    return [change_of(entry) for entry in app.feed.latest(count)]


def _checks_waiting(app: App) -> int:
    replies = app.client.run([Command(("ZCARD", partition.checks)) for partition in app.keyspace.all()])
    return sum(reply for reply in replies if isinstance(reply, int))
