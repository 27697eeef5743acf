"""Asks GitHub about one owner's policies, and settles what it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from worker.github.answers import GitHubError, LimitedError, SpentError, SuspendedError, UninstalledError
from worker.github.client import GitHub
from worker.lifecycle import scopes
from worker.lifecycle.facts import SECOND, Micros, Observation, ObservationSource
from worker.lifecycle.owners import OwnerRef, id_of, issuer_of, kind_at
from worker.lifecycle.policy import Policy
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import ChangeType
from worker.settling.processor import log_changes
from worker.settling.settler import Settler, SettlingOutcome, Work
from worker.store.checks import UNKNOWN, Checks, Extent
from worker.store.losses import MissingScopes
from worker.store.policies import START, Policies, Touch
from worker.verify.advice import Advice
from worker.verify.budgets import SharedBudgets
from worker.verify.calls import Allowance, CallCounter
from worker.verify.evidence import EvidenceBuilder, touched
from worker.verify.inquiry import Inquiry, takes_away
from worker.verify.installations import Accesses, ApiAccess
from worker.verify.interview import EvidenceLine, Interview
from worker.verify.losses import SEASONED, Losses, Owner
from worker.verify.people import People
from worker.verify.repositories import Repositories

PAGE = 500
"""Policies loaded and settled at once."""
RECHECK = "recheck"
GROUP = 200
"""Observations settled as one piece of work."""
ADVISING = Allowance(500, 30.0)
"""What a sweep may take to ask what is only advice: a tenth of the calls that GitHub allows an installation in an hour."""
UNSETTLED: Micros = 60 * SECOND
"""How long to wait after a policy could not be settled."""


class VerificationRequest(NamedTuple):
    """What to verify of an owner: `about` are scopes, None for all that it has. `heard_at`: when somebody last said
    something that this should find the truth of. `urgent` opens the reserve of the budget.
    """

    owner_id: OwnerRef
    about: tuple[str, ...] | None
    heard_at: Micros
    urgent: bool
    event: str
    """`check`, `sweep` or `recheck`: what the change events name as their cause."""
    late: bool = False
    """A sweep that should have been made before: it reads nothing again that is only advice."""


@dataclass(slots=True)
class Report:
    """What came of it."""

    owner_id: OwnerRef
    at: Micros
    outcome: str = "done"
    """`done`, `blind` (no installation to ask with), or an error's: `later`, `limited`, `credentials`, …"""
    policies: int = 0
    calls: int = 0
    evidence: list[EvidenceLine] = field(default_factory=list)
    """What was asked, and what the answer was."""
    again: dict[Micros, list[str]] = field(default_factory=dict)
    """Scopes to look at again, by when."""
    withheld: list[str] = field(default_factory=list)
    """Losses that are too many to be believed."""
    refreshed: int = 0
    """Policies of which only the verification is new."""
    changes: list[tuple[str, ChangeType]] = field(default_factory=list)
    """Policy and change, of all others."""
    extent: Extent = UNKNOWN
    retry_at: Micros | None = None
    """Set if it was not finished: not before then."""
    error: str = ""


