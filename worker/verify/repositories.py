"""Whether the repositories of an owner's policies are where the policies believe them to be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple
from zlib import crc32

from worker.github.answers import (
    BlockedError,
    GitHubError,
    GoneError,
    NotOursError,
    RepositoryAnswer,
    SpentError,
    UninstalledError,
)
from worker.github.client import GitHub, pages
from worker.lifecycle import scopes
from worker.lifecycle.facts import HOUR, Micros
from worker.store.checks import Extent
from worker.verify.evidence import EvidenceBuilder
from worker.verify.inquiry import Inquiry, RepositorySubject, Shared
from worker.verify.installations import Accesses, ApiAccess
from worker.verify.interview import ONE_BY_ONE, Interview, SeenRepository

MANY_LOST = 20
"""More repositories that are known to be lost are not all asked about in each sweep, but by turns."""
TURNS = 8


class RepositoryListing(NamedTuple):
    """Everything that an installation can see, by id and by name, and when the list was begun; None: it was not read."""

    at: Micros | None
    by_id: Mapping[int, SeenRepository]
    by_name: Mapping[str, SeenRepository]


NOT_LISTED = RepositoryListing(None, {}, {})


class Repositories:
    """Asks about repositories, before the people are asked about."""

    def __init__(
        self,
        github: GitHub,
        interview: Interview,
        access: ApiAccess,
        accesses: Accesses,
        witness: EvidenceBuilder,
        *,
        extent: Extent,
        urgent: bool,
        now: Callable[[], Micros],
    ) -> None:
        self._github = github
        self._interview = interview
        self._access = access
        self._accesses = accesses
        self._witness = witness
        self._extent = extent
        self._urgent = urgent
        self._now = now
        self._seen: list[str] = []

    def ask(self, inquiry: Inquiry, *, everything: bool, about: Collection[str]) -> None:
        """Is each where the policies believe it to be? `about`: the scopes in question, where it is not everything.

        Raises:
            GitHubError: not all of them could be asked about.
        """
        subjects = list(inquiry.subjects.values())
        try:
            many = len(subjects) > max(ONE_BY_ONE, pages(self._extent.repositories))
            listed = self._list() if self._access.own and (everything or many) else NOT_LISTED
            lost = sum(subject.lost for subject in subjects) if everything else 0
            for subject in subjects:
                passed_over = lost > MANY_LOST and not _turn(subject.scope, listed.at or 0)
                self._interview.tolerantly(partial(self._repository, subject, listed, passed_over=passed_over))
            here = next(
                (f for f in self._interview.seen_repositories.values() if f[0].owner_id == inquiry.owner_id), None
            )
            if here is not None:
                self._interview.learnt += self._witness.owner(inquiry, here[0].owner_login, here[1])
            elif everything or not self._access.own:
                self._owner(inquiry)
            for shared, gone in inquiry.shared.items():
                if everything or shared.scope in about or (shared.repository_id is None and not gone):
                    self._interview.going_on()
                    self._shared(shared, gone=gone)
            if everything and self._access.own:
                for name in inquiry.siblings:
                    self._interview.tolerantly(partial(self._sibling, name))
        finally:
            self._interview.note_seen(*self._seen)
            self._seen.clear()

    def _list(self) -> RepositoryListing:
        """Everything that the installation can see."""
        by_id: dict[int, SeenRepository] = {}
        begun = at = self._now()
        for page in self._github.repositories(self._interview.installation, urgent=self._urgent):
            self._interview.going_on()
            by_id.update((repository.id, (repository, at)) for repository in page.items)
            self._interview.called(page.items)
            at = self._now()
        self._interview.repositories = len(by_id)
        mine = self._access.installed.account_id
        by_name = {item[0].name.lower(): item for item in by_id.values() if item[0].owner_id == mine}
        return RepositoryListing(begun, by_id, by_name)

    def _repository(self, subject: RepositorySubject, listed: RepositoryListing, *, passed_over: bool) -> None:
        known = subject.repository_id
        match = listed.by_name.get(subject.name.lower()) if known is None else listed.by_id.get(known)
        if match is not None:
            self._here(subject, *match)
        elif subject.lost and passed_over and listed.at is not None:
            # Known to be out of reach, and still not in the list: nothing is new.
            self._interview.learnt += self._witness.lost(subject, listed.at)
        elif known is not None or self._access.own:
            # Whoever has a name in a stranger's eyes tells nothing of a policy that has no id yet.
            self._ask(subject, listed)

    def _ask(self, subject: RepositorySubject, listed: RepositoryListing) -> None:
        """Ask about a single repository."""
        at = self._now()
        try:
            repository = self._single(subject)
        except UninstalledError:
            raise
        except BlockedError:
            self._interview.say(subject.scope, "blocked by GitHub", at)
            self._interview.learnt += self._witness.lost(subject, at)
            self._interview.ask_again(subject.scope, at)
        except NotOursError:
            self._interview.say(subject.scope, "GitHub does not let us ask", at)
            self._interview.ask_again(subject.scope, at)
        except GoneError:
            self._not_found(subject, listed, at)
        else:
            self._here(subject, repository, at)

    def _single(self, subject: RepositorySubject) -> RepositoryAnswer:
        if subject.repository_id is None:
            return self._github.repository_named(
                self._interview.installation, self._interview.owner(), subject.name, urgent=self._urgent
            )
        return self._github.repository(self._interview.installation, subject.repository_id, urgent=self._urgent)

    def _here(self, subject: RepositorySubject, repository: RepositoryAnswer, at: Micros) -> None:
        sentence = f"{repository.owner_login}/{repository.name} (id {repository.id}, owner {repository.owner_id})"
        flags = [name for name, holds in repository.flags.items() if holds]
        self._interview.say(subject.scope, f"is {sentence}, {', '.join((repository.visibility, *flags))}", at)
        self._interview.seen_repositories[subject.scope] = repository, at
        self._interview.called((repository,))
        self._seen.append(subject.scope)
        self._interview.learnt += self._witness.seen(subject, repository, at)

    def _not_found(self, subject: RepositorySubject, listed: RepositoryListing, at: Micros) -> None:
        if subject.repository_id is None or not self._access.own:
            # It was never seen, or we ask with somebody else's eyes: that we do not see it now says nothing.
            self._interview.say(subject.scope, "not visible to us", at)
            return
        if not self._interview.missing(subject.scope, at, expected=subject.blocked):
            return
        self._interview.learnt += self._witness.lost(subject, at)
        holder = listed.by_name.get(subject.name.lower()) or self._holder(subject)
        if holder is not None:
            self._interview.learnt += self._witness.taken(subject, *holder)

    def _holder(self, subject: RepositorySubject) -> SeenRepository | None:
        """Who has the name of a repository that is out of reach."""
        at = self._now()
        try:
            holder = self._github.repository_named(
                self._interview.installation, self._interview.owner(), subject.name, urgent=self._urgent
            )
        except (GoneError, BlockedError, NotOursError):
            return None
        self._interview.say(subject.scope, f"its name is held by id {holder.id} of owner {holder.owner_id}", at)
        return holder, at

    def _shared(self, shared: Shared, *, gone: bool) -> None:
        """Where the repository of another owner's workflow is. That it cannot be asked about keeps nothing else waiting: the
        next sweep asks again.
        """
        at = self._now()
        try:
            match = self._another_s(shared)
        except SpentError:
            raise
        except GitHubError as error:
            self._interview.say(shared.scope, "no answer" if error.outcome != "gone" else "not visible to us", at)
            if isinstance(error, GoneError) and shared.repository_id is not None and not gone:
                self._interview.learnt += self._witness.ended(shared, at)
            return
        self._interview.say(shared.scope, f"is {match.owner_login}/{match.name} (id {match.id})", at)
        if shared.repository_id is None:
            self._interview.learnt += self._witness.met(shared, match, at)
        else:
            self._interview.learnt += self._witness.followed(shared, match, at, gone=gone)

    def _sibling(self, name: str) -> None:
        """What the repository of another workflow of the owner's own is called now."""
        at = self._now()
        try:
            sibling = self._github.repository_named(
                self._interview.installation, self._interview.owner(), name, urgent=self._urgent
            )
        except UninstalledError:
            raise
        except (GoneError, BlockedError, NotOursError):
            return
        self._interview.learnt += self._witness.sibling(name, sibling, at)

    def _another_s(self, shared: Shared) -> RepositoryAnswer:
        """Ask for the other's repository with his own installation, which sees what is private, or else with ours.

        Raises:
            GitHubError: there was no answer.
        """
        theirs = self._accesses.of_another(shared.login, shared.owner_id)
        if theirs is not None:
            try:
                return self._ask_for(shared, theirs.installation_id)
            except (GoneError, NotOursError):
                pass
        return self._ask_for(shared, self._interview.installation)

    def _ask_for(self, shared: Shared, installation: int) -> RepositoryAnswer:
        if shared.repository_id is None:
            return self._github.repository_at(installation, shared.login, shared.name, urgent=self._urgent)
        return self._github.repository(installation, shared.repository_id, urgent=self._urgent)

    def _owner(self, inquiry: Inquiry) -> None:
        """Whether an owner of which no repository was found is there at all, and what it is called."""
        scope, at = scopes.owner(inquiry.owner), self._now()
        try:
            login = self._github.user(self._interview.installation, inquiry.owner_id, urgent=self._urgent).login
        except GoneError:
            if self._interview.missing(scope, at, expected=inquiry.deleted):
                self._interview.learnt.append(self._witness.owner_gone(at))
        else:
            self._interview.say(
                scope, f"is {login}{'' if self._access.own else '; the App is not installed there'}", at
            )
            self._seen.append(scope)
            self._interview.learnt += self._witness.owner(inquiry, login, at)


def _turn(scope: str, at: Micros) -> bool:
    """Whether it is this one's turn: each has one every second day."""
    return crc32(scope.encode()) % TURNS == at // (48 * HOUR // TURNS) % TURNS
