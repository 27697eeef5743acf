"""Reading what is sent: never more than is allowed, never for longer, and never at the expense of others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import orjson
import pydantic_core
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from handlers.base import excess, paired
from worker.web.problems import ProblemError, ServiceUnavailableError

MIB = 1024 * 1024
MAX_BODY = 25 * MIB
"""GitHub sends no larger payload."""
BODY_SECONDS = 15.0
"""How long a body may take. GitHub gives up after 10."""
SMALL = MIB // 4
"""Up to this size bodies share a room of their own: the large ones cannot crowd out the small."""
SMALL_SECONDS = 5.0
"""How long a small body may take."""
ROOM = 256 * MIB
"""How much of the larger bodies is held at once, in the whole process."""
SMALL_ROOM = 64 * MIB
"""How much of the small ones."""
SLOW_SECONDS = 1.0
"""A small body that takes longer makes room for others where there is none left."""

BOM = b"\xef\xbb\xbf"
DEPTH = 200
"""How deep JSON may nest: the handlers' parser goes no deeper."""

Headers = Mapping[bytes, bytes]


class Digest(Protocol):
    def update(self, data: bytes, /) -> object: ...


class Room:
    """Memory for bodies: for large ones, and for small ones."""

    def __init__(self, size: int = ROOM, small: int = SMALL_ROOM) -> None:
        self._left = size
        self._small_left = small
        self._reading: dict[BodyAllowance, float] = {}
        """Small bodies that are on their way, the longest first → since when."""

    def share(self) -> BodyAllowance:
        """One request's part of the room, given back at the end of its `with`."""
        return BodyAllowance(self)

    def take(self, size: int) -> None:
        """
        Raises:
            UnavailableError: the room is full.
        """
        if size > self._left:
            raise ServiceUnavailableError(
                "busy", "Too many large bodies are being received. Send it again in some seconds."
            )
        self._left -= size

    def take_small(self, share: BodyAllowance, size: int) -> None:
        """
        Raises:
            UnavailableError: the room is full, and nobody in it is slow.
        """
        now = time.monotonic()
        if size > self._small_left:
            slow = next((other for other, since in self._reading.items() if since < now - SLOW_SECONDS), None)
            if slow is None:
                raise ServiceUnavailableError(
                    "busy", "Too many bodies are being received. Send it again in some seconds."
                )
            # What it holds is free in a moment; until then there is a little more than there should be.
            del self._reading[slow]
            slow.hurry()
        self._small_left -= size
        self._reading.setdefault(share, now)

    def received(self, share: BodyAllowance) -> None:
        """A body is there."""
        self._reading.pop(share, None)

    def give_back(self, share: BodyAllowance) -> None:
        self._reading.pop(share, None)
        self._left += share.taken
        self._small_left += share.small


class BodyAllowance:
    def __init__(self, room: Room) -> None:
        self._room = room
        self.taken = 0
        self.small = 0
        self._timeout: asyncio.Timeout | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.give_back(self)

    def need(self, size: int) -> None:
        """Make room for a body of `size` bytes: so far, or as it is announced.

        Raises:
            UnavailableError: there is none.
        """
        small = min(size, SMALL) - self.small
        if small > 0:
            self._room.take_small(self, small)
            self.small += small
        missing = size - SMALL - self.taken
        if missing > 0:
            self._room.take(missing)
            self.taken += missing

    def reading(self, seconds: float) -> asyncio.Timeout:
        """How long a body may be on its way; less, if others need its room."""
        self._timeout = asyncio.timeout(seconds)
        return self._timeout

    def received(self) -> None:
        """The body is there."""
        self._room.received(self)

    def hurry(self) -> None:
        """Others need the room: the body is not waited for any longer."""
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())


def announced(headers: Headers) -> int:
    """The length that the sender announces; 0 if it announces none."""
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else 0


async def read_body(
    headers: Headers, receive: Receive, share: BodyAllowance, *, limit: int = MAX_BODY, digests: Sequence[Digest] = ()
) -> bytes:
    """The whole body, digested while it arrives.

    Raises:
        ProblemError: it is, or will be, longer than `limit` bytes (413), or takes too long (408); no more of it was read.
        UnavailableError: there is no room for it.
        ClientDisconnect: the sender has gone.
    """
    length = announced(headers)
    if length > limit:
        raise too_long(limit)
    share.need(length)
    chunks: list[bytes] = []
    size = 0
    small = 0 < length <= SMALL
    try:
        async with share.reading(SMALL_SECONDS if small else BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise too_long(limit)
                share.need(size)
                for digest in digests:
                    digest.update(chunk)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise ProblemError(
            408, "slow", f"The body was not complete after {BODY_SECONDS:.0f} seconds. Send it again, faster."
        ) from None
    share.received()
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_long(limit: int = MAX_BODY) -> ProblemError:
    return ProblemError(413, "too_long", f"The body is longer than {limit} bytes. Send less at once.")


def media_type(headers: Headers) -> str:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")


def require_type(headers: Headers, *wanted: str, where: str = "") -> str:
    """Which of these media types the body has; parameters such as a charset are allowed. `where`: where the sender sets that.

    Raises:
        ProblemError: none of them, or it is compressed (415).
    """
    media = media_type(headers)
    if media not in wanted or headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise ProblemError(
            415, "content_type", f"Send it uncompressed, with Content-Type: {' or '.join(wanted)}.{where}",
            headers={"Accept": ", ".join(wanted)},
        )  # fmt: skip
    return media


def parse_json(body: bytes) -> object:
    """
    Raises:
        ProblemError: it is not JSON in UTF-8, nests deeper than `DEPTH`, or has too many values (400). NaN is not JSON either.
    """
    if body.startswith(BOM):
        raise ProblemError(400, "body", "The body begins with a byte order mark. Send UTF-8 without one.")
    too_much = excess(body)
    if too_much is not None:
        raise ProblemError(400, "body", f"The body {too_much}. Send it in parts.")
    try:
        parsed: object = orjson.loads(body)
        if body.count(b"{") + body.count(b"[") > DEPTH and not _is_flat(body):
            pydantic_core.from_json(body)
    except ValueError:
        raise ProblemError(
            400, "body", "The body is not JSON in UTF-8, or nests too deep. Check that it is sent whole."
        ) from None
    return parsed


_NO_BRACKETS = bytes(sorted(set(range(256)) - set(b"{}[]")))


def _is_flat(body: bytes) -> bool:
    """Whether JSON surely nests no deeper than `DEPTH`: pairs of brackets are taken away, the innermost first. Much cheaper
    than to read it again; texts that hold brackets may leave a doubt.
    """
    brackets = body.translate(None, _NO_BRACKETS)
    for _ in range(DEPTH):
        outer = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if outer == brackets:
            break
        brackets = outer
    return not brackets


def parse_object(body: bytes) -> dict[str, object]:
    """
    Raises:
        ProblemError: it is not a JSON object in UTF-8 (400).
    """
    return _object(parse_json(body))


def parse_payload(body: bytes) -> dict[str, object]:
    """GitHub's JSON, in which a text may end in the middle of a character.

    Raises:
        ProblemError: it is not a JSON object in UTF-8 (400).
    """
    try:
        return _object(parse_json(body))
    except ProblemError:
        mended = paired(body)
        if mended is body:
            raise
    return _object(parse_json(mended))


def _object(parsed: object) -> dict[str, object]:
    if not isinstance(parsed, dict):
        raise ProblemError(400, "body", "The body is JSON, but not an object. Send { … }.")
    return parsed
