"""A policy's history as people read it: what GitHub only confirms, again and again, is one line."""

from __future__ import annotations

from worker.console.policies import rows_of
from worker.operators.timeline import timeline
from worker.store.policies import HistoryEntry


def entry(revision: int, kind: str, state: str = "active", *reasons: str, by: str = "sweep") -> HistoryEntry:
    source = {"kind": "github", "id": f"7@{revision}", "event": by}
    return HistoryEntry(revision, f"at {revision}", f"policy.{kind}", state, list(reasons), source, {})


def test_verifications_in_a_row_are_one_line() -> None:
    steps = [
        entry(1, "activated", by="public"),
        *(entry(n, "refreshed", by=by) for n, by in ((2, "check"), (3, "sweep"), (4, "recheck"))),
        entry(5, "disabled", "disabled", "repository_archived", by="repository.archived"),
        entry(6, "refreshed", "disabled", "repository_archived", "repository_locked"),
        entry(7, "refreshed", "disabled", "repository_archived", "repository_locked"),
        entry(8, "refreshed", "disabled", "repository_archived", "repository_locked", by="repository.renamed"),
        entry(9, "refreshed", "disabled", "repository_archived", "repository_locked"),
    ]
    lines = timeline(steps[::-1])
    assert [(line.entry.revision, line.times, line.first_at) for line in lines] == [
        (9, 1, "at 9"), (8, 1, "at 8"), (7, 1, "at 7"), (6, 1, "at 6"), (5, 1, "at 5"), (4, 3, "at 2"), (1, 1, "at 1"),
    ]  # fmt: skip
    assert [line.before and line.before.revision for line in lines] == [8, 7, 6, 5, 4, 1, None]


def test_a_reason_whose_source_is_not_the_cause_names_it() -> None:
    step = entry(1, "disabled", "disabled", "repository_archived", "creator_locked", by="repository.archived")
    step.sources["repository_archived"] = step.cause
    step.sources["creator_locked"] = {"kind": "registry", "id": "e-1", "event": "account.locked"}
    (row,) = rows_of([step])
    assert row.came == [("repository_archived", ""), ("creator_locked", "the registry: account.locked")]
