"""The end of an append-only file that a crash has left: what a server would not load is cut off, and a copy kept.

Valkey loads a file that ends in the middle of a command (`aof-load-truncated`), and refuses one with anything else at its
end, such as the zeros that a file system leaves after a power cut. Everything that was acknowledged is before that.

https://valkey.io/topics/persistence/#what-should-i-do-if-my-aof-gets-corrupted
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

FOLDER = "appendonlydir"
LONGEST = 1024 * 1024 * 1024
"""Bytes of one argument, at most; Valkey's own limit is 512 MB."""
LOOK = 1024 * 1024
"""How much is looked through for a command after the damage."""


class DamagedError(Exception):
    """The file is damaged in its middle: cutting it would lose what was acknowledged. The message says what to do."""


class Cut(NamedTuple):
    """What was cut off the end of a file."""

    path: Path
    copy: Path
    size: int
    """Bytes that went."""


def mend(store: Path) -> Cut | None:
    """Cut what a crash left at the end of the newest file of a store's directory; None if there is nothing to cut.

    Raises:
        DamagedError: whole commands follow the damage.
        OSError: the file cannot be read or written.
    """
    path = _newest(store / FOLDER)
    if path is None:
        return None
    size = path.stat().st_size
    with path.open("rb") as file:
        good, reached = _good(file, size)
        if reached == size:
            # Nothing but whole commands, or a command that is cut short, which the server itself cuts.
            return None
        if _goes_on(file, reached):
            raise DamagedError(
                f"{path} is damaged at byte {reached}, and whole commands follow: cutting it there would lose them. "
                "Restore the directory from a backup, or move the file away and import the policies again"
            )
    copy = path.with_name(f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    shutil.copy2(path, copy)
    with path.open("r+b") as file:
        file.truncate(good)
        os.fsync(file.fileno())
    return Cut(path, copy, size - good)


def _newest(folder: Path) -> Path | None:
    """The file that was written last: the last increment of the manifest."""
    manifests = sorted(folder.glob("*.manifest"))
    if not manifests:
        return None
    names = [line.split() for line in manifests[-1].read_text(encoding="utf-8", errors="replace").splitlines()]
    increments = [words[1] for words in names if len(words) >= 6 and words[0] == "file" and words[5] == "i"]
    path = folder / increments[-1] if increments else None
    return path if path is not None and path.is_file() else None


def _good(file: BufferedReader, size: int) -> tuple[int, int]:
    """The end of the last whole command or transaction, and where what is no command begins; the latter is `size` if
    there is none, or if the file only ends too early.
    """
    good, inside = 0, False
    while True:
        start = file.tell()
        if start == size:
            return good, size
        try:
            name = _command(file, size)
        except EOFError:
            return good, size
        except ValueError:
            return good, start
        if name == b"MULTI":
            inside = True
        elif name == b"EXEC":
            inside = False
        if not inside:
            good = file.tell()


def _command(file: BufferedReader, size: int) -> bytes:
    """Read one command; returns its name in capitals.

    Raises:
        EOFError: the file ends in it.
        ValueError: it is none.
    """
    count = _number(file, b"*")
    name = b""
    for place in range(count):
        length = _number(file, b"$")
        if file.tell() + length + 2 > size:
            raise EOFError
        if place == 0:
            name = file.read(length).upper()
        else:
            file.seek(length, os.SEEK_CUR)
        if file.read(2) != b"\r\n":
            raise ValueError("an argument without an end")
    return name


def _number(file: BufferedReader, mark: bytes) -> int:
    line = file.readline(32)
    if not line.endswith(b"\n"):
        if len(line) < 32 and line.startswith(mark) and not line[1:].rstrip(b"\r").strip(b"0123456789"):
            raise EOFError
        raise ValueError("no number")
    if not (line.startswith(mark) and line.endswith(b"\r\n") and line[1:-2].isdigit()):
        # Annotations (#TS:…) are written only if the server is told to.
        raise ValueError("no number")
    number = int(line[1:-2])
    if number > LONGEST:
        raise ValueError("too long")
    return number


def _goes_on(file: BufferedReader, start: int) -> bool:
    """Whether whole commands follow damage that begins at `start`: then it is in the middle of the file."""
    size = file.seek(0, os.SEEK_END)
    file.seek(start)
    place, data = start, file.read(LOOK)
    while data:
        if not data.strip(b"\0"):
            place += len(data)
            data = file.read(LOOK)
            continue
        at = data.find(b"*")
        while at >= 0:
            file.seek(place + at)
            try:
                if _command(file, size):
                    return True
            except (EOFError, ValueError):
                pass
            at = data.find(b"*", at + 1)
        place += len(data)
        file.seek(place)
        data = file.read(LOOK)
    return False
