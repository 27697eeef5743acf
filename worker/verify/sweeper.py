"""Verifies every owner again and again, the stalest first: what no webhook told of is found here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from worker.github.answers import GitHubError
from worker.github.client import pages
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.owners import OwnerRef, id_of
from worker.logs import logger
from worker.store.checks import UNKNOWN, Checks, Extent
from worker.store.installations import Directory
from worker.store.status import Status
from worker.verify.calls import Allowance, CallCounter
from worker.verify.checker import FINISHED, UNANSWERED, Checker
from worker.verify.installations import Accesses
from worker.verify.verifier import Report, VerificationRequest, Verifier

EARLY = 0.75
"""After this part of the time within which every owner is verified again, its turn may come."""
IN_VAIN = 3
"""Owners in a row of whom nothing was learnt, because GitHub did not answer: then others need not be tried now."""
LOOKED_AT = 1_000
"""Owners of which one is chosen; those that cannot be asked about now are passed over."""
HELD: Micros = 300 * SECOND
"""How long an owner is left to whoever sweeps it, or, if that could not be finished, to nobody."""
HELD_LONG: Micros = 1800 * SECOND
"""The same for one that could not be finished because GitHub did not answer in time: others come first."""
MOST_CALLS = 5_000
"""Of one sweep of an owner: what GitHub allows an installation in an hour."""
DIRECTORY_AGE: Micros = 600 * SECOND
"""How old the list of installations may be."""

log = logger("sweep")


class Turn(NamedTuple):
    """An owner whose turn it is; `late`: it should have been before."""

    owner_id: OwnerRef
    late: bool


class Plan(NamedTuple):
    """What a sweep will cost, by what the last one found: calls of GitHub's API."""

    owners: int
    calls: int
    unknown: int
    """Owners that were never swept: a page of each list is counted for them."""


def allowance(extent: Extent) -> Allowance:
    """What the sweep of an owner may take: half a minute, and a second for each page of its lists. Of one that was never
    swept nobody knows how much there is.
    """
    if extent == UNKNOWN:
        return Allowance(MOST_CALLS, 120.0)
    return Allowance(MOST_CALLS, min(30.0 + pages(extent.repositories) + pages(extent.members), HELD / SECOND))


class Sweeper:
    """Chooses owners and verifies all that they have."""

    def __init__(
        self,
        *,
        verifier: Verifier,
        checker: Checker,
        accesses: Accesses,
        checks: Checks,
        directory: Directory,
        status: Status,
        calls: CallCounter,
        every: Micros,
        now: Callable[[], Micros],
    ) -> None:
        self._verifier = verifier
        self._checker = checker
        self._accesses = accesses
        self._checks = checks
        self._directory = directory
        self._status = status
        self._now = now
        self._every = every
        self._calls = calls

    def run(self, worker: str, seconds: float) -> None:
        """Sweep owners whose turn has come, for about this long.

        Raises:
            StoreError: the store cannot be reached.
        """
        deadline, unanswered = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            now = self._now()
            turn = self._next(worker, now)
            if turn is None:
                return
            unanswered = (
                unanswered + 1 if self.sweep(turn.owner_id, worker, late=turn.late).outcome in UNANSWERED else 0
            )
            if unanswered >= IN_VAIN:
                return

    def _next(self, worker: str, now: Micros) -> Turn | None:
        """The stalest owner whose turn it is and whom nobody else has, held for us; None if there is none."""
        for owner_id, swept_at in self._checks.stalest(LOOKED_AT):
            if swept_at > now - round(self._every * EARLY):
                return None
            if self._status.hold(f"sweep:{owner_id}", worker, HELD):
                return Turn(owner_id, late=swept_at < now - self._every)
        return None

    def sweep(self, owner_id: OwnerRef, worker: str, *, late: bool = False) -> Report:
        """Verify all policies of an owner; if that is `late`, without what is only advice.

        Raises:
            StoreError: the store cannot be reached.
        """
        self.refresh()
        extent = self._checks.extents([owner_id])[owner_id]
        with self._calls.within(allowance(extent)):
            report = self._verifier.verify(VerificationRequest(owner_id, None, 0, False, "sweep", late))
        self._checker.ask_again(report)
        if not report.policies:
            self._checks.forget(owner_id)
        elif report.outcome in FINISHED:
            self._checks.swept(owner_id, report.at, report.extent)
        self._checker.report(report)
        if report.outcome in FINISHED:
            self._status.release(f"sweep:{owner_id}", worker)
        elif report.outcome in UNANSWERED:
            self._status.keep(f"sweep:{owner_id}", worker, HELD_LONG)
        return report

    def refresh(self) -> None:
        """Read the list of installations, if ours is old. If it cannot be read, the old one has to do."""
        if self._now() < self._directory.read_at() + DIRECTORY_AGE:
            return
        try:
            self._accesses.reread()
        except GitHubError as error:
            log.warning("the list of installations cannot be read", message=str(error))

    def plan(self, owner_ids: list[OwnerRef]) -> Plan:
        """What sweeping these owners will cost, if it is with them as it was."""
        installed = {entry.account_id: entry for entry in self._directory.all() if not entry.suspended}
        asked = [owner_id for owner_id in owner_ids if id_of(owner_id) in installed]
        extents = self._checks.extents(asked)
        calls = pages(len(installed))
        for owner_id in asked:
            extent = extents[owner_id]
            people = installed[id_of(owner_id)].kind == "Organization"
            # A token, the repositories, the members.
            calls += 1 + pages(extent.repositories) + (pages(extent.members) if people else 0)
        unknown = sum(extents[owner_id] == UNKNOWN for owner_id in asked)
        return Plan(len(owner_ids), calls, unknown)
