"""Whether the creators of an owner's policies still have access: members of the organisation, or collaborators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from worker.github.answers import BlockedError, GoneError, NotOursError, RepositoryAnswer, UninstalledError, UserAnswer
from worker.github.client import GitHub, pages
from worker.lifecycle import scopes
from worker.lifecycle.facts import Micros
from worker.verify.evidence import EvidenceBuilder
from worker.verify.inquiry import Inquiry, Person, RepositorySubject
from worker.verify.interview import ONE_BY_ONE, Interview


class RepositoryRole(NamedTuple):
    """What somebody may do to a repository; `writes` is None where nobody can tell."""

    subject: RepositorySubject
    at: Micros
    writes: bool | None


class People:
    """Asks about the creators, after the repositories were asked about."""

    def __init__(
        self,
        github: GitHub,
        interview: Interview,
        inquiry: Inquiry,
        witness: EvidenceBuilder,
        *,
        first_known: int | None,
        urgent: bool,
        now: Callable[[], Micros],
    ) -> None:
        """`first_known`: how many members there were last time."""
        self._github = github
        self._interview = interview
        self._inquiry = inquiry
        self._witness = witness
        self._known = first_known
        self._urgent = urgent
        self._now = now
        self._listed: dict[int, Micros] = {}
        self.unanswered = {
            scopes.member(inquiry.owner, user_id) for user_id in inquiry.people if user_id != inquiry.owner_id
        }
        """Those of whom nothing was learnt so far: until then, that their repository is there proves nothing for them."""

    def ask(self, *, organization: bool, everything: bool) -> None:
        """
        Raises:
            GitHubError: not all of them could be asked about.
        """
        people = [person for person in self._inquiry.people.values() if person.user_id != self._inquiry.owner_id]
        members = {scopes.member(self._inquiry.owner, person.user_id): person for person in people}
        try:
            # Asked about singly, each costs two calls.
            many = 2 * len(people) > max(ONE_BY_ONE, pages(self._known))
            if organization and people and (everything or many):
                self._list()
            for scope, person in members.items():
                one = self._member if organization else self._collaborator
                self._interview.tolerantly(partial(self._unless_blocked, one, scope, person))
        except NotOursError:
            at = self._now()
            self._interview.say(scopes.owner(self._inquiry.owner), "GitHub does not let us ask for members", at)
            self.unanswered.clear()
            for scope, person in members.items():
                if person.blocked:
                    # Somebody is kept out by a hint that nobody could confirm: that may soon be possible.
                    self._interview.ask_again(scope, at)

    def _unless_blocked(self, ask: Callable[[str, Person], None], scope: str, person: Person) -> None:
        try:
            ask(scope, person)
        except BlockedError:
            at = self._now()
            self._interview.say(scope, "blocked by GitHub: nothing is learnt", at)
            self._interview.ask_again(scope, at)
        self.unanswered.discard(scope)

    def _list(self) -> None:
        at = self._now()
        owner_id = self._inquiry.owner_id
        for page in self._github.members(self._interview.installation, owner_id, urgent=self._urgent):
            self._interview.going_on()
            self._listed.update((user.id, at) for user in page.items)
            at = self._now()
        self._interview.members = len(self._listed)

    def _member(self, scope: str, person: Person) -> None:
        at = self._listed.get(person.user_id)
        if at is not None:
            self._is_member(scope, person, at)
            return
        at = self._now()
        user = self._user(person)
        active, invited = (False, False) if user is None else self._membership(user)
        if active:
            self._is_member(scope, person, at)
            return
        if user is not None and not person.member:
            self._outside(scope, person, user, at)
            return
        if user is not None and not invited:
            self._roles(person, user)
        if user is not None and not invited and not self._still_called(user):
            self._interview.ask_again(scope, at)
        elif invited or self._interview.missing(scope, at, expected=person.blocked):
            self._interview.say(scope, "is no member", at)
            self._interview.learnt += self._witness.membership(person, at, active=False)

    def _still_called(self, user: UserAnswer) -> bool:
        """Whether organisation and user have the logins under which no membership was found."""
        return self._interview.still(self._interview.owner()) and self._interview.still(user)

    def _is_member(self, scope: str, person: Person, at: Micros) -> None:
        self._interview.say(scope, "is a member", at)
        self._interview.note_seen(scope)
        self._interview.learnt += self._witness.membership(person, at, active=True)

    def _membership(self, user: UserAnswer) -> tuple[bool, bool]:
        """Whether somebody is a member, and whether GitHub at least knows of an invitation."""
        organization = self._interview.owner()
        try:
            active = self._github.membership(self._interview.installation, organization, user, urgent=self._urgent)
        except UninstalledError:
            raise
        except GoneError:
            return False, False
        return active, not active

    def _user(self, person: Person) -> UserAnswer | None:
        """A user under the present login; None if GitHub does not know the id."""
        try:
            return self._github.user(self._interview.installation, person.user_id, urgent=self._urgent)
        except UninstalledError:
            raise
        except GoneError:
            return None

    def _outside(self, scope: str, person: Person, user: UserAnswer, at: Micros) -> None:
        """Somebody who never was a member works from outside, as far as is known: then access to each repository is what
        counts for its own policies, and no membership. Which repositories are asked about is of no account.
        """
        roles = self._roles(person, user)
        refused = [role for role in roles if role.writes is False and person.user_id not in role.subject.contested]
        works_here = person.works_here or any(role.writes for role in roles)
        if not refused or works_here:
            self._interview.note_seen(scope)
        elif not self._still_called(user):
            self._interview.ask_again(scope, at)
            return
        elif not self._interview.missing(scope, at, expected=person.blocked):
            return
        for role in refused:
            self._interview.say(role.subject.scope, "its creator is no member, and may not write", role.at)
            self._refuse(role, person, stranger=not works_here)
        if person.denied and any(role.writes is not None for role in roles):
            self._interview.learnt += self._witness.membership(person, at, active=None)

    def _refuse(self, role: RepositoryRole, person: Person, *, stranger: bool) -> None:
        subject, user_id = role.subject, person.user_id
        if stranger:
            self._interview.learnt.append(self._witness.stranger(subject, user_id, role.at, is_one=True))
            return
        self._interview.learnt.append(self._witness.access(subject, user_id, role.at, may_write=False))
        if user_id in subject.strangers:
            self._interview.learnt.append(self._witness.stranger(subject, user_id, role.at, is_one=False))

    def _roles(self, person: Person, user: UserAnswer) -> list[RepositoryRole]:
        """Whether a person may write to each repository where the access hangs on that."""
        return [
            self._role(subject, person, user)
            for subject in self._inquiry.subjects.values()
            if person.user_id in subject.creators
            and subject.scope in self._interview.seen_repositories
            and (not person.member or person.user_id in subject.contested)
        ]

    def _role(self, subject: RepositorySubject, person: Person, user: UserAnswer) -> RepositoryRole:
        repository, _ = self._interview.seen_repositories[subject.scope]
        scope, at = scopes.collaborator(subject.scope, person.user_id), self._now()
        unknown = RepositoryRole(subject, at, None)
        may_write, gone = False, False
        try:
            may_write = self._github.role(
                self._interview.installation, repository.owner_login, repository.name, user, urgent=self._urgent
            )
        except UninstalledError:
            raise
        except (NotOursError, BlockedError):
            self._note_unanswered(subject, person, at)
            return unknown
        except GoneError:
            gone = True
        if not self._still_there(repository) or (gone and not self._interview.still(user)):
            self._interview.ask_again(subject.scope, at)
            return unknown
        if not gone:
            self._interview.note_seen(scope)
        elif not self._interview.missing(scope, at, expected=person.user_id in subject.shut_out):
            return unknown
        self._interview.say(scope, f"may {'' if may_write else 'not '}write", at)
        role = RepositoryRole(subject, at, may_write)
        if person.user_id in subject.unasked:
            self._interview.learnt.append(self._witness.unasked(subject, person.user_id, at, is_so=False))
        if may_write or person.member or person.user_id in subject.contested:
            observation = self._witness.access(subject, person.user_id, at, may_write=may_write)
            self._interview.learnt.append(observation)
        if may_write and person.user_id in subject.strangers:
            self._interview.learnt.append(self._witness.stranger(subject, person.user_id, at, is_one=False))
        return role

    def _note_unanswered(self, subject: RepositorySubject, person: Person, at: Micros) -> None:
        """GitHub does not let us ask, as of a public repository that the App was not given. What was proven last counts on
        for as long as a proof does.
        """
        since = subject.unasked.get(person.user_id, subject.verified_at or at)
        self._interview.say(subject.scope, "GitHub does not let us ask whether its creator may write", at)
        self._interview.learnt.append(self._witness.unasked(subject, person.user_id, since, is_so=True))
        if person.blocked or person.user_id in subject.shut_out:
            self._interview.ask_again(subject.scope, at)

    def _still_there(self, repository: RepositoryAnswer) -> bool:
        """Whether the repository still has the name under which somebody's role was asked for."""
        self._interview.going_on()
        try:
            now = self._github.repository(self._interview.installation, repository.id, urgent=self._urgent)
        except UninstalledError:
            raise
        except (GoneError, BlockedError, NotOursError):
            return False
        return _address(now) == _address(repository)

    def _collaborator(self, scope: str, person: Person) -> None:
        """The owner is a user: whoever else registers policies for it works there as a collaborator."""
        at = self._now()
        user = self._user(person)
        if user is not None:
            self._interview.note_seen(scope)
        elif not self._interview.missing(scope, at, expected=person.blocked):
            return
        for subject in self._inquiry.subjects.values():
            if person.user_id not in subject.creators or subject.scope not in self._interview.seen_repositories:
                continue
            if user is not None:
                subject.contested.add(person.user_id)
                self._role(subject, person, user)
            else:
                self._interview.learnt.append(self._witness.access(subject, person.user_id, at, may_write=False))


def _address(repository: RepositoryAnswer) -> tuple[int, str, str]:
    return repository.owner_id, repository.owner_login.lower(), repository.name.lower()
