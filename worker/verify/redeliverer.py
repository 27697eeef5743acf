"""Finds webhooks that did not reach us and has GitHub send them again; sweeps their owner where that is too late.

GitHub never sends a failed webhook again by itself, and keeps it for three days, an Enterprise Server for seven:
https://docs.github.com/en/webhooks/using-webhooks/handling-failed-webhook-deliveries
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from worker.github.answers import DeliveryAnswer, GitHubError, GoneError, LaterError, UnfinishedError
from worker.github.client import GitHub
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.owners import owner_at
from worker.logs import logger
from worker.store.checks import Checks
from worker.store.deliveries import Deliveries, Missed
from worker.store.installations import Directory
from worker.store.status import Status
from worker.verify.calls import Allowance, CallCounter

MARGIN: Micros = 3600 * SECOND
"""So long before GitHub cannot deliver it again, a webhook is given up on: the clocks may differ."""
OVERLAP: Micros = 60 * SECOND
"""Looks overlap by this much: a delivery is listed when it has failed, under the time at which it began."""
PAUSE: Micros = 240 * SECOND
"""Between two attempts for one webhook, at first; twice as long each time."""
IN_VAIN = 2
"""Webhooks in a row that GitHub could not be asked for, after which a look ends."""
LOOK_SECONDS = 60.0
"""How long one look asks for webhooks; the rest waits for the next."""
RUN_ALLOWANCE = Allowance(2_000, 240.0)
"""What one look may take, in all."""
LONGEST_PAUSE: Micros = 4 * 3600 * SECOND

log = logger("deliveries")


class RedeliveryRun(NamedTuple):
    """What one look came to."""

    failed: int
    """Webhooks that had failed since the last look, each once."""
    redelivered: int
    given_up: int


class Redeliverer:
    """Looks for failed deliveries, as the App."""

    def __init__(
        self,
        *,
        github: GitHub,
        deliveries: Deliveries,
        checks: Checks,
        directory: Directory,
        status: Status,
        calls: CallCounter,
        now: Callable[[], Micros],
        issuer: str,
        kept: Micros,
    ) -> None:
        """`kept`: for how long GitHub can deliver a webhook again. `now`: GitHub's time, as near as a machine's clock is to it: the dates of deliveries are GitHub's."""
        self._github = github
        self._deliveries = deliveries
        self._checks = checks
        self._directory = directory
        self._status = status
        self._now = now
        self._calls = calls
        self._issuer = issuer
        self._kept = kept

    def run(self) -> RedeliveryRun:
        """Look once. What cannot be asked now is asked at the next look.

        Raises:
            GitHubError: the list of failed deliveries cannot be read.
            StoreError: the store cannot be reached.
        """
        now = self._now()
        seen_until = self._deliveries.seen_until()
        if seen_until is not None and seen_until > now:
            # The clock was set back: nobody knows up to when GitHub was asked by it.
            seen_until = None
        since = max(now - self._kept, (seen_until or 0) - OVERLAP)
        try:
            if seen_until is not None and seen_until < now - self._kept:
                # Nobody looked for longer than GitHub remembers.
                self._checks.bring_all_forward()
            with self._calls.within(RUN_ALLOWANCE):
                failed = self._failed(since)
                pending = self._merge(self._deliveries.pending(), failed)
                asked_again, given_up = self._pursue(pending, now)
            self._deliveries.note_seen_until(now)
            return RedeliveryRun(len(failed), asked_again, given_up)
        finally:
            self._status.count(self._calls.take())

    def all_since(self, since: Micros) -> Iterator[bool]:
        """Have GitHub deliver again every webhook that it still keeps and delivered, or tried to, from `since` on, the oldest
        first, whether or not it arrived: what arrived may have been lost afterwards. Gives for each whether it will come.

        Raises:
            GitHubError: the list of deliveries cannot be read, or GitHub is away.
        """
        attempts = [*self._listed("failure", since), *self._listed("success", since)]
        last = {attempt.guid: attempt for attempt in sorted(attempts, key=lambda attempt: attempt.delivered_at)}
        for attempt in last.values():
            try:
                self._github.redeliver(attempt.id)
            except GoneError:
                yield False
            else:
                yield True

    def _failed(self, since: Micros) -> dict[str, DeliveryAnswer]:
        """The newest failed attempt of every webhook that never arrived, by guid."""
        attempts = list(self._listed("failure", since))
        newest: dict[str, DeliveryAnswer] = {}
        for attempt in attempts:
            previous = newest.get(attempt.guid)
            if not attempt.succeeded and (previous is None or attempt.delivered_at > previous.delivered_at):
                newest[attempt.guid] = attempt
        if not newest:
            return {}
        oldest = min(attempt.delivered_at for attempt in newest.values())
        arrived = {attempt.guid for attempt in attempts if attempt.succeeded}
        arrived |= {attempt.guid for attempt in self._listed("success", oldest) if attempt.succeeded}
        return {guid: attempt for guid, attempt in newest.items() if guid not in arrived}

    def _listed(self, status: Literal["failure", "success"], since: Micros) -> Iterable[DeliveryAnswer]:
        try:
            yield from self._github.deliveries(status=status, since=since)
        except UnfinishedError as error:
            # More than one look takes: whose they were, nobody knows.
            log.warning("too many deliveries to read; all owners are swept", message=str(error))
            self._checks.bring_all_forward()

    @staticmethod
    def _merge(pending: dict[str, Missed], failed: dict[str, DeliveryAnswer]) -> dict[str, Missed]:
        """What is pursued: an attempt of ours that did not fail again by now has arrived."""
        merged = {guid: missed for guid, missed in pending.items() if missed.asked_at is None or missed.given_up}
        for guid, attempt in failed.items():
            previous = pending.get(guid)
            merged[guid] = Missed(
                guid=guid,
                delivery_id=attempt.id,
                first_failed_at=attempt.delivered_at if previous is None else previous.first_failed_at,
                failed_at=attempt.delivered_at,
                asked_at=None,
                attempts=0 if previous is None else previous.attempts,
                installation_id=attempt.installation_id,
                given_up=previous is not None and previous.given_up,
            )
        return merged

    def _pursue(self, pending: dict[str, Missed], now: Micros) -> tuple[int, int]:
        asked_again = given_up = in_vain = 0
        kept: list[Missed] = []
        deadline = time.monotonic() + LOOK_SECONDS
        for missed in sorted(pending.values(), key=lambda m: m.first_failed_at):
            if missed.given_up:
                if missed.first_failed_at > now - 2 * self._kept:
                    kept.append(missed)
                continue
            if missed.first_failed_at < now - self._kept + MARGIN:
                kept.append(self._give_up(missed))
                given_up += 1
            elif (
                in_vain >= IN_VAIN
                or time.monotonic() > deadline
                or (missed.attempts and now < missed.failed_at + min(PAUSE << missed.attempts, LONGEST_PAUSE))
            ):
                kept.append(missed)
            else:
                tried = self._again(missed, now)
                kept.append(tried)
                asked_again += tried.asked_at is not None
                in_vain = in_vain + 1 if tried is missed else 0
                given_up += tried.given_up
        self._deliveries.replace(kept)
        return asked_again, given_up

    def _again(self, missed: Missed, now: Micros) -> Missed:
        try:
            self._github.redeliver(missed.delivery_id)
        except LaterError:
            return missed
        except GoneError:
            return self._give_up(missed)
        except GitHubError as error:
            log.warning("a webhook is not delivered again", guid=missed.guid, message=str(error))
            return self._give_up(missed)
        return missed._replace(asked_at=now, attempts=missed.attempts + 1)

    def _give_up(self, missed: Missed) -> Missed:
        """It will not come any more: what it may have said is found by a sweep of its owner."""
        owners = [
            owner_at(self._issuer, e.account_id)
            for e in self._directory.all()
            if e.installation_id == missed.installation_id
        ]
        if owners:
            self._checks.bring_forward(owners)
        else:
            self._checks.bring_all_forward()
        log.error("a webhook is lost; its owner is swept", guid=missed.guid, installation=missed.installation_id)
        return missed._replace(given_up=True)
