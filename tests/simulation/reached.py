"""What the simulation reaches of the product, line by line, and what it never does."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from coverage import Coverage
from coverage.parser import PythonParser

from tests.simulation.store import SimulatedStore

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = (
    "handlers", "schedules/jobs.py", "worker/lifecycle", "worker/settling", "worker/verify", "worker/dead_letters/pace.py",
    "worker/dead_letters/replay.py", "reader/src/tenure_reader/memory.py", "reader/src/tenure_reader/mirror.py",
    "reader/src/tenure_reader/source.py",
)  # fmt: skip
"""What of the product's Python is looked at."""


class Place(NamedTuple):
    """A function, or a script: where it is, and what it is called."""

    file: str
    name: str


@dataclass(slots=True)
class Reached:
    """Lines that ran: of files by their paths from the root, of scripts by their names."""

    python: dict[str, set[int]] = field(default_factory=dict)
    lua: dict[str, set[int]] = field(default_factory=dict)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note what runs in this process meanwhile."""
        watch = Coverage(data_file=None, concurrency="greenlet", include=[*map(_pattern, ROOMS)])
        SimulatedStore.reached = self.lua
        watch.start()
        try:
            yield
        finally:
            watch.stop()
            SimulatedStore.reached = None
        data = watch.get_data()
        for path in data.measured_files():
            lines = self.python.setdefault(str(Path(path).relative_to(ROOT)), set())
            lines.update(data.lines(path) or ())

    def add(self, other: Reached) -> None:
        for mine, theirs in ((self.python, other.python), (self.lua, other.lua)):
            for name, lines in theirs.items():
                mine.setdefault(name, set()).update(lines)


def report(reached: Reached) -> Iterator[str]:
    """How much of each room was reached, and by name whatever was not."""
    never: list[str] = []
    for room, places in (*_python(reached.python), ("worker/store/lua", _lua(reached.lua))):
        made = sum(len(lines) for lines, _ in places.values())
        ran = sum(len(lines & there) for lines, there in places.values())
        yield f"{room:38} {ran:5,} of {made:5,} lines  {100 * ran / max(1, made):6.2f} %"
        for place, (lines, there) in places.items():
            left = sorted(lines - there)
            if left:
                what = "never" if len(left) == len(lines) else f"not {_ranges(left)}"
                never.append(f"{place.file}: {place.name}, {what}")
    yield "\nnever reached:"
    yield from (f"  {told}" for told in never)


def _pattern(room: str) -> str:
    return str(ROOT / room) if room.endswith(".py") else f"{ROOT / room}/*"


Lines = Mapping[Place, tuple[set[int], set[int]]]
"""Of each place, its lines and those that ran."""


def _python(ran: Mapping[str, set[int]]) -> Iterator[tuple[str, Lines]]:
    for room in ROOMS:
        found: dict[Place, tuple[set[int], set[int]]] = {}
        paths = [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).glob("*.py"))
        for path in paths:
            file = str(path.relative_to(ROOT))
            parser = PythonParser(filename=str(path))
            parser.parse_source()
            there = parser.translate_lines(ran.get(file, ()))
            for name, lines in _functions(ast.parse(path.read_text(encoding="utf-8")), ""):
                inside = lines & parser.statements
                if inside:
                    found[Place(file, name)] = inside, there
        yield room, found


def _functions(node: ast.AST, within: str) -> Iterator[tuple[str, set[int]]]:
    """Each function with the lines of its body that are not another function's. What runs at import is not looked at."""
    for child in ast.iter_child_nodes(node):
        name = within
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{within}.{child.name}".lstrip(".")
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = {line for _, lines in _functions(child, name) for line in lines}
            yield name, _body(child.body) - inner
        yield from _functions(child, name)


def _body(statements: Iterable[ast.stmt]) -> set[int]:
    spans = (range(each.lineno, (each.end_lineno or each.lineno) + 1) for each in statements)
    return {line for span in spans for line in span}


def _lua(ran: Mapping[str, set[int]]) -> Lines:
    """A script has what goes before it in front, which is looked at wherever it runs."""
    found: dict[Place, tuple[set[int], set[int]]] = {}
    folder = files("worker.store").joinpath("lua")
    own = {path.name.removesuffix(".lua"): path.read_text(encoding="utf-8") for path in folder.iterdir()}
    store = SimulatedStore.scripts()
    for name, (source, active) in sorted(store.items()):
        before = source.count("\n") - own[name].count("\n")
        there = {line - before for line in ran.get(name, set())}
        lines = {line - before for line in active if line > before}
        found[Place(f"worker/store/lua/{name}.lua", name)] = lines, there
    return found


def _ranges(lines: Iterable[int]) -> str:
    """`12-14, 20`"""
    spans: list[list[int]] = []
    for line in lines:
        if spans and line == spans[-1][1] + 1:
            spans[-1][1] = line
        else:
            spans.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
