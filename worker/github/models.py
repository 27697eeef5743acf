"""The parts of GitHub's JSON that are read. Everything else is tolerated; what is read has to fit.

An id is a JSON integer of up to 64 bits: nothing else is one, so none ever loses a digit.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeAlias, TypeVar, get_args
from urllib.parse import quote, urlsplit

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)

from worker.github.answers import (
    AppAnswer,
    DeliveryAnswer,
    EnvironmentAnswer,
    File,
    HookAnswer,
    InstallationAnswer,
    OwnerKind,
    RepositoryAnswer,
    RulesetAnswer,
    UserAnswer,
    Visibility,
)
from worker.github.workflow import LONGEST
from worker.lifecycle.facts import Micros

MAX_ID = 2**63 - 1
PER_PAGE = 100
"""What GitHub lists at once, at most."""
MAX_ENTRIES = 1_000
"""Of a folder: GitHub shows no more."""
_UNGUARDED = ("wait_timer", "branch_policy")
"""Protection rules that ask nobody; which branches an environment admits is told beside them."""
_WRITING = ("admin", "maintain", "write")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Id = Annotated[int, Field(strict=True, ge=1, le=MAX_ID)]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_ID)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, StringConstraints(min_length=1)]
ItemT = TypeVar("ItemT")
Listed = Annotated[list[ItemT], Field(max_length=PER_PAGE), FailFast()]
"""A page of a list. The first item that does not fit ends the reading: an error for each takes thousands of bytes."""


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class AccountModel(_Read):
    """A user or an organisation where it owns something."""

    id: Id
    login: Name
    type: OwnerKind


class UserModel(_Read):
    id: Id
    login: Name

    def made(self) -> UserAnswer:
        return UserAnswer(self.id, self.login)


class NamedAccountModel(_Read):
    """https://docs.github.com/en/rest/users/users#get-a-user, which answers for organisations, too."""

    id: Id
    login: Name
    type: Name

    def made(self) -> UserAnswer | None:
        """None for what owns no repositories, such as a bot."""
        return UserAnswer(self.id, self.login) if self.type in get_args(OwnerKind) else None


class RepositoryModel(_Read):
    """`visibility` is missing in answers of old servers; `private` is not."""

    id: Id
    name: Name
    owner: AccountModel
    archived: Flag
    disabled: Flag = False
    visibility: Visibility | None = None
    private: Flag | None = None

    @model_validator(mode="after")
    def _seen(self) -> RepositoryModel:
        if self.visibility is None and self.private is None:
            msg = "neither visibility nor private is there"
            raise ValueError(msg)
        return self

    def made(self) -> RepositoryAnswer:
        visibility: Visibility = self.visibility or ("private" if self.private else "public")
        owner = self.owner
        return RepositoryAnswer(
            self.id,
            self.name,
            owner.id,
            owner.login,
            owner.type,
            {"archived": self.archived, "disabled": self.disabled},
            visibility,
        )


class RepositoriesModel(_Read):
    total_count: Count
    repositories: Listed[RepositoryModel]


def granted(permissions: Mapping[str, str]) -> frozenset[str]:
    """Those that are given at least for reading."""
    return frozenset(name for name, level in permissions.items() if level in ("read", "write", "admin"))


class AppOwnerModel(_Read):
    login: str = ""
    type: str = "User"


class RegistrationModel(_Read):
    """https://docs.github.com/en/rest/apps/apps#get-the-authenticated-app"""

    id: Id
    name: str = ""
    slug: str | None = None
    html_url: str = ""
    owner: AppOwnerModel | None = None
    permissions: dict[str, str]
    events: list[str]

    def made(self) -> AppAnswer:
        permissions = granted(self.permissions)
        return AppAnswer(self.id, self.slug or self.name, permissions, frozenset(self.events), self._deliveries_page())

    def _deliveries_page(self) -> str | None:
        """https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/viewing-webhook-deliveries"""
        there = urlsplit(self.html_url)
        if (
            there.scheme != "https"
            or not there.netloc
            or self.slug is None
            or self.owner is None
            or not self.owner.login
        ):
            return None
        whose = f"organizations/{quote(self.owner.login, safe='')}/" if self.owner.type == "Organization" else ""
        return f"https://{there.netloc}/{whose}settings/apps/{quote(self.slug, safe='')}/advanced"


