"""The change feed, live: what is published is told to every browser that listens, and what one missed is told again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from worker.app import App
from worker.console.session import Frame, Visit, problem_page
from worker.console.templating import PROTECTION
from worker.logs import Outage, logger, scrubbed
from worker.store.client import StoreError
from worker.store.feed import Entry
from worker.web.problems import ProblemError, UnavailableError

SHOWN = 100
"""Changes on the page when it is opened, and the most that a listener is told of what it missed."""
MAX_STREAMS = 64
"""Listeners of one process; more are sent away."""
STREAMS_EACH = 16
"""And of one token, so that nobody takes them all."""
WAITING = 1_000
"""Changes that may wait for one slow listener."""
BLOCK_MS = 500
BEAT_SECONDS = 5.0
"""How often a listener hears how the store is, if nothing else."""
SILENT_SECONDS = 4.0
"""A store that has not answered for so long is stalled."""
AGAIN_SECONDS = 1.0
SESSION_SECONDS = 30.0
"""How often a listener's session is looked at."""

log = logger("console")


class Change(NamedTuple):
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
    reasons: list[str]
    repository: str
    cause: str


def change_of(entry: Entry) -> Change:
    event = orjson.loads(entry.event)
    view, cause = event["data"]["view"], event["data"]["cause"]
    return Change(
        moment=entry.entry_id.partition("-")[0],
        event_id=event["id"],
        at=event["time"],
        type=event["type"],
        policy_id=event["subject"],
        revision=view["revision"],
        state=view["state"],
        previous=event["data"]["previous_state"],
        reasons=view["reasons"],
        repository=f"{view['repository_owner']}/{view['repository']}",
        cause=cause_told(cause["kind"], cause["event"]),
    )


def cause_told(kind: str, event: str) -> str:
    """`GitHub: repository.archived`"""
    names = {"github": "GitHub", "registry": "the registry", "exchange": "the exchange", "operator": "an operator"}
    if kind == "schedule":
        return "the clock"
    return f"{names.get(kind, kind)}: {event}"


class _Listener(NamedTuple):
    loop: asyncio.AbstractEventLoop
    queue: asyncio.Queue[Change | None]
    who: str
    """By which token."""


class Hub:
    """Follows the feed by one thread, however many listen; and by none while nobody does."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._listeners: set[_Listener] = set()
        self._thread: threading.Thread | None = None
        self._heard = time.monotonic()
        self._closed = False

    @property
    def silent(self) -> bool:
        """Whether the store has not answered lately."""
        return time.monotonic() - self._heard > SILENT_SECONDS

    def full(self, who: str) -> bool:
        """Whether no more may listen, or no more of this one's."""
        theirs = sum(listener.who == who for listener in self._listeners)
        return theirs >= STREAMS_EACH or len(self._listeners) >= MAX_STREAMS or self._closed

    def join(self, who: str) -> _Listener | None:
        """Listen from now on; None if no more may."""
        listener = _Listener(asyncio.get_running_loop(), asyncio.Queue(WAITING), who)
        with self._lock:
            if self.full(who):
                return None
            self._listeners.add(listener)
            if self._thread is None:
                self._heard = time.monotonic()
                self._thread = threading.Thread(target=self._follow, name="feed", daemon=True)
                self._thread.start()
        return listener

    def leave(self, listener: _Listener) -> None:
        with self._lock:
            self._listeners.discard(listener)

    def close(self) -> None:
        """End all streams: the process is about to end."""
        self._closed = True
        self._broadcast(None)

    def _follow(self) -> None:
        since, outage = None, Outage(log)
        while True:
            try:
                for entry in self._app.feed.follow(BLOCK_MS, since):
                    self._heard = time.monotonic()
                    outage.over("the feed is followed again")
                    if entry is not None:
                        since = int(entry.entry_id.partition("-")[0]) * 1000
                        self._broadcast(change_of(entry))
                    elif since is None:
                        # Were the store to go away now, nothing of what is published meanwhile would be passed over.
                        since = self._app.status.now()
                    if self._over():
                        return
            except StoreError as error:
                outage.failed("the feed cannot be followed", error=scrubbed(str(error)))
                if since is None:
                    # Nobody knows where to go on: browsers do, and come again.
                    self._broadcast(None)
                if self._over():
                    return
                time.sleep(AGAIN_SECONDS)

    def _over(self) -> bool:
        with self._lock:
            if self._listeners and not self._closed:
                return False
            self._thread = None
            return True

    def _broadcast(self, change: Change | None) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            _tell(listener, change)


