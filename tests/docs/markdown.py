"""Reading the project's documents: their tables, lists and blocks of code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_TICKED = re.compile(r"`([^`]+)`")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def table(document: str, name: str) -> list[list[str]]:
    """The rows, without headings, of the table that follows `<!-- table: NAME -->`."""
    _, marker, rest = document.partition(f"<!-- table: {name} -->\n")
    assert marker, f"no table is marked as {name}"
    lines = []
    for line in rest.splitlines():
        if not line.startswith("|"):
            break
        lines.append([cell.strip() for cell in line.strip("|").split("|")])
    assert set("".join(lines[1])) <= set("-"), f"the table {name} has no headings"
    width = len(lines[0])
    assert all(len(line) == width for line in lines), f"a row of the table {name} has more or fewer cells"
    return lines[2:]


def ticked(cell: str) -> list[str]:
    """Everything in `backticks`."""
    return _TICKED.findall(cell)


def first_column(document: str, name: str) -> list[str]:
    """The name that begins each row."""
    return [ticked(row[0])[0] for row in table(document, name)]


def listed(document: str, name: str) -> set[str]:
    """Everything in backticks in the paragraph that follows `<!-- list: NAME -->`."""
    _, marker, rest = document.partition(f"<!-- list: {name} -->\n")
    assert marker, f"no list is marked as {name}"
    return set(ticked(rest.partition("\n\n")[0]))


class Block(NamedTuple):
    """A fenced block of code."""

    language: str
    code: str


def blocks(document: str) -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```([\w-]*)\n(.*?)^```$", document, re.DOTALL | re.MULTILINE)]
