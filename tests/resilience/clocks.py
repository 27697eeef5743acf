"""Servers with a wall clock of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from redis import Redis

from tests.conftest import wait_until
from worker.lifecycle.facts import SECOND, Micros
from worker.local.valkey import find_server

SOURCE = Path(__file__).with_name("setclock.c")


def compiled(compiler: str, folder: Path) -> Path:
    """What stands between a server and its clock."""
    made = folder / "setclock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, SOURCE], check=True)
    return made


class Clock:
    """The wall clock of a server: this machine's, and what a test adds to it."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "offset"
        self._file.write_bytes(bytes(8))
        self._offset: Micros = 0
        self.redis: Redis | None = None
        self.server = folder / "server"
        lines = f"#!/bin/sh\nSETCLOCK='{self._file}' LD_PRELOAD='{library}' exec '{find_server()}' \"$@\"\n"
        self.server.write_text(lines)
        self.server.chmod(0o755)

    def move(self, by: Micros) -> None:
        """Set it ahead, or back. Ahead within what it was set back, this is how time passes in these tests."""
        self._offset += by
        with self._file.open("r+b") as file:
            file.write(self._offset.to_bytes(8, sys.byteorder, signed=True))
        # The server looks at it a few times a second, or as often as it is told to.
        wait_until(self._shown, "the server shows its new time")

    def _shown(self) -> bool:
        assert self.redis is not None
        seconds, micros = self.redis.time()
        return abs(seconds * SECOND + micros - self._offset - time.time_ns() // 1000) < SECOND // 2
