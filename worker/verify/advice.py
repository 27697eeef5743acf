"""Whether the workflow files, environments and refs of an owner's policies are what a release needs, and protect it.

It is advice. What cannot be asked keeps nothing else waiting, and takes nothing of the budget's reserve.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

from tenure_reader.globs import ref_matches
from worker.github.answers import (
    EnvironmentAnswer,
    File,
    GitHubError,
    GoneError,
    LaterError,
    LimitedError,
    NotOursError,
    RulesetAnswer,
    SpentError,
    UninstalledError,
)
from worker.github.client import GitHub
from worker.github.workflow import asks_for_id_token
from worker.lifecycle import scopes
from worker.lifecycle.facts import DAY, Micros
from worker.verify import protection
from worker.verify.evidence import EvidenceBuilder
from worker.verify.inquiry import Inquiry, WorkflowReference
from worker.verify.interview import PATIENCE, Interview

FRESH: Micros = 7 * DAY
"""So old an answer may be before a sweep asks again."""
MOST = 100
"""Files, environments and refs that one check asks about; a sweep asks about the others."""

FoundT = TypeVar("FoundT")
Aspects: TypeAlias = dict[str, bool | None]


class AdviceAnswer(NamedTuple):
    """What an answer comes to. `aspects`: others than whether it is missing; None: that cannot be told."""

    summary: str
    """For people."""
    missing: bool
    aspects: Aspects


class Matter(NamedTuple):
    """A workflow file, an environment, or refs, of a repository that was found to be the owner's."""

    scope: str
    read: WorkflowReference
    permission: str
    """Without it, a 404 says nothing."""
    find: Callable[[], AdviceAnswer]


