"""The lines of an import: what `tenure policy export` wrote, or the plain data of `policy.registered`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson
from pydantic import AwareDatetime, ValidationError, field_validator

from handlers.models import PolicyRegistered
from handlers.operators import PolicyImported
from handlers.registry import registration_of
from worker.cli import output
from worker.cli.policy_acts import problems
from worker.lifecycle import scopes
from worker.lifecycle.decide import decide, watched_scopes
from worker.lifecycle.facts import SECOND, Micros, Observation, series
from worker.lifecycle.owners import issuer_of
from worker.lifecycle.policy import Policy, concerns, learn
from worker.lifecycle.reach import for_everybody
from worker.lifecycle.registration import encode
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import rfc3339
from worker.operators.submit import Submission
from worker.store.codec import encode_fact, row
from worker.store.inbox import identity

AHEAD: Micros = 300 * SECOND
"""How far ahead of the store's clock a time may be, as in the HTTP API."""
SHARED = frozenset({"owner", "member", "account", "package-member"})
"""Kinds of scopes that many policies watch: told once, not once for each of them."""


class PlainLine(PolicyRegistered):
    """The data of `policy.registered`, and when that was; without `time`, now."""

    time: AwareDatetime | None = None

    @field_validator("time", mode="before")
    @classmethod
    def _rfc3339(cls, value: object) -> object:
        if value is not None and not (
            isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d", value)
        ):
            msg = "an RFC 3339 time, such as 2026-01-31T12:00:00Z"
            raise ValueError(msg)
        return value

    @property
    def at(self) -> Micros | None:
        return None if self.time is None else output.micros(self.time.isoformat())


Line: TypeAlias = PolicyImported | PlainLine


class BadLineError(Exception):
    """A line that cannot be imported; `problems` are its bad fields, each with what is wrong."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in problems))
        self.problems = problems


def read(written: bytes, now: Micros, rules: Rules) -> Line:
    """A line, checked as far as it can be without the store.

    Raises:
        BadLineError: it names each bad field.
    """
    try:
        peeked = orjson.loads(written)
    except orjson.JSONDecodeError as error:
        raise BadLineError([("not JSON", error.msg)]) from None
    exported = isinstance(peeked, dict) and "facts" in peeked
    try:
        line: Line = PolicyImported.model_validate_json(written) if exported else PlainLine.model_validate_json(written)
    except ValidationError as error:
        raise BadLineError(problems(error)) from None
    times = [fact.at for fact in line.facts] if isinstance(line, PolicyImported) else [line.at or 0]
    if max(times) > now + AHEAD:
        field = "facts" if exported else "time"
        raise BadLineError([(field, f"is more than five minutes ahead of the store's clock, {rfc3339(now)}")])
    if isinstance(line, PolicyImported):
        try:
            decide(_policy(line, rules).facts, line.policy_id, now, rules)
        except Exception as error:  # whatever the facts hold
            raise BadLineError([("facts", f"make no sense together ({type(error).__name__})")]) from error
    return line


def _policy(line: PolicyImported, rules: Rules) -> Policy:
    return learn(Policy(line.policy_id, {}), line.observations(), rules)


@dataclass(slots=True)
class Importer:
    """Turns lines into events, without what was said before."""

    rules: Rules
    issuers: Collection[str]
    """Aliases of the instances of GitHub that are configured."""
    remembered: Callable[[set[str]], Mapping[str, list[Observation]]]
    """What the store remembers of scopes."""
    known_facts: set[str] = field(default_factory=set)
    """Facts of shared scopes that an earlier line brought, or that the store remembers."""
    recalled: set[str] = field(default_factory=set)
    """Shared scopes of which the store was asked."""

    def recall(self, lines: Iterable[Line]) -> None:
        """Learn what the store remembers of the shared scopes in these lines, so that nobody brings it again.

        It is in every policy that watches it, and whoever is imported now reads it there. To bring it again would
        touch all of them, for each import of a part.
        """
        exported = (line for line in lines if isinstance(line, PolicyImported))
        fresh = {fact.scope for line in exported for fact in line.facts if _shared(fact.scope)} - self.recalled
        self.recalled |= fresh
        self.known_facts.update(identity(encode_fact(o)) for facts in self.remembered(fresh).values() for o in facts)

    def submission(self, line: Line, existing: Policy | None, now: Micros) -> Submission | None:
        """The event that a line comes to; None if the store knows all of it.

        Raises:
            BadLineError: the policy was removed, and the line would register it again; or it is of an instance of GitHub that
                is not configured, where nothing could ever use it.
        """
        if isinstance(line, PolicyImported):
            where, made = "facts", self._imported(line, existing, now)
        else:
            where, made = "github.issuer", self._registered(line, existing)
        if made is not None and issuer_of(made.owner) not in self.issuers:
            raise BadLineError(
                [(where, f"no such instance of GitHub is configured; there is {', '.join(self.issuers)}")]
            )
        return made

    def _imported(self, line: PolicyImported, existing: Policy | None, now: Micros) -> Submission | None:
        observations = line.observations()
        if (
            existing is not None
            and learn(existing, [o for o in observations if concerns(existing, o)], self.rules) is existing
        ):
            return None
        policy = _policy(line, self.rules)
        standing = decide(policy.facts, line.policy_id, now, self.rules)
        assert standing is not None, "its registration was looked for when the line was read"
        # What it watches it also finds in what the store remembers. What it does not watch any more, it must bring.
        watched = frozenset() if _removed(policy) else watched_scopes(standing.tenure, line.policy_id)
        shared = for_everybody(observations, line.policy_id)
        brought = [o for o in observations if not (o in shared and o.scope in watched and self._is_known(o))]
        data = {"policy_id": line.policy_id, "facts": [row(o) for o in brought]}
        request = identity("import", line.policy_id, *(encode_fact(o) for o in observations))
        return Submission("policy.imported", data, standing.tenure.owner_id, request)

    def _is_known(self, observation: Observation) -> bool:
        if not _shared(observation.scope):
            return False
        written = identity(encode_fact(observation))
        before = written in self.known_facts
        self.known_facts.add(written)
        return before

    @staticmethod
    def _registered(line: PlainLine, existing: Policy | None) -> Submission | None:
        registration = encode(registration_of(line))
        registrations = series(existing.facts, scopes.policy(line.policy_id), "registration") if existing else []
        if line.at is None and registrations and registrations[-1].value == registration:
            return None
        if line.at is not None and any((fact.at, fact.value) == (line.at, registration) for fact in registrations):
            return None
        if existing is not None and _removed(existing):
            raise BadLineError([("policy_id", "was removed, and a removed id stays so; register under another id")])
        data = line.model_dump(exclude={"time"})
        newest = str(registrations[-1].at) if registrations else ""
        request = identity("import", line.policy_id, registration, newest if line.at is None else str(line.at))
        owner_id = line.github.owner
        return Submission("policy.registered", data, owner_id, request, line.at)


def _shared(scope: str) -> bool:
    return scope.partition(":")[0] in SHARED


def _removed(policy: Policy) -> bool:
    own = scopes.policy(policy.policy_id)
    return any((fact.scope, fact.aspect, fact.value) == (own, "removed", True) for fact in policy.facts.values())
