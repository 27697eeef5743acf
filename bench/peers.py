"""No-op jobs in other queues: enqueued first, then timed from the first to the last.

Each is measured on the server that Tenure runs on, where every command is on disk before it is answered, and again on
one that writes nothing to disk, since these queues promise no durability.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from redis import Redis

from bench.frame import (
    BenchError,
    Options,
    Server,
    Table,
    child,
    environment,
    median,
    python,
    say,
    server,
    spelled,
    unsynced,
    wait_until,
    workspace,
)
from bench.noop import tally
from worker.processes import PREFETCH

PROCESSES = 2
THREADS = 4
"""As `tenure worker` has them by default."""
AMPLE = 128
"""The prefetch with which dramatiq is fastest."""


class Peer(NamedTuple):
    label: str
    package: str
    module: str
    command: Sequence[str]
    variables: dict[str, str]
    share: float = 1.0
    """How many of the jobs are enough to tell, for one that takes long over them."""


def _dramatiq(label: str, module: str, prefetch: int | None) -> Peer:
    command = python(
        "-m", "dramatiq", f"bench.noop.{module}", "--processes", str(PROCESSES), "--threads", str(THREADS),
        "--skip-logging",
    )  # fmt: skip
    return Peer(label, "dramatiq", module, command, {"dramatiq_queue_prefetch": str(prefetch)} if prefetch else {})


def peers() -> list[Peer]:
    """All of them, with the settings that were found best for each."""
    return [
        _dramatiq(f"dramatiq, Tenure's broker, prefetch {PREFETCH} as Tenure", "dramatiq_bell", PREFETCH),
        _dramatiq(f"dramatiq, Tenure's broker, prefetch {AMPLE}", "dramatiq_bell", AMPLE),
        _dramatiq(f"dramatiq, its own broker and defaults (prefetch {2 * THREADS})", "dramatiq_stock", None),
        _dramatiq(f"dramatiq, its own broker, prefetch {AMPLE}", "dramatiq_stock", AMPLE),
        Peer(
            "taskiq on Redis streams", "taskiq-redis", "taskiq_streams",
            python("-m", "taskiq", "worker", "bench.noop.taskiq_streams:broker", "--workers", str(PROCESSES),
                   "--log-level", "WARNING"), {},
        ),
        Peer(
            "celery, prefork", "celery", "celery_redis",
            python("-m", "celery", "--app", "bench.noop.celery_redis", "worker", "--pool", "prefork",
                   "--concurrency", str(PROCESSES), "--without-gossip", "--without-mingle", "--without-heartbeat",
                   "--loglevel", "WARNING"), {}, 0.25,
        ),
    ]  # fmt: skip


def measure(options: Options) -> list[Table]:
    table = Table(
        f"No-op jobs in other queues: {options.messages:,} enqueued first, {PROCESSES} processes, "
        f"median of {options.runs}",
        ["queue", "version", "jobs/s, appendfsync always", "jobs/s, nothing on disk"],
    )
    if find_spec("celery") is None or find_spec("taskiq_redis") is None:
        table.notes.append("left out: pip install --require-hashes -r requirements-bench.lock (make bench does it)")
        return [table]
    with workspace() as directory, server(directory) as where:
        for peer in peers():
            messages = round(options.messages * peer.share)
            synced, loose = _both(peer, where, directory, messages, options.runs)
            table.rows.append([peer.label, version(peer.package), synced, loose])
            extra = "".join(f"{name}={value} " for name, value in peer.variables.items())
            table.notes.append(f"{peer.label}: {extra}{spelled(peer.command)}")
    table.notes.append("prefetch of celery: 64 for each process; of taskiq: 100, its default; no results kept by any")
    table.notes.append("celery gets a quarter of the jobs, since it takes long over them")
    return [table]


def _both(peer: Peer, where: Server, directory: Path, messages: int, runs: int) -> tuple[float, float]:
    where.configure(appendonly="yes")
    where.client.flushall()
    url = where.store.url
    with unsynced(where):
        subprocess.run(
            python("-m", "bench.noop.fill", peer.module, str(messages)),
            env=environment(BENCH_REDIS_URL=url), cwd=directory, check=True, timeout=300,
        )  # fmt: skip
    filled = _dump(where.client)
    rates: dict[str, list[float]] = {"yes": [], "no": []}
    for run in range(runs):
        for appendonly, found in rates.items():
            _restore(where.client, filled)
            where.configure(appendonly=appendonly)
            where.calm()
            found.append(_run(peer, url, directory / f"{peer.module}-{id(peer)}-{run}-{appendonly}", messages))
    say(f"{peer.label}: {[round(rate) for rate in rates['yes']]} synced, {[round(rate) for rate in rates['no']]} not")
    return median(rates["yes"]), median(rates["no"])


def _run(peer: Peer, url: str, directory: Path, messages: int) -> float:
    directory.mkdir()
    variables = {"BENCH_REDIS_URL": url, tally.DIRECTORY: str(directory), **peer.variables}
    with child(peer.command, environment(**variables), directory) as process:
        wait_until(lambda: tally.total(directory).jobs >= messages, peer.label, process, directory)
    done = tally.total(directory)
    if done.jobs != messages:
        raise BenchError(f"{peer.label}: {done.jobs} jobs were run, {messages} were enqueued")
    return done.rate


def _dump(client: Redis) -> dict[bytes, bytes]:
    """Everything that was enqueued, so that each run begins with the same."""
    return {key: value for key in client.scan_iter(count=1000) if isinstance(value := client.dump(key), bytes)}


def _restore(client: Redis, filled: dict[bytes, bytes]) -> None:
    client.flushall()
    for key, value in filled.items():
        client.restore(key, 0, value)
