"""What is asked of revisions, and what the replies mean: without a store."""

from __future__ import annotations

import pytest

from tenure_reader.freshness import MOST_POLICIES, known, questions, told, wrong
from tenure_reader.keys import PartitionKeys
from tests.reader.world import GRANT


def test_each_policy_is_asked_for_in_the_partition_whose_views_are_read() -> None:
    assert questions({}, PartitionKeys(3)) == []
    assert questions({"pol-1": 3, "p": 1}, PartitionKeys(3)) == [
        ("HGET", "tenure:{p03}:revisions", "pol-1"),
        ("HGET", "tenure:{p03}:revisions", "p"),
    ]


@pytest.mark.parametrize(
    ("reply", "grants", "revision"),
    [
        (b"3", [], 3),
        ("3", [], 3),
        (None, [], 0),
        (b"x", [], 0),
        (b"\xff", [], 0),
        (b"9" * 20, [], 0),
        (b"9" * 19, [], int("9" * 19)),
        (7, [], 0),
        (None, [{**GRANT, "revision": 4}], 4),
        (b"3", [{**GRANT, "revision": 4}], 4),
        (b"5", [{**GRANT, "revision": 4}], 5),
        (b"3", [{**GRANT, "policy_id": "q", "revision": 9}], 3),
        (None, [{**GRANT, "revision": 2}, {**GRANT, "revision": 6}, {**GRANT, "revision": 1}], 6),
    ],
)
def test_the_higher_of_what_was_noted_and_what_its_view_says_is_known(
    reply: object, grants: list[object], revision: int
) -> None:
    assert known({"p": 1}, [reply], grants) == {"p": revision}  # type: ignore[arg-type]


def test_the_first_that_is_behind_is_told() -> None:
    assert told({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 1, "c": 1}) == (
        "policy b is at revision 1 here, and 2 is asked for"
    )
    assert told({"a": 1, "b": 2}, {"a": 1, "b": 2}) is None


def test_as_many_policies_as_may_be_and_any_revision_may_be_asked_for() -> None:
    assert wrong({}) is None
    assert wrong({f"p-{n}": n for n in range(MOST_POLICIES)}) is None
    assert wrong({"é": 2**63 - 1, "": 0}) is None
