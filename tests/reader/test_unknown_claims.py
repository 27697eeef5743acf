"""A claim that no rule knows is counted, and logged once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tenure_reader import AsyncFallback, AsyncReader, Mirror, Reader, UnknownClaims
from tenure_reader.unknown import MOST_NAMES, OTHERS
from tests.reader.world import CLAIMS, World
from worker.local.valkey import EmbeddedStore


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "tenure.claims"]


def test_it_is_logged_once_however_many_tokens_have_it(
    world: World, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    world.register()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert reader.evaluate({**CLAIMS, "repo_property_team": "core", "a_secret_claim": "s3cret"}).allowed
    assert reader.unknown_claims.counts() == {"a_claim_of_next_year": 3, "a_secret_claim": 3}
    assert [[name in line for line in lines(caplog)] for name in ("a_claim_of_next_year", "a_secret_claim", "s3cret")] == [
        [True, False], [False, True], [False, False],
    ]  # fmt: skip
    advice = "decide whether policies should look at it"
    assert lines(caplog)[1] == f"tokens have a claim that no rule knows: a_secret_claim; {advice}"


def test_a_mirror_and_the_reader_that_stands_in_for_it_count_each_token_once(
    world: World, store: EmbeddedStore, caplog: pytest.LogCaptureFixture
) -> None:
    world.register()

    async def decide_twice() -> None:
        unknown = UnknownClaims()
        reader = AsyncReader.connect(store.url, unknown_claims=unknown)
        mirror = Mirror(store.url, unknown_claims=unknown)
        form = AsyncFallback(mirror, reader)
        assert (await form.evaluate(CLAIMS)).allowed
        assert form.direct == 1
        with mirror:
            assert await asyncio.to_thread(mirror.wait, 20), mirror.status()
            assert (await form.evaluate(CLAIMS)).allowed
        assert form.direct == 1
        assert unknown.counts() == {"a_claim_of_next_year": 2}
        await reader.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(decide_twice())
    assert len(lines(caplog)) == 1


def test_nobody_fills_the_memory_or_the_log_with_names(caplog: pytest.LogCaptureFixture) -> None:
    unknown = UnknownClaims()
    with caplog.at_level(logging.WARNING):
        for number in range(3 * MOST_NAMES):
            unknown.note({f"\x1b[31m{number}" + "x" * 10_000: ""})
    counts = unknown.counts()
    assert len(counts) == MOST_NAMES + 1
    assert counts[OTHERS] == 2 * MOST_NAMES
    assert len(lines(caplog)) == MOST_NAMES + 1
    assert all(line.isprintable() and len(line) < 1000 for line in lines(caplog))
