"""A real web server in a thread, on a real store that syncs before it answers, and plain clients of both."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httpx
import orjson
import uvicorn
from pydantic import SecretStr
from redis import Redis
from starlette.applications import Starlette

from tests.engines import plain_client, replicas_of
from tests.store.making import settle_all
from tests.support import NO_TLS
from worker.app import App, build
from worker.http.app import create_app
from worker.http.server import server
from worker.local.valkey import EmbeddedStore, free_port
from worker.settings import Settings

SECRET = "canary-current-secret"
PREVIOUS = "canary-previous-secret"
REGISTRY = "canary-registry-token"
SECOND_REGISTRY = "canary-second-registry-token"
OPERATOR = "canary-operator-token"
READER = "canary-reader-token"
PATIENCE = 20.0


def sign(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def until(true: Callable[[], bool]) -> None:
    """Wait for another thread's effect."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@contextmanager
def serve(
    starlette: Starlette,
    port: int = 0,
    make: Callable[[Starlette, str, int], uvicorn.Server] = server,
    listener: socket.socket | None = None,
) -> Iterator[int]:
    """Serve on loopback, on the listener's port, or on a free one if none is given; gives the port. `make` makes the server:
    that of the doors.
    """
    port = listener.getsockname()[1] if listener is not None else port or free_port()
    serving = make(starlette, "127.0.0.1", port)
    thread = threading.Thread(target=serving.run, args=([listener] if listener is not None else None,), daemon=True)
    thread.start()
    until(lambda: serving.started or not thread.is_alive())
    assert thread.is_alive()
    try:
        yield port
    finally:
        serving.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


@dataclass(frozen=True)
class Site:
    """A running web process, with plain clients to it and to its store."""

    app: App
    store: EmbeddedStore
    port: int
    http: httpx.Client
    redis: Redis

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def deliver(
        self,
        payload: object,
        *,
        event: str = "repository",
        delivery: str = "d-1",
        secret: str = SECRET,
        headers: Mapping[str, str | bytes | None] | None = None,
    ) -> httpx.Response:
        """Post a webhook as GitHub does; `headers` are added, or left out where None."""
        body = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        sent: dict[str, str | bytes | None] = {
            "Content-Type": "application/json",
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": sign(body, secret),
            **(headers or {}),
        }
        kept = {
            name.encode(): value.encode() if isinstance(value, str) else value
            for name, value in sent.items()
            if value is not None
        }
        return self.http.post("/webhooks/github", content=body, headers=kept)

    def send(self, content: object, *, kind: str = "", token: str | None = REGISTRY) -> httpx.Response:
        """Post CloudEvents as the registry does."""
        batched = "-batch" if isinstance(content, list) else ""
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        headers = {"Content-Type": kind or f"application/cloudevents{batched}+json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.http.post("/events", content=body, headers=headers)

    def woken(self, lane: str) -> int:
        """How many wake-ups of a lane nobody has heard yet."""
        return self.app.broker.client.llen(f"{{tenure}}:{lane}")

    def held(self) -> list[dict[str, bytes]]:
        """Every unsettled event, as a plain client reads it."""
        keys = list(self.redis.scan_iter("tenure:{p*}:inbox:event:*", count=1000))
        found = [cast("dict[bytes, bytes]", self.redis.hgetall(key)) for key in sorted(keys)]
        return [{name.decode(): value for name, value in fields.items()} for fields in found]

    def clear(self) -> None:
        # A scrape writes the refusals that are still counted in the process.
        self.http.get("/metrics")
        self.redis.flushall()
        self.app.event_ledger.begin(self.app.status.now())
        self.redis.set("tenure:partitions", self.app.keyspace.partitions)

    def settle(self) -> None:
        """Do what a worker does."""
        settle_all(self.app)


def settings_for(store: EmbeddedStore, directory: Path, **more: object) -> Settings:
    settings = Settings(
        _env_file=None,
        redis_url=SecretStr(store.url),
        wait_replicas=replicas_of(store),
        data_dir=directory,
        webhook_secrets=(SecretStr(SECRET), SecretStr(PREVIOUS)),
        registry_tokens=(SecretStr(REGISTRY), SecretStr(SECOND_REGISTRY)),
        operator_tokens=(SecretStr(OPERATOR),),
        reader_tokens=(SecretStr(f"sam:{READER}"),),
    )
    return settings.model_copy(update=more)


@contextmanager
def site_on(store: EmbeddedStore, directory: Path, **more: object) -> Iterator[Site]:
    app = build(settings_for(store, directory, **more))
    try:
        with (
            serve(create_app(app)) as port,
            httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, timeout=PATIENCE) as http,
            plain_client(store.url) as plain,
        ):
            yield Site(app, store, port, http, plain)
    finally:
        app.broker.close()
        app.client.redis.close()
