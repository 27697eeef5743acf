"""What a worker process does: dramatiq's actors, one for each lane and one for the schedule's ticks."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Mapping

import dramatiq

from worker.app import CLOCK, QUEUES, App, build
from worker.lifecycle.facts import SECOND
from worker.logs import logger
from worker.process import Processor, worker_name
from worker.settings import Settings
from worker.store.client import StoreError
from worker.store.inbox import LANES, SUSPECT
from worker.store.keys import Partition

BEAT_SECONDS = 3.0
PREFETCH = 8
"""Wake-ups held ahead by each queue of a process. Few: a wake-up held here is one that another process cannot take."""
STOP_MS = 30_000
STALE_SECONDS = 60
"""A tick that waited longer, because no worker was there, is passed over: the ones after it do its work."""
PRIORITY = {name: place for place, name in enumerate(("events", CLOCK, "large", SUSPECT))}
"""Within a process, hints and logins go first, then the clock, then the rest of large events."""

Job = Callable[[App, Processor], None]

log = logger("worker")


def declare(app: App, jobs: Mapping[str, Job]) -> None:
    """Declare all actors on the app's broker. `jobs` are those of the schedule, by name."""
    name = worker_name()
    processor = Processor(app, name)

    def settle(lane: str) -> Callable[[int, str], None]:
        def run(partition: int, event_id: str) -> None:
            log.debug("woken", lane=lane, partition=partition, event_id=event_id)
            if lane == SUSPECT:
                processor.drain_suspects()
            else:
                processor.drain(Partition(partition), lane)

        return _quiet(run)

    def tick(job: str, planned: int) -> None:
        run = jobs.get(job)
        if run is None:
            log.error("no such job: are scheduler and workers of the same version?", job=job)
        elif app.status.now() // SECOND - planned > STALE_SECONDS:
            log.debug("tick passed over, newer ones follow", job=job)
        elif app.status.claim_tick(job, planned):
            run(app, processor)

    for lane in LANES:
        _actor(app, f"settle_{lane}", lane)(settle(lane))
    _actor(app, "tick", CLOCK)(_quiet(tick))


def _actor(app: App, name: str, queue: str) -> Callable[[Callable[..., None]], object]:
    return dramatiq.actor(actor_name=name, queue_name=queue, priority=PRIORITY[queue], broker=app.broker)


def _quiet(run: Callable[..., None]) -> Callable[..., None]:
    """A store that is away is one line in the log, not a trace: the events are claimed again when it is back."""

    def guarded(**message: int | str) -> None:
        try:
            run(**message)
        except StoreError as error:
            log.error("the store cannot be reached; events wait in the inbox", error=str(error))  # noqa: TRY400

    return guarded


def run_worker(settings: Settings, jobs: Mapping[str, Job]) -> None:
    """Run one worker process until SIGTERM or SIGINT; what it has begun it finishes.

    A second signal changes nothing: some supervisors send one to every process, after ours has passed it on.
    """
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    app = build(settings)
    declare(app, jobs)
    # A batch makes many objects and drops them all: looking for cycles among them is a tenth of a worker's time.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    worker = dramatiq.Worker(app.broker, queues=set(QUEUES), worker_timeout=1000, worker_threads=settings.threads)
    worker.queue_prefetch = PREFETCH
    worker.start()
    log.info("worker ready", threads=settings.threads, queues=list(QUEUES))
    beat_until(app, "worker", stopped)
    log.info("worker stopping")
    worker.stop(timeout=STOP_MS)
    app.broker.close()


def beat_until(app: App, role: str, stopped: threading.Event) -> None:
    """Note that this process is alive, every few seconds, until it is to stop."""
    while True:
        try:
            app.status.beat(role, worker_name())
        except StoreError as error:
            log.warning("the store cannot be reached", error=str(error))
        if stopped.wait(BEAT_SECONDS):
            return
