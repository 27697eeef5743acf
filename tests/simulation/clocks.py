"""The time and the name of whoever runs, where the product asks the machine for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from greenlet import getcurrent

from schedules import jobs
from tenure_reader import mirror, nodes, routing, source
from worker import processes
from worker.dead_letters import pace
from worker.lifecycle.facts import SECOND, Micros
from worker.verify import calls, checker, redeliverer, sweeper

replay = import_module("worker.dead_letters.replay")
"""The module: in its room, the function has its name."""
TIMED = (jobs, replay, pace, calls, checker, redeliverer, sweeper, nodes, routing, source)
"""Modules that ask for `time.monotonic`, or sleep."""
NAMED = (jobs, processes, replay)
"""Modules that ask for the name of their process."""


class Clock:
    """What `time` is to these modules."""

    def __init__(self, elapsed: Callable[[], Micros], sleep: Callable[[float], None]) -> None:
        self._elapsed = elapsed
        self.sleep = sleep

    def monotonic(self) -> float:
        return self._elapsed() / SECOND


def own_name() -> str:
    """Of the process that runs now; of what is done beside all processes, another."""
    return str(getattr(getcurrent(), "name", "at rest"))


@contextmanager
def simulated(elapsed: Callable[[], Micros], sleep: Callable[[float], None]) -> Iterator[None]:
    """In all modules, time passes only as the simulated world says. And no mirror writes to the log."""
    clock, log = Clock(elapsed, sleep), logging.getLogger("tenure.mirror")
    told: list[tuple[ModuleType, str, object]] = [
        *((module, "elapsed", clock.monotonic) for module in (mirror, source)),
        *((module, "time", clock) for module in TIMED),
        *((module, "worker_name", own_name) for module in NAMED),
    ]
    before = [(module, name, vars(module)[name]) for module, name, _ in told]
    log.disabled = True
    try:
        for module, name, value in told:
            vars(module)[name] = value
        yield
    finally:
        for module, name, value in before:
            vars(module)[name] = value
        log.disabled = False
