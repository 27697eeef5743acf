"""What a worker process does: dramatiq's actors, one for each lane and one for the schedule's ticks."""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

import dramatiq

from worker.app import App, build
from worker.github.answers import GitHubError
from worker.lifecycle.facts import SECOND
from worker.logs import Outage, frames, logger, scrubbed
from worker.queue.wakeups import ASKING, CHECKS, CLOCK, QUEUES, SWEEPS
from worker.settings import Settings
from worker.settling.processor import Processor, worker_name
from worker.store.client import StoreError
from worker.store.inbox import BULKY, BULKY_WORKER, EVENTS, LANES, LARGE, OVERFLOW, SUSPECT, WORKER
from worker.store.keys import Partition
from worker.verify.build import Asking, build_asking

ASKER = "asker"
"""The role of a process that asks GitHub."""
BEAT_SECONDS = 3.0
PREFETCH = 8
"""Wake-ups held ahead by each queue of a process. Few: a wake-up held here is one that another process cannot take."""
STOP_MS = 30_000
STALE_SECONDS = 60
"""A tick that waited longer, because no worker was there, is passed over: the ones after it do its work."""
PRIORITY = {name: place for place, name in enumerate((EVENTS, CLOCK, LARGE, OVERFLOW, BULKY, SUSPECT, CHECKS, SWEEPS))}
"""Within a process, hints and logins go first, then the clock, then the rest of large events, what overflowed and large bodies; checks before sweeps."""


class Parts(NamedTuple):
    """What a job of the schedule works with."""

    app: App
    processor: Processor
    asking: Asking | None
    """Only in a process that asks GitHub."""

    @property
    def ask(self) -> Asking:
        """What asks GitHub, for jobs of the queues that only such a process serves."""
        assert self.asking is not None
        return self.asking


Job = Callable[[Parts], None]

log = logger("worker")


def declare(app: App, jobs: Mapping[str, Job]) -> None:
    """Declare the actors of settling on the app's broker. `jobs` are those of the schedule, by name."""
    processor, outage = app.processor(worker_name()), Outage(log)

    def settle(lane: str) -> Callable[[int, str], None]:
        def run(partition: int, event_id: str) -> None:
            log.debug("woken", lane=lane, partition=partition, event_id=event_id)
            if lane == SUSPECT:
                processor.drain_suspects()
            elif lane == BULKY:
                processor.drain_bulky(Partition(partition))
            else:
                processor.drain(Partition(partition), lane)

        return _quiet(run, outage)

    for lane in LANES:
        _actor(app, f"settle_{lane}", lane)(settle(lane))
    _actor(app, f"tick_{CLOCK}", CLOCK)(_quiet(_ticking(Parts(app, processor, None), jobs), outage))


def declare_asking(app: App, asking: Asking, jobs: Mapping[str, Job]) -> None:
    """Declare the actors of asking GitHub on the app's broker."""
    outage = Outage(log)
    ticking = _quiet(_ticking(Parts(app, app.processor(worker_name()), asking), jobs), outage)
    for queue in ASKING:
        _actor(app, f"tick_{queue}", queue)(ticking)
    _actor(app, "check", CHECKS)(_quiet(asking.checker.begin, outage))


def _ticking(parts: Parts, jobs: Mapping[str, Job]) -> Callable[[str, int, int], None]:
    """Runs the job of a tick, once for all who hear it, and notes how that went."""
    status, me = parts.app.status, worker_name()

    def tick(job: str, planned: int, sent: int = 0) -> None:
        run = jobs.get(job)
        if run is None:
            log.error("no such job: are scheduler and workers of the same version?", job=job)
        elif status.now() // SECOND - (sent or planned) > STALE_SECONDS:
            log.debug("tick passed over, newer ones follow", job=job)
        elif status.begin_job(job, planned, me):
            try:
                run(parts)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the next tick may do better
                status.end_job(job, planned, type(error).__name__)
                where = "" if isinstance(error, GitHubError) else frames(error.__traceback__)
                told = str(error) if isinstance(error, GitHubError) else "unexpected; see where it happened"
                log.error("a job failed", job=job, error=type(error).__name__, message=told, where=where)  # noqa: TRY400
            else:
                status.end_job(job, planned, "")

    return tick


def _actor(app: App, name: str, queue: str) -> Callable[[Callable[..., None]], object]:
    return dramatiq.actor(actor_name=name, queue_name=queue, priority=PRIORITY[queue], broker=app.broker)


def _quiet(run: Callable[..., None], outage: Outage) -> Callable[..., None]:
    """A store that is away, or does not write, is one line in the log, not a trace: the events are claimed again when it is
    back.
    """

    def guarded(**message: int | str) -> None:
        try:
            run(**message)
        except StoreError as error:
            outage.failed("the store cannot be used; events wait in the inbox", error=scrubbed(str(error)))
        else:
            outage.over("the store can be used again")

    return guarded


class Part(StrEnum):
    """What a process serves."""

    ALL = "all"
    """Whatever has to be settled."""
    SMALL = "small"
    """All but events with a large body."""
    BULKY = "bulky"
    """These, so that nothing else waits while they are read."""
    ASKING = "asking"
    """Questions to GitHub."""


SERVED: dict[Part, tuple[str, ...]] = {
    Part.ALL: QUEUES,
    Part.SMALL: tuple(queue for queue in QUEUES if queue != BULKY),
    Part.BULKY: (BULKY,),
    Part.ASKING: ASKING,
}


ROLES = {Part.ALL: WORKER, Part.SMALL: WORKER, Part.BULKY: BULKY_WORKER, Part.ASKING: ASKER}
"""As what a process of each part shows itself: a process for large bodies alone would not make the service ready."""


def run_worker(settings: Settings, jobs: Mapping[str, Job], part: Part = Part.ALL) -> None:
    """Run one worker process until SIGTERM or SIGINT; what it has begun it finishes.

    A second signal changes nothing: some supervisors send one to every process, after ours has passed it on.

    Raises:
        SettingsError: it should ask GitHub, and there are no credentials.
    """
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    app = build(settings)
    asking = build_asking(app) if part is Part.ASKING else None
    if asking is None:
        declare(app, jobs)
    else:
        declare_asking(app, asking, jobs)
    threads = 1 if part is Part.BULKY else settings.threads
    queues, role = SERVED[part], ROLES[part]
    # A batch makes many objects and drops them all: looking for cycles among them is a tenth of a worker's time.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    worker = dramatiq.Worker(app.broker, queues=set(queues), worker_timeout=1000, worker_threads=threads)
    worker.queue_prefetch = PREFETCH
    worker.start()
    log.info("worker ready", threads=threads, queues=list(queues))
    beat_until(app, role, stopped)
    log.info("worker stopping")
    worker.stop(timeout=STOP_MS)
    if asking is not None:
        asking.close()
    app.broker.close()


def beat_until(app: App, role: str, stopped: threading.Event) -> None:
    """Note that this process is alive, every few seconds, until it is to stop."""
    outage = Outage(log)
    while True:
        try:
            app.status.beat(role, worker_name())
        except StoreError as error:
            outage.failed("no sign of life can be left in the store", error=scrubbed(str(error)))
        else:
            outage.over("signs of life are left in the store again")
        if stopped.wait(BEAT_SECONDS):
            return