class HookModel(_Read):
    """https://docs.github.com/en/rest/apps/webhooks#get-a-webhook-configuration-for-an-app"""

    url: str = ""
    content_type: str = "form"
    insecure_ssl: str | int = "0"

    def made(self) -> HookAnswer:
        return HookAnswer(self.url, self.content_type, str(self.insecure_ssl) != "0")


class InstalledModel(_Read):
    """The account of an installation. An enterprise has no login."""

    id: Id
    login: Name | None = None
    type: Name | None = None


class InstallationModel(_Read):
    id: Id
    account: InstalledModel | None
    target_type: Name | None = None
    suspended_at: AwareDatetime | None = None

    def made(self) -> InstallationAnswer | None:
        """None for an enterprise or a deleted account: neither owns repositories, and ids of enterprises are their own."""
        account, kind = self.account, self.target_type or (self.account and self.account.type)
        if account is None or account.login is None or kind not in ("User", "Organization"):
            return None
        return InstallationAnswer(self.id, account.id, account.login, kind, self.suspended_at is not None)


class IdentifiedModel(_Read):
    id: Id


class MembershipModel(_Read):
    state: Literal["active", "pending"]
    user: IdentifiedModel
    organization: IdentifiedModel

    @property
    def active(self) -> bool:
        return self.state == "active"


class RoleModel(_Read):
    """`role_name` may be one that the organisation made up; `permission` is what it is based on."""

    permission: Literal["admin", "maintain", "write", "triage", "read", "none"]
    role_name: str | None = None
    user: IdentifiedModel

    @property
    def writes(self) -> bool:
        made_up = self.role_name not in (*_WRITING, "triage", "read", "none")
        return (self.permission if made_up else self.role_name) in _WRITING


class FileModel(_Read):
    """https://docs.github.com/en/rest/repos/contents#get-repository-content of one file, with what it holds."""

    type: Name
    size: Count
    encoding: str = ""
    content: str = ""

    def made(self) -> File:
        if self.type != "file" or self.encoding != "base64" or self.size > LONGEST:
            return File(None)
        try:
            held = binascii.a2b_base64(self.content)
            return File(held.decode() if len(held) == self.size else None)
        except (binascii.Error, ValueError):
            return File(None)


class EntryModel(_Read):
    """The same of a folder: one of what is in it."""

    type: Name
    name: Name


class RuleModel(_Read):
    type: str
    reviewers: Annotated[list[object], Field(max_length=PER_PAGE)] = []

    @property
    def guards(self) -> bool:
        return bool(self.reviewers) if self.type == "required_reviewers" else self.type not in _UNGUARDED


class BranchPolicyModel(_Read):
    custom_branch_policies: Flag


class EnvironmentModel(_Read):
    """https://docs.github.com/en/rest/deployments/environments#get-an-environment"""

    name: Name
    protection_rules: Listed[RuleModel] = []
    deployment_branch_policy: BranchPolicyModel | None = None

    def made(self) -> EnvironmentAnswer:
        policy = self.deployment_branch_policy
        return EnvironmentAnswer(
            limited=policy is not None,
            chosen=policy is not None and policy.custom_branch_policies,
            guarded=any(rule.guards for rule in self.protection_rules),
        )


class NamedModel(_Read):
    name: Name


class EnvironmentsModel(_Read):
    environments: Listed[NamedModel]


class BranchPoliciesModel(_Read):
    """https://docs.github.com/en/rest/deployments/branch-policies#list-deployment-branch-policies"""

    branch_policies: Listed[NamedModel]


