"""The demo's story on a cluster, and behind Sentinels, whose primary is killed in the middle of it, as plain clients read it there."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from tests.engines import Cluster, Sentinels, plain_client
from worker.demo.client import ContractReader, PublishedChange
from worker.demo.run import perform
from worker.store.client import connect

KILLED_AT = 4
"""Before the reader waits for what comes of this step."""


class UnluckyReader(ContractReader):
    """Reads from whatever is the primary; it is killed once."""

    def __init__(self, sentinels: Sentinels) -> None:
        self._sentinels = sentinels
        self._reads = 0
        self._read_from(connect(f"{sentinels.url}?decode_responses=true&socket_timeout=60").redis())

    def changes(self, seconds: float) -> Iterator[PublishedChange]:
        self._reads += 1
        if self._reads == KILLED_AT:
            self._sentinels.primary.kill()
            self._sentinels.await_failover(self._sentinels.primary)
        yield from super().changes(seconds)


class PatientReader(ContractReader):
    """Looks at each stream by itself: no command reads streams of several slots. A primary is killed once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._reads = 0
        self._read_from(plain_client(cluster.url, text=True))

    def changes(self, seconds: float) -> Iterator[PublishedChange]:
        self._reads += 1
        if self._reads == KILLED_AT:
            self._cluster.primaries[1].kill()
            self._cluster.await_failover(self._cluster.replicas_of(1)[0])
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for stream in self._after:
                yield from self._next({stream: self._after[stream]}, None)
            time.sleep(0.02)


def test_the_story_on_a_cluster_of_which_a_primary_is_killed(tmp_path: Path) -> None:
    """Given a cluster, when the story is played and a primary is killed in the middle of it, then all goes as it should."""
    told = io.StringIO()
    with Cluster(tmp_path / "cluster") as cluster:
        assert perform(Console(file=told), cluster.url, lambda _: PatientReader(cluster)), told.getvalue()


def test_the_story_behind_sentinels_whose_primary_is_killed(tmp_path: Path) -> None:
    """Given a primary with Sentinels, when the story is played and the primary is killed in the middle of it, then all goes
    as it should.
    """
    told = io.StringIO()
    with Sentinels(tmp_path / "sentinels") as sentinels:
        assert perform(Console(file=told), sentinels.url, lambda _: UnluckyReader(sentinels)), told.getvalue()
        assert not sentinels.primary.running
