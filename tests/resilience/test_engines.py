"""The demo's story on a primary with Sentinels, as plain clients read it there."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from tests.engines import Sentinels
from worker.demo.client import ContractReader
from worker.demo.run import perform


def test_the_story_behind_sentinels(tmp_path: Path) -> None:
    """Given a primary with Sentinels, when the story is played, then plain clients of the primary read what they should."""
    told = io.StringIO()
    with Sentinels(tmp_path / "sentinels") as sentinels:
        primary = sentinels.primary.name
        read = lambda _: ContractReader(f"redis://{primary}/0")  # noqa: E731 - the shape of the parameter
        assert perform(Console(file=told), sentinels.url, read), told.getvalue()
