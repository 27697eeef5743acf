"""The supervisor: starts children, restarts one that dies, and ends them in order.

Children are in sessions of their own, so that a signal to our process group (Ctrl-C) reaches them once, from us. If we
are killed, Linux ends them.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.local.valkey import EmbeddedError, EmbeddedStore, die_with_parent
from worker.logs import Outage, logger

STOP_SECONDS = 35.0
STORE_SECONDS = 10.0
"""How long at most until a store that does not start is tried again."""
CALM_SECONDS = 30.0
"""A child that ran this long is restarted at once; one that dies sooner waits longer each time."""

log = logger("supervisor")


@dataclass(slots=True)
class Child:
    """One process of ours: `python -m worker ARGUMENTS`."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    restart_at: float = field(default=0.0)

    def start(self) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [sys.executable, "-m", "worker", *self.arguments],
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, before any thread of the child
        )
        self.started = time.monotonic()


def workers(count: int, environment: Mapping[str, str], *, asks: bool) -> list[Child]:
    """So many worker processes, and one for events with a large body; `asks`: and one more, that asks GitHub."""
    settling = [Child(f"worker-{n + 1}", ["worker", "--single", "--part=small"], environment) for n in range(count)]
    apart = [Child("bulky", ["worker", "--single", "--part=bulky"], environment)]
    if asks:
        apart.append(Child("asker", ["worker", "--asking"], environment))
    return [*settling, *apart]


class Supervisor:
    """Keeps children running until told to stop."""

    def __init__(self, children: Sequence[Child], store: EmbeddedStore | None = None) -> None:
        self.children = list(children)
        self._store = store
        self._stopped = threading.Event()
        self._store_failures = 0
        self._store_at = 0.0
        self._outage = Outage(log)

    def stop_on_signals(self) -> None:
        """SIGINT and SIGTERM stop the supervisor; a second one changes nothing."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stopped.set())

    def stop(self) -> None:
        self._stopped.set()

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()

    def start(self) -> None:
        for child in self.children:
            child.start()

    def watch(self, interval: float = 0.2) -> None:
        """Until stopped: restart what has died."""
        while not self._stopped.wait(interval):
            self.look_after_store()
            for child in self.children:
                self._look_after(child)

    def look_after_store(self) -> None:
        """Start a store that has ended again, and again: a disk that is full has room some time. Meanwhile the API answers
        503.
        """
        store, now = self._store, time.monotonic()
        if store is None or store.running or now < self._store_at:
            return
        if self._store_failures == 0:
            log.error("the store ended; it is started again", why=store.why())
        try:
            store.start()
        except EmbeddedError as error:
            self._store_failures += 1
            self._store_at = now + min(0.5 * 2 ** min(self._store_failures, 10), STORE_SECONDS)
            self._outage.failed("the store cannot be started; it is tried again", why=str(error))
            return
        self._store_failures, self._store_at = 0, 0.0
        self._outage.over("the store runs again")

    def _look_after(self, child: Child) -> None:
        if child.process is None:
            if time.monotonic() >= child.restart_at:
                child.start()
            return
        code = child.process.poll()
        if code is None:
            return
        lived = time.monotonic() - child.started
        child.failures = 0 if lived > CALM_SECONDS else child.failures + 1
        delay = 0.0 if child.failures <= 1 else min(0.5 * 2**child.failures, 15.0)
        child.process, child.restart_at = None, time.monotonic() + delay
        log.error("a process ended; starting it again", process=child.name, code=code, after_seconds=round(lived, 1))

    def end(self) -> None:
        """Ask all children to end and wait; the store is its owner's to stop, after this."""
        running = [child for child in self.children if child.process is not None and child.process.poll() is None]
        for child in running:
            assert child.process is not None
            child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in running:
            assert child.process is not None
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("a process does not end; killing it", process=child.name)
                child.process.kill()
                child.process.wait()
