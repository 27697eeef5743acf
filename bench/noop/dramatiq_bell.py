"""dramatiq with the broker that Tenure itself uses, and no middleware either."""

from __future__ import annotations

import os

import dramatiq

from bench.noop.tally import Tally
from worker.queue.broker import make_broker

tally = Tally()
broker = make_broker(os.environ["BENCH_REDIS_URL"], [])
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench")
def noop() -> None:
    tally.hit()
