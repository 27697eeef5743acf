"""Patterns, against regular expressions, and in their time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure_reader.globs import LONGEST, package_matches, ref_matches

PATTERNS = st.text("ab/*?.", max_size=8)
TEXTS = st.text("ab/*?.", max_size=8)


def expression(pattern: str, stars: dict[str, str]) -> re.Pattern[str]:
    parts: list[str] = re.findall(r"\*+|.", pattern)
    written = (stars.get("**" if len(part) > 1 else part, re.escape(part)) for part in parts)
    return re.compile("".join(written), re.DOTALL)


@given(PATTERNS, TEXTS)
def test_a_star_stays_in_its_segment_and_two_do_not(pattern: str, text: str) -> None:
    right = expression(pattern, {"*": "[^/]*", "**": ".*"}).fullmatch(text) is not None
    assert ref_matches(pattern, text) is right


@given(PATTERNS, TEXTS)
def test_a_star_is_anything_in_a_package_s_name(pattern: str, text: str) -> None:
    right = expression(pattern, {"*": ".*", "**": ".*"}).fullmatch(text) is not None
    assert package_matches(pattern, text) is right


@pytest.mark.parametrize(("pattern", "ref", "fits"), [
    ("refs/tags/v*", "refs/tags/v1.0", True),
    ("refs/tags/v*", "refs/tags/v", True),
    ("refs/tags/v*", "refs/tags/v1/evil", False),
    ("refs/tags/v*", "refs/heads/refs/tags/v1", False),
    ("refs/tags/v*", "refs/tags/V1", False),
    ("refs/tags/**", "refs/tags/v1/rc", True),
    ("refs/tags/**", "refs/tags", False),
    ("refs/**/main", "refs/heads/main", True),
    ("refs/**/main", "refs/heads/a/main", True),
    ("refs/heads/*-*", "refs/heads/a-b-c", True),
    ("refs/heads/main", "refs/heads/main", True),
    ("refs/heads/main", "refs/heads/main2", False),
    ("refs/heads/main", "refs/heads/main\n", False),
    ("refs/heads/v1.0", "refs/heads/v1x0", False),
    ("refs/heads/v?", "refs/heads/v1", False),
    ("refs/heads/[ab]", "refs/heads/a", False),
    ("refs/heads/a\\b", "refs/heads/a\\b", True),
    ("*b", "b", True),
    ("*b", "ab", True),
    ("**b", "b", True),
    ("*", "", True),
    ("", "", True),
    ("", "a", False),
])  # fmt: skip
def test_a_ref_fits_a_pattern_as_a_whole(pattern: str, ref: str, *, fits: bool) -> None:
    assert ref_matches(pattern, ref) is fits


@pytest.mark.parametrize(("pattern", "name", "fits"), [
    ("Acme.*", "acme.CORE", True),
    ("Acme.*", "acme", False),
    ("acme", "acme.core", False),
    ("*", "@acme/widgets", True),
    ("@acme/*", "@ACME/widgets", True),
    ("acme-?", "acme-1", False),
    ("acme-?", "acme-?", True),
    ("k*", "\N{KELVIN SIGN}elvin", False),
    ("*k", "\N{KELVIN SIGN}", False),
    ("stra\N{LATIN SMALL LETTER SHARP S}e", "strasse", False),
    ("\N{CYRILLIC SMALL LETTER ZHE}*", "\N{CYRILLIC CAPITAL LETTER ZHE}x", True),
])  # fmt: skip
def test_a_package_fits_a_pattern_letter_case_aside(pattern: str, name: str, *, fits: bool) -> None:
    assert package_matches(pattern, name) is fits


def test_what_is_longer_than_any_name_fits_nothing() -> None:
    assert ref_matches("**", "a" * LONGEST)
    assert not ref_matches("**", "a" * (LONGEST + 1))
    assert not package_matches("*", "a" * (LONGEST + 1))


def test_a_name_that_would_keep_a_regular_expression_busy_for_years_takes_no_time() -> None:
    assert not ref_matches("*a" * 100 + "b", "a" * LONGEST)
