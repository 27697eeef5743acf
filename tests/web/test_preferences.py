"""`Prefer`, as RFC 7240 has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.web.preferences import LONGEST_WAIT, wait_preferred


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        (["wait=10"], 10),
        (["Wait=10"], 10),
        (["wait = 10"], 10),
        (["  wait=10  "], 10),
        (['wait="10"'], 10),
        (["respond-async, wait=10"], 10),
        (["respond-async", "wait=10"], 10),
        (['return=minimal; foo="a, wait=1", wait=10; bar'], 10),
        (["wait=10, wait=20"], 10),
        (["wait=10", "wait=20"], 10),
        (["priority=5, , wait=10"], 10),
        (["wait=0"], 0),
        (["wait=30"], 30),
        (["wait=31"], LONGEST_WAIT),
        (["wait=999999999"], LONGEST_WAIT),
        ([], None),
        ([""], None),
        (["respond-async"], None),
        (["wait"], None),
        (["wait="], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=ten"], None),
        (["wait=\u00b2"], None),
        (["wait=1000000000000"], None),
        (["waiting=10"], None),
        (["foo; wait=10"], None),
        (["@, wait=10"], None),
        (['foo="unended, wait=10'], None),
    ],
)  # fmt: skip
def test_how_long_somebody_prefers_to_wait(fields: list[str], seconds: int | None) -> None:
    assert wait_preferred(fields) == seconds


@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_whatever_is_sent_is_a_number_or_nothing(fields: list[str]) -> None:
    found = wait_preferred(fields)
    assert found is None or 0 <= found <= LONGEST_WAIT


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", [";" * 8000, " " * 8000 + "x", "a;" * 4000 + '"', 'a="' + "\\" * 8000, "a = " * 4000])
def test_nothing_makes_it_slow(text: str) -> None:
    assert wait_preferred([text]) is None
