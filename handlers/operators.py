"""What operators bring from another store: policies with everything that was observed of them."""

from __future__ import annotations

import json
from typing import Annotated, NamedTuple

from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from handlers.base import Handled, Incoming, parse
from handlers.models import MAX_ID, PolicyId, PolicyRegistered, Tolerant
from handlers.registry import data_of, registration_of
from worker.lifecycle import scopes
from worker.lifecycle.conditions import NOTHING
from worker.lifecycle.facts import Basis, Micros, Observation, ObservationSource, Value
from worker.lifecycle.owners import ALIAS, id_of, owner_from
from worker.lifecycle.reach import for_everybody, within_reach
from worker.lifecycle.registration import Registration, encode

_ID = "[0-9]{1,19}"
_OWNER = f"({ALIAS}/)?{_ID}"
_NAME = r"[^:\s]+"
_REPOSITORY = rf"(repository:{_OWNER}:{_ID}|unbound:{_OWNER}:{_NAME})"
_PART = r"[^:/\s]+"
_CALLED = f"called:({ALIAS}/)?{_PART}/{_PART}"
_SCOPE = (
    rf"^(policy:{_NAME}|owner:{_OWNER}|{_REPOSITORY}|name:{_OWNER}:{_NAME}|member:{_OWNER}:{_ID}"
    rf"|collaborator:{_ID}:{_REPOSITORY}|(environment|refs):{_NAME}:{_REPOSITORY}|workflow:{_NAME}:({_REPOSITORY}|{_CALLED})"
    rf"|{_CALLED}|called-owner:({ALIAS}/)?{_PART}"
    rf"|account:{_NAME}|package-member:{_NAME}:account:{_NAME})$"
)
LONGEST_VALUE = 60_000
"""Characters: more than any registration takes that came over HTTP."""
_LAST_MOMENT = 253_402_300_799_999_999
"""The end of the year 9999: RFC 3339 has no later one."""
_REGISTRATION = TypeAdapter(Registration, config=ConfigDict(strict=True))

WholeNumber = Annotated[StrictInt, Field(ge=-MAX_ID, le=MAX_ID)]
Moment = Annotated[StrictInt, Field(ge=0, le=_LAST_MOMENT)]
Short = Annotated[StrictStr, StringConstraints(min_length=1, max_length=4000)]


class FactRow(NamedTuple):
    """An observation as the store writes it."""

    value: StrictBool | WholeNumber | Annotated[StrictStr, StringConstraints(max_length=LONGEST_VALUE)] | None
    at: Moment
    scope: Annotated[Short, StringConstraints(pattern=_SCOPE)]
    aspect: Short
    basis: Basis
    kind: Annotated[StrictStr, StringConstraints(pattern=f"^(github(/{ALIAS})?|registry|exchange|schedule|operator)$")]
    source_id: Annotated[StrictStr, StringConstraints(max_length=4000)]
    event: Short
    dated: Moment | None = None


class PolicyImported(Tolerant):
    """A line of `tenure policy export`."""

    policy_id: PolicyId
    facts: list[FactRow]

    @model_validator(mode="after")
    def _of_this_policy(self) -> PolicyImported:
        own = scopes.policy(self.policy_id)
        if not any(fact.scope == own and fact.aspect == "registration" for fact in self.facts):
            msg = "facts: none of them is this policy's registration"
            raise ValueError(msg)
        for number, fact in enumerate(self.facts):
            problem = _problem(fact, own)
            if problem:
                msg = f"facts.{number}: {problem}"
                raise ValueError(msg)
        reached = within_reach(self.observations(), self.policy_id)
        for number, fact in enumerate(self.facts):
            if fact.scope not in reached:
                kind = fact.scope.partition(":")[0]
                msg = (
                    f"facts.{number}: is about another {kind} than this policy ever watched, so it would speak for other "
                    "policies; leave it out"
                )
                raise ValueError(msg)
        return self

    def observations(self) -> tuple[Observation, ...]:
        return tuple(_observation(fact) for fact in self.facts)


def _observation(fact: FactRow) -> Observation:
    value: Value = fact.value
    at: Micros = fact.at
    source = ObservationSource(fact.kind, fact.source_id, fact.event)
    return Observation(fact.scope, fact.aspect, value, at, fact.basis, source, fact.dated)


def _problem(fact: FactRow, own: str) -> str | None:
    """What is wrong with a fact that the lifecycle would read; None if nothing is."""
    if fact.scope.startswith("policy:") and fact.scope != own:
        return "is about another policy"
    if fact.dated is not None and (fact.dated > fact.at or fact.basis is not Basis.HINT):
        return "has a sender's date that is later than its receipt, or is no hint's"
    if fact.scope != own:
        return None
    if fact.aspect == "registration":
        return _registration_problem(fact.value if isinstance(fact.value, str) else "")
    if fact.aspect == "login" and not _is_login(str(fact.value)):
        return "is no login"
    if fact.aspect == "removed" and fact.value is not True:
        return "takes a removal back, which nothing can"
    return None


def _is_login(value: str) -> bool:
    repository_id, _, owner = value.partition(":")
    try:
        return (
            repository_id.isascii()
            and repository_id.isdigit()
            and int(repository_id[:20]) <= MAX_ID
            and id_of(owner_from(owner)) <= MAX_ID
        )
    except ValueError:
        return False


def _registration_problem(text: str) -> str | None:
    try:
        told = _REGISTRATION.validate_json(text)
    except ValidationError:
        return "is no registration"
    if any(isinstance(part, int) and not 0 <= part <= MAX_ID for part in told):
        return "is a registration with an id outside 64 bits"
    if json.loads(encode(told)) != json.loads(text) or not _is_normal(told):
        return "is a registration that asks of a token what none does"
    return None


def _is_normal(told: Registration) -> bool:
    """Whether what a registration asks of a token is as one that came over HTTP has it."""
    if told.asked == NOTHING:
        return True
    try:
        data = PolicyRegistered.model_validate(data_of(told, "imported"))
    except ValidationError:
        return False
    return registration_of(data).asked == told.asked


def imported(incoming: Incoming) -> Handled:
    """The original observations: with their own times, their own weight, and the name of whoever made them. What gives access
    is for the line's own policy.
    """
    line = parse(PolicyImported, incoming)
    observations = line.observations()
    shared = for_everybody(observations, line.policy_id)
    return Handled(
        tuple(o for o in observations if o in shared),
        aside=tuple(o for o in observations if o not in shared),
    )
