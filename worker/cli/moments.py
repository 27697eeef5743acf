"""Moments as operators give them: a time, or how long ago."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

import typer

from worker.cli import output
from worker.lifecycle.facts import SECOND, Micros

SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Given(NamedTuple):
    """A moment, or how long ago."""

    moment: Micros | None
    ago: Micros

    def at(self, now: Micros) -> Micros:
        return max(0, now - self.ago if self.moment is None else self.moment)


def given(said: str, option: str = "--since") -> Given:
    """What an option says.

    Raises:
        typer.BadParameter: it is neither a time nor a span.
    """
    span = re.fullmatch(r"([0-9]{1,6})([smhd])", said.strip())
    if span:
        return Given(None, int(span[1]) * SECONDS[span[2]] * SECOND)
    try:
        moment = datetime.fromisoformat(said.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(
            "a time with its offset, such as 2026-01-31T12:00:00Z, or a span such as 10m, 2h, 3d", param_hint=option
        )
    return Given(output.micros(moment.isoformat()), 0)