class Verifier:
    """Verifies owners, one at a time. Threads may share it."""

    def __init__(
        self,
        *,
        github: GitHub,
        calls: CallCounter,
        checks: Checks,
        budgets: SharedBudgets,
        accesses: Accesses,
        suspects: MissingScopes,
        losses: Losses,
        policies: Policies,
        settler: Settler,
        rules: Rules,
        now: Callable[[], Micros],
        stamp: Callable[[OwnerRef], Micros],
        clock: Callable[[], float],
    ) -> None:
        """`now`: what time it is, for all that waits. `stamp`: a date for what is learnt of an owner. `clock`: unix seconds of
        this machine, by which GitHub's limits are told.
        """
        self._github = github
        self._calls = calls
        self._checks = checks
        self._budgets = budgets
        self._accesses = accesses
        self._missing = suspects
        self._losses = losses
        self._policies = policies
        self._settler = settler
        self._rules = rules
        self._now = now
        self._stamp = stamp
        self._clock = clock

    def verify(self, request: VerificationRequest, going_on: Callable[[], None] = lambda: None) -> Report:
        """Ask, and settle what was learnt, also where it could not be finished. `going_on` is called now and then.

        Raises:
            StoreError: the store cannot be reached.
        """
        report = Report(request.owner_id, self._now())
        inquiry = self._inquiry(request)
        report.policies = inquiry.policies
        if not inquiry.policies:
            return report
        before = self._calls.made()
        try:
            access = self._access(request, inquiry)
            if access is None:
                report.outcome = "blind"
                error_text = "the App is not installed there, or suspended: nothing can be asked"
                report.evidence.append(EvidenceLine(scopes.owner(request.owner_id), error_text, report.at))
                return report
            self._conduct(request, inquiry, access, report, going_on)
        except GitHubError as error:
            self._unfinished(report, error)
        finally:
            report.calls = self._calls.made() - before
        return report

    def _conduct(
        self,
        request: VerificationRequest,
        inquiry: Inquiry,
        access: ApiAccess,
        report: Report,
        going_on: Callable[[], None],
    ) -> None:
        """Ask everything.

        Raises:
            GitHubError: not all of it was answered. What was, is settled.
        """
        source = ObservationSource(
            kind_at(issuer_of(request.owner_id)), f"{request.owner_id}@{report.at}", request.event
        )
        witness, everything = EvidenceBuilder(request.owner_id, source, own=access.own), request.about is None
        self._budgets.read(access.installed.installation_id)
        extent, urgent = self._checks.extents([request.owner_id])[request.owner_id], request.urgent
        dated = partial(self._stamp, request.owner_id)
        verified_since = extent.verified_since
        owner = Owner(request.owner_id, verified_since is not None and verified_since <= report.at - SEASONED)
        self._losses.note_asked(owner, dated())
        interview = Interview(
            self._github,
            access,
            owner,
            urgent=urgent,
            missing=self._missing,
            losses=self._losses,
            now=dated,
            going_on=going_on,
            keeps=request.event == RECHECK,
        )
        repositories = Repositories(
            self._github, interview, access, self._accesses, witness, extent=extent, urgent=urgent, now=dated
        )
        people = People(self._github, interview, inquiry, witness, first_known=extent.members, urgent=urgent, now=dated)
        try:
            repositories.ask(inquiry, everything=everything, about=request.about or ())
            if access.own:
                people.ask(organization=access.installed.kind == "Organization", everything=everything)
            else:
                # A stranger's installation shows what is public, and nothing that keeps a policy verified.
                report.outcome = "blind"
            interview.finish()
            if access.own:
                self._advise(request, inquiry, interview, witness, dated)
        finally:
            report.evidence += interview.lines
            for scope, when in too_soon(interview.learnt, inquiry.fresh, self._rules.replica_lag).items():
                interview.again.setdefault(when, []).append(scope)
            report.again = self._when(interview.again, dated)
            report.withheld, report.extent = interview.withheld, interview.extent
            self._budgets.publish(access.installed.installation_id)
            doubted = (*interview.withheld, *interview.doubted, *(people.unanswered if access.own else ()))
            self._settle(source, unless_withheld(interview.learnt, doubted, inquiry), report, going_on)

    def _advise(
        self,
        request: VerificationRequest,
        inquiry: Inquiry,
        interview: Interview,
        witness: EvidenceBuilder,
        dated: Callable[[], Micros],
    ) -> None:
        """Ask what is only advice; in a sweep within an allowance of its own, so that it is finished whatever that takes.

        Raises:
            SpentError: a check has had its share before all was asked.
        """
        advice = Advice(self._github, interview, witness, lag=self._rules.replica_lag, now=dated)
        if request.about is not None:
            advice.ask(inquiry, request.about, again=request.event == RECHECK)
        elif not request.late:
            with self._calls.within(ADVISING), suppress(SpentError):
                advice.ask_again(inquiry)

    def _when(self, again: dict[Micros, list[str]], dated: Callable[[], Micros]) -> dict[Micros, list[str]]:
        """What was dated as answers are, by the time at which it is due."""
        if not again:
            return {}
        behind = self._now() - dated()
        return {when + behind: scopes for when, scopes in again.items()}

    def _access(self, request: VerificationRequest, inquiry: Inquiry) -> ApiAccess | None:
        whole = request.about is None or scopes.owner(request.owner_id) in request.about
        own = self._accesses.to(id_of(request.owner_id), request.heard_at, changed=whole and request.urgent)
        if own is not None and not own.suspended:
            return ApiAccess(own, own=True)
        named = self._accesses.elsewhere(inquiry.registered_as) if own is None else None
        return None if named is None or named.suspended else ApiAccess(named, own=False)

    def _unfinished(self, report: Report, error: GitHubError) -> None:
        report.outcome, report.error = error.outcome, str(error)
        if isinstance(error, SuspendedError | UninstalledError):
            # The list of installations was older than that, or GitHub is ill. The next attempt asks for the list.
            self._accesses.doubt(id_of(report.owner_id))
            report.retry_at = report.at
        elif isinstance(error, LimitedError):
            # By this machine's clock, which need not be the store's.
            report.retry_at = self._now() + max(0, error.retry_at - round(self._clock())) * SECOND
        else:
            report.retry_at = report.at
        report.evidence.append(EvidenceLine("unfinished", report.error, report.at))

    def _inquiry(self, request: VerificationRequest) -> Inquiry:
        whole = scopes.owner(request.owner_id)
        about = (whole,) if request.about is None or whole in request.about else request.about
        inquiry = Inquiry(request.owner_id)
        for page in self._policy_pages(request.owner_id, sorted(set(map(scopes.index_of, about)))):
            inquiry.add(page, self._rules)
        if inquiry.unknown and whole not in about:
            known = [scopes.member(request.owner_id, user_id) for user_id in inquiry.unknown]
            for page in self._policy_pages(request.owner_id, sorted(known)):
                inquiry.recall(page)
        members = [user_id for scope in about if (user_id := scopes.user_id_of(scope)) is not None]
        if members and len(members) == len(about):
            # Only somebody's membership is in question, not the repositories of all that this person registered.
            inquiry.narrow(members)
        if request.event != RECHECK:
            inquiry.shuffle(self._now())
        return inquiry

    def _policy_pages(self, owner_id: OwnerRef, indexes: list[str]) -> Iterator[Iterable[Policy]]:
        home, cursor = self._policies.keyspace.of(owner_id), START
        while True:
            page = self._policies.observe([Touch(home, (), tuple(indexes), cursor)], PAGE)[0]
            yield [located.policy for located in page.loaded.values() if located.policy is not None]
            if page.cursor is None:
                return
            cursor = page.cursor

    @staticmethod
    def _note_changes(outcome: SettlingOutcome, report: Report) -> None:
        """Note what was published. That nothing but the verification is new is not worth a line, nor keeping."""
        news: list[tuple[Policy, ChangeType]] = [
            (policy, change) for policy, change in outcome.changes if change is not ChangeType.REFRESHED
        ]
        report.refreshed += len(outcome.changes) - len(news)
        report.changes += [(policy.policy_id, change) for policy, change in news]
        log_changes(SettlingOutcome(changes=news), event_name="check", owner_id=str(report.owner_id))

    def _settle(
        self, source: ObservationSource, learnt: list[Observation], report: Report, going_on: Callable[[], None]
    ) -> None:
        for group in touched(learnt, GROUP):
            cursor: str | None = None
            while True:
                going_on()
                work = Work(source, tuple(group), None, cursor)
                outcome = self._settler.settle([work], self._now(), page=PAGE)[0]
                self._note_changes(outcome, report)
                if outcome.error is not None:
                    report.outcome, report.error = "unsettled", type(outcome.error).__name__
                    report.retry_at = report.at + UNSETTLED
                cursor = outcome.cursor
                if cursor is None:
                    break


