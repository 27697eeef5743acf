"""celery on Redis, with no result backend, no events and a prefetch that keeps its two processes busy."""

from __future__ import annotations

import os

from celery import Celery

from bench.noop.tally import Tally

tally = Tally()
app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"])
app.conf.update(
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_send_sent_event=False,
    worker_send_task_events=False,
    worker_prefetch_multiplier=64,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.noop", ignore_result=True)
def noop() -> None:
    tally.hit()
