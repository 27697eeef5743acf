"""A short memory of the installation's vital signs, for the console's charts: rings of fixed length in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import orjson

from worker.lifecycle.facts import SECOND, Micros
from worker.store import keys
from worker.store.client import Client, Command
from worker.store.codec import UNREADABLE
from worker.store.replies import fields

STEPS = {10: 360, 300: 288}
"""Seconds between two samples → how many of them are kept: an hour, and a day."""
LATENCIES = 17
"""Buckets of the latency from hint to publication: the i-th ends at 2^i ms, the last one takes the rest."""


class Sample(NamedTuple):
    """What was counted up to `at`, and how things stood then."""

    at: Micros
    received: int
    settled: int
    changes: int
    waiting: int
    oldest: Micros
    """How long the oldest event of the inbox had been due."""
    dead: int
    due_lag: Micros
    latency: list[int]
    """How many changes were published within each bucket, all told."""


def sample_of(
    at: Micros, counters: Mapping[str, int], depth: Mapping[str, int], oldest: Micros, due_lag: Micros
) -> Sample:
    """A sample of the store's counters. `oldest`: how long the longest-waiting event has been due."""

    def total(prefix: str) -> int:
        return sum(count for name, count in counters.items() if name.startswith(prefix))

    return Sample(
        at=at,
        received=total("received:"),
        settled=counters.get("settled", 0),
        changes=total("changes:"),
        waiting=sum(count for lane, count in depth.items() if lane != "dead"),
        oldest=oldest,
        dead=depth.get("dead", 0),
        due_lag=due_lag,
        latency=[counters.get(f"latency:{i}", 0) for i in range(LATENCIES)],
    )


class Samples:
    def __init__(self, client: Client) -> None:
        self._client = client

    def keep(self, sample: Sample) -> None:
        """Keep it in each ring whose time has come."""
        written = orjson.dumps(list(sample))
        tick = sample.at // SECOND // 10 * 10
        self._client.run([
            Command(("XADD", keys.samples(step), "MAXLEN", kept, "*", "sample", written))
            for step, kept in STEPS.items()
            if tick % step == 0
        ])  # fmt: skip

    def ring(self, step: int) -> list[Sample]:
        """What a ring holds, oldest first."""
        reply = cast("list[tuple[bytes, object]]", self._client.one(Command(("XRANGE", keys.samples(step), "-", "+"))))
        return [sample for _, entry in reply if (sample := _sample(fields(entry))) is not None]


def _sample(entry: Mapping[str, bytes]) -> Sample | None:
    """A sample as it was kept; None if it cannot be read: a chart has a gap there."""
    try:
        sample = Sample(*orjson.loads(entry["sample"]))
        return sample if all(type(value) is int for value in (*sample[:-1], *sample.latency)) else None
    except UNREADABLE:
        return None
