"""Where a reader of the feed is, as text: opaque to whoever keeps it, and bounded, whatever is sent in its place.

A cursor holds a position for each partition, since partitions have no order between one another. A position has not only
the last entry but also how many were ever added up to it, and a mark of what it says: so what follows can be counted, and
what is missing, or of another history, shows.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

VERSION = 1
LONGEST = 25_000
"""Characters: what a cursor of a thousand partitions has, with a page's mark after it. A position has 14 to 18 bytes, most of them
of a time and of a mark that nothing else tells. A head of a request has room for it (`worker.http.protocol.HEAD_BYTES`)."""
_DIGITS = 10
"""Bytes of the largest number that is written: 64 bits, seven in each."""


class Position(NamedTuple):
    """Up to which entry a stream was read. Entry ids are `<milliseconds>-<number>`."""

    milliseconds: int
    number: int
    added: int
    """How many entries were ever added to the stream, up to this one."""
    mark: int
    """Of what the entry says (`mark_of`); 0 if it was gone already. A server that took over, and whose clock is behind, may
    have given the same id to another entry."""

    @property
    def entry_id(self) -> str:
        return f"{self.milliseconds}-{self.number}"

    @property
    def order(self) -> tuple[int, int]:
        return self.milliseconds, self.number

    def is_at(self, order: tuple[int, int], mark: int) -> bool:
        """Whether that is the entry."""
        return self.order == order and self.mark in (0, mark)


class Cursor(NamedTuple):
    """A position for each partition, by its number."""

    positions: tuple[Position, ...]

    def after(self, partition: int, position: Position) -> Cursor:
        """The same, where one partition was read up to this position."""
        positions = list(self.positions)
        positions[partition] = position
        return Cursor(tuple(positions))

    def text(self) -> str:
        return sealed(b"c", self.packed())

    def packed(self) -> bytes:
        return b"".join((_written(VERSION), _written(len(self.positions)), *map(_packed, self.positions)))


def cursor_of(text: str) -> Cursor | None:
    """The cursor that was written so; None for anything else."""
    packed = opened(b"c", text)
    found = None if packed is None else unpacked(packed)
    return found[0] if found is not None and not found[1] else None


def unpacked(packed: bytes) -> tuple[Cursor, bytes] | None:
    """A cursor and what follows it; None if there is none."""
    numbers = _Numbers(packed)
    try:
        version, count = next(numbers), next(numbers)
        if version != VERSION or not 0 < count <= len(packed):
            return None
        positions = [Position(next(numbers), next(numbers), next(numbers), next(numbers)) for _ in range(count)]
    except StopIteration:
        return None
    return Cursor(tuple(positions)), numbers.rest


def mark_of(event: bytes) -> int:
    """32 bits."""
    return zlib.crc32(event)


def sealed(kind: bytes, content: bytes) -> str:
    """Bytes of ours as text that shows if it was cut or changed, or taken for something of another kind. No secret."""
    checksum = zlib.crc32(kind + content).to_bytes(4, "big")
    return base64.urlsafe_b64encode(content + checksum).rstrip(b"=").decode()


def opened(kind: bytes, text: str) -> bytes | None:
    """What was sealed so; None for anything else."""
    if not text.isascii() or len(text) > LONGEST:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    content, checksum = raw[:-4], raw[-4:]
    return content if zlib.crc32(kind + content).to_bytes(4, "big") == checksum else None


@lru_cache(1_000)
def _packed(position: Position) -> bytes:
    """From one entry of the feed to the next, one position of all is another."""
    return b"".join(map(_written, position))


def _written(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    written = bytearray()
    while number > 0x7F:
        written.append(0x80 | number & 0x7F)
        number >>= 7
    written.append(number)
    return bytes(written)


class _Numbers(Iterator[int]):
    """Reads numbers, each of 64 bits at most. Ends where there is none."""

    def __init__(self, packed: bytes) -> None:
        self.rest = packed

    def __next__(self) -> int:
        number = 0
        for place, byte in enumerate(self.rest[:_DIGITS]):
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80 and number < 2**64:
                self.rest = self.rest[place + 1 :]
                return number
        raise StopIteration
