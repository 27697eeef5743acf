"""Limits around uvicorn's HTTP: what is no body is bounded in bytes, lines and time, and so are connections.

Bodies are the application's business (`bodies`). A proxy in front has limits of its own; these hold without one.
"""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from worker.settings.proxies import Proxies

HEAD_BYTES = 32 * 1024
"""Bytes of a request that are no body: its head, the framing of chunks, trailers. Framing may take an eighth of the body."""
HEAD_LINES = 100
HEAD_SECONDS = 10.0
"""From a connection's beginning, or a request's first byte, to the end of its head."""
PIPELINED = 8
"""Requests that may wait behind another on one connection."""
SLICE = 16 * 1024
"""Bytes that are parsed at once outside of bodies: whatever is too much is noticed after so many. Most webhooks are
shorter, head and body."""
BODY_SLICE = 64 * 1024
SPARE_FILES = 128
"""Descriptors that are left for everything but connections."""
MOST = 4096
SHARE = 4
"""One address may have one in so many of the connections."""


class Lobby:
    """The connections of a server. When there are too many, those that have been idle for longest make room.

    One address may have its share only; not a proxy's, which many senders have.
    """

    def __init__(self, proxies: Proxies) -> None:
        self._most = max(16, min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES))
        self._each = self._most // SHARE
        self._proxies = proxies
        self._addresses: Counter[str] = Counter()
        self._idle: dict[LimitedProtocol, float] = {}
        """Connections without a whole head, those that have been so for longest first → when they end."""
        self._count = 0
        self._sweeping: asyncio.TimerHandle | None = None

    def enter(self, guest: LimitedProtocol) -> None:
        """A connection was made. It, or another that is idle, is ended if there are too many."""
        self._count += 1
        self._addresses[guest.address] += 1
        self.wait(guest, HEAD_SECONDS)
        if self._addresses[guest.address] > self._each and not self._proxies.trusts(guest.address):
            self._evict(guest, (other for other in self._idle if other.address == guest.address))
        elif self._count > self._most:
            self._evict(guest, iter(self._idle))
        if self._sweeping is None:
            self._sweeping = guest.loop.call_later(1.0, self._sweep, guest.loop)

    def leave(self, guest: LimitedProtocol) -> None:
        self._count -= 1
        self._addresses[guest.address] -= 1
        if self._addresses[guest.address] <= 0:
            del self._addresses[guest.address]
        self._idle.pop(guest, None)

    def wait(self, guest: LimitedProtocol, seconds: float) -> None:
        """It has no whole head, and may go on so for some seconds."""
        self._idle.pop(guest, None)
        self._idle[guest] = guest.loop.time() + seconds

    def work(self, guest: LimitedProtocol) -> None:
        """Its request is being answered."""
        self._idle.pop(guest, None)

    @staticmethod
    def _evict(guest: LimitedProtocol, idle: Iterator[LimitedProtocol]) -> None:
        next(idle, guest).end()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for guest in [guest for guest, until in self._idle.items() if until < now]:
            guest.end()
        self._sweeping = loop.call_later(1.0, self._sweep, loop) if self._count else None


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        lobby: Lobby,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.headers = []
        self._lobby = lobby
        self.address = ""
        self._held = b""
        """What was received and is not parsed yet: it came while another request was being answered."""
        self._plain = 0
        """Bytes of this request that are no body."""
        self._body = 0
        self._requests = 0
        """Requests that were begun and not answered yet."""
        self._ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._lobby.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._held = b""
        self._lobby.leave(self)
        super().connection_lost(exc)

    def end(self) -> None:
        """End the connection at once."""
        self._ended = True
        self._held = b""
        self._lobby.work(self)
        self.transport.abort()

    def _answering(self) -> bool:
        return self._requests > 0

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if not self._held and not self._answering() and self._plain == 0:
            # A request begins, perhaps on a connection that was idle for long.
            self._lobby.wait(self, HEAD_SECONDS)
        if self._held or self.pipeline or len(data) > SLICE:
            self._held += data
            self._go_on()
        else:
            self._parse(data)

    def _go_on(self) -> None:
        while self._held and not self.pipeline and not self._ended and not self.transport.is_closing():
            in_body = self._answering() and self.cycle.more_body
            size = BODY_SLICE if in_body else SLICE
            piece, self._held = self._held[:size], self._held[size:]
            self._parse(piece)
        if self._held and not self._ended:
            self.flow.pause_reading()

    def _parse(self, data: bytes) -> None:
        self._plain += len(data)
        super().data_received(data)
        too_much = self._plain > HEAD_BYTES + self._body // 8 or len(self.headers) > HEAD_LINES
        if too_much and not self._ended and not self.transport.is_closing():
            self._refuse()

    def _refuse(self) -> None:
        """Too much that is no body. Where an answer is under way already, nothing can be said any more."""
        if self._answering():
            self.end()
            return
        self._ended = True
        self._held = b""
        self._lobby.work(self)
        self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()

    def on_headers_complete(self) -> None:
        if self._ended:
            return
        if len(self.headers) > HEAD_LINES:
            self._refuse()
            return
        self._plain, self._body = 0, 0
        self._lobby.work(self)
        self._requests += 1
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED:
            self.end()

    def on_body(self, body: bytes) -> None:
        if self._ended:
            return
        self._plain -= len(body)
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._ended:
            return
        self._plain = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._requests -= 1
        super().on_response_complete()
        if self._ended or self.transport.is_closing():
            return
        if not self._answering():
            self._lobby.wait(self, self.timeout_keep_alive + 1)
        if self._held:
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._go_on()
        if not self._held and not self.pipeline and not self._ended:
            self.flow.resume_reading()
