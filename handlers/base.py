"""What every handler gets and gives."""

from __future__ import annotations

import re
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
    aside: tuple[Observation, ...] = ()
    """Learnt by the policies that the event addresses by their id, and by no other, now or later."""


Handler: TypeAlias = Callable[[Incoming], Handled]

ModelT = TypeVar("ModelT", bound=BaseModel)

MOST_PARTS = 400_000
"""Objects and lists in one payload. GitHub's have at most one for each 100 bytes; a list of nothing but `{}` would take a
hundred times its length in memory."""


_ESCAPES = re.compile(
    rb"\\(?:(?P<pair>u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
"""Every escape of a JSON text, so that an escaped backslash before a `u` is not taken for one."""
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def paired(body: bytes) -> bytes:
    """The JSON with a replacement character for each half of a surrogate pair, which stands for no character: GitHub cuts
    texts wherever they get too long. The very same object if there is none.
    """
    if not _HALF.search(body):
        return body
    mended = _ESCAPES.sub(lambda found: rb"\ufffd" if found["half"] else found[0], body)
    return body if mended == body else mended


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
    # Counting costs as much as parsing does, and a body with fewer bytes than that has no more parts.
    if len(incoming.body) > MOST_PARTS and incoming.body.count(b"{") + incoming.body.count(b"[") > MOST_PARTS:
        raise UnusableEventError(f"{incoming.source.event}: body: has more than {MOST_PARTS} objects and lists")
    try:
        return model.model_validate_json(incoming.body)
    except ValidationError as error:
        # A text that was cut in the middle of a character is no reason to refuse the rest.
        mended = paired(incoming.body)
        if mended is not incoming.body:
            return parse(model, incoming._replace(body=mended))
        problems = "; ".join(f"{'.'.join(field) or 'body'}: {message}" for field, message in bad_fields(error))
        raise UnusableEventError(f"{incoming.source.event}: {problems}") from None


def hint(incoming: Incoming, scope: str, aspect: str, value: Value, *, dated: Micros | None = None) -> Observation:
    """A signed webhook said so. `dated`: when its payload says that it happened, which cannot be after its receipt."""
    date = dated if dated is None else min(dated, incoming.at)
    return Observation(scope, aspect, value, incoming.at, Basis.HINT, incoming.source, date)


def word(incoming: Incoming, scope: str, aspect: str, value: Value) -> Observation:
    """Whoever decides the matter said so."""
    return Observation(scope, aspect, value, incoming.at, Basis.PROOF, incoming.source)


def hints(
    incoming: Incoming, scopes: Iterable[str], aspect: str, value: Value, *, dated: Micros | None = None
) -> tuple[Observation, ...]:
    """The same hint for several scopes."""
    return tuple(hint(incoming, scope, aspect, value, dated=dated) for scope in scopes)