def _tell(listener: _Listener, change: Change | None) -> None:
    # A listener whose loop has ended does not listen any more.
    with contextlib.suppress(RuntimeError):
        listener.loop.call_soon_threadsafe(_put, listener.queue, change)


def _put(queue: asyncio.Queue[Change | None], change: Change | None) -> None:
    if queue.full():
        # Too slow: the stream ends, and the browser comes again for the newest.
        while not queue.empty():
            queue.get_nowait()
        change = None
    queue.put_nowait(change)


class Changes:
    """The page, and the stream behind it."""

    def __init__(self, frame: Frame, hub: Hub) -> None:
        self._frame = frame
        self._hub = hub

    @staticmethod
    def show(visit: Visit) -> Response:
        entries = visit.app.feed.latest(SHOWN)
        changes = [change_of(entry) for entry in entries]
        last = changes[0].moment if changes else str(visit.now // 1000)
        return visit.page("changes.html", {"changes": changes, "last": last})

    async def stream(self, request: Request) -> Response:
        """Server-sent events. Each has the moment of its change as id; a browser that comes again begins there."""
        secret = self._frame.secret(request)
        try:
            session = await self._frame.web.aside(partial(self._frame.session, secret))
        except UnavailableError as error:
            return problem_page(error, request)
        if session is None:
            return problem_page(ProblemError(401, "session", "Your session has ended. Log in again."), request)
        who = session.key or session.name
        if self._hub.full(who):
            told = "Too many browsers follow the feed. Close some, or try again later."
            return problem_page(UnavailableError("busy", told), request)
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        since = int(after) if after.isascii() and after.isdigit() and len(after) < 16 else None
        headers = {**PROTECTION, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(secret, who, since), 200, headers, "text/event-stream")

    async def _events(self, secret: str | None, who: str, since: int | None) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        listener = self._hub.join(who)
        if listener is None:
            return
        try:
            told, written = await self._missed(since)
            yield written
            asked = time.monotonic()
            while True:
                change_or_end = await _next(listener)
                if time.monotonic() - asked > SESSION_SECONDS:
                    if not await self._still(secret):
                        return
                    asked = time.monotonic()
                if change_or_end is _NOTHING:
                    yield _beat(silent=self._hub.silent)
                elif not isinstance(change_or_end, Change):
                    return
                elif change_or_end.event_id not in told:
                    yield _event(change_or_end)
        except UnavailableError:
            # The store cannot be asked for what was missed. The browser comes again, with the same id.
            yield _beat(silent=True)
        finally:
            self._hub.leave(listener)

    async def _still(self, secret: str | None) -> bool:
        """Whether the session still is one; a store that cannot be asked ends none."""
        try:
            return await self._frame.web.aside(partial(self._frame.session, secret)) is not None
        except UnavailableError:
            return True

    async def _missed(self, since: int | None) -> tuple[frozenset[str], bytes]:
        """What was published since, the moment itself included; the newest of it, if it is much: ids, and as it is told.

        Raises:
            UnavailableError: the store cannot be reached.
        """
        if since is None:
            return frozenset(), b""
        entries = await self._frame.web.aside(partial(self._frame.web.app.feed.latest, SHOWN))
        missed = [change for change in map(change_of, reversed(entries)) if int(change.moment) >= since]
        # However many share the moment itself, the listener has been told of it.
        gap = len(missed) == SHOWN and int(missed[0].moment) > since
        written = b"".join(map(_event, missed)) + (b"event: gap\ndata: \n\n" if gap else b"")
        return frozenset(change.event_id for change in missed), written


async def _next(listener: _Listener) -> Change | object | None:
    """The next change, None at the end, `_NOTHING` if nothing came for a while."""
    try:
        async with asyncio.timeout(BEAT_SECONDS):
            return await listener.queue.get()
    except TimeoutError:
        return _NOTHING


_NOTHING = object()


def _event(change: Change) -> bytes:
    return b"id: %s\nevent: change\ndata: %s\n\n" % (change.moment.encode(), orjson.dumps(change._asdict()))


def _beat(*, silent: bool) -> bytes:
    return b"event: store\ndata: %s\n\n" % (b"stalled" if silent else b"well")
