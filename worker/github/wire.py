"""One request and its answer: within a time, within a size, and to the configured host only.

httpx's timeouts are for each read and write, so that a server which sends a byte now and then could hold us for ever.
Here every wait is cut to what is left of the request's time. httpx has no setting for that: its transport's pool is
replaced by one whose connections do it. That is the one place that depends on how httpx is made inside; the version is
pinned and tests hold the behaviour.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import httpcore
import httpx

MAX_BODY = 10_000_000
"""Bytes of an answer. A hundred repositories are well below a tenth of it."""
MAX_CONNECTIONS = 32


class Timeouts(NamedTuple):
    """Seconds: for each step, and for all of a request together."""

    connect: float = 5.0
    read: float = 10.0
    write: float = 10.0
    pool: float = 10.0
    total: float = 20.0


class Answer(NamedTuple):
    """An answer, read to its end.

    `moved_to`: where a redirect points, resolved, None if nowhere. `following`: the parameters of the next page, None
    if there is none. Both are for reading; nobody asks an address out of an answer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    moved_to: str | None
    following: Mapping[str, str] | None


class NoAnswerError(Exception):
    """No whole answer came, or none of a size that is read; the message is the reason only."""


class _Deadline(threading.local):
    """When the request of this thread has to be over; a thread has one at a time."""

    moment = float("inf")

    def left(self, timeout: float | None, error: type[httpcore.TimeoutException]) -> float:
        """The timeout of one step, cut to what is left of the request's.

        Raises:
            httpcore.TimeoutException: nothing is left, as `error`.

        """
        left = self.moment - time.monotonic()
        if left <= 0:
            raise error
        return left if timeout is None else min(timeout, left)


class _Stream(httpcore.NetworkStream):
    """A connection that waits no longer than the deadline of whoever uses it."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._deadline.left(timeout, httpcore.ConnectTimeout)
        return _Stream(super().connect_tcp(host, port, left, local_address, socket_options), self._deadline)


class _Transport(httpx.HTTPTransport):
    """httpx's own, with a time for the whole of a request and its answer."""

    def __init__(self, total: float) -> None:
        context = httpx.create_ssl_context()
        super().__init__(verify=context)
        self._total = total
        self._deadline = _Deadline()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=30.0,
            network_backend=_Backend(self._deadline),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        # The answer's body is read in the same thread, before its next request, so this holds until then.
        self._deadline.moment = time.monotonic() + self._total
        return super().handle_request(request)


class Wire:
    """Sends requests to one API, over connections that are kept open.

    A `transport` given takes the place of the one that keeps the total time.
    """

    def __init__(self, api_url: str, timeouts: Timeouts, transport: httpx.BaseTransport | None) -> None:
        self.base = str(httpx.URL(api_url)).rstrip("/")
        self._client = httpx.Client(
            headers={
                "Accept": "application/vnd.github+json",
                "Accept-Encoding": "gzip",
                "User-Agent": "Tenure",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            timeout=httpx.Timeout(
                connect=timeouts.connect, read=timeouts.read, write=timeouts.write, pool=timeouts.pool
            ),
            transport=_Transport(timeouts.total) if transport is None else transport,
            follow_redirects=False,
            trust_env=False,  # No proxy and no netrc: nobody but the API gets a call or a token.
        )

    def send(self, method: str, path: str, params: Mapping[str, str], authorization: str) -> Answer:
        """Ask, and read the answer.

        Raises:
            NoAnswerError: no whole answer came in time, or a larger one than is read.

        """
        headers = {"Authorization": authorization}
        try:
            with self._client.stream(method, self.base + path, params=params, headers=headers) as response:
                body = _body(response)
                return Answer(response.status_code, response.headers, body, _moved_to(response), _following(response))
        except (httpx.HTTPError, httpx.StreamError) as error:
            # Not chained: httpx's errors hold the request, and that holds the token.
            raise NoAnswerError(f"no whole answer ({type(error).__name__})") from None

    def close(self) -> None:
        self._client.close()


def _body(response: httpx.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_bytes():
        size += len(part)
        if size > MAX_BODY:
            raise NoAnswerError(f"an answer of more than {MAX_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


def _moved_to(response: httpx.Response) -> str | None:
    location = response.headers.get("location")
    if location is None:
        return None
    try:
        return str(response.url.join(location))
    except (httpx.InvalidURL, ValueError):
        return None


def _following(response: httpx.Response) -> dict[str, str] | None:
    url = response.links.get("next", {}).get("url")
    try:
        return None if url is None else dict(parse_qsl(urlsplit(url).query))
    except ValueError:
        return None
