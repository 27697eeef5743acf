"""Tenure's full path: from the inbox to the settled event, with every change published and on disk."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from bench.frame import (
    BenchError,
    Options,
    Server,
    Table,
    child,
    cpu_seconds,
    descendants,
    environment,
    log_tail,
    median,
    python,
    say,
    server,
    spelled,
    unsynced,
    wait_until,
    workspace,
)
from bench.payloads import registration_letter, subject, webhook_letter
from worker.app import App, build
from worker.settings import Settings
from worker.store.inbox import EVENTS, Envelope

PROCESSES = 2
AT_ONCE = 500
"""Events put into the inbox in one round trip while a run is prepared."""


class Run(NamedTuple):
    """One run's figures."""

    rate: float
    """Settled events per second, from the first that was seen settled to the last."""
    server_us: float
    """Server's CPU time for each event."""
    worker_us: float | None
    """Workers' CPU time for each event; None where the system does not tell."""


def connected(where: Server) -> App:
    """The parts of Tenure, on this server."""
    return build(Settings(_env_file=None, redis_url=SecretStr(where.store.url)))


def worker_command() -> list[str]:
    return python("-m", "worker", "worker", "--processes", str(PROCESSES))


@contextlib.contextmanager
def workers(where: Server, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = environment(TENURE_REDIS_URL=where.store.url, TENURE_LOG_FORMAT="json")
    with child(worker_command(), env, directory) as process:
        yield process


def put(app: App, letters: Sequence[Envelope]) -> None:
    """Into the inbox, without waking anybody."""
    for start in range(0, len(letters), AT_ONCE):
        app.inbox.put([[letter] for letter in letters[start : start + AT_ONCE]])


def wake(app: App) -> None:
    """Wake workers, once for each partition."""
    for partition in app.keyspace.all():
        app.wakeups.wake(partition, EVENTS, "")


def settled(app: App) -> int:
    return app.status.counters().get("settled", 0)


def published(app: App) -> int:
    return sum(count for name, count in app.status.counters().items() if name.startswith("changes:"))


def register(app: App, where: Server, directory: Path, policies: int) -> None:
    """Register policies the way that any policy is: through the inbox and the workers."""
    goal = settled(app) + policies
    now = app.status.now()
    with unsynced(where):
        put(app, [registration_letter(app.keyspace, subject(i), now) for i in range(policies)])
        with workers(where, directory) as process:
            wake(app)
            wait_until(lambda: settled(app) >= goal, "registering", process, directory)


def webhooks(app: App, start: int, count: int, policies: int) -> list[Envelope]:
    """Each policy in turn is told that its repository is archived, then that it is not, and so on."""
    return [
        webhook_letter(
            app.keyspace, subject(i % policies), f"bench-delivery-{i}", archived=(i // policies) % 2 == 0
        )
        for i in range(start, start + count)
    ]  # fmt: skip


def drain(app: App, where: Server, directory: Path, count: int) -> Run:
    """Start workers on an inbox that holds `count` events, and time them until it is empty.

    Raises:
        BenchError: an event failed, or one did not publish the change that it should have.
    """
    before, changes = settled(app), published(app)
    seen: list[tuple[float, int, float, float]] = []
    wake(app)
    with workers(where, directory) as process:

        def look() -> bool:
            done = settled(app) - before
            if done and (not seen or done > seen[-1][1]):
                seen.append((time.monotonic(), done, where.cpu_seconds(), cpu_seconds(descendants(process.pid)) or 0.0))
            return done >= count

        wait_until(look, "settling", process, directory)
    depth = app.inbox.depth()
    if published(app) - changes != count or any(depth.values()):
        raise BenchError(
            f"{published(app) - changes} of {count} events published a change, {depth} left: {log_tail(directory)}"
        )
    (start, first, server_before, workers_before), (end, last, server_after, workers_after) = seen[0], seen[-1]
    number = max(1, last - first)
    worker_us = (workers_after - workers_before) / number * 1e6
    return Run(number / (end - start), (server_after - server_before) / number * 1e6, worker_us or None)


def measure(options: Options) -> list[Table]:
    table = Table(
        f"Tenure's full path: {options.events:,} webhooks of 7 kB, {options.policies:,} policies, each event publishes "
        f"a change; {PROCESSES} processes, median of {options.runs}",
        ["", "events/s, appendfsync always", "server, µs/event", "workers, µs/event"],
    )
    with workspace() as directory, server(directory) as where:
        app = connected(where)
        register(app, where, directory, options.policies)
        # The first event of a new policy reads once more what was observed while it was registered.
        put(app, webhooks(app, 0, options.policies, options.policies))
        drain(app, where, directory, options.policies)
        runs = []
        for number in range(options.runs):
            with unsynced(where):
                put(app, webhooks(app, options.policies + number * options.events, options.events, options.policies))
            runs.append(drain(app, where, directory, options.events))
            say(f"full path: {runs[-1].rate:.0f} events/s")
    spent = [run.worker_us for run in runs if run.worker_us is not None]
    table.rows.append([
        "settled events", median([run.rate for run in runs]), median([run.server_us for run in runs]),
        median(spent) if spent else None,
    ])  # fmt: skip
    table.notes.append(f"workers: {spelled(worker_command())}")
    return [table]
