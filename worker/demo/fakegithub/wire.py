"""The server's side of HTTP/1.1: requests in, answers out, and the faults that are no answers."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

from worker.demo.fakegithub.answers import Request, ResponseRecord
from worker.demo.fakegithub.api import PlannedResponse
from worker.demo.fakegithub.faults import Fault
from worker.demo.fakegithub.payloads import encode

MOST_BYTES = 1_000_000
GAZE_SECONDS = 0.02
"""How often a stalled answer looks whether the client has gone, or the server is to end."""
PAGE_OF_HTML = b"<!doctype html><html><body>Welcome</body></html>"

Answering: TypeAlias = Callable[[Request], PlannedResponse]


class FakeGitHubServer(ThreadingHTTPServer):
    """Listens on loopback. `end` hangs up on everybody and waits for the threads."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, port: int, answering: Answering) -> None:
        super().__init__(("127.0.0.1", port), Connection)
        self.answering = answering
        self.ending = threading.Event()
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(GAZE_SECONDS,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self.ending.set()
        self.shutdown()
        self._thread.join()
        with self._guard:
            for each in self._open:
                self._hang_up(each)
        self.server_close()

    def opened(self, connection: socket.socket) -> None:
        with self._guard:
            self._open.add(connection)
            if self.ending.is_set():
                self._hang_up(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._guard:
            self._open.discard(connection)

    @staticmethod
    def _hang_up(connection: socket.socket) -> None:
        """Whoever waits for the next request of a kept connection reads its end."""
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


class Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeGitHubServer
    connection: socket.socket

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing: the calls are kept elsewhere."""

    def _serve(self) -> None:
        length = self.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self.close_connection = True
            self._send(ResponseRecord(413, {"message": "too large"}))
            return
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            authorization=self.headers.get("authorization", ""),
            body=self.rfile.read(int(length)),
            base_url=f"http://127.0.0.1:{self.server.server_port}",
        )
        outcome = self.server.answering(request)
        if outcome.fault is None:
            self._send(outcome.answer)
        else:
            self._spoil(outcome.answer, outcome.fault)

    def _send(self, answer: ResponseRecord) -> None:
        body = encode(answer.body)
        self.wfile.write(_head(answer, len(body)) + body)

    def _spoil(self, answer: ResponseRecord, fault: Fault) -> None:
        body = encode(answer.body)
        match fault.kind:
            case "stall":
                self.close_connection = True
                self._wait(fault.seconds)
            case "slow":
                # An answer that came whole ends no connection: its client would have to be told.
                self.close_connection = not self._drip(_head(answer, len(body)) + body, fault)
            case "truncated":
                self.close_connection = True
                self.wfile.write(_head(answer, len(body)) + body[: len(body) // 2])
            case "reset":
                self.close_connection = True
                # Lingering for no time at all makes close send RST, if nothing else holds the socket open.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.rfile.close()
                self.connection.close()
            case "wrong_type":
                self.wfile.write(_head(answer, len(PAGE_OF_HTML), "text/html; charset=utf-8") + PAGE_OF_HTML)
            case _:
                self._send(answer)

    def _drip(self, whole: bytes, fault: Fault) -> bool:
        """Whether all of it was sent in the fault's time."""
        ends = time.monotonic() + fault.seconds
        for byte in whole:
            if time.monotonic() > ends or not self._wait(fault.delay):
                return False
            self.wfile.write(bytes([byte]))
        return True

    def _wait(self, seconds: float) -> bool:
        """Whether the client is still there after so long, and the server is not to end."""
        poll, ends = select.poll(), time.monotonic() + seconds
        poll.register(self.connection, select.POLLIN)
        while (left := ends - time.monotonic()) > 0:
            if self.server.ending.is_set():
                return False
            readable = poll.poll(min(left, GAZE_SECONDS) * 1000)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return False
            if readable:
                self.server.ending.wait(min(left, GAZE_SECONDS))
        return True


def _head(answer: ResponseRecord, length: int, content_type: str = "application/json; charset=utf-8") -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Unknown')}",
        "server: fake-github",
        f"content-type: {content_type}",
        f"content-length: {length}",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
