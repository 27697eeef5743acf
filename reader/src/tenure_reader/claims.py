"""What the rules see of a token: the CI job that it speaks for, in words that no provider owns.

A provider's claims are mapped in one file of its own, `github` for GitHub Actions. A second provider is a second file with
a `Provider`; its ids are told from GitHub's as those of another instance of GitHub are (`keys.OwnerRef`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

Claims: TypeAlias = Mapping[str, object]

DIGITS = 20
"""As many as the largest number of 64 bits has."""
_MORE_THAN_ANY_ID = 10**DIGITS


class Difference(NamedTuple):
    """Why a rule fails. `code` is one of `rules.DIFFERENCES`; `detail` is for operators."""

    code: str
    detail: str
    told: str = ""
    """For whoever presented the token, where it is more than the code says."""


class Workflow(NamedTuple):
    """A workflow that ran."""

    repository: str
    """Where it is kept, as `owner/name`."""
    file: str
    ref: str
    """Of which branch or tag, such as `refs/heads/main`, or of which commit."""


class Run(Protocol):
    """What a token says of the run that a job is a part of. Few policies ask, so it is read from the token when one does; what
    the token does not say, or not in its proper form, is None, empty or false.
    """

    @property
    def caller(self) -> Workflow | None:
        """The workflow that the run began with: the job's own, unless that is a reusable one."""

    @property
    def caller_commit(self) -> str:
        """From which commit that was taken."""

    @property
    def commit(self) -> str:
        """From which commit the job's own was."""

    @property
    def ref(self) -> str:
        """The branch or tag that the run was started for."""

    @property
    def ref_protected(self) -> bool:
        """Whether rules of the repository say who may move that."""

    @property
    def runner(self) -> str:
        """`github-hosted` or `self-hosted`."""


class Job(NamedTuple):
    """The CI job that a token speaks for. What the token does not say, or not in its proper form, is None or empty."""

    owner_id: int | None
    repository_id: int | None
    repository: str
    """As `owner/name`."""
    workflow: Workflow | None
    """The one that the job is a part of."""
    environment: str
    malformed: Difference | None
    """Claims that every token of the provider has are missing, or have another form."""
    event: str
    """What started the run."""
    run: Run
    """The run that it is a part of."""
    issuer: str | None = None
    """Who issued the token. None where it does not say; empty where it says so in another form than it must."""

    @property
    def name(self) -> str:
        """The repository's, without its owner."""
        return self.repository.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Provider:
    """Whose tokens are judged: what its claims are called, and which job they speak of."""

    required: tuple[str, ...]
    """Claims without which no token passes."""
    optional: frozenset[str]
    """Claims that are looked at where they are there."""
    unchecked: frozenset[str]
    """Claims that are known, and deliberately not looked at."""
    unchecked_prefixes: tuple[str, ...]
    """The same for all claims whose names begin so."""
    job: Callable[[Claims], Job]

    def checks(self, claim: str) -> bool:
        return claim in self.required or claim in self.optional

    def knows(self, claim: str) -> bool:
        """Whether it was decided to look at a claim, or not to."""
        return self.checks(claim) or claim in self.unchecked or claim.startswith(self.unchecked_prefixes)


def integer(value: object) -> int | None:
    """An id, as a string of digits or as a number; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < _MORE_THAN_ANY_ID else None
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > DIGITS:
        return None
    # 007 is no way to write 7.
    return None if value[0] == "0" and len(value) > 1 else int(value)


def text(claims: Claims, name: str) -> str | None:
    """A claim that is a text, and not an empty one. Half a surrogate pair is none: it cannot be written in UTF-8."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value) else None
