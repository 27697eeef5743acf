"""Processes of Tenure that begin as copies of one that has everything loaded.

Each is a process of its own, with its own arguments, environment, directory, streams and exit code. What it does not do
is to load the interpreter and all modules once more, which costs far more time than what a test wants of it. Programs
are started from nothing in `tests/cli/test_frame.py`, and wherever a supervisor starts its children.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Self

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ["-m", "worker"]
MESSAGE_BYTES = 128 * 1024
LOADED = ("worker", "handlers", "schedules", "tenure_reader")
"""The packages of which every module is loaded before the first copy is made."""


class Forked:
    """A running copy: what `subprocess.Popen` is for a program."""

    def __init__(self, arguments: Sequence[str], status: IO[bytes]) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self.processor_seconds = 0.0
        """What it used, when it has ended."""
        self._status = status
        self.pid = int(status.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._note_end()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """
        Raises:
            subprocess.TimeoutExpired: it has not ended.
        """
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._note_end()
        assert self.returncode is not None
        return self.returncode

    def _note_end(self) -> None:
        how, used = self._status.readline().split()
        self.returncode, self.processor_seconds = os.waitstatus_to_exitcode(int(how)), float(used)
        self._status.close()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Piped(Forked):
    """One with a pipe at each of its streams."""

    def __init__(
        self, arguments: Sequence[str], status: IO[bytes], stdin: IO[str], stdout: IO[str], stderr: IO[str]
    ) -> None:
        super().__init__(arguments, status)
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr

    def communicate(self, given: str = "", timeout: float | None = None) -> tuple[str, str]:
        """Write its input, and wait for its end; returns what it wrote.

        Raises:
            subprocess.TimeoutExpired: it has not ended.
        """
        end = None if timeout is None else time.monotonic() + timeout
        written: dict[IO[str], str] = {}

        def read(stream: IO[str]) -> None:
            written[stream] = stream.read()

        readers = [threading.Thread(target=read, args=(stream,), daemon=True) for stream in (self.stdout, self.stderr)]
        for reader in readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(given)
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        for reader in readers:
            reader.join(None if end is None else max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        for stream in (self.stdout, self.stderr):
            stream.close()
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return written[self.stdout], written[self.stderr]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.kill()
        for stream in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self.wait()


class ForkServer:
    """The process that copies are made of."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def close(self) -> None:
        """End it; what it began goes on."""
        self._control.close()
        self._process.wait()

    def begin(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        streams: tuple[int, int, int],
        new_session: bool = False,
    ) -> Forked:
        """Begin `tenure ARGUMENTS` with these as its streams."""
        return Forked(arguments, self._send(arguments, environment, directory, streams, new_session=new_session))

    def begin_piped(self, arguments: Sequence[str], *, environment: Mapping[str, str], directory: Path) -> Piped:
        """Begin `tenure ARGUMENTS` with pipes as its streams."""
        (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = os.pipe(), os.pipe(), os.pipe()
        status = self._send(arguments, environment, directory, (stdin, stdout, stderr), new_session=False)
        for theirs in (stdin, stdout, stderr):
            os.close(theirs)
        return Piped(
            arguments,
            status,
            os.fdopen(to_stdin, "w", encoding="utf-8"),
            os.fdopen(from_stdout, encoding="utf-8"),
            os.fdopen(from_stderr, encoding="utf-8"),
        )

    def _send(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        streams: tuple[int, int, int],
        *,
        new_session: bool,
    ) -> IO[bytes]:
        """Returns where a line with its process id is read, and then one with how it ended."""
        status, theirs = os.pipe()
        message = json.dumps([list(arguments), dict(environment), str(directory), new_session]).encode()
        assert len(message) < MESSAGE_BYTES
        socket.send_fds(self._control, [message], [*streams, theirs])
        os.close(theirs)
        return os.fdopen(status, "rb", buffering=0)


@functools.cache
def fork_server() -> ForkServer:
    """The one of this process."""
    server = ForkServer()
    atexit.register(server.close)
    return server


# The server's side


def _load() -> None:
    for name in LOADED:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    # What is here stays: nobody has to look at it again, and no page of it has to be copied for that.
    gc.collect()
    gc.freeze()


def _serve(control: socket.socket) -> bool:
    """Make a copy for each message. Returns True in every copy, and False in the server when the tests have ended."""
    statuses: dict[int, int] = {}
    woken, wakes = socket.socketpair()
    for end in (woken, wakes):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    # A terminal's Ctrl-C is for the tests, and for the copies: those that are asked for it have the usual handler.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _tell_ends(statuses)
        if control in ready:
            message, received, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 4)
            if not message:
                return False
            *streams, status = received
            child = os.fork()
            if child == 0:
                signal.set_wakeup_fd(-1)
                for left in (control, woken, wakes):
                    left.close()
                for other in (*statuses.values(), status):
                    os.close(other)
                _become(json.loads(message), streams)
                return True
            for stream in streams:
                os.close(stream)
            statuses[child] = status
            _write(status, f"{child}\n")


def _tell_ends(statuses: dict[int, int]) -> None:
    while statuses:
        child, how, used = os.wait4(-1, os.WNOHANG)
        if child == 0:
            return
        status = statuses.pop(child)
        _write(status, f"{how} {used.ru_utime + used.ru_stime}\n")
        os.close(status)


def _write(status: int, line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # Whoever asked for it does not wait for its end.
        os.write(status, line.encode())


def _become(message: tuple[list[str], dict[str, str], str, bool], streams: list[int]) -> None:
    arguments, environment, directory, new_session = message
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if new_session:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["tenure", *arguments]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _run() -> None:
    """Be the command, and end when it and its threads have. To take the interpreter apart would cost half of its time."""
    from worker.cli import main

    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - what the interpreter does with it
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    _load()
    if _serve(socket.socket(fileno=int(sys.argv[1]))):
        _run()
