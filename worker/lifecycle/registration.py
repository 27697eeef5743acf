"""What a package owner asked for, and how it is written down."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from worker.lifecycle.conditions import NOTHING, RegisteredConditions, read, written
from worker.lifecycle.owners import DEFAULT, OwnerRef, owner_at

_FOLDER = "/.github/workflows/"
_CALLED = re.compile(r"(?P<file>[^/]+?\.ya?ml)(?:@(?P<ref>.+))?", re.IGNORECASE)
"""A file, and the pattern of its refs, if one is given. A file's name may hold an `@`: its ending is what ends it."""


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
    asked: RegisteredConditions = NOTHING

    @property
    def issuer(self) -> str:
        """The alias of the instance of GitHub whose ids these are."""
        return self.asked.issuer or DEFAULT

    @property
    def owner(self) -> OwnerRef:
        """The owner, as keys and scopes have it."""
        return owner_at(self.issuer, self.repository_owner_id)


class Called(NamedTuple):
    """A reusable workflow of another repository: https://docs.github.com/en/actions/how-tos/reuse-automations/reuse-workflows"""

    owner: str
    repository: str
    file: str
    ref: str | None
    """A pattern of the refs that it may be taken from."""


def called(registration: Registration) -> Called | None:
    """The reusable workflow of another repository that a policy names: as its own, or as one that its own may call. None if it
    names none.
    """
    home, marker, file = registration.workflow_file.rpartition(_FOLDER)
    ref = None
    if registration.asked.called_workflow is not None:
        home, marker, rest = registration.asked.called_workflow.partition(_FOLDER)
        parts = _CALLED.fullmatch(rest)
        file, ref = parts.groups() if parts else ("", None)
    owner, _, repository = home.partition("/")
    return Called(owner, repository, file, ref) if marker and file else None


def own_file(registration: Registration) -> str | None:
    """The policy's workflow, where it is a file of its own repository; None where it is another's."""
    return None if _FOLDER in registration.workflow_file else registration.workflow_file


def encode(registration: Registration) -> str:
    """A registration as the text that an observation carries. Python's JSON keeps every digit of an id. What is asked of a token
    is written only where something is, so that an older worker reads all other registrations.
    """
    *members, asked = registration
    written_down = [*members, written(asked)] if asked != NOTHING else members
    return json.dumps(written_down, separators=(",", ":"), ensure_ascii=False)


def decode(text: str) -> Registration:
    """The reverse of `encode`.

    Raises:
        TypeError: it asks for something of which this version does not know: to leave that out would let more through.
    """
    members = json.loads(text)
    asked = read(members.pop()) if isinstance(members[-1], dict) else NOTHING
    return Registration(*members)._replace(asked=asked)
