"""What people and programs are shown of facts and moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import cast

import pytest

from tests.support import WINDOW, Life, hint, registered
from worker.lifecycle.views import ChangeType, View, change_between, described, micros, rfc3339


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


@pytest.mark.parametrize(
    ("lacks", "has", "change"),
    [
        ("advisories", {}, ChangeType.REFRESHED),
        ("environment", {}, ChangeType.UPDATED),
        ("", {"a_member_of_next_year": True}, ChangeType.REFRESHED),
        ("", {}, None),
    ],
)
def test_a_view_that_another_version_wrote_is_compared_with_ours(
    lacks: str, has: dict[str, object], change: ChangeType | None
) -> None:
    """Given a stored view that lacks a member or has one more, when the policy is decided anew, then that is a difference."""
    life = Life()
    life.hears(1, registered(1))
    view = life.policy.view
    assert view is not None
    stored = cast("View", {name: value for name, value in {**view, **has}.items() if name != lacks})
    assert change_between(stored, view, renewed=False, reminded=False) == change
    life.policy = life.policy._replace(view=stored)
    assert life.hears(min(2, WINDOW), hint(2, "repository:41:7", "archived", False)) == change
