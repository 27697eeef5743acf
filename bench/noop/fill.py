"""Enqueue no-op jobs: `python -m bench.noop.fill dramatiq_bell 20000`."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from types import ModuleType

AT_ONCE = 200


def fill(name: str, count: int) -> None:
    module = import_module(f"bench.noop.{name}")
    if name.startswith("taskiq"):
        asyncio.run(_taskiq(module, count))
        return
    send = module.noop.send if name.startswith("dramatiq") else module.noop.delay
    for _ in range(count):
        send()


async def _taskiq(module: ModuleType, count: int) -> None:
    await module.broker.startup()
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(module.noop.kiq() for _ in range(min(AT_ONCE, count - start))))
    await module.broker.shutdown()


if __name__ == "__main__":
    fill(sys.argv[1], int(sys.argv[2]))
