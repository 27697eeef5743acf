"""The parts of incoming events that are looked at. Everything else in them is tolerated and not read.

Ids arrive as JSON numbers or as strings of digits and never pass through a float.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

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


def _or_none(given: object, parse: ValidatorFunctionWrapHandler) -> object:
    try:
        return parse(given)
    except ValueError:
        return None


ItemT = TypeVar("ItemT")
Optional = Annotated[ItemT | None, WrapValidator(_or_none)]
"""What nobody depends on: if it does not fit, it is as good as missing. A signed hint is not refused for its sake."""
Many = Annotated[list[ItemT], BeforeValidator(lambda given: [] if given is None else given)]
"""A list; null is as good as an empty one."""


class Tolerant(BaseModel):
    """Unknown fields are normal: GitHub adds them without notice."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Account(Tolerant):
    """A GitHub user or organisation."""

    id: Id
    login: Optional[str] = None
    name: Optional[str] = None
    """In `push`, an owner has a name where all other events have a login."""


class Repository(Tolerant):
    id: Id
    name: str
    owner: Account
    visibility: Optional[str] = None
    default_branch: Optional[str] = None


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
    changes: Optional[Changes] = None


class Membership(Tolerant):
    user: Account | None = None
    state: str | None = None


class OrganizationEvent(Tolerant):
    organization: Account
    membership: Membership | None = None
    changes: Optional[Changes] = None


class Permission(Tolerant):
    new: str | None = Field(default=None, alias="to")


class MemberChanges(Tolerant):
    permission: Permission | None = None
    role_name: Permission | None = None


class MemberEvent(Tolerant):
    repository: Repository
    member: Account | None = None
    changes: Optional[MemberChanges] = None


class InstallationEvent(Tolerant):
    installation: Installation
    repositories: Many[ShortRepository] = []
    """Those that the App may see, where the event lists them."""


class InstallationRepositoriesEvent(Tolerant):
    installation: Installation
    repositories_added: Many[ShortRepository] = []
    repositories_removed: Many[ShortRepository] = []


class InstallationTargetEvent(Tolerant):
    account: Account


class Through(Tolerant):
    """The installation through which any event came; most events give only its id."""

    account: Account | None = None


class OwnedEvent(Tolerant):
    """Any event of which only whom it concerns matters: a person, a repository, or the owner of either."""

    member: Optional[Account] = None
    blocked_user: Optional[Account] = None
    organization: Optional[Account] = None
    repository: Optional[Repository] = None
    installation: Optional[Through] = None


class PushEvent(Tolerant):
    ref: str
    repository: Repository
    commits: Many[object] = []
    """Read by the handler: a model for each would cost a hundred times as much."""


# What the registry and the exchange send.

_WORKFLOWS = ".github/workflows/"
_REPOSITORY_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_LOGIN = re.compile(r"[A-Za-z0-9_-]{1,100}")
_WORKFLOW_ADDRESS = re.compile(
    r"(?i:https?)://[^/?#]+/(?P<repository>[^/?#]+/[^/?#]+)/(?:blob|edit|raw|tree)/[^?#]+?/\.github/workflows/(?P<file>[^/?#]+)(?:[?#].*)?"
)
"""`https://github.com/octo/widgets/blob/main/.github/workflows/release.yml`, as browsers show a file"""
_SCP_FORM = re.compile(r"(?:[^/@]+@)?[^/:]+\.[^/:]+:(?P<path>.*)")
"""`git@github.com:octo/widgets.git`"""


def _path_parts(given: str) -> list[str]:
    """Owner and repository of `octo/widgets`, of a URL of any scheme and host, or of an address as ssh takes it.

    Raises:
        ValueError: there are more parts, or fewer, than those two; an owner's URL has one.
    """
    scp = _SCP_FORM.fullmatch(given)
    if "://" in given:
        try:
            path = urlsplit(given).path
        except ValueError:
            # Its own message would quote the address, which may hold a password.
            path = ""
    elif scp:
        path = scp["path"]
    else:
        path = given.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0]
        host, _, rest = path.partition("/")
        if "." in host and rest:
            # github.com/octo/widgets, as browsers show it; a login has no dot.
            path = rest
    parts = [part for part in path.split("/") if part]
    if not parts or ("/" in path and len(parts) > 2 and parts[2] not in ("tree", "blob", "actions", "settings")):
        msg = "give a name, owner/name or URL"
        raise ValueError(msg)
    return parts[:2]


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
        parts = _path_parts(given) if "/" in given else [given]
        name = parts[-1].removesuffix(".git") if len(parts) > 1 or parts == [given] else ""
        if not _REPOSITORY_NAME.fullmatch(name) or name in (".", ".."):
            msg = "give the repository's name, owner/name or URL"
            raise ValueError(msg)
        return name

    @field_validator("repository_owner")
    @classmethod
    def _only_the_login(cls, given: str) -> str:
        """The same for the owner: `https://github.com/octo` and `octo/widgets` mean `octo`."""
        login = _path_parts(given)[0].removeprefix("@") if "/" in given else given.removeprefix("@")
        if not _LOGIN.fullmatch(login):
            msg = "give the owner's login, without its address"
            raise ValueError(msg)
        return login

    @field_validator("workflow_file")
    @classmethod
    def _only_the_file(cls, given: str) -> str:
        """`.github/workflows/release.yml` means `release.yml`; another repository's workflow keeps its path."""
        address = _WORKFLOW_ADDRESS.fullmatch(given)
        path = f"{address['repository']}/{_WORKFLOWS}{address['file']}" if address else given
        file = path.removeprefix("./").lstrip("/").removeprefix(_WORKFLOWS)
        if not file or file.endswith("/") or "://" in file:
            msg = "give the workflow's file, such as release.yml, or owner/name/.github/workflows/release.yml"
            raise ValueError(msg)
        return file

    @field_validator("environment")
    @classmethod
    def _blank_is_none(cls, given: str | None) -> str | None:
        return (given or "").strip() or None

    @model_validator(mode="after")
    def _its_own_file(self) -> Self:
        """A file of the policy's own repository is kept without the name, which a rename would make a stranger's."""
        repository, marker, file = self.workflow_file.partition(f"/{_WORKFLOWS}")
        if marker and file and repository.lower() == f"{self.repository_owner}/{self.repository}".lower():
            return self.model_copy(update={"workflow_file": file})
        return self


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