class BranchModel(_Read):
    """https://docs.github.com/en/rest/branches/branches#get-a-branch"""

    name: Name
    protected: Flag


class ListedRulesetModel(_Read):
    """https://docs.github.com/en/rest/repos/rules#get-all-repository-rulesets, also of those that the repository inherits."""

    id: Id
    target: str = "branch"
    enforcement: str

    @property
    def protects(self) -> bool:
        return self.enforcement == "active" and self.target in ("branch", "tag")


class RefNameModel(_Read):
    include: Annotated[list[str], Field(max_length=MAX_ENTRIES)] = []
    exclude: Annotated[list[str], Field(max_length=MAX_ENTRIES)] = []


class RulesetConditionsModel(_Read):
    ref_name: RefNameModel = RefNameModel()


class RulesetModel(ListedRulesetModel):
    """https://docs.github.com/en/rest/repos/rules#get-a-repository-ruleset"""

    conditions: RulesetConditionsModel | None = None
    rules: Annotated[list[object], Field(max_length=MAX_ENTRIES)] = []

    def made(self) -> RulesetAnswer:
        refs = RefNameModel() if self.conditions is None else self.conditions.ref_name
        return RulesetAnswer(self.target, tuple(refs.include), tuple(refs.exclude), self.protects and bool(self.rules))


class DeliveryModel(_Read):
    id: Id
    guid: Name
    delivered_at: AwareDatetime
    status_code: Count
    event: Name
    action: str | None = None
    installation_id: Id | None = None
    repository_id: Id | None = None

    @property
    def at(self) -> Micros:
        return (self.delivered_at - _EPOCH) // timedelta(microseconds=1)

    def made(self) -> DeliveryAnswer:
        succeeded = 200 <= self.status_code < 300
        return DeliveryAnswer(
            self.id,
            self.guid,
            self.at,
            succeeded,
            self.installation_id,
            self.repository_id,
            self.event,
            self.action,
        )


class TokenModel(_Read):
    """What goes into a header has to be printable ASCII."""

    token: Annotated[str, StringConstraints(pattern=r"^[!-~]{1,2000}$")] = Field(repr=False)
    expires_at: AwareDatetime
    permissions: dict[str, str] = {}


class RefusalModel(_Read):
    """The body of a 4xx; `block` says why GitHub took something offline."""

    message: str = ""
    block: object = None


Users: TypeAlias = Listed[UserModel]
Installations: TypeAlias = Listed[InstallationModel]
Branches: TypeAlias = Listed[BranchModel]
Rulesets: TypeAlias = Listed[ListedRulesetModel]
Deliveries: TypeAlias = Listed[DeliveryModel]
Folder: TypeAlias = Annotated[list[EntryModel], Field(max_length=MAX_ENTRIES), FailFast()]

REPOSITORY = TypeAdapter(RepositoryModel)
REPOSITORIES = TypeAdapter(RepositoriesModel)
USER = TypeAdapter(UserModel)
ACCOUNT = TypeAdapter(NamedAccountModel)
USERS = TypeAdapter(Users)
REGISTRATION = TypeAdapter(RegistrationModel)
HOOK = TypeAdapter(HookModel)
INSTALLATIONS = TypeAdapter(Installations)
MEMBERSHIP = TypeAdapter(MembershipModel)
ROLE = TypeAdapter(RoleModel)
FILE = TypeAdapter(FileModel)
ENVIRONMENT = TypeAdapter(EnvironmentModel)
ENVIRONMENTS = TypeAdapter(EnvironmentsModel)
BRANCH_POLICIES = TypeAdapter(BranchPoliciesModel)
FOLDER = TypeAdapter(Folder)
BRANCH = TypeAdapter(BranchModel)
BRANCHES = TypeAdapter(Branches)
RULESETS = TypeAdapter(Rulesets)
RULESET = TypeAdapter(RulesetModel)
DELIVERIES = TypeAdapter(Deliveries)
TOKEN = TypeAdapter(TokenModel)
