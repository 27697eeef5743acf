"""What a request for the feed asks, from its address. Everything that is wrong with it is named at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from starlette.datastructures import QueryParams

from handlers.table import REGISTRATION_REFUSED
from worker.lifecycle.criteria import owner_given
from worker.lifecycle.owners import OwnerRef, id_of
from worker.lifecycle.views import ChangeType
from worker.store.consumers import is_name
from worker.store.cursors import Cursor, cursor_of, opened, sealed, unpacked
from worker.web.course import FeedFilter
from worker.web.problems import ProblemError

MOST_NAMED = 100
"""Policies that one request may name."""
LONGEST_ID = 200
NOTICES = ("switch.closed", "switch.opened", "matching.changed", REGISTRATION_REFUSED)
TYPES = dict.fromkeys((*ChangeType, *NOTICES))
LARGEST_OWNER = 2**63 - 1
CONSUMER_NAMES = "is no name of a consumer: 1 to 64 of a-z, 0-9, `.`, `_` and `-`, and a letter or digit first"


class Bookmark(NamedTuple):
    """Where a snapshot goes on."""

    cursor: Cursor
    """Noted before its first page."""
    owner: OwnerRef | None
    """Whose policies it is about."""
    place: str
    """As the search has it."""

    def text(self) -> str:
        owner = "" if self.owner is None else str(self.owner)
        return sealed(b"p", self.cursor.packed() + f"{owner} {self.place}".encode())


def _bookmark_of(text: str) -> Bookmark | None:
    packed = opened(b"p", text)
    found = None if packed is None else unpacked(packed)
    if found is None:
        return None
    cursor, rest = found
    written, _, place = rest.decode(errors="replace").partition(" ")
    owner = owner_given(written)
    return None if written and owner is None else Bookmark(cursor, owner, place)


class Query:
    """The parameters of an address."""

    def __init__(self, params: QueryParams, known: Sequence[str]) -> None:
        self._params = params
        self._errors: list[dict[str, str]] = []
        for name in dict.fromkeys(params):
            if name not in known:
                self._wrong("query", f"has a parameter that is not known here; known are {', '.join(known)}")

    def end(self) -> None:
        """
        Raises:
            ProblemError: something is wrong (422).
        """
        if self._errors:
            raise ProblemError(
                422, "fields", "See `errors` for what is wrong with the address.", extensions={"errors": self._errors}
            )

    def asked(self) -> FeedFilter:
        given, policies, types = self._one("owner"), self._params.getlist("policy"), self._params.getlist("type")
        owner = owner_given(given)
        if given is not None and (owner is None or id_of(owner) > LARGEST_OWNER):
            self._wrong(
                "owner",
                "is not the id of a GitHub owner, or alias/id of another instance; ids do not change, and logins do",
            )
            owner = None
        if len(policies) > MOST_NAMED or not all(0 < len(policy) <= LONGEST_ID for policy in policies):
            self._wrong("policy", f"names more than {MOST_NAMED} policies, or has an id that no policy has")
        if not {*types} <= TYPES.keys():
            self._wrong("type", f"is no type of change; these are {', '.join(TYPES)}")
        return FeedFilter(owner, frozenset(policies), frozenset(types))

    def number(self, name: str, otherwise: int, least: int, most: int) -> int:
        given = self._one(name)
        if given is None:
            return otherwise
        if not _digits(given) or not least <= int(given) <= most:
            self._wrong(name, f"is not a whole number from {least} to {most}")
            return otherwise
        return int(given)

    def consumer(self) -> str | None:
        given = self._one("consumer")
        if given is not None and not is_name(given):
            self._wrong("consumer", CONSUMER_NAMES)
        return given

    def begin(self, last_event_id: str | None) -> Cursor | str:
        """Where to begin: at the last event that a listener had heard, which comes again by the same address; or as the
        address says, by a cursor or by the name of a consumer.
        """
        consumer = self.consumer()
        if consumer is not None and self._params.get("cursor") is not None:
            self._wrong("cursor", "is given beside a consumer, whose position the server keeps: leave one of them out")
        if consumer is not None and last_event_id is None:
            return consumer
        name, given = ("cursor", self._one("cursor")) if last_event_id is None else ("Last-Event-ID", last_event_id)
        cursor = None if given is None else cursor_of(given)
        if cursor is not None:
            return cursor
        if given is None:
            self._wrong(name, "is missing: every page of GET /policies has one, and so has each answer here")
        else:
            self._wrong(name, "is no cursor of Tenure's, or not all of it: send it as it was given")
        return Cursor(())

    def page(self, asked: FeedFilter) -> Bookmark | None:
        given = self._one("page")
        page = None if given is None else _bookmark_of(given)
        if given is not None and page is None:
            self._wrong("page", "is no `next` of GET /policies, or not all of it: send it as it was given")
        elif page is not None and (asked.policies or asked.owner != page.owner):
            self._wrong("page", "is of another list: send it with the same owner as the page that named it")
        return page

    def _one(self, name: str) -> str | None:
        given = self._params.getlist(name)
        if len(given) > 1:
            self._wrong(name, "is given more than once")
        return given[0] if given else None

    def _wrong(self, field: str, message: str) -> None:
        self._errors.append({"field": field, "message": message})


def _digits(given: str) -> bool:
    return given.isascii() and given.isdigit() and len(given) < 20
