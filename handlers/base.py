"""What every handler gets and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from worker.lifecycle.facts import Basis, Micros, Observation, Source, Value

GITHUB = "github"
REGISTRY = "registry"
EXCHANGE = "exchange"
OPERATOR = "operator"


class Incoming(NamedTuple):
    """An event as the inbox hands it over.

    `at` dates what it says: for a webhook, when the door took it; for a registry event, when it happened. `body` is
    the webhook's JSON as it was signed, or the CloudEvent's `data` as JSON.
    """

    source: Source
    at: Micros
    body: bytes


class Handled(NamedTuple):
    """What an event came to: what was learnt, and what GitHub should be asked about for the truth of it.

    A check is a scope: a repository (by its id, or by a name), a member, or an owner with all its policies.
    """

    observations: tuple[Observation, ...] = ()
    checks: tuple[str, ...] = ()


Handler: TypeAlias = Callable[[Incoming], Handled]

ModelT = TypeVar("ModelT", bound=BaseModel)

MOST_PARTS = 400_000
"""Objects and lists in one payload. GitHub's have at most one for each 100 bytes; a list of nothing but `{}` would take a
hundred times its length in memory."""


class UnusableEventError(Exception):
    """The event can never be handled as it is: retrying is pointless, an operator has to look."""


def bad_fields(error: ValidationError) -> list[tuple[tuple[str, ...], str]]:
    """Path and message of every field that does not fit; never its value."""
    return [
        (tuple(str(part) for part in item["loc"]), item["msg"])
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def parse(model: type[ModelT], incoming: Incoming) -> ModelT:
    """The event's body as `model`.

    Raises:
        UnusableEventError: naming every field that does not fit, without the values.

    """
    if incoming.body.count(b"{") + incoming.body.count(b"[") > MOST_PARTS:
        raise UnusableEventError(f"{incoming.source.event}: body: has more than {MOST_PARTS} objects and lists")
    try:
        return model.model_validate_json(incoming.body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(field) or 'body'}: {message}" for field, message in bad_fields(error))
        raise UnusableEventError(f"{incoming.source.event}: {problems}") from None


def hint(incoming: Incoming, scope: str, aspect: str, value: Value) -> Observation:
    """A signed webhook said so."""
    return Observation(scope, aspect, value, incoming.at, Basis.HINT, incoming.source)


def word(incoming: Incoming, scope: str, aspect: str, value: Value) -> Observation:
    """Whoever decides the matter said so."""
    return Observation(scope, aspect, value, incoming.at, Basis.PROOF, incoming.source)


def hints(incoming: Incoming, scopes: Iterable[str], aspect: str, value: Value) -> tuple[Observation, ...]:
    """The same hint for several scopes."""
    return tuple(hint(incoming, scope, aspect, value) for scope in scopes)
