"""Where GitHub is asked, every broken variant is found, too. It takes minutes, since each world asks a hundred times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.asking import AskingWorld
from tests.simulation.seeds import run, silence
from tests.simulation.variants import ASKING_VARIANTS

SEEDS = 400


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    with silence():
        yield


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ASKING_VARIANTS)
def test_each_broken_variant_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ASKING_VARIANTS[name](monkeypatch)
    assert any(run(seed, kind=AskingWorld) for seed in range(SEEDS)), f"nobody notices: {name}"
