"""What is read of a policy."""

from __future__ import annotations

from typing import TypedDict


class PackageOwner(TypedDict):
    account: str
    kind: str


class Creator(TypedDict):
    account: str
    github_user_id: int | None


class Grant(TypedDict):
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
