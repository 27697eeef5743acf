"""The parts of incoming events that are looked at. Everything else in them is tolerated and not read.

Ids arrive as JSON numbers or as strings of digits and never pass through a float.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from handlers import names
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.owners import ALIAS, DEFAULT, OwnerRef, owner_at
from worker.lifecycle.views import micros

MAX_ID = 2**63 - 1
LONGEST_ENVIRONMENT = 255
_NO_ENVIRONMENTS = frozenset("'\"`,;\\")
"""What no environment's name has on GitHub, nor in PyPI's form for one:
https://docs.github.com/en/actions/how-tos/deploy/configure-and-manage-deployments/manage-environments"""


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


def _one_line(value: str) -> str:
    if not value.isprintable():
        msg = "has a line break or another character that is not to be seen; such an id could not be read back"
        raise ValueError(msg)
    if value in (".", ".."):
        msg = "is a step in a path, and no part of an address; such an id could not be read back"
        raise ValueError(msg)
    return value


PolicyId = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_one_line)
]


Code = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
"""Why a token was refused, as `tenure_reader.rules.DIFFERENCES` names it, or as an exchange names what it checks itself."""


def _or_none(value: object, parse: ValidatorFunctionWrapHandler) -> object:
    try:
        return parse(value)
    except ValueError:
        return None


ItemT = TypeVar("ItemT")
Optional = Annotated[ItemT | None, WrapValidator(_or_none)]
"""What nobody depends on: if it does not fit, it is as good as missing. A signed hint is not refused for its sake."""


def _valid_items(value: object, parse: ValidatorFunctionWrapHandler) -> list[object]:
    if not isinstance(value, list):
        return []
    try:
        return list(parse(value))
    except ValueError:
        parsed = (_or_none([item], parse) for item in value)
        return [item for one in parsed if isinstance(one, list) for item in one]


Many = Annotated[list[ItemT], WrapValidator(_valid_items)]
"""A list, of which the items that fit count; anything else is as good as an empty one."""


def _moment(value: object) -> Micros:
    """Microseconds of an RFC 3339 time, or of seconds since 1970: GitHub writes both."""
    if isinstance(value, str):
        date = datetime.fromisoformat(value)
        if date.tzinfo is None:
            msg = "a time without an offset"
            raise ValueError(msg)
        return micros(date)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**40:
        return value * SECOND
    msg = "no time"
    raise ValueError(msg)


Moment = Annotated[int, BeforeValidator(_moment)]
"""Microseconds since 1970."""


class Tolerant(BaseModel):
    """Unknown fields are normal: GitHub adds them without notice."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Identified(Tolerant):
    """An account of which nothing but the id is read. Every field that is read costs time at each event."""

    id: Id


class AccountPayload(Identified):
    """A GitHub user or organisation."""

    login: Optional[str] = None
    name: Optional[str] = None
    """In `push`, an owner has a name where all other events have a login."""


class RepositoryPayload(Tolerant):
    id: Id
    name: str
    owner: Optional[Identified] = None
    disabled: Optional[bool] = None
    """By GitHub: https://docs.github.com/en/rest/repos/repos#get-a-repository"""


class DatedRepository(RepositoryPayload):
    updated_at: Optional[Moment] = None


class SeenRepository(RepositoryPayload):
    visibility: Optional[str] = None


class PushedRepository(DatedRepository):
    owner: Optional[AccountPayload] = None
    archived: Optional[bool] = None
    default_branch: Optional[str] = None


class ShortRepository(Tolerant):
    """A repository as the installation events list it: no owner, which is the installation's account."""

    id: Id
    name: str


class TargetPayload(Tolerant):
    """The account of an installation: a user, an organisation or an enterprise, whose ids are a number space of their own.

    https://docs.github.com/en/webhooks/webhook-events-and-payloads#installation
    """

    id: Id
    login: Optional[str] = None
    name: Optional[str] = None
    slug: Optional[str] = None
    """What an enterprise has in the place of a login."""
    type: Optional[str] = None

    @property
    def enterprise(self) -> bool:
        return self.type == ENTERPRISE or (self.login is None and self.slug is not None)


