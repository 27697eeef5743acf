"""The embedded store is ours, or it is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.local.valkey import EmbeddedError, EmbeddedStore, free_port


def test_another_server_on_the_port_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Given somebody who took the port after we had looked, when we start, then we do not use their server."""
    with EmbeddedStore(tmp_path / "first", free_port()) as first:
        second = EmbeddedStore(tmp_path / "second", first.port)
        with pytest.raises(EmbeddedError, match="does not start"):
            second.start()
        assert not second.running
        assert first.running
