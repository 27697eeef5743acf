"""The way from the HTTP API into the inbox: whatever waits goes in together, in one round trip and one write to disk."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple

from worker.app import App
from worker.logs import Outage, logger, scrubbed
from worker.store.client import StoreError
from worker.store.inbox import LARGE_BODY, Envelope, Receipt
from worker.store.keys import Partition
from worker.web.problems import ServiceUnavailableError, error_fields

MAX_WAITING = 1_000
"""Requests that wait for the store at once; more are sent away."""
PATIENCE_SECONDS = 8.0
"""How long a request waits for the store. GitHub gives up after 10."""
GROUP = 512
GROUP_BYTES = 32 * 1024 * 1024
"""A group that has reached this many envelopes, or bytes, gets no further request: others use the store, too."""
FLUSH_SECONDS = 1.0
"""How often refusals are written to the store's counters: never one by one, since anybody can cause them."""

log = logger("web")


class _Request(NamedTuple):
    envelopes: Sequence[Envelope]
    stored: asyncio.Future[list[Receipt] | None]
    """What the inbox answered; None if it did not."""


class _WakeUp(NamedTuple):
    partition: Partition
    lane: str
    event_id: str


class InboxWriter:
    """Takes envelopes from many requests and puts them into the inbox.

    Large bodies are written before, one after the other and a part at a time. One thread puts what goes to a node, so that
    while one group is written to disk the next one gathers, and a node that hangs delays no other's; what goes to several
    has a thread of its own. Another sends wake-ups and writes counters, so that neither delays the next group.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._outage = Outage(log)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0
        self._staging = asyncio.Semaphore(1)
        self._requests: dict[frozenset[str], SimpleQueue[_Request | None]] = {}
        """By the nodes to which they go."""
        self._wakeups: SimpleQueue[_WakeUp | None] = SimpleQueue()
        self._refused: Counter[str] = Counter()
        self._refused_lock = threading.Lock()
        self._flush_at: float | None = None
        self._putting: list[threading.Thread] = []
        self._ringing: threading.Thread | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ringing = self._started("wake-ups", self._send_wakeups)

    @staticmethod
    def _started(name: str, target: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        thread.start()
        return thread

    async def stop(self) -> None:
        """Finish what is waiting, then end. A store that stalls is not waited for longer than its requests do."""
        self._loop = None
        until = time.monotonic() + PATIENCE_SECONDS
        for requests in self._requests.values():
            requests.put(None)
        for putting in self._putting:
            await asyncio.to_thread(putting.join, max(0.0, until - time.monotonic()))
        self._wakeups.put(None)
        if self._ringing is not None:
            await asyncio.to_thread(self._ringing.join, PATIENCE_SECONDS)

    async def put(self, envelopes: Sequence[Envelope]) -> list[Receipt]:
        """Store envelopes, all or none; returns when they are on disk.

        Raises:
            UnavailableError: they could not be stored. If the store answers too late they may be; sending again is safe.
        """
        if self._loop is None or self._waiting >= MAX_WAITING:
            raise ServiceUnavailableError(
                "busy", "Too many requests are waiting for the store. Send it again in some seconds."
            )
        stored: asyncio.Future[list[Receipt] | None] = self._loop.create_future()
        self._waiting += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                if any(len(envelope.body) > LARGE_BODY for envelope in envelopes):
                    async with self._staging:
                        envelopes = await asyncio.to_thread(
                            lambda: [self._app.inbox.stage(envelope) for envelope in envelopes]
                        )
                self._queue(envelopes).put(_Request(envelopes, stored))
                receipts = await stored
        except (TimeoutError, StoreError):
            receipts = None
        finally:
            self._waiting -= 1
        if receipts is None:
            raise ServiceUnavailableError("store", "The event cannot be stored now. Send it again in some seconds.")
        return receipts

    def _queue(self, envelopes: Sequence[Envelope]) -> SimpleQueue[_Request | None]:
        """The queue of those that go to the same node, or of all that go to several."""
        nodes = self._app.inbox.nodes_of(envelopes)
        key = nodes if len(nodes) == 1 else frozenset()
        if key not in self._requests:
            requests = self._requests[key] = SimpleQueue()
            loop = asyncio.get_running_loop()
            self._putting.append(self._started("inbox-writer", self._put_groups, loop, requests))
        return self._requests[key]

    def refuse(self, kind: str) -> None:
        """Count a refusal."""
        with self._refused_lock:
            self._refused[f"rejected:{kind}"] += 1
            first = self._flush_at is None
            if first:
                self._flush_at = time.monotonic() + FLUSH_SECONDS
        if first:
            self._wakeups.put(_NOTHING)

    def flush(self) -> None:
        """Write the refusals counted so far.

        Raises:
            StoreError: they are kept, and written later.
        """
        with self._refused_lock:
            counts, self._refused = self._refused, Counter()
            self._flush_at = None
        if not counts:
            return
        try:
            self._app.status.count(dict(counts))
        except StoreError:
            with self._refused_lock:
                self._refused += counts
                self._flush_at = time.monotonic() + FLUSH_SECONDS
            self._wakeups.put(_NOTHING)
            raise

    # The threads that put

    def _put_groups(self, loop: asyncio.AbstractEventLoop, requests: SimpleQueue[_Request | None]) -> None:
        more = True
        while more:
            group, more = self._gather(requests)
            if group:
                self._put(loop, group)

    @staticmethod
    def _gather(requests: SimpleQueue[_Request | None]) -> tuple[list[_Request], bool]:
        """Everything that waits, up to a limit; and whether more may come."""
        group: list[_Request] = []
        envelopes, size = 0, 0
        while envelopes < GROUP and size < GROUP_BYTES:
            try:
                request = requests.get(block=not group)
            except Empty:
                break
            if request is None:
                return group, False
            if not request.stored.done():
                group.append(request)
                envelopes += len(request.envelopes)
                size += sum(len(envelope.body) for envelope in request.envelopes)
        return group, True

    def _put(self, loop: asyncio.AbstractEventLoop, group: Sequence[_Request]) -> None:
        answers: Sequence[list[Receipt] | None] = [None] * len(group)
        try:
            found = self._app.inbox.put_each([request.envelopes for request in group])
            failed = next((each for each in found if isinstance(each, StoreError)), None)
            if failed is not None:
                self._note(failed)
            else:
                self._outage.over("events are stored again")
            answers = [None if isinstance(each, StoreError) else each for each in found]
        except StoreError as error:
            self._note(error)
        except Exception as error:  # noqa: BLE001 - this thread must outlive whatever happens to one group
            log.error("events cannot be stored", requests=len(group), **error_fields(error))  # noqa: TRY400 - the fields have the trace
        # When the writer was stopped on a store that stalls, the loop may have ended: then nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, group, answers)
        for request, answer in zip(group, answers, strict=True):
            for envelope, receipt in zip(request.envelopes, answer or (), strict=False):
                if receipt.wake:
                    self._wakeups.put(_WakeUp(envelope.partition, receipt.wake, envelope.event_id))

    def _note(self, error: StoreError) -> None:
        self._outage.failed("events cannot be stored; they are answered 503", error=scrubbed(str(error)))

    # The thread that sends wake-ups

    def _send_wakeups(self) -> None:
        while True:
            flush_at = self._flush_at
            try:
                wakeup = self._wakeups.get(timeout=None if flush_at is None else max(0.0, flush_at - time.monotonic()))
            except Empty:
                wakeup = _NOTHING
            if wakeup is not None and wakeup is not _NOTHING:
                self._app.wakeups.wake(*wakeup)
            if wakeup is None or (flush_at is not None and time.monotonic() >= flush_at):
                try:
                    self.flush()
                except StoreError as error:
                    self._outage.failed("refusals cannot be counted yet", error=scrubbed(str(error)))
            if wakeup is None:
                return


_NOTHING = _WakeUp(Partition(0), "", "")
"""Only makes the wakeup thread look again."""


def _resolve(group: Sequence[_Request], answers: Sequence[list[Receipt] | None]) -> None:
    for request, receipts in zip(group, answers, strict=True):
        if not request.stored.done():
            request.stored.set_result(receipts)
