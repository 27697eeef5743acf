"""Moments as the store writes them: microseconds since 1970-01-01 UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TypeAlias

Micros: TypeAlias = int
"""Microseconds: since 1970-01-01 UTC for a moment, plain for a duration."""

SECOND: Micros = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(moment: Micros) -> datetime:
    return _EPOCH + timedelta(microseconds=moment)


def micros(moment: datetime) -> Micros:
    """The reverse of `utc`, for a moment that knows its offset."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def rfc3339(moment: Micros) -> str:
    """A moment as RFC 3339 in UTC, with all its microseconds."""
    return utc(moment).isoformat(timespec="microseconds").replace("+00:00", "Z")
