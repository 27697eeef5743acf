"""Answers that take their time: for as long as somebody waits for them, or takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Send

AnswerT = TypeVar("AnswerT")

EVENT_STREAM = "text/event-stream"
TAKEN_SECONDS = 30.0
"""How long a listener may take nothing of what it is sent. Then its place is somebody else's."""


class LiveResponse(StreamingResponse):
    """Ends also when whoever listens has stopped reading."""

    def __init__(self, events: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        own = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, 200, {**own, **headers}, EVENT_STREAM)

    async def stream_response(self, send: Send) -> None:
        async def taken(message: Message) -> None:
            async with asyncio.timeout(TAKEN_SECONDS):
                await send(message)

        try:
            await super().stream_response(taken)
        except TimeoutError:
            # Nothing that could be said would arrive: the server closes the connection.
            return


async def unless_left(request: Request, answering: Coroutine[Any, Any, AnswerT]) -> AnswerT:
    """The answer, unless whoever asked has left: then it is made no more, and its place is free.

    Raises:
        ClientDisconnect: they have.
    """
    made, left = asyncio.create_task(answering), asyncio.create_task(_left(request))
    try:
        await asyncio.wait((made, left), return_when=asyncio.FIRST_COMPLETED)
        if made.done():
            return made.result()
        raise ClientDisconnect
    finally:
        made.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
