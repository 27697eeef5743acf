"""Whether the creators of an owner's policies still have access: members of the organisation, or collaborators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from worker.github.answers import BlockedError, GoneError, NotOursError, UninstalledError
from worker.github.client import GitHub, pages
from worker.lifecycle import scopes
from worker.lifecycle.facts import Micros
from worker.verify.evidence import Witness
from worker.verify.inquiry import Inquiry, Person, Subject
from worker.verify.interview import ONE_BY_ONE, Interview


class People:
    """Asks about the creators, after the repositories were asked about."""

    def __init__(
        self,
        github: GitHub,
        interview: Interview,
        inquiry: Inquiry,
        witness: Witness,
        *,
        known: int | None,
        urgent: bool,
        now: Callable[[], Micros],
    ) -> None:
        """`known`: how many members there were last time."""
        self._github = github
        self._interview = interview
        self._inquiry = inquiry
        self._witness = witness
        self._known = known
        self._urgent = urgent
        self._now = now
        self._listed: dict[int, Micros] = {}

    def ask(self, *, organization: bool, everything: bool) -> None:
        """
        Raises:
            GitHubError: not all of them could be asked about.
        """
        people = [person for person in self._inquiry.people.values() if person.user_id != self._inquiry.owner_id]
        members = {scopes.member(self._inquiry.owner_id, person.user_id): person for person in people}
        self._interview.count_asked(members)
        try:
            # Asked about singly, each costs two calls.
            many = 2 * len(people) > max(ONE_BY_ONE, pages(self._known))
            if organization and people and (everything or many):
                self._list()
            for scope, person in members.items():
                one = self._member if organization else self._collaborator
                self._interview.tolerantly(partial(self._unless_blocked, one, scope, person))
        except NotOursError:
            self._interview.say(
                scopes.owner(self._inquiry.owner_id), "GitHub does not let us ask for members", self._now()
            )

    def _unless_blocked(self, ask: Callable[[str, Person], None], scope: str, person: Person) -> None:
        try:
            ask(scope, person)
        except BlockedError:
            at = self._now()
            self._interview.say(scope, "blocked by GitHub: nothing is learnt", at)
            self._interview.ask_again(scope, at)

    def _list(self) -> None:
        at = self._now()
        login = self._interview.login
        for page in self._github.members(self._interview.installation, login, urgent=self._urgent):
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
        login = self._login(person)
        active, invited = (False, False) if login is None else self._membership(login)
        if login is not None and not active and not invited and self._interview.called_otherwise():
            # We had asked under a name that the organisation does not have any more.
            active, invited = self._membership(login)
        if active:
            self._is_member(scope, person, at)
        elif login is not None and not invited and self._outside(person, self._roles(person, login), at):
            self._interview.seen(scope)
        elif invited or self._interview.missing(scope, at, expected=person.blocked):
            self._interview.say(scope, "is no member", at)
            self._interview.learnt.append(self._witness.membership(person.user_id, at, active=False))

    def _is_member(self, scope: str, person: Person, at: Micros) -> None:
        self._interview.say(scope, "is a member", at)
        self._interview.seen(scope)
        self._interview.learnt.append(self._witness.membership(person.user_id, at, active=True))

    def _membership(self, login: str) -> tuple[bool, bool]:
        """Whether somebody is a member, and whether GitHub at least knows of an invitation."""
        installation, organization = self._interview.installation, self._interview.login
        try:
            active = self._github.membership(installation, organization, login, urgent=self._urgent)
        except UninstalledError:
            raise
        except GoneError:
            return False, False
        return active, not active

    def _login(self, person: Person) -> str | None:
        """What a user is called now; None if GitHub does not know the id."""
        try:
            return self._github.user(self._interview.installation, person.user_id, urgent=self._urgent).login
        except UninstalledError:
            raise
        except GoneError:
            return None

    def _outside(self, person: Person, writes: list[bool | None], at: Micros) -> bool:
        """Whether somebody who never was a member works from outside, as far as is known: then access to repositories
        is what counts, and no membership.
        """
        if person.member:
            return False
        if any(writes):
            if person.denied:
                self._interview.learnt.append(self._witness.membership(person.user_id, at, active=None))
            return True
        contested = any(person.user_id in subject.contested for subject in self._inquiry.subjects.values())
        # Where no repository of theirs was found, or none could be asked about, nothing is known.
        return contested or not writes or None in writes

    def _roles(self, person: Person, login: str) -> list[bool | None]:
        """Whether a person may write to each repository where the access hangs on that; None where nobody can tell."""
        return [
            self._role(subject, person, login)
            for subject in self._inquiry.subjects.values()
            if person.user_id in subject.creators
            and subject.scope in self._interview.found
            and (not person.member or person.user_id in subject.contested)
        ]

    def _role(self, subject: Subject, person: Person, login: str) -> bool | None:
        repository, _ = self._interview.found[subject.scope]
        scope, at = scopes.collaborator(subject.scope, person.user_id), self._now()
        installation, owner = self._interview.installation, repository.owner_login
        may_write = False
        try:
            may_write = self._github.role(installation, owner, repository.name, login, urgent=self._urgent)
            self._interview.seen(scope)
        except UninstalledError:
            raise
        except (NotOursError, BlockedError):
            return None
        except GoneError:
            if not self._interview.missing(scope, at, expected=person.user_id in subject.shut_out):
                return None
        self._interview.say(scope, f"may {'' if may_write else 'not '}write", at)
        if may_write or person.member or person.user_id in subject.contested:
            said = self._witness.access(subject, person.user_id, at, may_write=may_write)
            self._interview.learnt.append(said)
        return may_write

    def _collaborator(self, scope: str, person: Person) -> None:
        """The owner is a user: whoever else registers policies for it works there as a collaborator."""
        at = self._now()
        login = self._login(person)
        if login is not None:
            self._interview.seen(scope)
        elif not self._interview.missing(scope, at, expected=person.blocked):
            return
        for subject in self._inquiry.subjects.values():
            if person.user_id not in subject.creators or subject.scope not in self._interview.found:
                continue
            if login is not None:
                subject.contested.add(person.user_id)
                self._role(subject, person, login)
            else:
                self._interview.learnt.append(self._witness.access(subject, person.user_id, at, may_write=False))
