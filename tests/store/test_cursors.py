"""Cursors: what is written is read back, and nothing else is taken for one."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure_reader.keys import MAX_PARTITIONS
from worker.http.protocol import HEAD_BYTES
from worker.store.cursors import LONGEST, Cursor, Position, cursor_of, opened, sealed, unpacked

NUMBERS = st.integers(0, 2**64 - 1)
CURSORS = st.lists(st.builds(Position, NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=100).map(
    lambda positions: Cursor(tuple(positions))
)
NOW = Cursor(tuple(Position(1_795_546_771_791, n, 10**9, 2**32 - n - 1) for n in range(100)))


@given(CURSORS)
def test_what_is_written_is_read_back(cursor: Cursor) -> None:
    assert cursor_of(cursor.text()) == cursor or len(cursor.text()) > LONGEST


LATE = Cursor(tuple(Position(4_102_444_800_000, 2**13, 10**10, 2**32 - n - 1) for n in range(MAX_PARTITIONS)))
"""Of as many partitions as there may be, at the end of the century, after ten billion changes of each, many in a millisecond."""


def test_a_cursor_of_a_hundred_partitions_is_no_more_than_an_address_can_have() -> None:
    assert len(NOW.text()) < 2_500
    assert cursor_of(NOW.text()) == NOW


def test_there_is_room_for_any_cursor_and_for_a_head_around_it() -> None:
    assert cursor_of(LATE.text()) == LATE
    assert len(sealed(b"p", LATE.packed() + b"9" * 400)) <= LONGEST
    assert LONGEST + 4096 < HEAD_BYTES


@given(CURSORS, st.data())
def test_what_was_cut_or_changed_is_none(cursor: Cursor, data: st.DataObject) -> None:
    text = cursor.text()[:LONGEST]
    place = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from("ABCDwxyz0189-_").filter(lambda letter: letter != text[place]))
    for other in (text[:place], text[:place] + letter + text[place + 1 :]):
        found = cursor_of(other)
        # The last letter has bits that nobody reads.
        assert found is None or (place == len(text) - 1 and found == cursor)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_anything_else_is_none(text: str) -> None:
    assert cursor_of(text) is None


@given(st.binary(max_size=60))
def test_what_is_sealed_and_no_cursor_is_none(content: bytes) -> None:
    found = cursor_of(sealed(b"c", content))
    assert found is None or Cursor(found.positions).packed() == content


@pytest.mark.parametrize("text", ["", "=", "====", "A", "é", "\x00", "A" * 30_000])
def test_nothing_is_none(text: str) -> None:
    assert cursor_of(text) is None


def test_one_kind_is_not_taken_for_another() -> None:
    assert opened(b"p", NOW.text()) is None
    assert cursor_of(sealed(b"p", NOW.packed())) is None
    assert unpacked(NOW.packed() + b"more") == (NOW, b"more")
    assert cursor_of(sealed(b"c", NOW.packed() + b"more")) is None


def test_another_version_is_none() -> None:
    packed = NOW.packed()
    assert cursor_of(sealed(b"c", b"\x02" + packed[1:])) is None
