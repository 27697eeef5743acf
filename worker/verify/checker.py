"""Checks what hints ask for, owner by owner, until nothing is due."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

from worker.lifecycle import scopes
from worker.lifecycle.facts import SECOND, Micros
from worker.logs import logger
from worker.process import worker_name
from worker.store.checks import Checks, Wanted
from worker.store.github import Ledger
from worker.store.status import Status
from worker.verify.calls import Calls
from worker.verify.verifier import Asked, Report, Verifier, retry_after

TAKEN = 4
"""Owners taken at once from a partition."""
WINDOW: Micros = 2 * SECOND
"""Between the beginnings of two checks of one owner, at least: what is asked for meanwhile costs one check."""
CALL: Micros = SECOND // 10
"""And so much more for each call that the last one took: large owners are checked less often."""
DOWN = 5
"""Unanswered calls in a row after which GitHub is taken to be down: one owner at a time is tried until one is answered."""
LONGEST: Micros = 5 * SECOND
"""But what is not about a whole owner waits no longer than this."""
FINISHED = ("done", "blind")
UNANSWERED = ("later", "credentials", "gone")
"""Outcomes that tell of GitHub, or of our credentials, rather than of the owner."""

log = logger("verify")


class Checker:
    """Answers for checks that are due."""

    def __init__(
        self,
        *,
        verifier: Verifier,
        checks: Checks,
        ledger: Ledger,
        status: Status,
        calls: Calls,
        now: Callable[[], Micros],
    ) -> None:
        self._verifier = verifier
        self._checks = checks
        self._ledger = ledger
        self._status = status
        self._now = now
        self._calls = calls
        self._worker = worker_name()
        self._turn = count()

    def run(self, seconds: float) -> None:
        """Check what is due, for about this long.

        Raises:
            StoreError: the store cannot be reached; what was taken is taken again when its lease is over.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            now = self._now()
            partitions, found = self._checks.due(now), False
            down = self._ledger.trouble().failures >= DOWN
            turn = next(self._turn)
            for i in range(len(partitions)):
                partition = partitions[(turn + i) % len(partitions)]
                for wanted in self._checks.take(partition, self._worker, now, 1 if down else TAKEN):
                    found, answered = True, self._check(wanted)
                    if down and not answered:
                        return
                    down = False
            if not found:
                return

    def _check(self, wanted: Wanted) -> bool:
        """Check one owner; whether GitHub answered."""
        heard_at = max(wanted.scopes.values(), default=0)
        asked = Asked(wanted.owner_id, tuple(wanted.scopes), heard_at, urgent=True, event="check")
        report = self._verifier.verify(asked, lambda: self._checks.renew(wanted.owner_id, self._now()))
        finished = report.outcome in FINISHED
        earliest = self._next(wanted, report) if finished else self._retry(report, wanted.failures)
        answered = tuple(wanted.scopes) if finished else ()
        self._checks.done(wanted, answered=answered, earliest=earliest, failed=not finished)
        self.follow(report)
        return finished or report.outcome == "limited"

    @staticmethod
    def _next(wanted: Wanted, report: Report) -> Micros:
        pause = max(WINDOW, report.calls * CALL)
        whole = scopes.owner(wanted.owner_id) in wanted.scopes
        return report.at + (pause if whole else min(pause, LONGEST))

    @staticmethod
    def _retry(report: Report, failures: int) -> Micros:
        return max(report.retry_at or 0, report.at + retry_after(failures))

    def follow(self, report: Report) -> None:
        """What a report asks for: another look at what is missing, a count, lines in the log."""
        for when, about in report.again.items():
            self._checks.ask(about, report.at, earliest=when)
        if report.outcome in UNANSWERED:
            self._ledger.failed(report.error, report.at)
        elif report.calls:
            self._ledger.answered()
        counted = {f"checks:{report.outcome}": 1, **self._calls.take()}
        if report.withheld:
            counted["checks:withheld"] = len(report.withheld)
        self._status.count(counted)
        if report.error:
            log.warning(
                "a check is not finished", owner_id=report.owner_id, outcome=report.outcome, message=report.error
            )
        else:
            log.debug("checked", owner_id=report.owner_id, outcome=report.outcome, calls=report.calls)
