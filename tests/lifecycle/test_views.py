"""What people and programs are shown of facts and moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from tests.support import hint
from worker.lifecycle.views import described, micros, rfc3339


def test_a_fact_is_shown_with_its_source_and_time() -> None:
    assert described(hint(1_500_000, "repository:41:7", "archived", True)) == {
        "scope": "repository:41:7",
        "aspect": "archived",
        "value": True,
        "observed_at": "1970-01-01T00:00:01.500000Z",
        "basis": "hint",
        "source": {"kind": "github", "id": "hint-1500000", "event": "archived"},
    }


def test_a_moment_is_read_back_whatever_its_offset() -> None:
    moment = 1_767_323_045_000_006
    assert micros(datetime.fromisoformat(rfc3339(moment))) == moment
    assert micros(datetime(1970, 1, 1, 2, 0, 0, 7, tzinfo=timezone(timedelta(hours=2)))) == 7
    assert micros(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert micros(datetime.max.replace(tzinfo=UTC)) == 253_402_300_799_999_999
