"""What every handler gets and gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from worker.lifecycle.facts import Basis, Micros, Observation, ObservationSource, Value
from worker.lifecycle.logins import CountedLogin
from worker.lifecycle.owners import DEFAULT, OwnerRef, issuer_in, kind_at, owner_at

GITHUB = kind_at(DEFAULT)
REGISTRY = "registry"
EXCHANGE = "exchange"
OPERATOR = "operator"


class Incoming(NamedTuple):
    """An event as the inbox hands it over.

    `at` dates what it says: for a webhook, when the API accepted it; for a registry event, when it happened. `body` is
    the webhook's JSON as it was signed, or the CloudEvent's `data` as JSON.
    """

    source: ObservationSource
    at: Micros
    body: bytes

    @property
    def issuer(self) -> str:
        """The alias of the instance of GitHub that tells this; the default one's, if it is none that tells."""
        return issuer_in(self.source.kind) or DEFAULT

    def owner(self, owner_id: int) -> OwnerRef:
        """The owner that a webhook means by an id."""
        return owner_at(self.issuer, owner_id)


class Handled(NamedTuple):
    """What an event came to: what was learnt, and what GitHub should be asked about for the truth of it.

    A check is a scope: a repository (by its id, or by a name), a member, or an owner with all its policies.
    """

    observations: tuple[Observation, ...] = ()
    checks: tuple[str, ...] = ()
    aside: tuple[Observation, ...] = ()
    """Learnt by the policies that the event addresses by their id, and by no other, now or later."""
    login: CountedLogin | None = None
    """To be counted when the event is settled."""


Handler: TypeAlias = Callable[[Incoming], Handled]

ModelT = TypeVar("ModelT", bound=BaseModel)

MOST_PARTS = 400_000
"""Objects and lists in one payload. GitHub's have at most one for each 100 bytes; a list of nothing but `{}` would take a
hundred times its length in memory."""


MOST_VALUES = 1_000_000
"""Values in one payload, told by its commas and brackets: they take some hundred bytes of memory each, however short they are."""
MOST_HALVES = 10_000
"""Halves of surrogate pairs that are mended in one payload. GitHub leaves at most one at the end of a text."""

_SURROGATE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?P<low>\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[c-fC-F][0-9a-fA-F]{2})"
)
_REPLACEMENT = rb"\ufffd"


def excess(body: bytes) -> str | None:
    """What there is too much of in a payload, told without reading it; None if nothing."""
    # Counting costs as much as parsing does, and a body with fewer bytes than that has no more parts.
    if len(body) <= MOST_PARTS:
        return None
    parts = body.count(b"{") + body.count(b"[")
    if parts > MOST_PARTS:
        return f"has more than {MOST_PARTS} objects and lists"
    if parts + body.count(b",") > MOST_VALUES:
        return f"has more than {MOST_VALUES} values"
    return None


def paired(body: bytes) -> bytes:
    """The JSON with a replacement character for each half of a surrogate pair, which stands for no character: GitHub cuts
    texts wherever they get too long. The very same object if there is none, or more than `MOST_HALVES`.
    """
    mended: bytearray | None = None
    halves = 0
    for match in _SURROGATE.finditer(body):
        low = match.start("low")
        # After an escaped backslash, what follows is no escape; and then a low half is alone.
        at = low if _escaped(body, match.start()) else -1 if low >= 0 else match.start()
        if at < 0:
            continue
        halves += 1
        if halves > MOST_HALVES:
            return body
        if mended is None:
            mended = bytearray(body)
        mended[at : at + len(_REPLACEMENT)] = _REPLACEMENT
    return body if mended is None else bytes(mended)


def _escaped(body: bytes, at: int) -> bool:
    """Whether the backslash at `at` is itself escaped: an odd number of them stands before it."""
    length, before = 64, b""
    while True:
        before = body[max(0, at - length) : at]
        run = len(before) - len(before.rstrip(b"\\"))
        if run < len(before) or length >= at:
            return run % 2 == 1
        length *= 16


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
    too_much = excess(incoming.body)
    if too_much is not None:
        raise UnusableEventError(f"{incoming.source.event}: body: {too_much}")
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
