"""The demo's story on a primary with Sentinels, as a plain client of the primary reads it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from tests.engines import Sentinels
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


def test_the_story_behind_sentinels_whose_primary_is_killed(tmp_path: Path) -> None:
    """Given a primary with Sentinels, when the story is played and the primary is killed in the middle of it, then all goes
    as it should.
    """
    told = io.StringIO()
    with Sentinels(tmp_path / "sentinels") as sentinels:
        assert perform(Console(file=told), sentinels.url, lambda _: UnluckyReader(sentinels)), told.getvalue()
        assert not sentinels.primary.running
