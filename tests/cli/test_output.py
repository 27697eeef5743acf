"""How times, spans and names are written."""

from __future__ import annotations

import pytest

from worker.cli import output
from worker.doctor import diagnostics
from worker.lifecycle.facts import DAY, HOUR, SECOND
from worker.lifecycle.views import rfc3339


@pytest.mark.parametrize(
    ("duration", "told"),
    [
        (0, "0 s"),
        (SECOND - 1, "0 s"),
        (59 * SECOND, "59 s"),
        (HOUR, "1 h"),
        (HOUR + SECOND, "1 h"),
        (-(DAY + 3 * HOUR + SECOND), "1 d 3 h"),
    ],
)
def test_spans(duration: int, told: str) -> None:
    assert output.span(duration) == told


def test_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_769_860_800 * SECOND
    # Whoever reads lines in a program gets a moment that a program can read.
    assert output.when(now - HOUR - 1, now) == "2026-01-31T10:59:59.999999Z"
    assert output.when_written("2026-01-31T11:00:00.000000Z", now) == "2026-01-31T11:00:00.000000Z"
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    assert output.when(now - HOUR, now) == "2026-01-31T11:00:00Z (1 h ago)"
    assert output.when(now + HOUR, now) == "2026-01-31T13:00:00Z (in 1 h)"
    assert output.when_written(None, now) == "-"
    last = 253_402_300_799_999_999
    assert output.micros(rfc3339(last)) == last


@pytest.mark.parametrize(
    ("addresses", "everywhere"),
    [
        ("127.0.0.1 -::1", False),
        ("127.0.0.1", False),
        ("localhost", False),
        ("* -::*", True),
        ("", True),
        ("0.0.0.0", True),
        ("127.0.0.1 10.0.0.5", True),
    ],
)
def test_where_a_server_listens(addresses: str, *, everywhere: bool) -> None:
    assert diagnostics._everywhere(addresses) is everywhere