def unless_withheld(learnt: list[Observation], withheld: Iterable[str], inquiry: Inquiry) -> list[Observation]:
    """What was learnt, without what would renew the lease of a policy of which something missing is not believed yet."""
    doubted = set(withheld)
    if not doubted:
        return learnt
    people = {user_id for user_id in inquiry.people if scopes.member(inquiry.owner, user_id) in doubted}
    stale = {
        subject.scope
        for subject in inquiry.subjects.values()
        if subject.scope in doubted
        or not people.isdisjoint(subject.creators)
        or any(scopes.collaborator(subject.scope, user_id) in doubted for user_id in subject.creators)
    }
    return [observation for observation in learnt if observation.aspect != "verified" or observation.scope not in stale]


def too_soon(learnt: Iterable[Observation], fresh: Mapping[tuple[str, str], Micros], lag: Micros) -> dict[str, Micros]:
    """What to ask again, and when: an answer may come from a replica that has not heard yet of what a webhook has only just
    told. Such an answer counts for nothing beside the webhook. `fresh`: scope and aspect → when it was told last.
    """
    confirmed = {(observation.scope, observation.aspect) for observation in learnt if takes_away(observation)}
    request = {observation.scope: observation.at for observation in learnt}
    again: dict[str, Micros] = {}
    for (scope, aspect), fact in fresh.items():
        at = request.get(scope)
        if at is not None and (scope, aspect) not in confirmed and fact <= at < fact + lag:
            again[scope] = max(again.get(scope, 0), fact + lag)
    return again


def retry_after(failures: int) -> Micros:
    """How long after an unfinished check the next one: 1, 2, then 4 s, and a minute once it has failed for long."""
    return 60 * SECOND if failures >= 100 else min(SECOND << failures, 4 * SECOND)
