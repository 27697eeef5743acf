"""From a workflow's token to a published package, with nothing but real parts in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from examples.circle.stage import circle
from examples.circle.story import REFUSED_WITHIN, Story


@pytest.mark.processes
def test_the_whole_circle(tmp_path: Path, measured: Callable[[str], None]) -> None:
    told: list[str] = []
    with circle(tmp_path) as running:
        story = Story(running, told.append)
        story.play()
        assert not story.problems, "\n".join(told)
        assert 0 < story.refused_after < REFUSED_WITHIN
        packages = sorted(path.name for path in (tmp_path / "packages").iterdir())
    assert packages == [
        f"widgets_client-{version}-py3-none-any.whl" for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0")
    ]
    measured(f"a key is refused {story.refused_after * 1000:.0f} ms after the webhook that disables its policy is sent")
