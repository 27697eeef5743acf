"""What GitHub answers, and the errors for everything else.

Every error says what was asked and what to do about it, and none holds a token, a key or words of GitHub's:

    GitHubError
    ├── GoneError             404: gone, or not visible to us; not a verdict by itself
    │   └── UninstalledError  the App is not installed there any more
    ├── BlockedError          451, or 403 "access blocked": GitHub took the repository offline
    ├── NotOursError          403 without a limit, or a 302 about members: we may not ask this
    ├── CredentialsError      401 that a fresh token does not cure: the App's id or key is wrong
    ├── SuspendedError        the installation is suspended
    └── LaterError            nothing is learnt: 5xx, time-outs, broken or unlikely answers; try again
        ├── LimitedError      a limit of GitHub's, or our own budget; not before `retry_at`
        ├── MovedError        a redirect, which is never followed; `repository_id` if it names one
        ├── SpentError        what one owner may take of calls or time is used up; go on next time
        └── UnfinishedError   a list did not end within its bound; what came before it is true
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from worker.lifecycle.facts import Micros

Visibility: TypeAlias = Literal["public", "private", "internal"]
OwnerKind: TypeAlias = Literal["User", "Organization"]

ItemT = TypeVar("ItemT")


class RepositoryAnswer(NamedTuple):
    """A repository as it is now, wherever and under whatever name it was before."""

    id: int
    name: str
    owner_id: int
    owner_login: str
    owner_kind: OwnerKind
    flags: Mapping[str, bool]
    """What GitHub says of it in fields that are true or false, by their names: `archived`."""
    visibility: Visibility


class InstallationAnswer(NamedTuple):
    """The App in the hands of one account; `account_kind` is GitHub's word, `UserAnswer` or `Organization`."""

    id: int
    account_id: int
    account_login: str
    account_kind: str
    suspended: bool


class AppAnswer(NamedTuple):
    """The App as GitHub knows it. `permissions`: those that it has, at least for reading."""

    id: int
    name: str
    permissions: frozenset[str]
    events: frozenset[str]
    deliveries_page: str | None
    """The address of the page of its deliveries, for people."""


class HookAnswer(NamedTuple):
    """Where GitHub sends the App's webhooks. `insecure`: without verifying the certificate."""

    url: str
    content_type: str
    insecure: bool


class UserAnswer(NamedTuple):
    """A user under the present login."""

    id: int
    login: str


class File(NamedTuple):
    """A file on the default branch. `text`: None if it is larger than what is read, no plain file, or not in UTF-8."""

    text: str | None


class EnvironmentAnswer(NamedTuple):
    """A deployment environment of a repository."""

    limited: bool
    """It does not admit every branch and tag."""
    chosen: bool
    """It admits those that fit patterns of its own; else, if it is limited, protected branches."""
    guarded: bool
    """Somebody has to approve, or a rule that is not known here has to pass."""


class RulesetAnswer(NamedTuple):
    """Rules of a repository, or of its owner, for branches or tags. `protects`: they are in force, and there is one."""

    target: str
    """`branch` or `tag`; others are not about refs."""
    include: tuple[str, ...]
    """Patterns of the refs that they hold for; `~ALL`, `~DEFAULT_BRANCH`."""
    exclude: tuple[str, ...]
    """The same of those that they do not hold for, although they are included."""
    protects: bool


class DeliveryAnswer(NamedTuple):
    """One attempt to deliver a webhook; attempts for the same webhook share the `guid`."""

    id: int
    guid: str
    delivered_at: Micros
    succeeded: bool
    installation_id: int | None
    repository_id: int | None
    event: str
    action: str | None


class AnswerPage(NamedTuple, Generic[ItemT]):
    """A part of a list.

    `total`: how many items GitHub says the whole list has, None if it does not say. `more`: another page follows.
    Items that move while the pages are read may be missing or come twice.
    """

    items: tuple[ItemT, ...]
    total: int | None
    more: bool


class GitHubError(Exception):
    """GitHub did not answer the question; the subclass says what that means."""

    outcome: ClassVar[str] = "error"
    """One word for counters."""


class GoneError(GitHubError):
    """404. Gone, or not visible to us; a second look and a control read have to agree before it counts."""

    outcome = "gone"


class UninstalledError(GoneError):
    """The App has no such installation: nothing of that account can be seen any more."""

    outcome = "uninstalled"


class BlockedError(GitHubError):
    """GitHub took it offline: 451, or 403 "Repository access blocked"."""

    outcome = "blocked"


class NotOursError(GitHubError):
    """We may not ask this: the App lacks the permission, or the owner keeps it from us."""

    outcome = "not_ours"


class CredentialsError(GitHubError):
    """The App's id or private key is wrong, or this machine's clock is."""

    outcome = "credentials"


class SuspendedError(GitHubError):
    """The installation is suspended: it exists, and may ask nothing."""

    outcome = "suspended"


class LaterError(GitHubError):
    """Nothing is learnt. The same question may be answered later."""

    outcome = "later"


class LimitedError(LaterError):
    """The installation has to wait, others need not. `retry_at`: unix seconds before which asking is pointless."""

    outcome = "limited"

    def __init__(self, message: str, retry_at: int) -> None:
        super().__init__(message)
        self.retry_at = retry_at


class MovedError(LaterError):
    """A redirect. `repository_id`: the repository that it names within the configured API, None if it names none."""

    outcome = "moved"

    def __init__(self, message: str, repository_id: int | None) -> None:
        super().__init__(message)
        self.repository_id = repository_id


class SpentError(LaterError):
    """Not asked: whoever asks has had its share of calls or time."""

    outcome = "spent"


class UnfinishedError(LaterError):
    """A list went on beyond its bound, or in circles. What it gave before may be used."""

    outcome = "unfinished"
