"""`GET /policies` and `GET /changes`: every view, and then what becomes of them, without a gap between the two.

The cursor is noted before the first view is read. What is published meanwhile is told again as a change, so a view may be
newer than a change that is read later: of one policy the higher revision counts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response

from tenure_reader.keys import conditional
from worker.lifecycle.criteria import PolicyCriteria
from worker.lifecycle.decide import State
from worker.lifecycle.facts import Micros
from worker.lifecycle.views import View, owner_of, rfc3339
from worker.store.client import Command
from worker.store.cursors import Cursor
from worker.store.feed import CursorGoneError
from worker.store.replies import fields
from worker.store.search import Search
from worker.web.access import READERS, BearerTokens, Identity
from worker.web.consumers import ConsumerDoor, no_way_on
from worker.web.course import Course, FeedFilter, Told
from worker.web.hub import Hub, Seat, Word
from worker.web.live import EVENT_STREAM, LiveResponse, unless_left
from worker.web.problems import ProblemError, ServiceUnavailableError
from worker.web.query import Bookmark, Query
from worker.web.threads import Web

LIMIT = 500
MOST = 1_000
"""Views or changes of one answer: unless it is said, and at most."""
LOOK = 10_000
"""Changes that one answer looks through for those that are wanted."""
LONGEST_WAIT = 30
"""Seconds."""
BEAT_SECONDS = 5.0
"""How long a stream is silent at most."""


class _Looked(NamedTuple):
    changes: list[Told]
    cursor: Cursor
    at: Micros | None
    """As in `Reading`."""


class FeedDoor:
    """Answers whoever keeps a copy of the policies."""

    def __init__(self, web: Web, hub: Hub) -> None:
        self._web = web
        self._hub = hub
        self._feed = web.app.feed
        self._consumers = ConsumerDoor(web)
        self._search = Search(web.app.client, web.app.keyspace)
        self._tokens = BearerTokens(web.rotation)

    # The snapshot

    async def policies(self, request: Request) -> Response:
        who = self._who(request)
        given = Query(request.query_params, ("owner", "policy", "limit", "page"))
        asked, limit = given.asked(), given.number("limit", LIMIT, 1, MOST)
        page = given.page(asked)
        given.end()
        return _json(await self._web.read(who.key, partial(self._page, asked, page, limit)))

    def _page(self, asked: FeedFilter, page: Bookmark | None, limit: int) -> bytes:
        cursor = self._web.app.feed.end() if page is None else page.cursor
        views, unreadable, place = self._named(asked) if asked.policies else self._found(asked, page, limit)
        # Every partition has the same; until a switch that was just turned is so in each of them, it is closed.
        homes = self._web.app.keyspace.all()
        settings, *switches = map(fields, self._web.app.client.run([
            Command(("HGETALL", homes[0].settings)), *(Command(("HGETALL", home.switches)) for home in homes),
        ]))  # fmt: skip
        return orjson.dumps({
            "policies": list(map(_shown, views)),
            "switches": {scope: _switch(written) for closed in switches for scope, written in closed.items()},
            "settings": {name: value.decode(errors="replace") for name, value in settings.items()},
            "unreadable": unreadable,
            "next": None if place is None else Bookmark(cursor, asked.owner, place).text(),
            "cursor": cursor.text(),
        })  # fmt: skip

    def _found(self, asked: FeedFilter, page: Bookmark | None, limit: int) -> tuple[list[View], list[str], str | None]:
        wanted = PolicyCriteria() if asked.owner is None else PolicyCriteria(owner=str(asked.owner))
        found = self._search.find(wanted, None if page is None else page.place, limit=limit)
        return found.views, found.unreadable, found.cursor

    def _named(self, asked: FeedFilter) -> tuple[list[View], list[str], None]:
        loaded = self._web.app.policies.load(sorted(asked.policies))
        views = [located.policy.view for located in loaded.values() if located.policy is not None]
        kept = [view for view in views if view is not None and view["state"] != State.REMOVED]
        broken = [policy_id for policy_id, located in loaded.items() if located.broken]
        return [view for view in kept if asked.owner in (None, owner_of(view))], broken, None

    # Changes

    async def changes(self, request: Request) -> Response:
        who = self._who(request)
        given = Query(request.query_params, ("cursor", "consumer", "owner", "policy", "type", "limit", "wait"))
        asked, limit = given.asked(), given.number("limit", LIMIT, 1, MOST)
        wait = given.number("wait", 0, 0, LONGEST_WAIT)
        streams = EVENT_STREAM in request.headers.get("accept", "")
        begin = given.begin((request.headers.get("last-event-id") or None) if streams else None)
        given.end()
        cursor = begin if isinstance(begin, Cursor) else await self._consumers.position(who, begin)
        if not streams and not wait:
            return _told(await self._look(who, cursor, asked, limit))
        seat = self._hub.join(who.key)
        if seat is None:
            raise ServiceUnavailableError(
                "busy", "Too many follow the feed with this token, or in all. End some, or try again later."
            )
        if not streams:
            try:
                return _told(
                    await unless_left(request, self._waited(who, seat, cursor, asked, limit=limit, seconds=wait))
                )
            finally:
                self._hub.leave(seat)
        try:
            first = await self._look(who, cursor, asked, MOST)
        except BaseException:
            self._hub.leave(seat)
            raise
        return LiveResponse(self._events(who, seat, first, asked), {})

    async def _look(self, who: Identity, cursor: Cursor, asked: FeedFilter, limit: int) -> _Looked:
        """
        Raises:
            ProblemError: the feed does not go on from the cursor (410), or the store cannot be reached (503).
        """
        try:
            return await self._web.read(who.key, partial(self._looked, cursor, asked, limit))
        except CursorGoneError:
            raise no_way_on() from None

    def _looked(self, cursor: Cursor, asked: FeedFilter, limit: int) -> _Looked:
        """At most `limit` changes that are wanted, of `LOOK` that are looked through."""
        course = Course(asked, cursor)
        changes: list[Told] = []
        looked = 0
        while True:
            reading = self._web.app.feed.read(course.cursor, min(limit, LOOK - looked))
            looked += len(reading.entries)
            for entry in reading.entries:
                changes += course.over(entry)
                if len(changes) == limit:
                    break
            whole = course.cursor == reading.cursor
            if not whole or reading.at is not None or len(changes) == limit or looked >= LOOK:
                return _Looked(changes, course.cursor, reading.at if whole else None)

    async def _waited(
        self, who: Identity, seat: Seat, cursor: Cursor, asked: FeedFilter, *, limit: int, seconds: int
    ) -> _Looked:
        """The same, and if there is none yet, for so long until there is one."""
        deadline = time.monotonic() + seconds
        while True:
            looked = await self._look(who, cursor, asked, limit)
            left = deadline - time.monotonic()
            if looked.changes or looked.at is None or left <= 0 or seat.ended:
                return looked
            cursor = await _until_one(seat, Course(asked, looked.cursor), deadline)

    async def _events(self, who: Identity, seat: Seat, looked: _Looked, asked: FeedFilter) -> AsyncIterator[bytes]:
        """Server-sent events: changes, and up to where nothing is missing. It ends where the feed does not go on, or cannot be
        read: whoever listens comes again with the last id, and is told.
        """
        try:
            yield b"retry: 2000\n\n"
            while True:
                yield _events(looked.changes)
                course = Course(asked, looked.cursor)
                whole = looked.at is not None
                if looked.at is not None:
                    yield _complete(course.cursor, looked.at)
                while whole:
                    heard = await seat.next(BEAT_SECONDS)
                    if heard is Word.END or not self._tokens.identities(who.key, who.role):
                        return
                    if heard is Word.NOTHING:
                        yield b": the store does not answer\n\n"
                    elif isinstance(heard, Word):
                        break
                    else:
                        told, whole = course.take(heard)
                        yield _events(told)
                        if whole and heard.at is not None:
                            yield _complete(course.cursor, heard.at)
                looked = await self._look(who, course.cursor, asked, MOST)
        except (ProblemError, CursorGoneError):
            return
        finally:
            self._hub.leave(seat)

    def _who(self, request: Request) -> Identity:
        return self._tokens.check(dict(request.scope["headers"]), READERS)


async def _until_one(seat: Seat, course: Course, deadline: float) -> Cursor:
    """Wait until something that is wanted follows, or seems to be missing; returns the cursor before it."""
    while (left := deadline - time.monotonic()) > 0:
        heard = await seat.next(left)
        if isinstance(heard, Word):
            break
        before = course.cursor
        told, whole = course.take(heard)
        if told or not whole:
            return before
    return course.cursor


def _shown(view: View) -> Mapping[str, object]:
    """A view as the feed tells it: to who knows nothing of a condition that it has, it is closed."""
    return {**view, "usable": False, "usable_v2": True} if view["usable"] and conditional(view) else view


def _switch(written: bytes) -> object:
    """What is said of a switch that is closed; null if that cannot be read: it is closed all the same."""
    try:
        return orjson.loads(written)
    except ValueError:
        return None


def _told(looked: _Looked) -> Response:
    complete = orjson.dumps(None if looked.at is None else rfc3339(looked.at))
    changes = b",".join(told.entry.event for told in looked.changes)
    cursor = looked.cursor.text().encode()
    return _json(b'{"changes":[%s],"cursor":"%s","complete_at":%s}' % (changes, cursor, complete))


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _events(changes: Sequence[Told]) -> bytes:
    # Whatever is a line break in JSON is white space.
    return b"".join(
        b"id: %s\nevent: change\ndata: %s\n\n"
        % (told.cursor.text().encode(), told.entry.event.replace(b"\n", b" ").replace(b"\r", b" "))
        for told in changes
    )


def _complete(cursor: Cursor, at: Micros) -> bytes:
    return b"id: %s\nevent: complete\ndata: %s\n\n" % (
        cursor.text().encode(), orjson.dumps({"complete_at": rfc3339(at)}),
    )  # fmt: skip
