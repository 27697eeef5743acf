"""A running exchange, and a plain client of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from redis import Redis
from starlette.applications import Starlette

from examples.circle.issuer import Issuer
from examples.exchange.app import create_app
from examples.exchange.settings import ExchangeSettings
from tests.conftest import wait_until
from tests.reader.world import CLAIMS
from tests.support import NO_TLS
from tests.web.site import serve

INDEX_TOKEN = "canary-index-token"
RUN = {name: value for name, value in CLAIMS.items() if name != "iss"}
USER = "maria"


@dataclass(frozen=True)
class Service:
    issuer: Issuer
    http: httpx.Client
    redis: Redis

    def login(self, token: str | None = None, user: object = USER) -> httpx.Response:
        """Present a token: of the right run, if no other is given."""
        presented = self.issuer.token(**RUN) if token is None else token
        headers = {b"Authorization": b"Bearer " + presented.encode("utf-8", "replace")}
        return self.http.post("/api/v2/token", json={"username": user, "tokenType": "ApiKey"}, headers=headers)

    def run(self, **claims: object) -> httpx.Response:
        """Present a token of the right run, with some claims changed."""
        return self.login(self.issuer.token(**{**RUN, **claims}))

    def key(self, **claims: object) -> str:
        answer = self.run(**claims)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["apiKey"])

    def check(self, key: object, token: str = INDEX_TOKEN) -> httpx.Response:
        return self.http.post("/keys/check", json={"apiKey": key}, headers={"Authorization": f"Bearer {token}"})

    def good(self, key: str) -> bool:
        answer = self.check(key)
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["good"])

    def metric(self, name: str) -> float:
        lines = [line for line in self.http.get("/metrics").text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def caught_up(self, changes: int) -> None:
        """Until its mirror has read so many changes."""
        wait_until(lambda: self.metric("exchange_mirror_changes_total") >= changes, "the exchange reads on")


def plain(served: Starlette, host: str, port: int) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(served, host=host, port=port, lifespan="on", log_config=None))


@contextmanager
def serving(settings: ExchangeSettings, issuer: Issuer) -> Iterator[Service]:
    with (
        serve(create_app(settings), make=plain) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, timeout=20, trust_env=False) as http,
        Redis.from_url(settings.redis_url) as redis,
    ):
        wait_until(lambda: http.get("/readyz").status_code == 200, "the exchange is ready")
        yield Service(issuer, http, redis)
