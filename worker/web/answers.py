"""Requests that wait until their events are settled: by a signal of whoever settles one, in whatever process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from redis.exceptions import RedisError

from worker.app import App
from worker.logs import Outage, logger, scrubbed
from worker.store.client import StoreError
from worker.store.event_ledger import WAITS
from worker.store.inbox import Answer, Envelope
from worker.store.keys import ANSWERED

MOST = 256
"""Requests of one process that wait at once; others are answered as if they did not want to."""
LOOK_SECONDS = 1.0
"""How often a request looks by itself: a signal may be lost with a connection, and a former release sends none."""
BLOCK_SECONDS = 0.5
ASKING = 2
"""Threads that ask what became of events: they delay nothing else that is read."""
LINGER_SECONDS = 10.0
"""How long the channel is listened to after the last request."""
AGAIN_SECONDS = 0.5
CLOSE_SECONDS = 2.0
"""How long the end waits for the thread, which a store that stalls may hold up."""

log = logger("web")


class _Waiter:
    """One request, in the event loop in which it waits."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.listening = asyncio.Event()
        """From now on no signal is missed."""
        self.rung = asyncio.Event()
        """What is left was signalled."""
        self.left: set[str] = set()
        """Ids of events for which no signal has come yet."""

    def hear(self, event_id: str) -> None:
        self.left.discard(event_id)
        if not self.left:
            self.rung.set()


class Answers:
    """Waits for events, at most `MOST` requests at once. One thread listens for all of them, and none while nobody waits."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._waiters: set[_Waiter] = set()
        self._thread: threading.Thread | None = None
        self._listens = False
        self._closed = False
        self._asking = ThreadPoolExecutor(ASKING, thread_name_prefix="answers")

    def end(self) -> None:
        """The process is about to end: nobody waits any more."""
        with self._lock:
            self._closed = True
            waiters = list(self._waiters)
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):
                waiter.loop.call_soon_threadsafe(waiter.rung.set)

    def close(self) -> None:
        """And nothing is listened to."""
        self.end()
        self._asking.shutdown(wait=False, cancel_futures=True)
        thread = self._thread
        if thread is not None:
            thread.join(CLOSE_SECONDS)

    async def of(self, envelopes: Sequence[Envelope], seconds: float) -> list[Answer] | None:
        """What became of events that were put: once none of them waits any more, and None if that takes longer."""
        deadline = time.monotonic() + seconds
        waiter = _Waiter()
        if not self._join(waiter):
            return None
        try:
            await _within(LOOK_SECONDS, waiter.listening)
            while True:
                answers = await self._look(envelopes, waiter, deadline)
                if answers is not None:
                    return answers
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                await _within(min(left, LOOK_SECONDS), waiter.rung)
                if self._closed:
                    return None
        finally:
            with self._lock:
                self._waiters.discard(waiter)

    async def _look(self, envelopes: Sequence[Envelope], waiter: _Waiter, deadline: float) -> list[Answer] | None:
        """The answers if there is one for each; else what is left to be waited for is noted."""
        # Noted before the store is asked, since a signal may be quicker than its reply.
        waiter.left = {envelope.event_id for envelope in envelopes}
        waiter.rung.clear()

        loop, wait = asyncio.get_running_loop(), max(0.1, deadline - time.monotonic())
        try:
            async with asyncio.timeout(wait):
                answers = await loop.run_in_executor(self._asking, self._app.inbox.answers, envelopes)
        except (StoreError, TimeoutError):
            # The next look may be luckier: the events are on disk.
            return None
        waits = {x.event_id for x, told in zip(envelopes, answers, strict=True) if told.state == WAITS}
        for event_id in waiter.left - waits:
            waiter.hear(event_id)
        return None if waits else answers

    def _join(self, waiter: _Waiter) -> bool:
        with self._lock:
            if self._closed or len(self._waiters) >= MOST:
                return False
            self._waiters.add(waiter)
            if self._listens:
                waiter.listening.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="answers", daemon=True)
                self._thread.start()
        return True

    # The thread that listens

    def _listen(self) -> None:
        outage = Outage(log)
        needed = time.monotonic()
        while True:
            try:
                # What a node publishes is heard at each.
                with contextlib.closing(self._app.client.following(ANSWERED)) as redis, redis.pubsub() as channel:  # type: ignore[no-untyped-call]
                    channel.subscribe(ANSWERED)
                    while True:
                        told = channel.get_message(timeout=BLOCK_SECONDS)
                        if told is not None and told["type"] == "subscribe":
                            self._heard_of()
                            outage.over("events that are waited for are heard of again")
                        elif told is not None:
                            self._tell(told["data"].decode(errors="replace"))
                        needed, over = self._over(needed)
                        if over:
                            return
            except RedisError as error:
                self._listens = False
                outage.failed("events that are waited for are not heard of", error=scrubbed(str(error)))
                needed, over = self._over(needed)
                if over:
                    return
                time.sleep(AGAIN_SECONDS)

    def _over(self, needed: float) -> tuple[float, bool]:
        """When somebody last waited, and whether that is so long ago that the thread ends."""
        with self._lock:
            if self._waiters and not self._closed:
                return time.monotonic(), False
            if time.monotonic() - needed < LINGER_SECONDS and not self._closed:
                return needed, False
            self._thread = None
            self._listens = False
            return needed, True

    def _heard_of(self) -> None:
        """From now on the channel is heard."""
        with self._lock:
            self._listens = True
            waiters = list(self._waiters)
        for waiter in waiters:
            with contextlib.suppress(RuntimeError):
                waiter.loop.call_soon_threadsafe(waiter.listening.set)

    def _tell(self, event_id: str) -> None:
        with self._lock:
            waiters = [waiter for waiter in self._waiters if event_id in waiter.left]
        for waiter in waiters:
            # A request whose loop has ended does not wait any more.
            with contextlib.suppress(RuntimeError):
                waiter.loop.call_soon_threadsafe(waiter.hear, event_id)


async def _within(seconds: float, event: asyncio.Event) -> None:
    """Wait for it, but not for longer."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
