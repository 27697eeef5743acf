"""What a worker process does: dramatiq's actors, one for each lane and one for the schedule's ticks. While the broker is
away, the same without wake-ups.
"""

from __future__ import annotations

import gc
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

import dramatiq

from worker.app import App, build
from worker.github.answers import GitHubError
from worker.lifecycle.facts import SECOND
from worker.lifecycle.views import rfc3339
from worker.logs import Outage, frames, logger, scrubbed
from worker.queue.wakeups import ASKING, CHECKS, CLOCK, QUEUES, SWEEPS
from worker.settings import Settings
from worker.settling.processor import Processor, worker_name
from worker.store.client import StoreError
from worker.store.epoch import Noticed
from worker.store.inbox import BULKY, BULKY_WORKER, EVENTS, LANES, LARGE, OVERFLOW, SUSPECT, WORKER
from worker.store.keys import Partition
from worker.verify.build import VerificationParts, build_all

VERIFIER = "asker"
"""The role of a process that asks GitHub."""
BEAT_SECONDS = 3.0
PREFETCH = 8
"""Wake-ups held ahead by each queue of a process. Few: a wake-up held here is one that another process cannot take."""
STOP_MS = 30_000
LOOK_SECONDS = 0.5
"""How often a queue is looked at while the broker is away, if nothing is due: a change has to come within 2 s."""
STALE_SECONDS = 60
"""A tick that waited longer, because no worker was there, is passed over: the ones after it do its work."""
PRIORITY = {name: place for place, name in enumerate((EVENTS, CLOCK, LARGE, OVERFLOW, BULKY, SUSPECT, CHECKS, SWEEPS))}
"""Within a process, hints and logins go first, then the clock, then the rest of large events, what overflowed and large bodies; checks before sweeps."""


class JobContext(NamedTuple):
    """What a job of the schedule works with."""

    app: App
    processor: Processor
    verifying: tuple[VerificationParts, ...] = ()
    """What asks each instance of GitHub, in a process that does, for jobs of the queues that only such a process serves."""


Job = Callable[[JobContext], None]


class ScheduledJob(NamedTuple):
    """One job of the schedule. `every` is in seconds and divides a day; ticks are at its multiples, in UTC, and up to
    `jitter` seconds later, so that many installations do not ask GitHub at the same instant.
    """

    name: str
    every: int
    jitter: int
    queue: str
    run: Job
    what: str


Tick = Callable[..., None]
"""Runs the job of a tick: its name, the planned time and the time that it was sent, both in seconds since 1970."""

log = logger("worker")


def declare(app: App, schedule: Iterable[ScheduledJob]) -> Unaided:
    """Declare the actors of settling on the app's broker."""
    processor, outage = app.processor(worker_name()), Outage(log)

    def drain(partition: Partition, lane: str) -> None:
        if lane == SUSPECT:
            processor.drain_quarantine()
        elif lane == BULKY:
            processor.drain_bulky(partition)
        else:
            processor.drain(partition, lane)

    def settle(lane: str) -> Callable[[int, str], None]:
        def run(partition: int, event_id: str) -> None:
            log.debug("woken", lane=lane, partition=partition, event_id=event_id)
            drain(Partition(partition), lane)

        return _quiet(run, outage)

    for lane in LANES:
        _actor(app, f"settle_{lane}", lane)(settle(lane))
    ticking = _quiet(_ticking(JobContext(app, processor), schedule), outage)
    _actor(app, f"tick_{CLOCK}", CLOCK)(ticking)
    return Unaided(app, schedule, ticking, _quiet(drain, outage))


def declare_verification(app: App, asking: tuple[VerificationParts, ...], schedule: Iterable[ScheduledJob]) -> Unaided:
    """Declare the actors of asking GitHub on the app's broker."""
    outage = Outage(log)
    ticking = _quiet(_ticking(JobContext(app, app.processor(worker_name()), asking), schedule), outage)
    for queue in ASKING:
        _actor(app, f"tick_{queue}", queue)(ticking)

    def begin() -> None:
        for parts in asking:
            parts.checker.begin()

    _actor(app, "check", CHECKS)(_quiet(begin, outage))
    return Unaided(app, schedule, ticking, drain=None)


class Unaided:
    """Does without wake-ups what a process would be woken for, while the broker is away: a thread for each queue looks at
    its lane and at the clock.
    """

    def __init__(
        self,
        app: App,
        schedule: Iterable[ScheduledJob],
        tick: Tick,
        drain: Callable[[Partition, str], None] | None,
    ) -> None:
        self._app = app
        self._schedule = tuple(schedule)
        self._tick = tick
        self._drain = drain
        self._threads: list[threading.Thread] = []

    def start(self, queues: Iterable[str], away: threading.Event, stopped: threading.Event) -> None:
        """Begin to look whenever `away` is set, until `stopped` is."""
        self._threads = [
            threading.Thread(target=self._watch, args=(queue, away, stopped), name=f"unaided-{queue}", daemon=True)
            for queue in queues
        ]
        for thread in self._threads:
            thread.start()

    def finish(self, away: threading.Event, seconds: float) -> None:
        """Once it is stopped, wait for what was begun, each for so long at most."""
        away.set()
        for thread in self._threads:
            thread.join(seconds)

    def _watch(self, queue: str, away: threading.Event, stopped: threading.Event) -> None:
        done: dict[str, int] = {}
        outage = Outage(log)
        while True:
            away.wait()
            if stopped.is_set():
                return
            try:
                found = self.look(queue, done)
            except StoreError as error:
                outage.failed("the store cannot be used; events wait in the inbox", error=scrubbed(str(error)))
                found = False
            else:
                outage.over("the store can be used again")
            if not found:
                stopped.wait(LOOK_SECONDS)

    def look(self, queue: str, done: dict[str, int]) -> bool:
        """Settle what is due in a queue's lane, and run its jobs whose tick has come; returns whether anything was due in
        the lane. `done`: the last tick of each job.

        Raises:
            StoreError: the store could not be reached.
        """
        seconds = self._app.status.now() // SECOND
        for job in self._schedule:
            planned = seconds // job.every * job.every
            if job.queue == queue and done.get(job.name, -1) < planned:
                done[job.name] = planned
                self._tick(job=job.name, planned=planned, sent=seconds)
        if self._drain is None or queue not in LANES:
            return False
        due = self._app.inbox.overdue([queue])
        for partition, lane in due:
            self._drain(partition, lane)
        return bool(due)


