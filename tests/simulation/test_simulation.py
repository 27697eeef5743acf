"""The product in a world that is out to get it, by seeds: nothing is found in it. `make simulate` plays more of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.seeds import run, shortest, silence
from tests.simulation.variants import VARIANTS

SEEDS = 200
PART = 50


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    with silence():
        yield


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_every_promise_holds(first: int) -> None:
    found = [found for seed in range(first, first + PART) if (found := run(seed)) is not None]
    assert not found, f"seed {found[0].seed}: {found[0].problem}"


def test_a_seed_says_the_same_each_time_and_shrinks() -> None:
    breaks = VARIANTS["publishes twice"]
    first, again = run(1, broken=breaks), run(1, broken=breaks)
    assert first is not None
    assert first == again
    found = shortest(1, broken=breaks)
    assert found is not None
    assert found.effects <= first.effects
    so_far = found.history[: found.history.index("all processes end")]
    assert so_far == first.history[: len(so_far)]
