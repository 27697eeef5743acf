"""What a package owner asked for, and how it is written down."""

from __future__ import annotations

import json
from typing import NamedTuple


class Registration(NamedTuple):
    """A policy as its owner registered it. Ids are GitHub's; `None` where it is not known or not wanted."""

    name: str
    package_owner: str
    package_owner_kind: str
    """`user` or `organization`."""
    creator: str
    creator_github_id: int | None
    repository_owner: str
    repository_owner_id: int
    repository: str
    repository_id: int | None
    visibility: str | None
    """`public`, `private` or `internal`, as far as the registry knew."""
    workflow_file: str
    environment: str | None


class Called(NamedTuple):
    """A reusable workflow of another repository: https://docs.github.com/en/actions/how-tos/reuse-automations/reuse-workflows"""

    owner: str
    repository: str
    file: str


def called(registration: Registration) -> Called | None:
    """The reusable workflow that a policy names, None if its workflow is a file of its own repository."""
    home, marker, file = registration.workflow_file.rpartition("/.github/workflows/")
    owner, _, repository = home.partition("/")
    return Called(owner, repository, file) if marker else None


def encode(registration: Registration) -> str:
    """A registration as the text that an observation carries. Python's JSON keeps every digit of an id."""
    return json.dumps(list(registration), separators=(",", ":"), ensure_ascii=False)


def decode(text: str) -> Registration:
    """The reverse of `encode`."""
    return Registration(*json.loads(text))
