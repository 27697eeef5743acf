"""Switches that close many policies at once: which of them a policy is under."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

ALL = "all"
"""The scope of every policy."""
ISSUER = "github"
"""The alias of the instance whose policies name no issuer: github.com, or the one that is configured alone."""


def scopes_of(view: Mapping[str, object]) -> tuple[str, ...]:
    """The scopes of the switches that close the policy of this view; the repository's only once its id is known."""
    owner_id, repository_id = view["repository_owner_id"], view["repository_id"]
    package_owner = cast("Mapping[str, object]", view["package_owner"])
    creator = cast("Mapping[str, object]", view["created_by"])
    scopes = (
        ALL,
        f"issuer:{ISSUER}",
        f"owner:{owner_id}",
        f"creator:{creator['account']}",
        f"package_owner:{package_owner['account']}",
    )
    return scopes if repository_id is None else (*scopes, f"repository:{owner_id}:{repository_id}")
