"""What tests of the client share: a key of the App, a clock, a GitHub to ask, and a server that answers as it is told.

The server is for what a well-behaved one cannot be made to do: half answers, silence, words of somebody else's.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from worker.github.budget import Budgets
from worker.github.client import GitHub
from worker.github.wire import Timeouts

APP_ID = "1201"
NOW = 1_800_000_000
NEVER = 4_000_000_000
QUICK = Timeouts(connect=0.5, read=0.3, write=0.3, pool=0.5, total=0.5)
TOKEN = "ghs_canary_"


@cache
def app_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@cache
def app_pem() -> str:
    return app_key().private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


class Clock:
    """Unix seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Asked(NamedTuple):
    """A request as the server saw it."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def bearer(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")


class Reply(NamedTuple):
    """An answer; `body` is JSON unless it is bytes. A header that is empty is not sent. `raw` writes it all instead."""

    body: object = None
    status: int = 200
    headers: Mapping[str, str] = {}
    raw: Callable[[Handler], None] | None = None


Answers: TypeAlias = Callable[[Asked], Reply]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.reply(Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers))
        if reply.raw is not None:
            reply.raw(self)
            self.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json; charset=utf-8", **reply.headers}.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass

    def drip(self, text: bytes) -> None:
        """A byte now and then, until the client has had enough."""
        for byte in text * 1000:
            self.wfile.write(bytes([byte]))
            if self.server.over.wait(0.02):
                return

    def stall(self) -> None:
        """Say nothing until the test is over."""
        self.server.over.wait(20)


class Server(ThreadingHTTPServer):
    """Answers by a function that a test may change; keeps what was asked. Hands out tokens unless told otherwise."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.over = threading.Event()
        self.asked: list[Asked] = []
        self.tokens = 0
        self.connections = 0
        self.answers: Answers = lambda _asked: Reply({"message": "Not Found"}, 404)
        self.token: Answers | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def says(self, reply: Reply) -> None:
        """One answer to everything."""
        self.answers = lambda _asked: reply

    def process_request(self, request: object, client_address: object) -> None:
        self.connections += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # A client that hangs up is what many tests are about.

    def reply(self, asked: Asked) -> Reply:
        if not asked.path.endswith("/access_tokens"):
            self.asked.append(asked)
            return self.answers(asked)
        self.tokens += 1
        if self.token is not None:
            return self.token(asked)
        return Reply(token(self.tokens), 201)


def token(number: int, expires_at: str = "2030-01-01T00:00:00Z") -> dict[str, str]:
    return {"token": f"{TOKEN}{number}", "expires_at": expires_at}


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Calls(list[tuple[str, str]]):
    """What `on_call` was told."""

    def __call__(self, route: str, outcome: str) -> None:
        self.append((route, outcome))


@contextlib.contextmanager
def asking(
    url: str,
    *,
    clock: Callable[[], float] | None = None,
    budgets: Budgets | None = None,
    calls: Calls | None = None,
    timeouts: Timeouts = QUICK,
    app_id: str = APP_ID,
    pem: str | None = None,
    max_pages: int = 5,
    max_delivery_pages: int = 3,
    transport: httpx.BaseTransport | None = None,
) -> Iterator[GitHub]:
    """A client for one test."""
    github = GitHub(
        api_url=url,
        app_id=app_id,
        private_key=lambda: app_pem() if pem is None else pem,
        clock=clock or Clock(),
        budgets=Budgets() if budgets is None else budgets,
        transport=transport,
        on_call=calls,
        timeouts=timeouts,
        max_pages=max_pages,
        max_delivery_pages=max_delivery_pages,
    )
    try:
        yield github
    finally:
        github.close()


def repository(repository_id: int = 7, /, **fields: object) -> dict[str, object]:
    return {
        "id": repository_id,
        "name": "widgets",
        "owner": {"id": 41, "login": "octo", "type": "Organization", "url": "http://127.0.0.1:1/"},
        "archived": False,
        "private": True,
        "visibility": "private",
        "url": "http://127.0.0.1:1/",
        **fields,
    }