class InstallationPayload(Tolerant):
    """An installation as its own events describe it. Other events give its id only."""

    id: Optional[Id] = None
    account: Optional[TargetPayload] = None
    """Null once the account is gone."""
    target_id: Optional[Id] = None
    target_type: Optional[str] = None
    repository_selection: Optional[str] = None
    suspended_at: Optional[Moment] = None
    updated_at: Optional[Moment] = None

    @property
    def owner_id(self) -> int | None:
        """The user or organisation that it belongs to; None if it is an enterprise's, or nobody's any more."""
        account = self.account
        if self.target_type == ENTERPRISE or (account is not None and account.enterprise):
            return None
        if account is not None:
            return account.id
        return self.target_id if self.target_type in OWNERS else None


ENTERPRISE = "Enterprise"
OWNERS = ("User", "Organization")
"""Target types whose ids are owners' ids."""


class Was(Tolerant):
    """`changes.<field>` of a rename or transfer."""

    was: Optional[str] = Field(default=None, alias="from")


class FormerOwner(Tolerant):
    user: Optional[AccountPayload] = None
    organization: Optional[AccountPayload] = None


class WasOwner(Tolerant):
    was: Optional[FormerOwner] = Field(default=None, alias="from")


class ChangedRepository(Tolerant):
    name: Optional[Was] = None


class ChangesPayload(Tolerant):
    repository: Optional[ChangedRepository] = None
    owner: Optional[WasOwner] = None

    @property
    def former_name(self) -> str | None:
        """What the repository was called before."""
        name = self.repository and self.repository.name
        return (name and name.was) or None

    @property
    def names_former_owner(self) -> bool:
        """Whether it is said whose the repository was before, be it nobody's that still exists."""
        return self.owner is not None and self.owner.was is not None

    @property
    def former_owner(self) -> AccountPayload | None:
        """Whose the repository was before; None if that account is not there any more."""
        was = self.owner and self.owner.was
        return (was and (was.organization or was.user)) or None


class AboutRepository(Tolerant):
    """Whatever is about one repository."""

    repository: RepositoryPayload
    organization: Optional[Identified] = None

    @property
    def owner_id(self) -> int | None:
        """Whose the repository is; GitHub's schemas allow it to be told by the organisation alone, or not at all."""
        owner = self.repository.owner or self.organization
        return owner.id if owner is not None else None


class OwnedRepository(RepositoryPayload):
    owner: Optional[AccountPayload] = None


class RepositoryEvent(AboutRepository):
    """`repository.*`"""

    repository: OwnedRepository
    changes: Optional[ChangesPayload] = None


class ArchivedEvent(AboutRepository):
    """`repository.archived` and `unarchived`."""

    repository: DatedRepository


class VisibilityEvent(AboutRepository):
    """`repository.privatized`, `publicized` and `public`."""

    repository: SeenRepository


class MembershipPayload(Tolerant):
    user: Identified | None = None


class LoginChanged(Tolerant):
    login: Optional[Was] = None


class OrganizationEvent(Tolerant):
    """`organization.renamed` and `organization.deleted`."""

    organization: AccountPayload
    changes: Optional[LoginChanged] = None


class MembershipEvent(Tolerant):
    """`organization.member_added` and `organization.member_removed`."""

    organization: Identified
    membership: MembershipPayload | None = None


class Permission(Tolerant):
    new: Optional[str] = Field(default=None, alias="to")


class MemberChanges(Tolerant):
    permission: Optional[Permission] = None
    role_name: Optional[Permission] = None


class MemberEvent(AboutRepository):
    member: Identified | None = None
    changes: Optional[MemberChanges] = None


class InstallationEvent(Tolerant):
    installation: InstallationPayload
    repositories: Many[ShortRepository] = []
    """Those that the App may see, where the event lists them."""


class InstallationRepositoriesEvent(Tolerant):
    installation: InstallationPayload
    repository_selection: Optional[str] = None
    repositories_added: Many[ShortRepository] = []
    repositories_removed: Many[ShortRepository] = []


