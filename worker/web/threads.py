"""What the endpoints of one process share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from worker.app import App
from worker.settings.rotation import Rotation
from worker.store.client import StoreError
from worker.web.bodies import Room
from worker.web.inbox_writer import InboxWriter
from worker.web.problems import ServiceUnavailableError

READ_SECONDS = 8.0
"""How long a request waits for what it reads from the store."""
READERS = 8
EACH = 4
"""Readings of one token or session at once: others have their turn between them."""
INTAKE = 2
"""Threads that look at what is sent: no reading delays them, and large bodies are parsed one or two at a time."""
VITAL = 2
"""Threads that answer how the installation is, and nothing else: slow pages must not make it seem unready."""

ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class Web:
    """What one process's endpoints share."""

    app: App
    inbox_writer: InboxWriter
    room: Room = field(default_factory=Room)
    rotation: Rotation = field(init=False)
    _readers: ThreadPoolExecutor | None = None
    _vital: ThreadPoolExecutor | None = None
    _intake: ThreadPoolExecutor | None = None
    _turns: dict[str, tuple[asyncio.Semaphore, int]] = field(default_factory=dict)
    """Who reads → their turns, and how many of them wait or read."""

    def __post_init__(self) -> None:
        self.rotation = Rotation(self.app.settings, time.monotonic)

    async def start(self) -> None:
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="web")
        self._vital = ThreadPoolExecutor(VITAL, thread_name_prefix="vital")
        self._intake = ThreadPoolExecutor(INTAKE, thread_name_prefix="intake")
        await self.inbox_writer.start()

    async def stop(self) -> None:
        await self.inbox_writer.stop()
        for pool in filter(None, (self._readers, self._vital, self._intake)):
            pool.shutdown(wait=False, cancel_futures=True)

    async def take_in(self, work: Callable[[], ResultT]) -> ResultT:
        """Look at what was sent, beside the event loop, and beside all that is read.

        Raises:
            UnavailableError: the store could not be reached, or not in time.
        """
        return await self._run(self._intake, work, READ_SECONDS)

    async def read(self, who: str, work: Callable[[], ResultT], seconds: float | None = None) -> ResultT:
        """Read for somebody, who has `EACH` readings at once at most, and waits for a turn within the same time.

        Raises:
            UnavailableError: the store could not be reached, or not in time.
        """
        turns, readers = self._turns.get(who, (asyncio.Semaphore(EACH), 0))
        self._turns[who] = turns, readers + 1
        try:
            async with asyncio.timeout(seconds or READ_SECONDS):
                await turns.acquire()
        except TimeoutError:
            raise ServiceUnavailableError(
                "busy", "Too much is being read with this token. Try again in some seconds."
            ) from None
        else:
            try:
                return await self.aside(work, seconds)
            finally:
                turns.release()
        finally:
            turns, readers = self._turns[who]
            if readers > 1:
                self._turns[who] = turns, readers - 1
            else:
                del self._turns[who]

    async def aside(self, work: Callable[[], ResultT], seconds: float | None = None, *, vital: bool = False) -> ResultT:
        """Run what blocks, or takes long, beside the event loop; wait for it so long at most, `READ_SECONDS` if not said.

        What is vital does not wait for what others read.

        Raises:
            UnavailableError: the store could not be reached, or not in time.
        """
        return await self._run(self._vital if vital else self._readers, work, seconds or READ_SECONDS)

    @staticmethod
    async def _run(pool: ThreadPoolExecutor | None, work: Callable[[], ResultT], seconds: float) -> ResultT:
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.get_running_loop().run_in_executor(pool, work)
        except (StoreError, TimeoutError):
            raise ServiceUnavailableError(
                "store", "The store cannot be reached now. Try again in some seconds."
            ) from None
