"""Around every request: headers that protect, a last net for what goes wrong, and a decent end for unread bodies."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.logs import logger
from worker.web.bodies import MIB, announced
from worker.web.problems import ProblemError, error_fields

SHORT = 65_536
"""An unread body up to this size is read before the answer, so that the connection can be used again."""
LINGER_SECONDS = 10.0
LINGER_BYTES = 64 * MIB
"""How long, and how much of a refused body is thrown away while its sender has not seen the answer yet."""

PROTECTION = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]

log = logger("web")


class Guard:
    """The outermost layer of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's trouble and no other's
            path = scope["raw_path"].decode("latin-1")[:200]
            log.error("request failed", path=path, **error_fields(error))  # noqa: TRY400 - the fields have the trace
            if not exchange.started:
                problem = ProblemError(
                    500, "internal", "This is a defect of Tenure. Its log says more; send it again later."
                )
                await problem.response()(scope, exchange.receive, exchange.send)


class _Exchange:
    """One request and its answer.

    A sender that gets its answer while it is still sending would see its connection reset, and many then do not look
    at the answer. So the rest of a body is thrown away for a while before the connection is closed.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        self._receive = receive
        self._send = send
        self._announced = announced(headers)
        self._unread = self._announced > 0 or b"transfer-encoding" in headers
        self._closing = False
        self.started = False

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            if self._unread and 0 < self._announced <= SHORT:
                await self._drain()
            self._closing = self._unread
            own = list(message.get("headers", ()))
            set_already = {name.lower() for name, _ in own}
            headers = [*own, *((name, value) for name, value in PROTECTION if name not in set_already)]
            if self._closing:
                headers.append((b"connection", b"close"))
            await self._send({**message, "headers": headers})
        elif self._closing and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._drain()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._send(message)

    async def _drain(self) -> None:
        left = LINGER_BYTES
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._unread and left > 0:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return
