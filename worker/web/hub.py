"""The change feed, live: one thread of a process follows it, however many listen, and none while nobody does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from enum import Enum
from typing import NamedTuple

from worker.app import App
from worker.lifecycle.facts import Micros
from worker.logs import Outage, logger, scrubbed
from worker.store.client import StoreError
from worker.store.cursors import Cursor
from worker.store.feed import CursorGoneError, FeedEntry, past

MAX_STREAMS = 64
"""Listeners of one process; more are sent away."""
STREAMS_EACH = 16
"""And of one token, so that nobody takes them all."""
WAITING = 1_000
"""Entries that may wait for one slow listener."""
BLOCK_MS = 500
COMPARE_SECONDS = 1.0
"""How often what was read is compared with what the store says was ever published."""
SILENT_SECONDS = 4.0
"""A store that has not answered for so long is stalled."""
AGAIN_SECONDS = 1.0

log = logger("web")


class Batch(NamedTuple):
    """What was published, as it is told to everybody."""

    entries: list[FeedEntry]
    cursor: Cursor
    """After them."""
    at: Micros | None
    """By the store's clock: all that was published up to then is before the cursor. None: nothing was compared."""


class Word(Enum):
    """What a listener hears if it is no batch."""

    NOTHING = "nothing came for a while"
    MISSED = "it was too slow: what was to be told is dropped"
    END = "nothing comes any more"


class Seat:
    """A listener's, in the event loop in which it listens."""

    def __init__(self, who: str) -> None:
        self.who = who
        """By which token."""
        self._loop = asyncio.get_running_loop()
        self._batches: deque[Batch] = deque()
        self._waiting = 0
        self._missed = False
        self._ended = False
        self._rung = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._ended

    def tell(self, batch: Batch | None) -> None:
        """From any thread; None ends it."""
        # A listener whose loop has ended does not listen any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._put, batch)

    def _put(self, batch: Batch | None) -> None:
        self._rung.set()
        if batch is None:
            self._ended = True
            return
        # Each batch counts as one more: empty ones wait, too.
        self._waiting += len(batch.entries) + 1
        if self._waiting > WAITING:
            self._missed = True
            self._batches.clear()
            self._waiting = 0
        elif not self._missed:
            self._batches.append(batch)

    async def next(self, seconds: float) -> Batch | Word:
        """What comes next, within so many seconds."""
        if not (self._ended or self._missed or self._batches):
            self._rung.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._rung.wait()
            except TimeoutError:
                return Word.NOTHING
        if self._ended:
            return Word.END
        if self._missed:
            self._missed = False
            self._waiting = 0
            return Word.MISSED
        batch = self._batches.popleft()
        self._waiting -= len(batch.entries) + 1
        return batch


class Hub:
    """Tells the same to all who listen."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._seats: set[Seat] = set()
        self._thread: threading.Thread | None = None
        self._heard = time.monotonic()
        self._closed = False

    @property
    def silent(self) -> bool:
        """Whether the store has not answered lately."""
        return time.monotonic() - self._heard > SILENT_SECONDS

    def full(self, who: str) -> bool:
        """Whether no more may listen, or no more of this one's."""
        theirs = sum(seat.who == who for seat in self._seats)
        return theirs >= STREAMS_EACH or len(self._seats) >= MAX_STREAMS or self._closed

    def join(self, who: str) -> Seat | None:
        """Listen from now on; None if no more may."""
        seat = Seat(who)
        with self._lock:
            if self.full(who):
                return None
            self._seats.add(seat)
            if self._thread is None:
                self._heard = time.monotonic()
                self._thread = threading.Thread(target=self._follow, name="feed", daemon=True)
                self._thread.start()
        return seat

    def leave(self, seat: Seat) -> None:
        with self._lock:
            self._seats.discard(seat)

    def close(self) -> None:
        """End all streams: the process is about to end."""
        self._closed = True
        self._broadcast(None)

    def _follow(self) -> None:
        cursor: Cursor | None = None
        compared, outage = 0.0, Outage(log)
        while not self._over():
            try:
                if cursor is None:
                    cursor = self._app.feed.end()
                cursor, compared = self._step(cursor, compared)
                self._heard = time.monotonic()
                outage.over("the feed is followed again")
            except CursorGoneError:
                # Listeners come again, and are told whether the feed goes on from where they are.
                self._broadcast(None)
                cursor = None
            except StoreError as error:
                outage.failed("the feed cannot be followed", error=scrubbed(str(error)))
                if cursor is None:
                    # Nobody knows where to go on: listeners do, and come again.
                    self._broadcast(None)
                compared = 0.0
                time.sleep(AGAIN_SECONDS)

    def _step(self, cursor: Cursor, compared: float) -> tuple[Cursor, float]:
        """Tell what is published next, or compare; returns where that leads, and when was compared last."""
        if time.monotonic() - compared < COMPARE_SECONDS:
            entries = self._app.feed.wait(cursor, BLOCK_MS)
            reached = past(cursor, entries)
            if entries:
                self._broadcast(Batch(entries, reached, None))
            return reached, compared
        reading = self._app.feed.read(cursor)
        self._broadcast(Batch(*reading))
        return reading.cursor, time.monotonic()

    def _over(self) -> bool:
        with self._lock:
            if self._seats and not self._closed:
                return False
            self._thread = None
            return True

    def _broadcast(self, batch: Batch | None) -> None:
        with self._lock:
            seats = list(self._seats)
        for seat in seats:
            seat.tell(batch)
