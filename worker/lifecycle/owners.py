"""Which GitHub owner is meant. Ids are unique within one instance of GitHub only: github.com, a tenant of ghe.com, an
Enterprise Server.

An owner of the default instance is its id, and one of another instance the text `alias/id`. So nothing that is kept or keyed
by an owner can be taken for what another instance's owner of the same id has; and whatever lies below an owner in a scope or a
key, a repository or a member, is told apart by it. A repository's or a user's id never stands alone.
"""

from __future__ import annotations

import re
from typing import NewType, TypeAlias

DEFAULT = "github"
"""The alias of the instance whose owners are written without one."""

OtherOwner = NewType("OtherOwner", str)
"""`alias/id`"""
OwnerRef: TypeAlias = int | OtherOwner

ALIAS = "[a-z][a-z0-9-]{0,31}"
"""What an instance may be called. It is a part of keys, of scopes and of an address, so it has nothing that separates there."""
_ALIAS = re.compile(ALIAS).fullmatch
_DIGITS = 19
"""As many as the largest id has."""


def is_alias(text: str) -> bool:
    return _ALIAS(text) is not None


def owner_at(issuer: str, owner_id: int) -> OwnerRef:
    """The owner of this id at the instance of this alias."""
    return owner_id if issuer == DEFAULT else OtherOwner(f"{issuer}/{owner_id}")


def owner_from(text: str) -> OwnerRef:
    """The reverse of `str`: `600613`, or `ghes/600613`.

    Raises:
        ValueError: it is neither.
    """
    issuer, slash, digits = text.rpartition("/")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS):
        raise ValueError("is no owner: give its id, or alias/id of another instance")
    if not slash:
        return int(digits)
    if issuer == DEFAULT or not is_alias(issuer):
        raise ValueError(f"is no owner: before the slash stands an instance's alias, and nothing for {DEFAULT}")
    return owner_at(issuer, int(digits))


def issuer_of(owner: OwnerRef) -> str:
    """The alias of an owner's instance."""
    return DEFAULT if isinstance(owner, int) else owner.partition("/")[0]


def id_of(owner: OwnerRef) -> int:
    """An owner's id within its instance."""
    return owner if isinstance(owner, int) else int(owner.partition("/")[2])


_KIND = "github"
"""The kind of source that the default instance of GitHub is."""


def kind_at(issuer: str) -> str:
    """The kind of what an instance of GitHub tells: `github`, and `github/<alias>` of another than the default one. A version
    that knows no other instances takes it for none of its webhooks, and so not for the default instance's.
    """
    return _KIND if issuer == DEFAULT else f"{_KIND}/{issuer}"


def issuer_in(kind: str) -> str | None:
    """The reverse of `kind_at`; None if it is no instance of GitHub that tells."""
    name, _, issuer = kind.partition("/")
    return (issuer or DEFAULT) if name == _KIND else None