class InstallationTargetEvent(Tolerant):
    account: TargetPayload | None = None
    changes: Optional[LoginChanged] = None
    target_type: Optional[str] = None


class HookPayload(Tolerant):
    type: Optional[str] = None


class HookEvent(Tolerant):
    """`ping` and `meta.deleted`: the beginning and the end of a webhook."""

    hook_id: Optional[Id] = None
    hook: Optional[HookPayload] = None
    organization: Optional[Identified] = None
    repository: Optional[RepositoryPayload] = None


class OwnedEvent(Tolerant):
    """Any event of which only whom it concerns matters: a person, a repository, or the owner of either."""

    member: Optional[Identified] = None
    blocked_user: Optional[Identified] = None
    organization: Optional[Identified] = None
    repository: Optional[RepositoryPayload] = None
    installation: Optional[InstallationPayload] = None


class PushEvent(AboutRepository):
    repository: PushedRepository
    ref: str
    commits: Many[object] = []
    """Read by the handler: a model for each would cost a hundred times as much."""
    head_commit: object = None
    """The last of the commits; after a forced push, which may list none, what the branch came to."""


# What the registry and the exchange send.


MOST_ASKED = 20
"""Refs, events or actions that a policy names."""
MOST_PACKAGES = 50


def _some(parse: Callable[[str], str], most: int) -> BeforeValidator:
    """A list of at least one, each in its normal form and once."""

    def check(value: object) -> object:
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
            raise ValueError("is a list of texts")
        if not value:
            raise ValueError("names none; leave it out where nothing is asked")
        if len(value) > most:
            raise ValueError(f"names more than {most}")
        return tuple(dict.fromkeys(map(parse, value)))

    return BeforeValidator(check)


Refs = Annotated[tuple[str, ...] | None, _some(names.ref_pattern, MOST_ASKED)]
Events = Annotated[tuple[str, ...] | None, _some(names.event, MOST_ASKED)]
Packages = Annotated[tuple[str, ...] | None, _some(names.package_pattern, MOST_PACKAGES)]
Actions = Annotated[tuple[str, ...] | None, _some(names.action, MOST_ASKED)]


class PackageOwnerData(Tolerant):
    account: Text
    kind: Literal["user", "organization"]


class CreatorData(Tolerant):
    account: Text
    github_user_id: Id | None = None


Issuer = Annotated[str, StringConstraints(pattern=f"^{ALIAS}$")]
"""The alias of an instance of GitHub."""


