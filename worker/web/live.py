"""An answer that goes on: server-sent events, for as long as somebody takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Message, Send

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
