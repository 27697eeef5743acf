"""Every variant of the product that is broken on purpose is found. It takes minutes: some are found by one seed in a hundred."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.asking import AskingWorld
from tests.simulation.seeds import run, silence
from tests.simulation.variants import ASKING_VARIANTS, VARIANTS, broken
from tests.simulation.world import World

SEEDS = 200
ASKING_SEEDS = 400


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    with silence():
        yield


@pytest.mark.parametrize("name", VARIANTS)
def test_each_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks = broken(name, monkeypatch)
    assert any(run(seed, broken=breaks, kind=World) for seed in range(SEEDS)), f"nobody notices: {name}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ASKING_VARIANTS)
def test_each_is_found_where_github_is_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ASKING_VARIANTS[name](monkeypatch)
    assert any(run(seed, kind=AskingWorld) for seed in range(ASKING_SEEDS)), f"nobody notices: {name}"
