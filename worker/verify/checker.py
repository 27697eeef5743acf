"""Checks what hints ask for, owner by owner, until nothing is due.

One owner's check has so many calls and so much time. An owner for whom that was not enough, or for whom GitHub took long,
is checked in the slow lane from then on, with more time and beside others like it, until it is quick again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from worker.github.answers import SpentError
from worker.lifecycle import scopes
from worker.lifecycle.facts import SECOND, Micros
from worker.logs import frames, logger
from worker.settling.processor import worker_name
from worker.store.checks import Checks, DueCheck
from worker.store.client import StoreError
from worker.store.installations import Ledger
from worker.store.status import Status
from worker.verify.calls import Allowance, CallCounter
from worker.verify.lanes import DESKS, Lane, Lanes
from worker.verify.verifier import Report, VerificationRequest, Verifier, retry_after

TAKEN = 4
"""Owners taken at once from a partition."""
WINDOW: Micros = 2 * SECOND
"""Between the beginnings of two checks of one owner, at least: what is asked for meanwhile costs one check."""
CALL: Micros = SECOND // 10
"""And so much more for each call that the last one took: large owners are checked less often."""
DOWN = 5
"""Unanswered checks in a row after which GitHub is taken to be down: one owner at a time is tried in each lane, until one
is answered."""
LONGEST: Micros = 5 * SECOND
"""But what is not about a whole owner waits no longer than this."""
FINISHED = ("done", "blind")
UNANSWERED = ("later", "credentials", "gone")
"""Outcomes that tell of GitHub, or of our credentials, rather than of the owner."""

log = logger("verify")


class LaneAllowances(NamedTuple):
    """What one check may take in each lane, and after how many seconds it counts as slow. One call takes a tenth of a second."""

    quick: Allowance = Allowance(1_000, 3.0)
    slow: Allowance = Allowance(3_000, 240.0)
    slow_after: float = 2.0


class Checker:
    """Answers for checks that are due."""

    def __init__(
        self,
        *,
        verifier: Verifier,
        checks: Checks,
        ledger: Ledger,
        status: Status,
        calls: CallCounter,
        now: Callable[[], Micros],
        pace: LaneAllowances,
        lanes: Lanes,
    ) -> None:
        self._verifier = verifier
        self._checks = checks
        self._ledger = ledger
        self._status = status
        self._now = now
        self._calls = calls
        self._worker = worker_name()
        self._turn = count()
        self._pace = pace
        self._lanes = lanes
        self._taking = threading.Lock()

    def begin(self) -> None:
        """Have everything checked that is due, in the background; as much at once as there is room for.

        Raises:
            StoreError: the store cannot be reached; what was taken is taken again when its lease is over.
        """
        with self._taking:
            now = self._now()
            partitions = self._checks.due(now)
            if not partitions:
                return
            down = self._down()
            turn = next(self._turn)
            for i in range(len(partitions)):
                quick, slow = (self._room(lane, down=down) for lane in Lane)
                if quick + slow == 0:
                    return
                partition = partitions[(turn + i) % len(partitions)]
                for check in self._checks.take(partition, self._worker, now, min(quick, TAKEN), min(slow, TAKEN)):
                    self._give(check)

    def run(self, seconds: float) -> None:
        """Check everything that is due, and wait until that is done, at most for about so long.

        Raises:
            StoreError: the store cannot be reached; what was taken is taken again when its lease is over.
        """
        self.begin()
        self._lanes.rest(seconds)

    def begun(self, lane: Lane) -> int:
        """How many owners are being checked in a lane by this process."""
        return self._lanes.busy(lane)

    def close(self) -> None:
        """Let what is under way come to its end. Nothing more is asked: what is left is due again for others."""
        self._calls.stop()
        self._lanes.close()

    def _down(self) -> bool:
        return self._ledger.trouble().failures >= DOWN

    def _room(self, lane: Lane, *, down: bool) -> int:
        return max(0, (1 if down else DESKS[lane]) - self._lanes.busy(lane))

    def _give(self, due: DueCheck) -> None:
        lane = Lane.SLOW if due.slow else Lane.QUICK
        answered: list[bool] = []

        def check() -> None:
            try:
                answered.append(self._check(due))
            except StoreError as error:
                log.error("the store cannot be reached; the check is begun again", error=str(error))  # noqa: TRY400
            except Exception as error:  # noqa: BLE001 - the thread goes on with other owners
                log.error(  # noqa: TRY400 - where it happened, without values
                    "a check failed",
                    owner_id=due.owner_id,
                    error=type(error).__name__,
                    where=frames(error.__traceback__),
                )

        def go_on() -> None:
            try:
                # While GitHub is down, the next tick is soon enough for another attempt.
                if any(answered) or not self._down():
                    self.begin()
            except StoreError as error:
                log.error("the store cannot be reached; checks wait", error=str(error))  # noqa: TRY400

        self._lanes.give(lane, check, go_on)

    def _check(self, check: DueCheck) -> bool:
        """Check one owner; whether GitHub answered."""
        heard_at = max(check.scopes.values(), default=0)
        request = VerificationRequest(check.owner_id, tuple(check.scopes), heard_at, urgent=True, event="check")
        begun = time.monotonic()
        with self._calls.within(self._pace.slow if check.slow else self._pace.quick):
            report = self._verifier.verify(request, lambda: self._checks.renew(check.owner_id, self._now()))
        slow = report.outcome == SpentError.outcome or time.monotonic() - begun > self._pace.slow_after
        finished = report.outcome in FINISHED
        earliest = self._next(check, report) if finished else self._retry(report, check.failures)
        # First what is to be asked again: were it lost, nobody would ask.
        self.ask_again(report)
        again = {scope for about in report.again.values() for scope in about}
        answered = tuple(scope for scope in check.scopes if scope not in again) if finished else ()
        self._checks.finish(check, answered=answered, earliest=earliest, failed=not finished, slow=slow)
        self.report(report)
        return finished or report.outcome in ("limited", SpentError.outcome)

    @staticmethod
    def _next(check: DueCheck, report: Report) -> Micros:
        pause = max(WINDOW, report.calls * CALL)
        whole = scopes.owner(check.owner_id) in check.scopes
        return report.at + (pause if whole else min(pause, LONGEST))

    @staticmethod
    def _retry(report: Report, failures: int) -> Micros:
        pause = max(retry_after(failures), report.calls * CALL if report.outcome == SpentError.outcome else 0)
        return max(report.retry_at or 0, report.at + pause)

    def ask_again(self, report: Report) -> None:
        """Another look, where a report asks for one."""
        for when, about in report.again.items():
            self._checks.ask(about, report.at, earliest=when, of=report.owner_id)

    def follow(self, report: Report) -> None:
        """All that comes of a report of which nobody else keeps anything."""
        self.ask_again(report)
        self.report(report)

    def report(self, report: Report) -> None:
        """What a report is counted as, and lines in the log."""
        if report.outcome in UNANSWERED:
            self._ledger.failed(report.error, report.at)
        elif report.calls and report.outcome != SpentError.outcome:
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
