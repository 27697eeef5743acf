"""Whether the workflow files of an owner's policies are there, and get tokens: what their owners should know before a release.

It is advice. What cannot be asked keeps nothing else waiting, and takes nothing of the budget's reserve.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from worker.github.answers import File, GitHubError, GoneError, LaterError, LimitedError, SpentError, UninstalledError
from worker.github.client import GitHub
from worker.github.workflow import asks_for_id_token
from worker.lifecycle import scopes
from worker.lifecycle.facts import DAY, Micros
from worker.verify.evidence import Witness
from worker.verify.inquiry import Inquiry, Reading
from worker.verify.interview import Interview

FRESH: Micros = 7 * DAY
"""So old what was read may be before a sweep reads it again."""
MOST = 100
"""Files that one check reads; a sweep reads the others."""
PERMISSION = "contents"


class Workflow(NamedTuple):
    """A workflow file of a repository that was found to be the owner's."""

    repository_id: int
    file: str
    scope: str
    read: Reading


class Workflows:
    """Reads workflow files, after all that policies depend on was asked."""

    def __init__(
        self, github: GitHub, interview: Interview, witness: Witness, *, lag: Micros, now: Callable[[], Micros]
    ) -> None:
        """`lag`: for so long after a push, GitHub's answer may be that of a replica that has not heard of it."""
        self._github = github
        self._interview = interview
        self._witness = witness
        self._lag = lag
        self._now = now

    def read(self, inquiry: Inquiry, about: Collection[str], *, again: bool) -> None:
        """Read what was not read since somebody said something of it, of the scopes in question; `again`: all of that.

        Raises:
            SpentError: there was no time for all.
        """
        whole = scopes.owner(inquiry.owner_id) in about
        asked = [w for w in self._found(inquiry) if whole or scopes.index_of(w.scope) in about or w.scope in about]
        owed = [w for w in asked if again or w.read.read_at <= w.read.heard_at]
        owed.sort(key=lambda w: w.read.heard_at, reverse=True)
        self._all(owed[:MOST])

    def read_again(self, inquiry: Inquiry) -> None:
        """Read what was not read since somebody said something of it, or for a week, the longest ago first.

        Raises:
            SpentError: there was no time for all.
        """
        week = self._now() - FRESH
        owed = [w for w in self._found(inquiry) if w.read.read_at <= max(w.read.heard_at, week)]
        self._all(sorted(owed, key=lambda w: w.read.read_at))

    def _found(self, inquiry: Inquiry) -> Iterator[Workflow]:
        for scope, (repository, _) in self._interview.found.items():
            if repository.owner_id == inquiry.owner_id and scope == scopes.repository(inquiry.owner_id, repository.id):
                for file, read in inquiry.subjects[scope].files.items():
                    yield Workflow(repository.id, file, scopes.workflow(scope, file), read)

    def _all(self, owed: Iterable[Workflow]) -> None:
        read: list[str] = []
        try:
            for workflow in owed:
                self._interview.going_on()
                if not self._github.may(self._interview.installation, PERMISSION, urgent=False):
                    return
                if self._one(workflow):
                    read.append(workflow.scope)
        except SpentError:
            raise
        except GitHubError:
            pass  # There is no token, or no call left for what is only advice: it is read another time.
        finally:
            self._interview.seen(*read)

    def _one(self, workflow: Workflow) -> bool:
        """Read one file; whether GitHub answered."""
        at = self._now()
        told = workflow.read.pushed_at + self._lag
        if at < told:
            self._interview.again.setdefault(told, []).append(workflow.scope)
            return False
        try:
            found = self._contents(workflow)
        except (SpentError, LimitedError):
            raise
        except GitHubError as error:
            self._interview.say(workflow.scope, "no answer", at)
            if isinstance(error, LaterError):
                self._interview.ask_again(workflow.scope, at)
            return not isinstance(error, LaterError)
        asks = None if found is None or found.text is None else asks_for_id_token(found.text)
        self._interview.say(workflow.scope, _told(found, asks=asks), at)
        self._interview.learnt += self._witness.workflow(
            workflow.scope, workflow.read, at, missing=found is None, tokenless=None if asks is None else not asks
        )
        return True

    def _contents(self, workflow: Workflow) -> File | None:
        """The file, however its name is spelt; None: there is none.

        Raises:
            GitHubError: it cannot be told.
        """
        installation, repository_id = self._interview.installation, workflow.repository_id
        try:
            return self._github.workflow(installation, repository_id, workflow.file, urgent=False)
        except UninstalledError:
            raise
        except GoneError:
            pass
        try:
            names = self._github.workflows(installation, repository_id, urgent=False)
        except UninstalledError:
            raise
        except GoneError:
            return None
        other = next((name for name in names if _alike(name, workflow.file)), None)
        return None if other is None else self._github.workflow(installation, repository_id, other, urgent=False)


def _alike(one: str, other: str) -> bool:
    """Letter case aside, as tokens are compared."""
    return one.lower() == other.lower() and one.upper() == other.upper()


def _told(found: File | None, *, asks: bool | None) -> str:
    if found is None:
        return "not on the default branch"
    if found.text is None:
        return "on the default branch, and not read: too large, or no plain text"
    return (
        "on the default branch, and "
        + {
            True: "asks for id-token: write",
            False: "no job asks for id-token: write",
            None: "nobody can tell whether it asks for id-token: write",
        }[asks]
    )
