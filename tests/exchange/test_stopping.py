"""The exchange ends when it is told to: whatever it is doing, and also while its store does not answer."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from examples.exchange.reporting import Reporter
from examples.exchange.settings import ExchangeSettings
from examples.exchange.vault import Vault
from tenure_reader import AsyncReader, RepositoryRef
from tests.conftest import Process, wait_until
from tests.web.site import Site
from worker.local.valkey import EmbeddedStore, free_port

MOMENTS = 60
"""Turns of the event loop, in each of which it is stopped once: the question to Redis takes about twenty."""


def test_in_whatever_moment_reporting_is_stopped_it_ends(settings: ExchangeSettings) -> None:
    async def stopped_in(moment: int, redis: Redis, http: httpx.AsyncClient) -> float:
        reporter = Reporter(Vault(redis), http, settings.tenure_url, settings.tenure_token)
        reporter.start()
        for _ in range(moment):
            await asyncio.sleep(0)
        begun = time.monotonic()
        await reporter.stop(5.0)
        return time.monotonic() - begun

    async def each() -> list[float]:
        async with Redis.from_url(settings.redis_url) as redis, httpx.AsyncClient(trust_env=False) as http:
            return [await stopped_in(moment, redis, http) for moment in range(MOMENTS)]

    assert max(asyncio.run(each())) < 1.0


def test_in_whatever_moment_a_question_is_cancelled_it_gives_no_answer(site: Site) -> None:
    async def answered(moment: int, reader: AsyncReader) -> bool:
        asking = asyncio.create_task(reader.standing("pol-1", RepositoryRef(41, 6001, "widgets")))
        for _ in range(moment):
            await asyncio.sleep(0)
        over = asking.done()
        asking.cancel()
        await asyncio.wait({asking}, timeout=5.0)
        return not over and not asking.cancelled()

    async def each() -> list[int]:
        reader = AsyncReader.connect(site.store.url)
        try:
            return [moment for moment in range(MOMENTS) for _ in range(3) if await answered(moment, reader)]
        finally:
            await reader.close()

    assert asyncio.run(each()) == []


@pytest.mark.processes
def test_it_ends_while_its_store_does_not_answer(settings: ExchangeSettings, tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path / "own", port=free_port()) as own:
        port = free_port()
        environment = {
            "EXCHANGE_AUDIENCE": settings.audience,
            "EXCHANGE_TENURE_REDIS_URL": own.url,
            "EXCHANGE_REDIS_URL": own.url.rpartition("/")[0] + "/5",
            "EXCHANGE_TENURE_URL": settings.tenure_url,
            "EXCHANGE_TENURE_TOKEN": settings.tenure_token,
            "EXCHANGE_INDEX_TOKEN": settings.index_token,
            "EXCHANGE_JWKS_URL": settings.jwks_url,
            "EXCHANGE_PORT": str(port),
        }
        exchange = Process(["-m", "examples.exchange"], environment, tmp_path, tmp_path / "exchange.log")

        def open_() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        wait_until(open_, "the exchange is open")
        os.kill(own.pid or 0, signal.SIGSTOP)
        try:
            # Until its mirror, and what it reports, wait for an answer.
            exchange.send(signal.SIGTERM)
            wait_until(lambda: not exchange.running, "the exchange has ended", 9.0)
        finally:
            os.kill(own.pid or 0, signal.SIGCONT)
            exchange.kill()
