"""What the tests of asking GitHub have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from worker.demo.fakegithub import FakeGitHub


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    """A GitHub of one's own, with nobody in it."""
    with FakeGitHub() as github:
        yield github
