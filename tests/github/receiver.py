"""A receiver of webhooks on loopback, which keeps what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.support import JSON
from tests.web.site import sign

SECRET = "canary-fake-webhook-secret"


class Letter(NamedTuple):
    name: str
    """Event and action, such as `repository.archived`."""
    guid: str
    signed: bool
    payload: dict[str, JSON]


class Receiver(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Door)
        self.status = 202
        self.letters: list[Letter] = []
        self.url = f"http://127.0.0.1:{self.server_port}/webhooks/github"


class _Door(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        payload = json.loads(body)
        name = ".".join(part for part in (self.headers["x-github-event"], payload.get("action")) if part)
        signed = self.headers["x-hub-signature-256"] == sign(body, SECRET)
        self.server.letters.append(Letter(name, self.headers["x-github-delivery"], signed, payload))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()
