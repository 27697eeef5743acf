"""Wake-ups: the messages that tell workers where something is due. They may be lost: the inbox is the truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from dramatiq import Broker, Message

from worker.logs import Outage, logger, scrubbed
from worker.store.inbox import LANES
from worker.store.keys import Partition

CLOCK = "clock"
QUEUES = (*LANES, CLOCK)
"""The queues of settling: one for each of the inbox's lanes, so that large or suspect events never delay others, and the
clock's."""
CHECKS = "checks"
SWEEPS = "sweeps"
ASKING = (CHECKS, SWEEPS)
"""The queues of asking GitHub. They have processes of their own, so that a slow GitHub never delays a disable."""


PAUSE_SECONDS = 1.0
"""After a wake-up that could not be sent, none is tried for so long: a server that hangs would hold up every sender."""


class WakeUps:
    """Wakes workers. Never raises: a wake-up that cannot be sent is sent again by the scheduler, and workers look by
    themselves while the broker is away. `monotonic`: seconds that never go back.
    """

    def __init__(self, broker: Broker, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._broker = broker
        self._monotonic = monotonic
        self._outage = Outage(logger("wake-ups"), monotonic)
        self._trying = threading.Lock()
        self._paused_until: float | None = None
        """None while wake-ups can be sent."""

    def wake(self, partition: Partition, lane: str, event_id: str) -> None:
        """Something is due in a lane; `event_id` says for which event, to those who read the queue."""
        self._send(lane, f"settle_{lane}", {"partition": partition.number, "event_id": event_id})

    def tick(self, queue: str, job: str, planned: int, sent: int) -> None:
        """A job of the schedule is due; `planned` names the tick, `sent` is now (seconds since 1970, the store's time)."""
        self._send(queue, f"tick_{queue}", {"job": job, "planned": planned, "sent": sent})

    def check(self) -> None:
        """A check is due."""
        self._send(CHECKS, "check", {})

    def _send(self, queue: str, actor: str, kwargs: dict[str, int | str]) -> None:
        message: Message[Any] = Message(queue_name=queue, actor_name=actor, args=(), kwargs=dict(kwargs), options={})
        if self._paused_until is None:
            self._try(message)
        elif self._trying.acquire(blocking=False):
            # One sender at a time sees whether the broker is back.
            try:
                if self._monotonic() >= self._paused_until:
                    self._try(message)
            finally:
                self._trying.release()

    def _try(self, message: Message[Any]) -> None:
        try:
            self._broker.enqueue(message)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises
            self._paused_until = self._monotonic() + PAUSE_SECONDS
            told = scrubbed(f"{type(error).__name__}: {error}")
            self._outage.failed(
                "wake-ups cannot be sent; workers look by themselves", queue=message.queue_name, error=told
            )
        else:
            self._paused_until = None
            self._outage.over("wake-ups are sent again")
