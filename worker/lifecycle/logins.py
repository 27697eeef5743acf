"""Logins as an exchange tells of them, succeeded or refused, and how they are counted.

Counting is no matter of facts: a refusal changes nothing of where a policy stands, and somebody's broken workflow may bring
about one a second for weeks. So they are told apart by a bounded number of names, and of each the store keeps a number,
two dates and what was said last (`settle.lua`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from worker.lifecycle.facts import DAY, HOUR, Micros
from worker.lifecycle.shapes import Shape


class LoginOutcome(StrEnum):
    """What became of a token that was presented under a policy."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"


EVERY = "*"
"""The name under which each login is counted; no other name has this character."""
NAMES = {LoginOutcome.SUCCEEDED: 64, LoginOutcome.REFUSED: 16}
"""Names of one policy beside that one: those that were heard of last are kept."""
COUNTED = {LoginOutcome.SUCCEEDED: 3 * DAY, LoginOutcome.REFUSED: HOUR}
"""How long after it happened a login is still counted. Later, whoever tells of it twice might not be noticed any more."""


class CountedLogin(NamedTuple):
    """One login to be counted under its policy.

    `names`: name → what is said of the last login that has it, as JSON.
    """

    policy_id: str
    outcome: LoginOutcome
    at: Micros
    names: Mapping[str, str]


class LoginCount(NamedTuple):
    """How often there was a login of some name.

    `last`: what was said of the last.
    """

    times: int
    first_at: Micros
    last_at: Micros
    last: Mapping[str, object]


def refused(policy_id: str, at: Micros, code: str, said: dict[str, object]) -> CountedLogin:
    """A token that an exchange refused under a policy; `said`: what is known of it, beside the code."""
    return CountedLogin(policy_id, LoginOutcome.REFUSED, at, {EVERY: _written({"code": code, **said}), code: "{}"})


def succeeded(policy_id: str, at: Micros, said: dict[str, object], shape: Shape) -> CountedLogin:
    """A token that an exchange accepted under a policy. Its shape is its name."""
    names = {EVERY: _written(said), shape.name: shape.written}
    return CountedLogin(policy_id, LoginOutcome.SUCCEEDED, at, names)


def _written(said: Mapping[str, object]) -> str:
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False)
