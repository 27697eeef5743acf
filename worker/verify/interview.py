"""One conversation with GitHub about an owner: what was learnt in it, what is missing, when to ask again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from worker.github.answers import LaterError, LimitedError, RepositoryAnswer, UserAnswer
from worker.github.client import GitHub
from worker.lifecycle.facts import Micros, Observation
from worker.lifecycle.owners import id_of
from worker.store.checks import Extent
from worker.store.losses import MissingScopes
from worker.verify.installations import ApiAccess
from worker.verify.losses import SECOND_LOOK, Losses, Owner, next_look

ONE_BY_ONE = 3
"""So many repositories, or people, are asked about singly; more are looked for in the list of all."""
PATIENCE = 3
"""Questions in a row without an answer after which the others are not asked: GitHub is down, or slow."""

SeenRepository = tuple[RepositoryAnswer, Micros]


class EvidenceLine(NamedTuple):
    """One piece of evidence, in words."""

    about: str
    answer: str
    at: Micros


class Interview:
    """What `Repositories` and `People` have in common. What was learnt so far is in `learnt`, also after an error."""

    def __init__(
        self,
        github: GitHub,
        access: ApiAccess,
        owner: Owner,
        *,
        urgent: bool,
        missing: MissingScopes,
        losses: Losses,
        now: Callable[[], Micros],
        going_on: Callable[[], None],
        keeps: bool,
    ) -> None:
        self._github = github
        self._installed = access.installed
        self._owner = owner
        self._owner_id = id_of(owner.owner_id)
        self._login: str | None = None
        self._urgent = urgent
        self._missing = missing
        self._losses = losses
        self._now = now
        self.going_on = going_on
        """Called before each question."""
        self._controlled = False
        self._failures: list[LaterError] = []
        self._in_vain = 0
        self._keeps = keeps
        self.seen_repositories: dict[str, SeenRepository] = {}
        """Scope of a subject → the repository as it was found."""
        self.learnt: list[Observation] = []
        self.lines: list[EvidenceLine] = []
        self.again: dict[Micros, list[str]] = {}
        """When to look again → for what."""
        self.withheld: list[str] = []
        self.doubted: list[str] = []
        """What was not found at a first look: until the second, it renews no lease either."""
        self.repositories: int | None = None
        self.members: int | None = None

    @property
    def extent(self) -> Extent:
        """How much there is, as far as it was seen."""
        return Extent(self.repositories, self.members)

    @property
    def installation(self) -> int:
        return self._installed.installation_id

    def owner(self) -> UserAnswer:
        """The owner under its present login, which its own id told in this conversation: a login from anywhere else may
        be a stranger's by now.

        Raises:
            GitHubError: it could not be asked; `GoneError`: nobody has this id.
        """
        if self._login is None:
            self._login = self._github.user(self.installation, self._owner_id, urgent=self._urgent).login
        return UserAnswer(self._owner_id, self._login)

    def still(self, account: UserAnswer) -> bool:
        """Whether an account is still called so: only then does it say something that nothing was found under its login.

        Raises:
            GitHubError: it could not be asked.
        """
        self.going_on()
        return (
            self._github.user(self.installation, account.id, urgent=self._urgent).login.lower() == account.login.lower()
        )

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

    def called(self, repositories: Iterable[RepositoryAnswer]) -> None:
        """What the owner is called now, as its repositories, found by ids, tell."""
        self._login = next((r.owner_login for r in repositories if r.owner_id == self._owner_id), self._login)

    # What is missing

    def missing(self, scope: str, at: Micros, *, expected: bool) -> bool:
        """GitHub says that it does not know this. Whether that is believed; if not yet, when to look again is noted.

        Raises:
            GitHubError: GitHub does not answer what it must know, either.
        """
        first = self._losses.note_missing(self._owner, scope, at, expected=expected)
        if not self._losses.due(first, at):
            self.say(scope, "not found; a second look will tell", at)
            self._look_again(first + SECOND_LOOK, scope)
            self.doubted.append(scope)
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

    def note_seen(self, *found: str) -> None:
        """These are there."""
        self._missing.note_seen(found, self._owner.owner_id)

    def ask_again(self, scope: str, at: Micros) -> None:
        """Ask again, the later the longer that goes on: it was no answer, or may soon be another."""
        again_at = next_look(self._missing.unanswered(scope, at), at)
        if again_at is not None:
            self._look_again(again_at, scope)

    def _look_again(self, when: Micros, scope: str) -> None:
        self.again.setdefault(when, []).append(scope)

    def _control(self) -> None:
        """Ask something to which GitHub must know the answer."""
        if not self._controlled:
            for page in self._github.repositories(self.installation, urgent=self._urgent):
                self.called(page.items)
                break
            self._controlled = True

    def say(self, about: str, answer: str, at: Micros) -> None:
        """Keep this as evidence, if anybody wants to see it."""
        if self._keeps:
            self.lines.append(EvidenceLine(about, answer, at))
