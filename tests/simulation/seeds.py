"""Runs of the simulation by their seeds, and the shortest history of one that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

import structlog

from tests.simulation.asking import AskingWorld
from tests.simulation.clocks import simulated
from tests.simulation.product import Breaks
from tests.simulation.promises import BrokenPromiseError
from tests.simulation.store import MisusedError
from tests.simulation.world import World

EFFECTS = {World: 300, AskingWorld: 500}
"""Round trips of one run in each world, before everything comes to rest."""
ASKS_EVERY = 5
"""In the world of every fifth seed GitHub is asked: that takes ten times as long."""


class Found(NamedTuple):
    """A seed at which a promise is broken."""

    seed: int
    effects: int
    problem: str
    history: list[str]


Kind: TypeAlias = type[World] | type[AskingWorld]


def kind_of(seed: int) -> Kind:
    """The world in which a seed is played."""
    return World if seed % ASKS_EVERY else AskingWorld


def run(seed: int, effects: int | None = None, broken: Breaks | None = None, kind: Kind | None = None) -> Found | None:
    """One run; what it found, or None. `kind`: another world than the seed's own."""
    played = kind or kind_of(seed)
    world = played(seed, broken)
    try:
        with simulated(lambda: world.elapsed, world.wait):
            world.run(EFFECTS[played] if effects is None else effects)
    except (BrokenPromiseError, MisusedError) as error:
        return Found(seed, world.effects, str(error), world.history)
    finally:
        world._store.note_reached()
    return None


def shortest(seed: int, broken: Breaks | None = None) -> Found | None:
    """The shortest beginning of a failing run that fails, too. A run with fewer effects has the same beginning."""
    tried = (run(seed, effects, broken) for effects in range(1, EFFECTS[kind_of(seed)] + 1))
    return next((found for found in tried if found is not None), None)


@contextmanager
def silence() -> Iterator[None]:
    """Without the log's lines: a run has hundreds of failures."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
