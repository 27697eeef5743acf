"""The parts of incoming events that are looked at. Everything else in them is tolerated and not read.

Ids arrive as JSON numbers or as strings of digits and never pass through a float.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator

MAX_ID = 2**63 - 1


def _digits(value: object) -> object:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, float):
        # 1e18 or 12.0: digits may already be lost, so it is no id.
        msg = "an id is an integer or a string of digits"
        raise ValueError(msg)  # noqa: TRY004 - pydantic turns a ValueError into a field error
    return value


Id = Annotated[int, BeforeValidator(_digits), Field(strict=True, ge=0, le=MAX_ID)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]
PolicyId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Tolerant(BaseModel):
    """Unknown fields are normal: GitHub adds them without notice."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Account(Tolerant):
    """A GitHub user or organisation."""

    id: Id
    login: str | None = None
    name: str | None = None
    """In `push`, an owner has a name where all other events have a login."""


class Repository(Tolerant):
    id: Id
    name: str
    owner: Account
    private: bool | None = None
    visibility: str | None = None
    default_branch: str | None = None


class ShortRepository(Tolerant):
    """A repository as the installation events list it: no owner, which is the installation's account."""

    id: Id
    name: str


class Installation(Tolerant):
    account: Account


class Was(Tolerant):
    """`changes.<field>` of a rename or transfer."""

    was: str | None = Field(default=None, alias="from")


class FormerOwner(Tolerant):
    user: Account | None = None
    organization: Account | None = None


class WasOwner(Tolerant):
    was: FormerOwner | None = Field(default=None, alias="from")


class ChangedRepository(Tolerant):
    name: Was | None = None


class Changes(Tolerant):
    repository: ChangedRepository | None = None
    owner: WasOwner | None = None
    login: Was | None = None


class RepositoryEvent(Tolerant):
    """`repository.*` and `public`."""

    repository: Repository
    changes: Changes | None = None


class Membership(Tolerant):
    user: Account | None = None
    state: str | None = None


class OrganizationEvent(Tolerant):
    organization: Account
    membership: Membership | None = None
    changes: Changes | None = None


class Permission(Tolerant):
    new: str | None = Field(default=None, alias="to")


class MemberChanges(Tolerant):
    permission: Permission | None = None
    role_name: Permission | None = None


class MemberEvent(Tolerant):
    repository: Repository
    member: Account | None = None
    changes: MemberChanges | None = None


class InstallationEvent(Tolerant):
    installation: Installation


class InstallationRepositoriesEvent(InstallationEvent):
    repositories_added: list[ShortRepository] = []
    repositories_removed: list[ShortRepository] = []


class InstallationTargetEvent(Tolerant):
    account: Account


class OwnedEvent(Tolerant):
    """Any event of which only the owner matters: the organisation's, the repository's, or the installation's."""

    organization: Account | None = None
    repository: Repository | None = None
    installation: Installation | None = None


class Commit(Tolerant):
    added: list[str] = []
    modified: list[str] = []
    removed: list[str] = []


class PushEvent(Tolerant):
    ref: str
    repository: Repository
    commits: list[Commit] = []


# What the registry and the exchange send.

_WORKFLOWS = ".github/workflows/"
_REPOSITORY_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


class PackageOwnerData(Tolerant):
    account: Text
    kind: Literal["user", "organization"]


class CreatorData(Tolerant):
    account: Text
    github_user_id: Id | None = None


class GitHubData(Tolerant):
    repository_owner: Text
    repository_owner_id: Id
    repository: Text
    repository_id: Id | None = None
    visibility: Literal["public", "private", "internal"] | None = None
    workflow_file: Text
    environment: str | None = Field(default=None, max_length=1000)

    @field_validator("repository")
    @classmethod
    def _only_the_name(cls, given: str) -> str:
        """People paste a URL or `owner/name`; what is meant is the name."""
        path = given.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0]
        path = re.sub(r"^(https?://|ssh://|git@)?([^/:@]+\.[^/:@]+[:/])?", "", path) if "/" in path else path
        parts = [part for part in path.split("/") if part]
        name = (parts[1] if len(parts) > 1 else parts[0]).removesuffix(".git") if parts else ""
        if not _REPOSITORY_NAME.fullmatch(name):
            msg = "give the repository's name, owner/name or URL"
            raise ValueError(msg)
        return name

    @field_validator("repository_owner")
    @classmethod
    def _only_the_login(cls, given: str) -> str:
        """The same for the owner: `https://github.com/octo` and `octo/widgets` mean `octo`."""
        login = re.sub(r"^https?://[^/]+/", "", given).split("/")[0].removeprefix("@")
        if not login:
            msg = "give the owner's login"
            raise ValueError(msg)
        return login

    @field_validator("workflow_file")
    @classmethod
    def _only_the_file(cls, given: str) -> str:
        """`.github/workflows/release.yml` means `release.yml`; another repository's workflow keeps its path."""
        return given.lstrip("/").removeprefix(_WORKFLOWS)

    @field_validator("environment")
    @classmethod
    def _blank_is_none(cls, given: str | None) -> str | None:
        return (given or "").strip() or None


class PolicyRegistered(Tolerant):
    policy_id: PolicyId
    name: Text
    package_owner: PackageOwnerData
    created_by: CreatorData
    github: GitHubData


class PolicyNamed(Tolerant):
    """`policy.renewed`, and every operator's action."""

    policy_id: PolicyId
    reason: str | None = None


class LoginSucceeded(Tolerant):
    policy_id: PolicyId
    repository_id: Id
    repository_owner_id: Id
    jti: Text
    run_id: Id | None = None
    actor: str | None = None


class AccountNamed(Tolerant):
    account: Text


class PackageOwnerMember(Tolerant):
    package_owner: Text
    account: Text


class CloudEvent(BaseModel):
    """The attributes of CloudEvents 1.0 that Tenure needs: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md"""

    model_config = ConfigDict(extra="allow", frozen=True)

    specversion: Literal["1.0"]
    id: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    source: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    type: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    time: AwareDatetime
    data: dict[str, object]

    @field_validator("time", mode="before")
    @classmethod
    def _rfc3339(cls, given: object) -> object:
        """Pydantic would also take a number of seconds; RFC 3339 is a text with date, time and offset."""
        if not (isinstance(given, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", given)):
            msg = "an RFC 3339 time, such as 2026-01-31T12:00:00Z"
            raise ValueError(msg)
        return given

    @property
    def occurred_at(self) -> datetime:
        return self.time
