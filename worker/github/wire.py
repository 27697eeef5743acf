"""One request and its answer: within a time, within a size, and to the configured host only.

Answers are unpacked here, and not by httpx, which unpacks whatever it has read at once: 64 KiB of gzip can be 64 MB of
zeros. Ours stops at the size that is read. Only gzip is asked for, and nothing else is unpacked.

httpx's timeouts are for each read and write, so that a server which sends a byte now and then could hold us for ever.
Here every wait is cut to what is left of the request's time. httpx has no setting for that: its transport's pool is
replaced by one whose connections do it. That is the one place that depends on how httpx is made inside; the version is
pinned and tests hold the behaviour.
"""

from __future__ import annotations

import math
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import httpcore
import httpx

MAX_BODY = 4_000_000
"""Bytes of an answer, packed or unpacked. A hundred repositories are a fifth of it."""
MAX_VALUES = 100_000
"""Objects, lists and commas in an answer, which is about how many values it has. A hundred repositories have a fifth of it.
Once parsed, a list of nothing but `{}` takes hundreds of times the bytes that it came in."""
UNTIL = "tenure_until"
"""Extension of a request: the monotonic moment by which its answer has to be there, whatever its own time would be."""
STEP = 65_536
"""Bytes that are unpacked at once."""
MAX_CONNECTIONS = 32


class Timeouts(NamedTuple):
    """Seconds: for each step, and for all of a request together."""

    connect: float = 5.0
    read: float = 10.0
    write: float = 10.0
    pool: float = 10.0
    total: float = 20.0


class GitHubResponse(NamedTuple):
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


class _DeadlineStream(httpcore.NetworkStream):
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
        return _DeadlineStream(self._inner.start_tls(ssl_context, server_hostname, left), self._deadline)

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
        return _DeadlineStream(super().connect_tcp(host, port, left, local_address, socket_options), self._deadline)


class _Transport(httpx.HTTPTransport):
    """httpx's own, with a time for the whole of a request and its answer."""

    def __init__(self, total: float, *, tls: bool) -> None:
        # To read the certificates that are trusted takes 40 ms of a processor. Where there is no TLS, nobody is trusted.
        context = httpx.create_ssl_context() if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
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
        self._deadline.moment = min(time.monotonic() + self._total, request.extensions.get(UNTIL, math.inf))
        return super().handle_request(request)


class Wire:
    """Sends requests to one API, over connections that are kept open.

    A `transport` given takes the place of the one that keeps the total time.
    """

    def __init__(self, api_url: str, timeouts: Timeouts, transport: httpx.BaseTransport | None) -> None:
        url = httpx.URL(api_url)
        self.base = str(url).rstrip("/")
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
            transport=_Transport(timeouts.total, tls=url.scheme == "https") if transport is None else transport,
            follow_redirects=False,
            trust_env=False,  # No proxy and no netrc: nobody but the API gets a call or a token.
        )

    def send(
        self, method: str, path: str, params: Mapping[str, str], authorization: str, until: float = math.inf
    ) -> GitHubResponse:
        """Ask, and read the answer; not beyond the monotonic moment `until`.

        Raises:
            NoAnswerError: no whole answer came in time, or a larger one than is read.

        """
        headers = {"Authorization": authorization}
        try:
            with self._client.stream(
                method, self.base + path, params=params, headers=headers, extensions={UNTIL: until}
            ) as response:
                body = _body(response)
                return GitHubResponse(
                    response.status_code, response.headers, body, _moved_to(response), _following(response)
                )
        except (httpx.HTTPError, httpx.StreamError) as error:
            # Not chained: httpx's errors hold the request, and that holds the token.
            raise NoAnswerError(f"no whole answer ({type(error).__name__}{_cause(error)})") from None

    def close(self) -> None:
        self._client.close()


def _cause(error: BaseException) -> str:
    """Why there is no connection, if that is why; in our words, since others' may quote."""
    causes: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in causes:
        causes.append(at)
        at = at.__cause__ or at.__context__
    for kind, text in (
        (socket.gaierror, "the name is not known"),
        (ssl.SSLCertVerificationError, "TLS: the certificate is not one that is trusted"),
        (ssl.SSLError, "TLS cannot be spoken there"),
        (ConnectionRefusedError, "nothing listens there"),
        (ConnectionResetError, "the connection was reset"),
    ):
        if any(isinstance(cause, kind) for cause in causes):
            return f": {text}"
    return ""


def _body(response: httpx.Response) -> bytes:
    """The answer's body, unpacked.

    Raises:
        NoAnswerError: it is larger than what is read, packed otherwise than was asked for, or does not unpack.

    """
    packed = response.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("identity", "gzip", "x-gzip", ""):
        raise NoAnswerError("an answer in a content-encoding that was not asked for")
    read = _within(response.iter_raw())
    body = b"".join(_within(_unpacked(read)) if "gzip" in packed else read)
    if body.count(b"{") + body.count(b"[") + body.count(b",") > MAX_VALUES:
        raise NoAnswerError(f"an answer of more than {MAX_VALUES} values")
    return body


def _within(parts: Iterable[bytes]) -> Iterator[bytes]:
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_BODY:
            raise NoAnswerError(f"an answer of more than {MAX_BODY} bytes")
        yield part


def _unpacked(parts: Iterable[bytes]) -> Iterator[bytes]:
    """What gzip packed, a step at a time; of no body at all, nothing."""
    unpacker, begun = zlib.decompressobj(16 + zlib.MAX_WBITS), False
    try:
        for part in parts:
            begun, rest, full = begun or bool(part), part, True
            # A step that came out full may leave more inside, also where all of the input was taken.
            while (rest or full) and not unpacker.eof:
                step = unpacker.decompress(rest, STEP)
                rest, full = unpacker.unconsumed_tail, len(step) == STEP
                yield step
            if rest or unpacker.unused_data:
                raise NoAnswerError("an answer with more after the end of its gzip")
    except zlib.error:
        raise NoAnswerError("an answer that does not unpack") from None
    if begun and not unpacker.eof:
        raise NoAnswerError("an answer that does not unpack to its end")


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
