"""From an event in the inbox to its answer: translate, settle, and then settled, resumed later, or failed."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from handlers.base import Incoming, UnusableEventError
from handlers.table import handle
from worker.lifecycle import scopes
from worker.lifecycle.facts import Micros, ObservationSource
from worker.lifecycle.logins import CountedLogin
from worker.lifecycle.owners import issuer_of
from worker.logs import frames, logger, scrubbed
from worker.queue.wakeups import WakeUps
from worker.settling.settler import ContentionError, Settler, SettlingOutcome, Work, parted
from worker.store.checks import Checks
from worker.store.client import StoreError
from worker.store.event_ledger import came_line
from worker.store.inbox import BULKY, EVENTS, LARGE, LEASE, OVERFLOW, SUSPECT, Claimed, Event, Inbox, goes_on_in
from worker.store.keys import Keyspace, Partition
from worker.store.policies import SpoiltKeyError, UnreadableError
from worker.store.status import Status

BATCH = {EVENTS: 128, LARGE: 1, OVERFLOW: 128, BULKY: 1, SUSPECT: 1}
"""Events claimed at once. A batch shares its round trips; a large or suspect event gets them for itself."""
PAGE = {EVENTS: 50, LARGE: 500, OVERFLOW: 50, BULKY: 500, SUSPECT: 500}
"""Policies settled at once for one event. An event of the first lane that touches more goes on in the large lane."""
TURN_SECONDS = 1.0
"""How long one wake-up works on its lane before others get their turn."""

log = logger("worker")


class PartlySettledError(Exception):
    """Some policies of a large event could not be settled; all others were."""


EXPLAINED = (UnusableEventError, ContentionError, UnreadableError, SpoiltKeyError, PartlySettledError)
"""Errors of ours, whose messages name fields and never values."""


def worker_name() -> str:
    """Host and process: who holds an event."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Processor:
    """Claims events, settles them and acknowledges each. `asked`: aliases of the instances of GitHub at which what is to be verified is asked for.
    `monotonic`: seconds, to end a turn by.
    """

    def __init__(
        self,
        *,
        name: str,
        keyspace: Keyspace,
        inbox: Inbox,
        settler: Settler,
        checks: Checks,
        status: Status,
        wakeups: WakeUps,
        asked: Collection[str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._keyspace = keyspace
        self._inbox = inbox
        self._settler = settler
        self._checks = checks
        self._status = status
        self._wakeups = wakeups
        self._asked = asked
        self._monotonic = monotonic
        self._bulky = threading.Lock()

    def drain(self, partition: Partition, lane: str) -> None:
        """Settle what is due in a lane, for a turn; wakes another worker if there is more.

        Raises:
            StoreError: the store could not be reached. What was claimed is claimed again when its lease is over.
        """
        deadline = self._monotonic() + TURN_SECONDS
        while True:
            claimed = self._inbox.claim(partition, lane, self._name, BATCH[lane])
            if claimed.quarantined:
                self._wakeups.wake(partition, SUSPECT, "")
            if claimed.overflowed:
                self._wakeups.wake(partition, OVERFLOW, "")
            if not claimed.events:
                return
            more = self.process(claimed) or claimed.more
            if lane in (LARGE, BULKY):
                if claimed.more:
                    self._wakeups.wake(partition, lane, "")
                return
            # Others may have left something for whoever has other events of the same owner.
            if not more:
                return
            if self._monotonic() >= deadline:
                self._wakeups.wake(partition, lane, "")
                return

    def drain_bulky(self, partition: Partition) -> None:
        """Settle one event with a large body, if no other thread of this process is at one: reading it keeps the
        interpreter busy. What is left gets a wake-up of its own.
        """
        if self._bulky.acquire(blocking=False):
            try:
                self.drain(partition, BULKY)
            finally:
                self._bulky.release()

    def drain_quarantine(self) -> None:
        """Try suspect events one after another, in the whole installation one at a time.

        An event that ends its worker then takes no other with it, except what that worker's other threads held.
        """
        for partition in self._keyspace.all():
            while self._status.hold(SUSPECT, self._name, LEASE):
                try:
                    claimed = self._inbox.claim(partition, SUSPECT, self._name, 1)
                    self.process(claimed)
                finally:
                    self._status.release(SUSPECT, self._name)
                if not claimed.events:
                    break

    def process(self, claimed: Claimed) -> bool:
        """Translate and settle a batch, and answer for every event in it; where a node of the store cannot be reached, for those
        that do not need it. Returns whether others may be due, for whom nobody has been woken.

        Raises:
            StoreError: none could be settled. What was claimed is claimed again when its lease is over.
        """
        parts = parted(
            lambda events: [self._process(events, claimed.now, again=len(events) < len(claimed.events))],
            claimed.events,
            apart=self._settler.apart,
        )
        return any(parts)

    def _process(self, claimed: Sequence[Event], now: Micros, *, again: bool) -> bool:
        """`again`: they were tried just before, together with others, and some of that may have been done."""
        work: list[Work] = []
        events: list[Event] = []
        checks: set[str] = set()
        logins: dict[str, CountedLogin] = {}
        for event in claimed:
            source = ObservationSource(event.kind, event.delivery, event.name)
            try:
                handled = handle(Incoming(source, event.at, event.body))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this event's trouble and no other's
                self._failed(event, error, now)
                continue
            checks.update(handled.checks)
            if handled.login is not None:
                logins[event.event_id] = handled.login
            key = event.partition.event(event.event_id)
            work.append(Work(source, handled.observations, event.received_at, event.cursor, handled.aside, key))
            events.append(event)
        if not work:
            return True
        outcomes = self._settler.settle(work, now, page=PAGE[events[0].lane])
        checks.update(scope for outcome in outcomes for scope in outcome.bound)
        wanted = {scope for scope in checks if self._is_asked(scope)}
        if wanted and self._checks.ask(wanted, self._status.as_of_all(now)):
            self._wakeups.check()
        return self._answer(events, outcomes, logins, now, again=again)

    def _is_asked(self, scope: str) -> bool:
        owner = scopes.owner_id_of(scope)
        return owner is not None and issuer_of(owner) in self._asked

    def _answer(
        self,
        events: Sequence[Event],
        outcomes: Sequence[SettlingOutcome],
        logins: Mapping[str, CountedLogin],
        now: Micros,
        *,
        again: bool,
    ) -> bool:
        done: list[Event] = []
        conflicts = 0
        for event, outcome in zip(events, outcomes, strict=True):
            conflicts += outcome.conflicts
            self._log_changes(event, outcome)
            if outcome.cursor is not None:
                # One policy that cannot be settled does not keep the rest of a large event waiting.
                problem = (
                    "" if outcome.error is None else f"{type(outcome.error).__name__}: {error_text(outcome.error)}"
                )
                if self._inbox.resume_later(event, outcome.cursor, problem):
                    self._wakeups.wake(event.partition, goes_on_in(event), event.event_id)
            elif outcome.error is not None:
                self._failed(event, outcome.error, now)
            elif event.partial is not None:
                self._failed(event, PartlySettledError(event.partial), now)
            else:
                done.append(event)
        if conflicts:
            self._status.count({"conflicts": conflicts})
        # What had to wait or failed is held no more, either; but only settling tells what is due.
        keys = [event.partition.event(event.event_id) for event in events]
        # Another may have ended between a commit and saying so; or our own was made, and we have not heard.
        unsure = {
            key: event.fields.get("came", b"") + _lines(outcome)
            for key, event, outcome in zip(keys, events, outcomes, strict=True)
            if again or event.attempts > 1 or outcome.conflicts
        }
        if unsure:
            self._settler.recover(unsure)
        told = [(event, logins[event.event_id]) for event in done if event.event_id in logins]
        if late := self._inbox.count(told, now) if told else set():
            done = [event for event in done if event.event_id not in late]
        more = self._inbox.acknowledge(done) or len(done) < len(events)
        settled = {event.event_id for event in done}
        self._settler.forget({
            key: None if key in unsure else outcome
            for key, event, outcome in zip(keys, events, outcomes, strict=True)
            if event.event_id in settled and (outcome.changes or key in unsure)
        })  # fmt: skip
        return more

    def _log_changes(self, event: Event, outcome: SettlingOutcome) -> None:
        by = event.fields.get("by")
        actor = {} if by is None else {"by": by.decode()}
        log_changes(outcome, delivery=event.delivery, event_name=event.name, **actor)
        if not outcome.changes:
            log.debug("settled without a change", delivery=event.delivery, event_name=event.name)

    def _failed(self, event: Event, error: Exception, now: Micros) -> None:
        """Keep the event with its error: for another attempt, or for an operator."""
        if isinstance(error, StoreError):
            raise error
        final = isinstance(error, UnusableEventError)
        message = error_text(error)
        trace = "" if isinstance(error, EXPLAINED) else frames(error.__traceback__)
        given_up = self._inbox.fail(
            event, error=type(error).__name__, message=message, trace=trace, worker=self._name, now=now, final=final
        )
        log.error(
            "event kept as a dead letter" if given_up else "event failed, will be tried again",
            delivery=event.delivery,
            event_name=event.name,
            event_id=event.event_id,
            error=type(error).__name__,
            message=message,
        )


def log_changes(outcome: SettlingOutcome, **cause: str) -> None:
    """A line for every revision that was published."""
    for policy, change in outcome.changes:
        log.info(change.value, policy_id=policy.policy_id, revision=policy.revision, **cause)


def _lines(outcome: SettlingOutcome) -> bytes:
    """The revisions that were published for an event, as they are noted on it."""
    return "".join(came_line(policy.policy_id, policy.revision) for policy, _ in outcome.changes).encode()


def error_text(error: Exception) -> str:
    """What may be known of an error. The message of one that is not ours may quote the payload, so it stays unsaid."""
    return scrubbed(str(error))[:2000] if isinstance(error, EXPLAINED) else "unexpected; see where it happened"