class Advice:
    """Asks what is only advice, after all that policies depend on was asked."""

    def __init__(
        self, github: GitHub, interview: Interview, witness: EvidenceBuilder, *, lag: Micros, now: Callable[[], Micros]
    ) -> None:
        """`lag`: for so long after a push, GitHub's answer may be that of a replica that has not heard of it."""
        self._github = github
        self._interview = interview
        self._witness = witness
        self._lag = lag
        self._now = now
        self._rulesets: dict[int, list[RulesetAnswer] | None] = {}
        """Of each repository, as this check read them; None: nobody can tell."""

    def ask(self, inquiry: Inquiry, about: Collection[str], *, again: bool) -> None:
        """Ask what was not asked since somebody said something of it, of the scopes in question; `again`: all of that.

        Raises:
            SpentError: there was no time for all.
        """
        whole = scopes.owner(inquiry.owner) in about
        asked = [m for m in self._matters(inquiry) if whole or scopes.index_of(m.scope) in about or m.scope in about]
        owed = [m for m in asked if again or m.read.read_at <= m.read.heard_at]
        owed.sort(key=lambda m: m.read.heard_at, reverse=True)
        self._all(owed[:MOST])

    def ask_again(self, inquiry: Inquiry) -> None:
        """Ask what was not asked since somebody said something of it, or for a week, the longest ago first.

        Raises:
            SpentError: there was no time for all.
        """
        week = self._now() - FRESH
        owed = [m for m in self._matters(inquiry) if m.read.read_at <= max(m.read.heard_at, week)]
        self._all(sorted(owed, key=lambda m: m.read.read_at))

    def _matters(self, inquiry: Inquiry) -> Iterator[Matter]:
        for scope, (repository, _) in self._interview.seen_repositories.items():
            if repository.owner_id != inquiry.owner_id or scope != scopes.repository(inquiry.owner, repository.id):
                continue
            subject, where = inquiry.subjects[scope], repository.id
            for file, read in subject.files.items():
                yield Matter(scopes.workflow(scope, file), read, "contents", partial(self._file, where, file))
            for name, read in subject.environments.items():
                find = partial(self._environment, where, name)
                yield Matter(scopes.environment(scope, name), read, "actions", find)
            for pattern, read in subject.refs.items():
                if pattern.startswith(protection.HEADS):
                    yield Matter(scopes.refs(scope, pattern), read, "contents", partial(self._branches, where, pattern))
                else:
                    yield Matter(scopes.refs(scope, pattern), read, "metadata", partial(self._tags, where, pattern))

    def _all(self, owed: Iterable[Matter]) -> None:
        answered: list[str] = []
        in_vain = 0
        try:
            for matter in owed:
                if not self._github.may(self._interview.installation, matter.permission, urgent=False):
                    continue
                self._interview.going_on()
                if self._one(matter):
                    answered.append(matter.scope)
                    in_vain = 0
                elif (in_vain := in_vain + 1) >= PATIENCE:
                    return
        except SpentError:
            raise
        except GitHubError:
            pass  # There is no token, or no call left for what is only advice: it is asked another time.
        finally:
            self._interview.note_seen(*answered)

    def _one(self, matter: Matter) -> bool:
        """Ask about one; whether GitHub answered, or need not have been asked yet."""
        at = self._now()
        settled = matter.read.pushed_at + self._lag
        if at < settled:
            self._interview.again.setdefault(settled, []).append(matter.scope)
            return True
        try:
            found = matter.find()
        except (SpentError, LimitedError):
            raise
        except GitHubError as error:
            self._interview.say(matter.scope, "no answer", at)
            if isinstance(error, LaterError):
                self._interview.ask_again(matter.scope, at)
            return not isinstance(error, LaterError)
        self._interview.say(matter.scope, found.summary, at)
        self._interview.learnt += self._witness.advised(
            matter.scope, matter.read, at, missing=found.missing, **found.aspects
        )
        return True

    def _file(self, repository_id: int, name: str) -> AdviceAnswer:
        """
        Raises:
            GitHubError: it cannot be told.
        """
        found = self._contents(repository_id, name)
        if found is None:
            return AdviceAnswer("not on the default branch", missing=True, aspects={"tokenless": None})
        if found.text is None:
            unread = "on the default branch, and not read: too large, or no plain text"
            return AdviceAnswer(unread, missing=False, aspects={"tokenless": None})
        asks = asks_for_id_token(found.text)
        asking = {
            True: "asks for id-token: write",
            False: "no job asks for id-token: write",
            None: "nobody can tell whether it asks for id-token: write",
        }[asks]
        return AdviceAnswer(
            f"on the default branch, and {asking}",
            missing=False,
            aspects={"tokenless": None if asks is None else not asks},
        )

    def _contents(self, repository_id: int, file: str) -> File | None:
        """A workflow file, however its name is spelt; None: there is none."""
        here = self._interview.installation
        found = _unless_gone(lambda: self._github.workflow(here, repository_id, file, urgent=False))
        if found is not None:
            return found
        names = _unless_gone(lambda: self._github.workflows(here, repository_id, urgent=False))
        if names is None:
            # A repository that the App was not given may look so: then this is not found, either.
            self._github.contents(here, repository_id, urgent=False)
            return None
        other = next((name for name in names if _alike(name, file)), None)
        return None if other is None else self._github.workflow(here, repository_id, other, urgent=False)

    def _environment(self, repository_id: int, name: str) -> AdviceAnswer:
        """
        Raises:
            GitHubError: it cannot be told.
        """
        here = self._interview.installation
        found = _unless_gone(lambda: self._github.environment(here, repository_id, name, urgent=False))
        if found is None:
            # Where a plan has no environments, nobody can tell which there are: then this is not found, either.
            if any(_alike(other, name) for other in self._github.environments(here, repository_id, urgent=False)):
                raise LaterError("an environment is listed and not found; ask again later")
            return AdviceAnswer(
                "there is no such environment", missing=True, aspects={"open": None, "unprotected": None}
            )
        admits: Sequence[str] = ()
        if found.chosen:
            admits = self._github.admitted(here, repository_id, name, urgent=False)
        is_open = not found.limited or any(not pattern.strip("*/") for pattern in admits)
        summary = f"admits {_admitted(found, admits)}; {'somebody' if found.guarded else 'nobody'} has to approve"
        return AdviceAnswer(
            summary, missing=False, aspects={"open": is_open, "unprotected": is_open and not found.guarded}
        )

    def _branches(self, repository_id: int, pattern: str) -> AdviceAnswer:
        """
        Raises:
            GitHubError: it cannot be told.
        """
        here, name = self._interview.installation, pattern.removeprefix(protection.HEADS)
        if not protection.has_stars(pattern):
            found = _unless_gone(lambda: self._github.is_protected(here, repository_id, name, urgent=False))
            if found is not None:
                return _protected(not found)
            return self._by_rulesets(repository_id, pattern, missing=True)
        loose = self._github.branches(here, repository_id, protected=False, urgent=False)
        if any(ref_matches(pattern, f"{protection.HEADS}{branch}") for branch in loose):
            return _protected(True)
        kept = self._github.branches(here, repository_id, protected=True, urgent=False)
        if any(ref_matches(pattern, f"{protection.HEADS}{branch}") for branch in kept):
            # A rule of a branch may be for others, too, that are not there yet: GitHub tells of it by those that are.
            return _protected(None)
        return self._by_rulesets(repository_id, pattern)

    def _tags(self, repository_id: int, pattern: str) -> AdviceAnswer:
        """Of tags, or of all refs; those of pull requests are made by anybody.

        Raises:
            GitHubError: it cannot be told.
        """
        if not pattern.startswith(protection.TAGS):
            return _protected(True if ref_matches(pattern, "refs/pull/1/merge") else None)
        return self._by_rulesets(repository_id, pattern)

    def _by_rulesets(self, repository_id: int, pattern: str, *, missing: bool = False) -> AdviceAnswer:
        if repository_id not in self._rulesets:
            self._rulesets[repository_id] = self._read_rulesets(repository_id)
        rulesets = self._rulesets[repository_id]
        unprotected = None if rulesets is None else protection.uncovered(pattern, rulesets)
        return _protected(unprotected, missing=missing)

    def _read_rulesets(self, repository_id: int) -> list[RulesetAnswer] | None:
        """Those that are in force; None: GitHub does not show them, as in a plan that has none, or there are very many."""
        here = self._interview.installation
        try:
            ids = self._github.rulesets(here, repository_id, urgent=False)
            if len(ids) > protection.MOST_RULESETS:
                return None
            return [self._github.ruleset(here, repository_id, each, urgent=False) for each in ids]
        except UninstalledError:
            raise
        except (GoneError, NotOursError):
            return None


def _protected(unprotected: bool | None, *, missing: bool = False) -> AdviceAnswer:  # noqa: FBT001 - the one thing that it says
    summary = {True: "not protected", False: "protected", None: "nobody can tell whether they are protected"}[
        unprotected
    ]
    return AdviceAnswer(summary, missing=missing, aspects={"unprotected": unprotected})


def _unless_gone(ask: Callable[[], FoundT]) -> FoundT | None:
    """The answer; None: GitHub says that there is no such thing."""
    try:
        return ask()
    except UninstalledError:
        raise
    except GoneError:
        return None


def _alike(one: str, other: str) -> bool:
    """Letter case aside, as tokens are compared."""
    return one.lower() == other.lower() and one.upper() == other.upper()


def _admitted(found: EnvironmentAnswer, patterns: Sequence[str]) -> str:
    # Their words may hold anything, and are shown on terminals: they are only counted.
    return (
        "every branch and tag"
        if not found.limited
        else f"{len(patterns)} patterns"
        if found.chosen
        else "protected branches"
    )
