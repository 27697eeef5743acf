"""Patterns of refs and of package names, without regular expressions: what a stranger names a branch must not cost more time
than its length.

A pattern is compared as a whole. In a ref, `*` stands for any characters within a segment and `**` for any across segments; in
a package's name, `*` stands for any characters. Nothing else is special.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

LONGEST = 1000
"""Characters of a text that may match. GitHub's refs have at most 255 bytes, and no registry's names have as many."""
_PARTS = re.compile(r"\*+|.", re.DOTALL)
"""A run of stars is one part, so that one step past a star is enough."""


class _Pattern(NamedTuple):
    """A pattern as sets of its parts: in a number, the bit of a part is set."""

    letters: dict[str, int]
    """Which parts are this letter."""
    anything: int
    """Which parts are any number of letters."""
    segment: int
    """Which parts are any number of letters other than `/`."""
    end: int
    """What is behind the last part."""


def ref_matches(pattern: str, ref: str) -> bool:
    """Letter case counts: git's refs differ by it."""
    return _matches(_ref(pattern), ref)


def package_matches(pattern: str, name: str) -> bool:
    """Letter case aside: in lower case and in upper case, as names are compared (`rules.same`)."""
    return _matches(_package(pattern.lower()), name.lower()) and _matches(_package(pattern.upper()), name.upper())


@lru_cache(maxsize=1024)
def _ref(pattern: str) -> _Pattern:
    parts = _PARTS.findall(pattern)
    return _pattern(parts, anything={part for part in parts if part.startswith("**")}, segment={"*"})


@lru_cache(maxsize=1024)
def _package(pattern: str) -> _Pattern:
    parts = _PARTS.findall(pattern)
    return _pattern(parts, anything={part for part in parts if part.startswith("*")}, segment=set())


def _pattern(parts: list[str], *, anything: set[str], segment: set[str]) -> _Pattern:
    def where(some: set[str]) -> int:
        return sum(1 << at for at, part in enumerate(parts) if part in some)

    letters = {letter: where({letter}) for letter in set(parts) - anything - segment}
    return _Pattern(letters, where(anything), where(segment), 1 << len(parts))


def _matches(pattern: _Pattern, text: str) -> bool:
    if len(text) > LONGEST:
        return False
    letters, anything, segment, end = pattern
    stars = anything | segment
    # The parts that may come next. A star may stand for nothing, so what comes behind it may come next, too.
    following = 1 | (1 & stars) << 1
    for letter in text:
        stays = following & (anything if letter == "/" else stars)
        following = stays | (following & letters.get(letter, 0)) << 1
        following |= (following & stars) << 1
        if not following:
            return False
    return bool(following & end)
