"""What there is in the world that the fake GitHub plays. All of it is frozen: a change makes a new record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

MAX_ID = 2**63 - 1

Kind: TypeAlias = Literal["User", "Organization"]
Visibility: TypeAlias = Literal["public", "private", "internal"]
MemberState: TypeAlias = Literal["active", "pending"]

PERMISSIONS = {"read": "read", "triage": "read", "write": "write", "maintain": "write", "admin": "admin"}
"""Each role that GitHub knows by itself → the permission that it amounts to. Other roles are custom ones."""


class NotThereError(LookupError):
    """A verb names something that the world does not have; the message says what to add first."""


class NotPossibleError(ValueError):
    """A verb that GitHub would refuse, such as two repositories of one name; the message says which."""


@dataclass(frozen=True)
class AccountRecord:
    id: int
    login: str
    kind: Kind
    deleted: bool = False
    base_role: str = "write"
    """What an organisation's members may do in its repositories, where no role of their own says otherwise."""


@dataclass(frozen=True)
class RepositoryRecord:
    id: int
    name: str
    owner_id: int
    visibility: Visibility = "private"
    archived: bool = False
    deleted: bool = False
    blocked: bool = False
    """GitHub answers 451 for it."""

    def __post_init__(self) -> None:
        if self.visibility not in get_args(Visibility):
            raise NotPossibleError(f"visibility: {self.visibility} is none of {', '.join(get_args(Visibility))}")


@dataclass(frozen=True)
class MembershipRecord:
    state: MemberState = "active"
    role: str = "member"
    """`member` or `admin`; an admin has that role in every repository, too."""

    def __post_init__(self) -> None:
        if self.state not in get_args(MemberState):
            raise NotPossibleError(f"state: {self.state} is none of {', '.join(get_args(MemberState))}")


@dataclass(frozen=True)
class CollaboratorRecord:
    """What one person may do in one repository."""

    role_name: str
    permission: str


NO_ACCESS = CollaboratorRecord("", "none")


@dataclass(frozen=True)
class InstallationRecord:
    id: int
    account_id: int
    selection: frozenset[int] | None = None
    """The repositories that were chosen; None: all of them."""
    suspended_at: float | None = None
    members_permission: bool = True
    permissions: frozenset[str] = frozenset()
    """Beside those to read metadata and members: `contents`."""

    @property
    def suspended(self) -> bool:
        return self.suspended_at is not None


@dataclass(frozen=True)
class EnvironmentRecord:
    name: str
    admits: tuple[str, ...] | None = None
    """Patterns of branches and tags; empty: protected branches; None: all."""
    reviewers: tuple[int, ...] = ()
    """Users of whom one has to approve."""


@dataclass(frozen=True)
class RulesetRecord:
    id: int
    target: str
    """`branch`, `tag` or `push`."""
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    enforcement: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class DeliveryRecord:
    """One attempt to deliver a webhook. All attempts for one event share its guid."""

    id: int
    guid: str
    delivered_at: float
    """Seconds since 1970."""
    status_code: int
    event: str
    action: str | None
    installation_id: int | None
    repository_id: int | None
    redelivery: bool
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class AppRecord:
    """The App's settings, as its owner made them: all that Tenure needs, unless a test says otherwise."""

    permissions: tuple[str, ...] = ("metadata", "members", "contents", "actions", "organization_administration")
    events: tuple[str, ...] = (
        "repository", "public", "push", "workflow_run", "organization", "member", "membership", "team", "team_add",
        "org_block", "meta", "installation_target",
    )  # fmt: skip
    hook_url: str | None = "https://tenure.example.org/webhooks/github"
    """None: the App has no webhook."""
    content_type: str = "json"
    insecure_ssl: str = "0"
