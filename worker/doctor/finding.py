"""What the doctor says of one thing."""

from __future__ import annotations

from typing import NamedTuple

from worker.lifecycle.facts import SECOND, Micros

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"
SLOW: Micros = 10 * SECOND
"""An event that has waited, or a policy that has been due, for longer is late."""
STUCK: Micros = 120 * SECOND
"""And for longer than this, nobody seems to be at work."""


class Finding(NamedTuple):
    """`level` is ok, warning or problem; `advice` says what to do, and is empty where nothing is."""

    check: str
    level: str
    finding: str
    advice: str
    runbook: str = ""
    """Where to read on: the name of a runbook, or empty."""


def level_of(late: Micros) -> str:
    """How bad it is to be so late."""
    if late > STUCK:
        return PROBLEM
    return WARNING if late > SLOW else OK
