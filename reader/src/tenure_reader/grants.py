"""What is read of a policy."""

from __future__ import annotations

from typing import TypedDict, cast

from tenure_reader.matching import Binds


class PackageOwner(TypedDict):
    account: str
    kind: str


class Creator(TypedDict):
    account: str
    github_user_id: int | None


class Conditions(TypedDict, total=False):
    """What a policy asks of a token beside its repository, its workflow and its environment. Each is there only where the
    policy asks for it, and what the token does not say then fails it.
    """

    refs: list[str]
    """Patterns (`globs`): the ref that the run was started for fits one."""
    ref_protected: bool
    """That ref is a protected one."""
    workflow_binds: Binds
    """Which workflow the policy's file is; where this is absent, the installation's setting says."""
    called_workflow: str
    """`owner/name/.github/workflows/file.yml`, or that, `@` and a pattern: where the job may be, too, which the policy's own
    workflow called; `*` for anywhere."""
    runner: str
    events: list[str]
    packages: list[str]
    """Patterns (`globs`) of the packages that may be published; what is not asked about is for the exchange to restrict."""
    actions: list[str]
    """What may be done with them, in the registry's words."""
    issuer: str
    """The alias of the instance of GitHub that issued the token, and whose ids the policy has; absent, it is the default
    one."""


class Held(TypedDict, total=False):
    """What no view says of a policy."""

    held: str
    """Of one that a switch closes: who holds what, and why."""


class Grant(Conditions, Held):
    """The part of a view that decides, and that says for whom. A view is one, too."""

    policy_id: str
    revision: int
    state: str
    usable: bool
    usable_until: str | None
    reasons: list[str]
    package_owner: PackageOwner
    created_by: Creator
    repository_owner_id: int
    repository: str
    repository_id: int | None
    workflow_file: str
    environment: str | None


def conditions_of(grant: Grant) -> Conditions:
    """Those that a policy makes, and nothing else of it."""
    return cast("Conditions", {name: value for name, value in grant.items() if name in Conditions.__optional_keys__})
