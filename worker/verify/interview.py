"""The questions to GitHub about one owner, in the order in which they are asked, and what the answers come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple
from zlib import crc32

from worker.github.answers import (
    BlockedError,
    GoneError,
    LaterError,
    LimitedError,
    NotOursError,
    Repository,
    UninstalledError,
)
from worker.github.client import GitHub
from worker.lifecycle import scopes
from worker.lifecycle.facts import HOUR, Micros, Observation
from worker.store.checks import Extent, pages
from worker.store.suspects import Suspects
from worker.verify.access import Access
from worker.verify.evidence import Witness
from worker.verify.inquiry import Inquiry, Subject
from worker.verify.losses import SECOND_LOOK, Losses, look_again

ONE_BY_ONE = 3
"""So many repositories, or people, are asked about singly; more are looked for in the list of all."""
PATIENCE = 3
"""Questions in a row without an answer after which the others are not asked: GitHub is down, or slow."""
MANY_LOST = 20
"""More repositories that are known to be lost are not all asked about in each sweep, but by turns."""
TURNS = 8

Found = tuple[Repository, Micros]


class Line(NamedTuple):
    """One piece of evidence, in words."""

    about: str
    answer: str
    at: Micros


class Listed(NamedTuple):
    """Everything that an installation can see, by id and by name, and when the list was begun; None: it was not read."""

    at: Micros | None
    by_id: Mapping[int, Found]
    by_name: Mapping[str, Found]


NOT_LISTED = Listed(None, {}, {})


class Interview:
    """Asks with one installation. What was learnt so far is in `learnt`, also after an error."""

    def __init__(
        self,
        github: GitHub,
        access: Access,
        witness: Witness,
        *,
        urgent: bool,
        suspects: Suspects,
        losses: Losses,
        now: Callable[[], Micros],
        going_on: Callable[[], None],
        extent: Extent,
        keeps: bool,
    ) -> None:
        self._github = github
        self._own = access.own
        self._installed = access.installed
        self._login = access.installed.login
        self._witness = witness
        self._urgent = urgent
        self._suspects = suspects
        self._losses = losses
        self._now = now
        self.going_on = going_on
        """Called before each question."""
        self._controlled = False
        self._failures: list[LaterError] = []
        self._in_vain = 0
        self._keeps = keeps
        self._seen: list[str] = []
        self.found: dict[str, Found] = {}
        """Scope of a subject → the repository as it was found."""
        self.learnt: list[Observation] = []
        self.lines: list[Line] = []
        self.again: dict[Micros, list[str]] = {}
        """When to look again → for what."""
        self.withheld: list[str] = []
        self._extent = extent
        self.repositories: int | None = None
        self.members: int | None = None

    @property
    def extent(self) -> Extent:
        """How much there is, as far as it was seen."""
        return Extent(self.repositories, self.members)

    @property
    def known_members(self) -> int | None:
        """How many members there were last time."""
        return self._extent.members

    @property
    def installation(self) -> int:
        return self._installed.installation_id

    def ask_about_repositories(self, inquiry: Inquiry, *, everything: bool) -> None:
        """Is each where the policies believe it to be?

        Raises:
            GitHubError: not all of them could be asked about.
        """
        subjects = list(inquiry.subjects.values())
        self.count_asked(inquiry.subjects)
        try:
            many = len(subjects) > max(ONE_BY_ONE, pages(self._extent.repositories))
            listed = self._list() if self._own and (everything or many) else NOT_LISTED
            lost = sum(subject.lost for subject in subjects) if everything else 0
            for subject in subjects:
                passed_over = lost > MANY_LOST and not _turn(subject.scope, listed.at or 0)
                self.tolerantly(partial(self._repository, subject, listed, passed_over=passed_over))
            here = next((f for f in self.found.values() if f[0].owner_id == inquiry.owner_id), None)
            if here is not None:
                self.learnt += self._witness.owner(inquiry, self._login, here[1])
            elif not self._own:
                self._owner(inquiry)
        finally:
            self._suspects.seen(self._seen)
            self._seen.clear()

    @property
    def login(self) -> str:
        """What the owner is called, as far as is known by now."""
        return self._login

    def finish(self) -> None:
        """
        Raises:
            LaterError: a question had no answer.
        """
        if self._failures:
            raise self._failures[0]

    def tolerantly(self, ask: Callable[[], None]) -> None:
        """Go on with the other questions if this one has no answer; not if there will be none to them, either."""
        self.going_on()
        try:
            ask()
        except LimitedError:
            raise
        except LaterError as error:
            self._failures.append(error)
            self._in_vain += 1
            if self._in_vain >= PATIENCE:
                raise
        else:
            self._in_vain = 0

    # Repositories

    def _list(self) -> Listed:
        """Everything that the installation can see."""
        by_id: dict[int, Found] = {}
        begun = at = self._now()
        for page in self._github.repositories(self.installation, urgent=self._urgent):
            self.going_on()
            by_id.update((repository.id, (repository, at)) for repository in page.items)
            self._name_from(page.items)
            at = self._now()
        self.repositories = len(by_id)
        mine = self._installed.account_id
        by_name = {found[0].name.lower(): found for found in by_id.values() if found[0].owner_id == mine}
        return Listed(begun, by_id, by_name)

    def _name_from(self, repositories: Iterable[Repository]) -> None:
        """What the owner is called now: GitHub knows nobody under a former name."""
        own = self._installed.account_id
        self._login = next((r.owner_login for r in repositories if r.owner_id == own), self._login)

    def _repository(self, subject: Subject, listed: Listed, *, passed_over: bool) -> None:
        known = subject.repository_id
        found = listed.by_name.get(subject.name.lower()) if known is None else listed.by_id.get(known)
        if found is not None:
            self._here(subject, *found)
        elif subject.lost and passed_over and listed.at is not None:
            # Known to be out of reach, and still not in the list: nothing is new.
            self.learnt += self._witness.lost(subject, listed.at)
        else:
            self._ask(subject, listed)

    def _ask(self, subject: Subject, listed: Listed) -> None:
        """Ask about a single repository."""
        at = self._now()
        try:
            repository = self._single(subject)
        except UninstalledError:
            raise
        except BlockedError:
            self.say(subject.scope, "blocked by GitHub", at)
            self.learnt += self._witness.lost(subject, at)
            self.ask_again(subject.scope, at)
        except NotOursError:
            self.say(subject.scope, "GitHub does not let us ask", at)
            self.ask_again(subject.scope, at)
        except GoneError:
            self._not_found(subject, listed, at)
        else:
            self._here(subject, repository, at)

    def _single(self, subject: Subject) -> Repository:
        if subject.repository_id is None:
            return self._github.repository_named(self.installation, self._login, subject.name, urgent=self._urgent)
        return self._github.repository(self.installation, subject.repository_id, urgent=self._urgent)

    def _here(self, subject: Subject, repository: Repository, at: Micros) -> None:
        told = f"{repository.owner_login}/{repository.name} (id {repository.id}, owner {repository.owner_id})"
        self.say(subject.scope, f"is {told}, {repository.visibility}{', archived' * repository.archived}", at)
        self.found[subject.scope] = repository, at
        self._name_from((repository,))
        self._seen.append(subject.scope)
        self.learnt += self._witness.seen(subject, repository, at)

    def _not_found(self, subject: Subject, listed: Listed, at: Micros) -> None:
        if subject.repository_id is None or not self._own:
            # It was never seen, or we ask with somebody else's eyes: that we do not see it now says nothing.
            self.say(subject.scope, "not visible to us", at)
            return
        if not self.missing(subject.scope, at, expected=subject.blocked):
            return
        self.learnt += self._witness.lost(subject, at)
        holder = listed.by_name.get(subject.name.lower()) or self._holder(subject)
        if holder is not None:
            self.learnt += self._witness.taken(subject, *holder)

    def _holder(self, subject: Subject) -> Found | None:
        """Who has the name of a repository that is out of reach."""
        at = self._now()
        try:
            found = self._github.repository_named(self.installation, self._login, subject.name, urgent=self._urgent)
        except (GoneError, BlockedError, NotOursError):
            return None
        self.say(subject.scope, f"its name is held by id {found.id} of owner {found.owner_id}", at)
        return found, at

    def _owner(self, inquiry: Inquiry) -> None:
        """Whether an owner that has no installation is there at all, asked with the eyes of who has its name."""
        scope, at = scopes.owner(inquiry.owner_id), self._now()
        try:
            login = self._github.user(self.installation, inquiry.owner_id, urgent=self._urgent).login
        except GoneError:
            if self.missing(scope, at, expected=inquiry.deleted):
                self.learnt.append(self._witness.owner_gone(at))
        else:
            self.say(scope, f"is {login}; the App is not installed there", at)
            self._seen.append(scope)
            self.learnt += self._witness.owner(inquiry, login, at)

    # What is missing

    def missing(self, scope: str, at: Micros, *, expected: bool) -> bool:
        """GitHub says that it does not know this. Whether that is believed; if not yet, when to look again is noted.

        Raises:
            GitHubError: GitHub does not answer what it must know, either.
        """
        first = self._losses.looked(scope, at, expected=expected)
        if not self._losses.due(first, at):
            self.say(scope, "not found; a second look will tell", at)
            self._look_again(first + SECOND_LOOK, scope)
            return False
        self._control()
        verdict = self._losses.judge(scope, first, at, expected=expected)
        if verdict.again_at is not None:
            self._look_again(verdict.again_at, scope)
        if verdict.withheld:
            self.withheld.append(scope)
        self.say(
            scope, "not found, but too much is missing to be true" if verdict.withheld else "gone, or out of reach", at
        )
        return verdict.believed

    def seen(self, *found: str) -> None:
        """These are there."""
        self._suspects.seen(found)

    def count_asked(self, about: Iterable[str]) -> None:
        """Note what is asked about, beside which losses are counted."""
        self._suspects.asked(about, self._now())

    def ask_again(self, scope: str, at: Micros) -> None:
        """Ask again, the later the longer that goes on: it was no answer, or may soon be another."""
        again_at = look_again(self._losses.looked(scope, at, expected=True), at)
        if again_at is not None:
            self._look_again(again_at, scope)

    def _look_again(self, when: Micros, scope: str) -> None:
        self.again.setdefault(when, []).append(scope)

    def _control(self) -> None:
        """Ask something to which GitHub must know the answer."""
        if not self._controlled:
            for page in self._github.repositories(self.installation, urgent=self._urgent):
                self._name_from(page.items)
                break
            self._controlled = True

    def called_otherwise(self) -> bool:
        """Whether the owner turns out to be called otherwise than we thought."""
        before = self._login.lower()
        self._control()
        return self._login.lower() != before

    def say(self, about: str, answer: str, at: Micros) -> None:
        """Keep this as evidence, if anybody wants to see it."""
        if self._keeps:
            self.lines.append(Line(about, answer, at))


def _turn(scope: str, at: Micros) -> bool:
    """Whether it is this one's turn: each has one every second day."""
    return crc32(scope.encode()) % TURNS == at // (48 * HOUR // TURNS) % TURNS
