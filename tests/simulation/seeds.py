"""Runs of the simulation by their seeds, and the shortest history of one that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from tests.simulation.promises import BrokenPromiseError
from tests.simulation.world import Breaks, World

EFFECTS = 300
"""Round trips of one run, before everything comes to rest."""


class Found(NamedTuple):
    """A seed at which a promise is broken."""

    seed: int
    effects: int
    problem: str
    history: list[str]


def run(seed: int, effects: int = EFFECTS, broken: Breaks | None = None) -> Found | None:
    """One run; what it found, or None."""
    world = World(seed, broken)
    try:
        world.run(effects)
    except BrokenPromiseError as error:
        return Found(seed, world.effects, str(error), world.history)
    return None


def shortest(seed: int, broken: Breaks | None = None) -> Found | None:
    """The shortest beginning of a failing run that fails, too. A run with fewer effects has the same beginning."""
    tried = (run(seed, effects, broken) for effects in range(1, EFFECTS + 1))
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
