"""Whether refs that a pattern admits are protected on GitHub. Pure.

Whoever may push makes a branch or tag that nothing protects, and a run for it. A ruleset covers what it includes and does not
exclude, by patterns of Ruby's `fnmatch`, in which `*` stays within a segment and `**/` stands for any number of them:
https://docs.github.com/en/repositories/configuring-branches-and-merges-in-your-repository/managing-rulesets/creating-rulesets-for-a-repository#using-fnmatch-syntax
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tenure_reader.globs import ref_matches
from worker.github.answers import RulesetAnswer

HEADS, TAGS = "refs/heads/", "refs/tags/"
TARGETS = {"branch": HEADS, "tag": TAGS}
MOST_RULESETS = 30
"""Of a repository, that are read; of one that has more, nobody can tell."""
_ACROSS = re.compile(r"\*{2,}")
_FILLINGS = (("", ""), ("0", "0"), ("x", "x/y"), ("new-one", "new-one"))
"""What stands for `*` and for `**` in an example."""
_UNREAD = frozenset("?[]{}\\")
"""What is special in a ruleset's pattern beside stars."""


def has_stars(pattern: str) -> bool:
    """Whether it admits more than one ref."""
    return "*" in pattern


def examples(pattern: str) -> list[str]:
    """Some refs that a policy's pattern admits."""
    refs = [_ACROSS.sub(across, pattern).replace("*", within) for within, across in _FILLINGS]
    return list(dict.fromkeys(ref for ref in refs if not ref.endswith("/") and "//" not in ref))


def covered(ref: str, rulesets: Iterable[RulesetAnswer]) -> bool:
    """Whether a ruleset protects a ref, or may: what is written in a way that is not read here counts as if it did."""
    return any(_covers(ruleset, ref) for ruleset in rulesets)


def uncovered(pattern: str, rulesets: Sequence[RulesetAnswer]) -> bool:
    """Whether a policy's pattern admits a ref that no ruleset protects."""
    return any(not covered(ref, rulesets) for ref in examples(pattern))


def _covers(ruleset: RulesetAnswer, ref: str) -> bool:
    prefix = TARGETS.get(ruleset.target)
    if prefix is None or not ruleset.protects or not ref.startswith(prefix):
        return False
    includes = any(pattern == "~ALL" or _unread(pattern) or _fits(prefix, pattern, ref) for pattern in ruleset.include)
    return includes and not any(not _unread(p) and _fits(prefix, p, ref) for p in ruleset.exclude)


def _unread(pattern: str) -> bool:
    return not _UNREAD.isdisjoint(pattern)


def _fits(prefix: str, pattern: str, ref: str) -> bool:
    """`**/` may also stand for nothing, so what follows it may be all of a segment, or its end: rather too much than too little."""
    whole = pattern if pattern.startswith("refs/") else f"{prefix}{pattern}"
    return ref_matches(whole.replace("**/", "**"), ref)