class GitHubData(Tolerant):
    issuer: Issuer | None = None
    """None: the default one's."""
    repository_owner: Text
    repository_owner_id: Id
    repository: Text
    repository_id: Id | None = None
    visibility: Literal["public", "private", "internal"] | None = None
    workflow_file: Text
    environment: str | None = Field(default=None, max_length=LONGEST_ENVIRONMENT)
    refs: Refs = None
    ref_protected: StrictBool | None = None
    workflow_binds: Literal["job", "caller"] | None = None
    called_workflow: str | None = Field(default=None, max_length=1000)
    runner: Literal["github-hosted", "self-hosted", "any"] | None = None
    events: Events = None

    @property
    def owner(self) -> OwnerRef:
        """The owner, as keys and scopes have it."""
        return owner_at(self.issuer or DEFAULT, self.repository_owner_id)

    @field_validator("repository_owner")
    @classmethod
    def _only_the_login(cls, value: str) -> str:
        """`https://github.com/octo` and `octo/widgets` mean `octo`."""
        return names.login(value)

    @field_validator("repository")
    @classmethod
    def _only_the_name(cls, value: str, info: ValidationInfo) -> str:
        """People paste a URL or `owner/name`; what is meant is the name, if the owner is the policy's."""
        owner, name = names.repository(value)
        owner_login = info.data.get("repository_owner")
        if owner is not None and isinstance(owner_login, str) and owner.lower() != owner_login.lower():
            msg = "its owner is not repository_owner; give the name alone, or the owner that it has"
            raise ValueError(msg)
        return name

    @field_validator("workflow_file")
    @classmethod
    def _only_the_file(cls, value: str, info: ValidationInfo) -> str:
        """`.github/workflows/release.yml` means `release.yml`; another repository's workflow keeps its path."""
        return names.workflow_file(value, info.data.get("repository_owner"))

    @field_validator("environment")
    @classmethod
    def _blank_is_none(cls, value: str | None) -> str | None:
        environment = (value or "").strip()
        if not environment.isprintable():
            msg = "has a line break or another character that is not to be seen; no job's environment has one"
            raise ValueError(msg)
        if not _NO_ENVIRONMENTS.isdisjoint(environment) or "${{" in environment:
            msg = f"no job's environment has one of {' '.join(sorted(_NO_ENVIRONMENTS))} or an expression in its name"
            raise ValueError(msg)
        return environment or None

    @field_validator("workflow_binds")
    @classmethod
    def _a_run_begins_with_its_own_file(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value == "caller":
            _own_file(info)
        return value

    @field_validator("called_workflow")
    @classmethod
    def _only_the_workflow(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        called = names.called_workflow(value)
        _own_file(info)
        if info.data.get("workflow_binds") == "job":
            raise ValueError("is called by workflow_file, so that binds the caller; leave workflow_binds out")
        if names.is_file_of(called, info.data.get("repository_owner", ""), info.data.get("repository", "")):
            raise ValueError(
                "is a file of the policy's own repository, which may be called without this, at the run's own commit"
            )
        return called

    @model_validator(mode="after")
    def _its_own_file(self) -> Self:
        """A file of the policy's own repository is kept without the name, which a rename would make a stranger's."""
        if names.is_file_of(self.workflow_file, self.repository_owner, self.repository):
            file = self.workflow_file.partition(f"/{names.WORKFLOWS}")[2]
            return self.model_copy(update={"workflow_file": file})
        return self


def _own_file(info: ValidationInfo) -> None:
    """
    Raises:
        ValueError: the workflow file is another repository's, with which no run of the policy's begins.
    """
    file, owner, name = (info.data.get(field, "") for field in ("workflow_file", "repository_owner", "repository"))
    if f"/{names.WORKFLOWS}" in file and not names.is_file_of(file, owner, name):
        raise ValueError(
            "wants workflow_file to be a file of the policy's own repository, since a run begins with one of these"
        )


class PolicyRegistered(Tolerant):
    policy_id: PolicyId
    name: Text
    package_owner: PackageOwnerData
    created_by: CreatorData
    github: GitHubData
    packages: Packages = None
    actions: Actions = None


class RegistrationRefused(Tolerant):
    """A registration that left out its GitHub owner's id, of which nobody could tell. The HTTP API makes it of one."""

    policy_id: PolicyId
    code: Code


class PolicyNamed(Tolerant):
    """`policy.renewed`, and every operator's action."""

    policy_id: PolicyId
    reason: str | None = None


class LoginSucceeded(Tolerant):
    policy_id: PolicyId
    repository_id: Id
    repository_owner_id: Id
    issuer: Issuer | None = None
    """The alias of the instance that issued the token; None: the default one."""
    jti: Text
    run_id: Id | None = None
    actor: str | None = None
    ref: Text | None = None
    environment: Text | None = None
    caller: Text | None = None
    called: Text | None = None
    runner: Text | None = None

    @property
    def owner(self) -> OwnerRef:
        """The owner that the token named, as keys and scopes have it."""
        return owner_at(self.issuer or DEFAULT, self.repository_owner_id)


class LoginRefused(Tolerant):
    """A token that the exchange refused, where it knows under which policy; never the token itself."""

    policy_id: PolicyId
    code: Code
    ref: Text | None = None
    run_id: Id | None = None
    actor: Text | None = None


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
    def _rfc3339(cls, value: object) -> object:
        """Pydantic would also take a number of seconds; RFC 3339 is a text with date, time and offset."""
        if not (isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", value)):
            msg = "an RFC 3339 time, such as 2026-01-31T12:00:00Z"
            raise ValueError(msg)
        return value