def _ticking(parts: JobContext, schedule: Iterable[ScheduledJob]) -> Tick:
    """Runs the job of a tick, once for all who hear it, and notes how that went."""
    status, me = parts.app.status, worker_name()
    jobs = {job.name: job.run for job in schedule}

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
                error_text = str(error) if isinstance(error, GitHubError) else "unexpected; see where it happened"
                log.error("a job failed", job=job, error=type(error).__name__, message=error_text, where=where)  # noqa: TRY400
            else:
                status.end_job(job, planned, "")

    return tick


def _actor(app: App, name: str, queue: str) -> Callable[[Callable[..., None]], object]:
    return dramatiq.actor(actor_name=name, queue_name=queue, priority=PRIORITY[queue], broker=app.broker)


def _quiet(run: Callable[..., None], outage: Outage) -> Callable[..., None]:
    """A store that is away, or does not write, is one line in the log, not a trace: the events are claimed again when it is
    back.
    """

    def guarded(*args: object, **message: int | str) -> None:
        try:
            run(*args, **message)
        except StoreError as error:
            outage.failed("the store cannot be used; events wait in the inbox", error=scrubbed(str(error)))
        else:
            outage.over("the store can be used again")

    return guarded


class ProcessRole(StrEnum):
    """What a process serves."""

    ALL = "all"
    """Whatever has to be settled."""
    SMALL = "small"
    """All but events with a large body."""
    BULKY = "bulky"
    """These, so that nothing else waits while they are read."""
    VERIFYING = "asking"
    """Questions to GitHub."""


SERVED: dict[ProcessRole, tuple[str, ...]] = {
    ProcessRole.ALL: QUEUES,
    ProcessRole.SMALL: tuple(queue for queue in QUEUES if queue != BULKY),
    ProcessRole.BULKY: (BULKY,),
    ProcessRole.VERIFYING: ASKING,
}


ROLES = {
    ProcessRole.ALL: WORKER,
    ProcessRole.SMALL: WORKER,
    ProcessRole.BULKY: BULKY_WORKER,
    ProcessRole.VERIFYING: VERIFIER,
}
"""As what a process of each part shows itself: a process for large bodies alone would not make the service ready."""


def run_worker(settings: Settings, schedule: Iterable[ScheduledJob], part: ProcessRole = ProcessRole.ALL) -> None:
    """Run one worker process until SIGTERM or SIGINT; what it has begun it finishes.

    A second signal changes nothing: some supervisors send one to every process, after ours has passed it on.

    Raises:
        SettingsError: it should ask GitHub, and there are no credentials.
    """
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    app = build(settings)
    app.publish_settings()
    verifying = part is ProcessRole.VERIFYING
    asking = build_all(app) if verifying else ()
    unaided = declare_verification(app, asking, schedule) if verifying else declare(app, schedule)
    threads = 1 if part is ProcessRole.BULKY else settings.threads
    queues, role = SERVED[part], ROLES[part]
    # A batch makes many objects and drops them all: looking for cycles among them is a tenth of a worker's time.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    worker = dramatiq.Worker(app.broker, queues=set(queues), worker_timeout=1000, worker_threads=threads)
    worker.queue_prefetch = PREFETCH
    worker.start()
    unaided.start(queues, app.broker.away, stopped)
    log.info("worker ready", threads=threads, queues=list(queues))
    beat_until(app, role, stopped)
    log.info("worker stopping")
    worker.stop(timeout=STOP_MS)
    unaided.finish(app.broker.away, STOP_MS / 1000)
    for parts in asking:
        parts.close()
    app.broker.close()


def _tell(noticed: Noticed, unkept: Outage) -> None:
    """Say what a beat came upon."""
    if noticed.recovery is not None:
        since = rfc3339(noticed.recovery.since)
        log.error("the store went back in time, and everything is closed: see `tenure recover`", lost_since=since)
    if noticed.unkept:
        unkept.failed("a restored store would not be noticed: set TENURE_WITNESS_DIR", error=noticed.unkept)
    else:
        unkept.over("a restored store would be noticed again")


def beat_until(app: App, role: str, stopped: threading.Event) -> None:
    """Note that this process is alive, every few seconds, until it is to stop; and look whether the store lives on, beside that:
    where a node hangs that takes longer, and nobody is to take this process for dead.
    """
    watching = threading.Thread(target=_watch, args=(app, stopped), name="witness", daemon=True)
    watching.start()
    outage = Outage(log)
    while True:
        try:
            app.status.beat(role, worker_name())
        except StoreError as error:
            outage.failed("no sign of life can be left in the store", error=scrubbed(str(error)))
        else:
            outage.over("signs of life are left in the store again")
        if stopped.wait(BEAT_SECONDS):
            watching.join(BEAT_SECONDS)
            return


def _watch(app: App, stopped: threading.Event) -> None:
    unkept = Outage(log)
    while True:
        # Where the store cannot be reached, the signs of life tell.
        with suppress(StoreError):
            _tell(app.epochs.beat(), unkept)
        if stopped.wait(BEAT_SECONDS):
            return
