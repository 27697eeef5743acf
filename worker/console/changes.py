"""The change feed, live: what is published is told to every browser that listens, and what one missed is told again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache, partial
from typing import NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response

from worker.console.session import Frame, Visit, problem_page
from worker.console.templating import PROTECTION
from worker.lifecycle.owners import DEFAULT, issuer_in
from worker.store.feed import CursorGoneError, FeedEntry
from worker.web.course import Course, FeedFilter
from worker.web.hub import Batch, Hub, Word
from worker.web.live import LiveResponse
from worker.web.problems import ProblemError, ServiceUnavailableError

SHOWN = 100
"""Changes on the page when it is opened, and the most that a listener is told of what it missed."""
BEAT_SECONDS = 5.0
"""How often a listener hears how the store is, if nothing else."""
SESSION_SECONDS = 30.0
"""How often a listener's session is looked at."""


class ChangeRow(NamedTuple):
    """A change as people are shown it."""

    moment: str
    """Milliseconds of its publication: where a listener begins anew."""
    event_id: str
    at: str
    type: str
    policy_id: str
    revision: int
    state: str
    previous: str | None
    reasons: tuple[str, ...]
    repository: str
    cause: str


def changes_of(entries: Iterable[FeedEntry]) -> list[ChangeRow]:
    """Without what is about no single policy."""
    return [change for change in map(_change_of, entries) if change is not None]


@lru_cache(1_000)
def _change_of(entry: FeedEntry) -> ChangeRow | None:
    """What many are told is read once."""
    event = orjson.loads(entry.event)
    view, cause = event["data"].get("view"), event["data"].get("cause")
    if view is None or cause is None:
        return None
    return ChangeRow(
        moment=entry.entry_id.partition("-")[0],
        event_id=event["id"],
        at=event["time"],
        type=event["type"],
        policy_id=event["subject"],
        revision=view["revision"],
        state=view["state"],
        previous=event["data"]["previous_state"],
        reasons=tuple(view["reasons"]),
        repository=f"{view['repository_owner']}/{view['repository']}",
        cause=cause_text(cause["kind"], cause["event"]),
    )


def cause_text(kind: str, event: str) -> str:
    """`GitHub: repository.archived`"""
    names = {"github": "GitHub", "registry": "the registry", "exchange": "the exchange", "operator": "an operator"}
    if kind == "schedule":
        return "the clock"
    issuer = issuer_in(kind)
    name = names.get(kind, kind) if issuer in (None, DEFAULT) else f"GitHub {issuer}"
    return f"{name}: {event}"


class ChangesPage:
    """The page, and the stream behind it."""

    def __init__(self, frame: Frame, hub: Hub) -> None:
        self._frame = frame
        self._hub = hub

    @staticmethod
    def show(visit: Visit) -> Response:
        entries = visit.app.feed.latest(SHOWN)
        changes = changes_of(entries)
        last = changes[0].moment if changes else str(visit.now // 1000)
        lags = visit.app.consumers.lags()
        return visit.page("changes.html", {"changes": changes, "last": last, "lags": lags})

    async def stream(self, request: Request) -> Response:
        """Server-sent events. Each has the moment of its change as id; a browser that comes again begins there."""
        secret = self._frame.secret(request)
        try:
            session = await self._frame.web.aside(partial(self._frame.session, secret))
        except ServiceUnavailableError as error:
            return problem_page(error, request)
        if session is None:
            return problem_page(ProblemError(401, "session", "Your session has ended. Log in again."), request)
        who = session.key or session.name
        if self._hub.full(who):
            message = "Too many browsers follow the feed. Close some, or try again later."
            return problem_page(ServiceUnavailableError("busy", message), request)
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        since = int(after) if after.isascii() and after.isdigit() and len(after) < 16 else None
        return LiveResponse(self._events(secret, who, since), PROTECTION)

    async def _events(self, secret: str | None, who: str, since: int | None) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        seat = self._hub.join(who)
        if seat is None:
            return
        try:
            course = Course(FeedFilter(), await self._frame.web.aside(self._frame.web.app.feed.end))
            missed, written = await self._missed(since)
            yield written
            asked_at = beaten = time.monotonic()
            while True:
                heard = await seat.next(BEAT_SECONDS)
                if time.monotonic() - asked_at > SESSION_SECONDS:
                    if not await self._still(secret):
                        return
                    asked_at = time.monotonic()
                if heard in (Word.MISSED, Word.END):
                    # The browser comes again, for the newest.
                    return
                if isinstance(heard, Batch):
                    changes = await self._heard(course, heard)
                    yield b"".join(_event(change) for change in changes if change.event_id not in missed)
                if heard is Word.NOTHING or time.monotonic() - beaten >= BEAT_SECONDS:
                    yield _beat(silent=self._hub.silent)
                    beaten = time.monotonic()
        except CursorGoneError:
            return
        except ServiceUnavailableError:
            # The store cannot be asked for what was missed. The browser comes again, with the same id.
            yield _beat(silent=True)
        finally:
            self._hub.leave(seat)

    async def _heard(self, course: Course, batch: Batch) -> list[ChangeRow]:
        """What is new in a batch, and what was published since the cursor was noted and before the hub began.

        Raises:
            UnavailableError: the store cannot be reached.
            GoneError: the feed does not go on.
        """
        entries, whole = course.take(batch)
        if not whole:
            reading = await self._frame.web.aside(partial(self._frame.web.app.feed.read, course.cursor))
            entries += [told for entry in reading.entries for told in course.over(entry)]
        return changes_of(told.entry for told in entries)

    async def _still(self, secret: str | None) -> bool:
        """Whether the session still is one; a store that cannot be asked ends none."""
        try:
            return await self._frame.web.aside(partial(self._frame.session, secret)) is not None
        except ServiceUnavailableError:
            return True

    async def _missed(self, since: int | None) -> tuple[frozenset[str], bytes]:
        """What was published since, the moment itself included; the newest of it, if it is much: ids, and as it is told.

        Raises:
            UnavailableError: the store cannot be reached.
        """
        if since is None:
            return frozenset(), b""
        entries = await self._frame.web.aside(partial(self._frame.web.app.feed.latest, SHOWN))
        missed = [change for change in changes_of(reversed(entries)) if int(change.moment) >= since]
        # However many share the moment itself, the listener has been told of it.
        gap = len(entries) == SHOWN and int(entries[-1].entry_id.partition("-")[0]) > since
        written = b"".join(map(_event, missed)) + (b"event: gap\ndata: \n\n" if gap else b"")
        return frozenset(change.event_id for change in missed), written


def _event(change: ChangeRow) -> bytes:
    return b"id: %s\nevent: change\ndata: %s\n\n" % (change.moment.encode(), orjson.dumps(change._asdict()))


def _beat(*, silent: bool) -> bytes:
    return b"event: store\ndata: %s\n\n" % (b"stalled" if silent else b"well")
