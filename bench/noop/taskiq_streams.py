"""taskiq on Redis streams, with no result backend."""

from __future__ import annotations

import os

from taskiq_redis import RedisStreamBroker

from bench.noop.tally import Tally

tally = Tally()
broker = RedisStreamBroker(os.environ["BENCH_REDIS_URL"])


@broker.task
async def noop() -> None:
    tally.hit()
