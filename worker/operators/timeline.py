"""A policy's history as people read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from worker.lifecycle.views import ChangeType
from worker.store.policies import HistoryEntry

VERIFICATIONS = frozenset({"check", "sweep", "recheck"})
"""What the cause of a change is called where GitHub was asked."""


class TimelineRow(NamedTuple):
    """One line of a timeline: a step, or several verifications in a row that changed no state and no reason."""

    entry: HistoryEntry
    """The newest of them."""
    times: int
    first_at: str
    """When the oldest of them was published."""
    before: HistoryEntry | None
    """The step before them; None if none is known."""


def timeline(history: Sequence[HistoryEntry]) -> list[TimelineRow]:
    """A history, newest first, with repeated verifications in one line."""
    lines: list[TimelineRow] = []
    for place, entry in enumerate(history):
        before = history[place + 1] if place + 1 < len(history) else None
        last = lines[-1] if lines else None
        if last is not None and _verifies(last.entry, entry) and _verifies(entry, before):
            lines[-1] = last._replace(times=last.times + 1, first_at=entry.at, before=before)
        else:
            lines.append(TimelineRow(entry, 1, entry.at, before))
    return lines


def _verifies(entry: HistoryEntry, before: HistoryEntry | None) -> bool:
    """Whether GitHub's answer only confirmed how things stood."""
    return (
        before is not None
        and entry.type == ChangeType.REFRESHED
        and entry.cause["event"] in VERIFICATIONS
        and (entry.state, entry.reasons) == (before.state, before.reasons)
    )
