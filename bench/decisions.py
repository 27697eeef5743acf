"""A decision about a token: by the reader, by the mirror, and by one indexed SQL query that asks the same."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.frame import BenchError, Options, Table, percentile, say, server, workspace
from bench.payloads import subject
from bench.postgres import Unavailable, postgres_latencies
from bench.views import claims, fill
from tenure_reader import AsyncReader, Mirror, Reader

POLICIES = 100_000
PATIENCE_SECONDS = 120.0
AT_ONCE = 32
WARM = 500

QUERY = """
SELECT policy_id FROM policies
WHERE repository_owner_id = ? AND (repository_id = ? OR (repository_id IS NULL AND repository = ?))
  AND workflow_file = ? AND (environment IS NULL OR environment = ?)
  AND usable AND (usable_until IS NULL OR usable_until > ?)
ORDER BY environment IS NULL LIMIT 1
"""


def measure(options: Options) -> list[Table]:
    table = Table(
        f"Decisions about tokens, {POLICIES:,} policies, one after the other",
        ["", "decisions/s", "p50, µs", "p99, µs"],
    )
    chosen = [random.Random(7).randrange(POLICIES) for _ in range(options.decisions)]
    asked = [claims(subject(number)) for number in chosen]
    with workspace() as directory, server(directory) as where:
        fill(where, 0, POLICIES)
        with Mirror(where.store.url) as mirror:
            if not mirror.wait(PATIENCE_SECONDS):
                raise BenchError(f"the mirror was not trusted: {mirror.status().reason}")
            _add(table, "mirror", _timed(lambda token: mirror.evaluate(token).allowed, asked))
        reader = Reader.connect(where.store.url)
        _add(table, "reader", _timed(lambda token: reader.evaluate(token).allowed, asked))
        reader.close()
        _add_rate(table, f"reader, asyncio, {AT_ONCE} at once", asyncio.run(_at_once(where.store.url, asked)))
        _add(table, "SQLite, one indexed query", _sqlite(directory, chosen))
        try:
            version, taken = postgres_latencies(POLICIES, options.sql_seconds)
            _add(table, f"PostgreSQL {version}, one indexed query, by pgbench", taken)
        except Unavailable as missing:
            table.notes.append(f"PostgreSQL: left out: {missing}")
    table.notes.append("the SQL queries answer yes or no; reader and mirror also tell what differs, policy by policy")
    table.notes.append("SQLite runs in the process; pgbench is a client in C, over a Unix socket, prepared statements")
    return [table]


def _add(table: Table, label: str, taken: Sequence[float]) -> None:
    """`taken`: µs of each."""
    _row(table, label, 1e6 * len(taken) / sum(taken), percentile(taken, 0.5), percentile(taken, 0.99))


def _add_rate(table: Table, label: str, told: tuple[float, Sequence[float]]) -> None:
    rate, taken = told
    _row(table, label, rate, percentile(taken, 0.5), percentile(taken, 0.99))


def _row(table: Table, label: str, rate: float, p50: float, p99: float) -> None:
    table.rows.append([label, rate, p50, p99])
    say(f"{label}: {rate:,.0f} decisions/s, p99 {p99:.0f} µs")


def _timed(decide: Callable[[dict[str, object]], bool], asked: Sequence[dict[str, object]]) -> list[float]:
    """How long each took, in µs.

    Raises:
        BenchError: one was refused.
    """
    for token in asked[:WARM]:
        decide(token)
    taken = []
    for token in asked:
        begin = time.perf_counter_ns()
        allowed = decide(token)
        taken.append((time.perf_counter_ns() - begin) / 1e3)
        if not allowed:
            raise BenchError("a token that should match was refused")
    return taken


async def _at_once(url: str, asked: Sequence[dict[str, object]]) -> tuple[float, list[float]]:
    """Decisions a second with many under way, and how long each took, in µs."""
    reader = AsyncReader.connect(url)
    waiting = list(asked)
    taken: list[float] = []

    async def decide() -> None:
        while waiting:
            token = waiting.pop()
            begin = time.perf_counter_ns()
            await reader.evaluate(token)
            taken.append((time.perf_counter_ns() - begin) / 1e3)

    await asyncio.gather(*(decide() for _ in range(AT_ONCE)))
    waiting = list(asked)
    taken.clear()
    begin = time.monotonic()
    await asyncio.gather(*(decide() for _ in range(AT_ONCE)))
    rate = len(asked) / (time.monotonic() - begin)
    await reader.close()
    return rate, taken


def _sqlite(directory: Path, chosen: Sequence[int]) -> list[float]:
    connection = sqlite3.connect(directory / "policies.db")
    connection.execute(
        "CREATE TABLE policies (policy_id TEXT PRIMARY KEY, repository_owner_id INTEGER, repository_id INTEGER, "
        "repository TEXT, workflow_file TEXT, environment TEXT, usable INTEGER, usable_until TEXT)"
    )
    rows = (
        (of.policy_id, of.owner_id, of.repository_id, of.repository, "release.yml", None, 1, None)
        for of in map(subject, range(POLICIES))
    )
    connection.executemany("INSERT INTO policies VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("CREATE INDEX by_id ON policies (repository_owner_id, repository_id)")
    connection.execute("CREATE INDEX by_name ON policies (repository_owner_id, repository)")
    connection.commit()
    connection.execute("ANALYZE")
    now = "2026-01-01T00:00:00.000000Z"

    def decide(token: dict[str, object]) -> bool:
        row = (token["owner"], token["id"], token["name"], "release.yml", None, now)
        return connection.execute(QUERY, row).fetchone() is not None

    tokens = [{"owner": of.owner_id, "id": of.repository_id, "name": of.repository} for of in map(subject, chosen)]
    try:
        return _timed(decide, tokens)
    finally:
        connection.close()
