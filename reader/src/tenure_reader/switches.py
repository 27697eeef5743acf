"""Switches that close many policies at once, without a write for each: which of them a policy is under."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypeAlias, cast

from tenure_reader.grants import Grant
from tenure_reader.keys import ISSUER, owner_of

ALL = "all"
"""The scope of every policy."""

Switches: TypeAlias = Mapping[str, str]
"""Scope → what is said of its switch, as JSON: of those that are closed in one partition."""
NONE: Switches = {}


class SwitchEvent(NamedTuple):
    """What the change feed says of one switch. Every partition says it."""

    type: Literal["switch.closed", "switch.opened"]
    scope: str
    at: str
    """When an operator did it, RFC 3339."""
    switch: str
    """What is said of it, as JSON."""


def scopes_of(view: Mapping[str, object] | Grant) -> tuple[str, ...]:
    """The scopes of the switches that close the policy of this view; the repository's only once its id is known."""
    owner, repository_id = owner_of(view), view["repository_id"]
    package_owner = cast("Mapping[str, object]", view["package_owner"])
    creator = cast("Mapping[str, object]", view["created_by"])
    scopes = (
        ALL,
        f"issuer:{view.get('issuer', ISSUER)}",
        f"owner:{owner}",
        f"creator:{creator['account']}",
        f"package_owner:{package_owner['account']}",
    )
    return scopes if repository_id is None else (*scopes, f"repository:{owner}:{repository_id}")


def under(grants: Iterable[Grant], switches: Switches) -> list[Grant]:
    """The policies, those that a switch closes with who holds them and why."""
    if not switches:
        return list(grants)
    return [_under(grant, switches) for grant in grants]


def _under(grant: Grant, switches: Switches) -> Grant:
    closing = [scope for scope in scopes_of(grant) if scope in switches]
    return {**grant, "held": "; ".join(told(scope, switches[scope]) for scope in closing)} if closing else grant


def told(scope: str, switch: str) -> str:
    """Who holds what and why, for operators. What cannot be read closes all the same."""
    try:
        said = cast("Mapping[str, object]", json.loads(switch))
        return f"{scope} is held by {said['by']} since {said['at']}: {said['reason']}"
    except (ValueError, TypeError, KeyError, RecursionError):
        return f"{scope} is held"
