"""What the endpoints of one process share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from worker.app import App
from worker.rotation import Rotation
from worker.store.client import StoreError
from worker.web.bodies import Room
from worker.web.door import Door
from worker.web.problems import UnavailableError

READ_SECONDS = 8.0
"""How long a request waits for what it reads from the store."""
READERS = 8
VITAL = 2
"""Threads that answer how the installation is, and nothing else: slow pages must not make it seem unready."""

ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class Web:
    """One process's doors."""

    app: App
    door: Door
    room: Room = field(default_factory=Room)
    rotation: Rotation = field(init=False)
    _readers: ThreadPoolExecutor | None = None
    _vital: ThreadPoolExecutor | None = None

    def __post_init__(self) -> None:
        self.rotation = Rotation(self.app.settings, time.monotonic)

    async def start(self) -> None:
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="web")
        self._vital = ThreadPoolExecutor(VITAL, thread_name_prefix="vital")
        await self.door.start()

    async def stop(self) -> None:
        await self.door.stop()
        for pool in filter(None, (self._readers, self._vital)):
            pool.shutdown(wait=False, cancel_futures=True)

    async def aside(self, work: Callable[[], ResultT], seconds: float | None = None, *, vital: bool = False) -> ResultT:
        """Run what blocks, or takes long, beside the event loop; wait for it so long at most, `READ_SECONDS` if not said.

        What is vital does not wait for what others read.

        Raises:
            UnavailableError: the store could not be reached, or not in time.
        """
        pool = self._vital if vital else self._readers
        try:
            async with asyncio.timeout(seconds or READ_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(pool, work)
        except (StoreError, TimeoutError):
            raise UnavailableError("store", "The store cannot be reached now. Try again in some seconds.") from None
