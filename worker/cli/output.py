"""How results are shown: rich tables on a terminal, tab-separated lines elsewhere, JSON lines for machines.

Names come from outside. Whatever is shown of them is plain text: no control characters reach a terminal, and no markup
is read from them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from worker.lifecycle.facts import Micros
from worker.lifecycle.views import rfc3339
from worker.words import text as words
from worker.words.text import clean, micros, span

__all__ = [
    "Advance", "as_json", "clean", "fields", "line", "micros", "note", "on_terminal", "progress", "row", "span", "table",
    "when", "when_written",
]  # fmt: skip

STYLES = {
    "active": "green", "provisional": "cyan", "disabled": "red", "expired": "yellow", "removed": "dim",
    "ok": "green", "warning": "yellow", "problem": "bold red",
}  # fmt: skip
"""Colours of states and of the doctor's findings."""
UNBROKEN = frozenset({"", "STATE", "CHECK", "REVISION", "CHANGE", "BASIS"})
"""Columns of short words, which stay in one piece on a narrow terminal."""


def on_terminal() -> bool:
    return sys.stdout.isatty()


def when(moment: Micros, now: Micros) -> str:
    """A moment: for people with how long ago that was, elsewhere as RFC 3339 and nothing else."""
    return words.when(moment, now) if on_terminal() else rfc3339(moment)


def when_written(written: str | None, now: Micros) -> str:
    """The same for a moment that is written down; a dash for none."""
    return "-" if written is None else when(micros(written), now)


def line(text: str) -> None:
    """One line of data, at once: whoever follows a feed should not wait for a buffer to fill."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def row(*cells: object) -> None:
    """One line of tab-separated data."""
    sys.stdout.write("\t".join(clean(cell) for cell in cells) + "\n")


def as_json(value: object) -> str:
    """One line of JSON, in ASCII: ids keep every digit, and nothing in it can control a terminal."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def note(message: str) -> None:
    """A message to the operator."""
    sys.stderr.write(clean(message) + "\n")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, section: str | None = None) -> None:
    """A table for people, or tab-separated lines without headings, each beginning with its section if there is one."""
    if not on_terminal():
        for cells in rows:
            row(*cells if section is None else (section, *cells))
        return
    shown = Table(*headings, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in shown.columns:
        column.overflow = "fold"
        column.no_wrap = column.header in UNBROKEN
    for cells in rows:
        shown.add_row(*(Text(clean(cell), style=STYLES.get(str(cell), "")) for cell in cells))
    Console().print(shown)


def fields(values: Mapping[str, object], section: str) -> None:
    """Names and values, one a line; `section` begins each line where output is not for people."""
    if on_terminal():
        width = max(map(len, values), default=0)
        for name, value in values.items():
            line(f"{name:<{width}}  {clean(value)}")
        return
    for name, value in values.items():
        row(section, name, value)


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Advance]:
    """A progress bar on stderr, if that is a terminal; call what is given with the number of steps that were made."""
    if not sys.stderr.isatty():
        yield Advance(None, label, total)
        return

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Advance(bar, label, total)


class Advance:
    """Moves a progress bar on."""

    def __init__(self, bar: Progress | None, label: str, total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task(label, total=total) if bar else None

    def __call__(self, steps: int = 1) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, steps)
