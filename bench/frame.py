"""What all groups share: options, a server of one's own, child processes that always end, and tables."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from redis import Redis

from worker.local.valkey import EmbeddedStore, die_with_parent

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 180.0
"""How long anything may take before the benchmark gives up."""
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02


class BenchError(Exception):
    """Something did not do what was to be measured; the message says what."""


class Options(NamedTuple):
    """How much of everything."""

    events: int
    """Webhooks settled in each run of the full path."""
    messages: int
    """No-op jobs in each run of a peer."""
    runs: int
    policies: int
    """Policies registered for the full path."""
    stored: int
    """Policies stored for the larger of the two measurements of scale."""
    samples: int
    """Webhooks sent for a latency."""
    door_seconds: float
    connections: int
    idle_seconds: float
    decisions: int
    """Tokens that each way of deciding is asked about."""
    sql_seconds: float
    mirrored: tuple[int, ...]
    """Policies of the mirrors that are loaded."""
    entered: tuple[int, ...]
    """Events in the ledger when what stays of one is measured."""


@dataclass(slots=True)
class Table:
    """One group's results."""

    title: str
    columns: Sequence[str]
    rows: list[list[str | float | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Group = Callable[[Options], list[Table]]


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


# The server


class Server(NamedTuple):
    """A running server. `client` is for the benchmark's own questions."""

    store: EmbeddedStore
    client: Redis

    def configure(self, **settings: str) -> None:
        for name, value in settings.items():
            self.client.config_set(name, value)

    def info(self, section: str) -> dict[str, int | float | str]:
        return cast("dict[str, int | float | str]", self.client.info(section))

    def cpu_seconds(self) -> float:
        """What the server has used so far, its background threads included."""
        used = self.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    def calm(self) -> None:
        """Wait until the server is done with rewriting its log, which would take a core from what is measured."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.info("persistence")["aof_rewrite_in_progress"] and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def version(self) -> str:
        about = self.info("server")
        return f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {about['redis_version']}"


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tenure-bench-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def server(directory: Path) -> Iterator[Server]:
    """A server as `tenure up` runs it: every command on disk before it is answered."""
    with EmbeddedStore(directory / "store", port=None) as store, Redis(port=store.port, socket_timeout=60) as client:
        yield Server(store, client)


@contextlib.contextmanager
def unsynced(where: Server) -> Iterator[None]:
    """While a run is prepared, nothing has to be on disk."""
    where.configure(appendfsync="no")
    try:
        yield
    finally:
        where.configure(appendfsync="always")
        where.calm()


# Processes


def environment(**extra: str) -> dict[str, str]:
    """For children: ours without the user's own settings of Tenure, and with the project on the path."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
    return {**inherited, "PYTHONPATH": str(ROOT), **extra}


@contextlib.contextmanager
def child(command: Sequence[str], env: Mapping[str, str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a log in `directory`, which is ended, with its children, whatever happens."""
    with (directory / "children.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=env, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, before any thread of the child
        )  # fmt: skip
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the process itself, and after a while SIGKILL to what is left of its session."""
    family = descendants(process.pid)
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    for pid in (process.pid, *family):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == process.pid or pid == process.pid:
                os.kill(pid, signal.SIGKILL)
    process.wait()


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def spelled(command: Sequence[str]) -> str:
    """A command as a person would type it."""
    return " ".join("python" if word == sys.executable else word for word in command)


def log_tail(directory: Path, lines: int = 5) -> str:
    with contextlib.suppress(OSError):
        return " | ".join((directory / "children.log").read_text(errors="replace").splitlines()[-lines:])
    return "no log"


def wait_until(done: Callable[[], bool], what: str, process: subprocess.Popen[bytes], directory: Path) -> None:
    """Until `done`.

    Raises:
        BenchError: it took too long, or the process ended before.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if process.poll() is not None:
            raise BenchError(f"{what}: the process ended with {process.returncode}: {log_tail(directory)}")
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not done after {PATIENCE_SECONDS:.0f} s: {log_tail(directory)}")
        time.sleep(POLL_SECONDS)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; none where there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def descendants(pid: int) -> list[int]:
    """Children, their children and so on; none where the system has no /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(entry.name)):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        below = parents.get(queue.pop(), [])
        found += below
        queue += below
    return found


def cpu_seconds(pids: Sequence[int]) -> float | None:
    """User and system time of these processes; None where the system has no /proc."""
    used = [fields for pid in pids if (fields := _stat(pid))]
    if not used:
        return None
    return sum(int(fields[11]) + int(fields[12]) for fields in used) / os.sysconf("SC_CLK_TCK")


# The machine


def machine() -> str:
    """What this ran on, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = os.uname()
    version = ".".join(str(part) for part in sys.version_info[:3])
    return f"{cores} cores, {_processor()}, {system.sysname} {system.machine}, Python {version}, load {_load()}"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "processor unknown"


def _load() -> str:
    return f"{os.getloadavg()[0]:.2f} at the start"
