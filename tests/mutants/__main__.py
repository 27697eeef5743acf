"""`make mutants`: breaks the pure core in every small way, and looks whether the tests nearest to it notice.

mutmut changes one thing at a time: it compares otherwise, leaves an argument out, writes another constant. Each such mutant
runs the tests that reach the function that was changed, in a process of its own. `pyproject.toml` says which code, in parts,
and which tests are nearest to each. mutmut runs in `.artifacts/mutants/<part>`, where links stand for the checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import TypedDict

ROOT = Path(__file__).resolve().parent.parent.parent
TREES = ROOT / ".artifacts" / "mutants"
EXPLAINED = ROOT / "docs" / "mutants.md"
LINKED = ("worker", "handlers", "schedules", "examples", "docs", "tests", "pyproject.toml")
MUTMUT = str(Path(sys.executable).with_name("mutmut"))

FOUND = frozenset({1, 3})
"""Exit codes of pytest: a test failed, or it fell over."""
ENDLESS = frozenset({-24, 24, 36, 152, 255})
"""It ran for much longer than the tests do, and was ended."""
LIVED = frozenset({0})
UNREACHED = frozenset({5, 33})


class Part(TypedDict):
    """A part of the code, and the tests that are nearest to it: paths from the root of the checkout."""

    only_mutate: list[str]
    tests: list[str]


class Settings(TypedDict):
    least: float
    """Percent of all mutants that have to be found."""
    parts: dict[str, Part]


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    """As mutmut calls it."""
    exit_code: int | None
    """Of its tests; None: they were not run."""

    @property
    def module(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def found(self) -> bool:
        return self.exit_code in FOUND or self.exit_code in ENDLESS


def settings() -> Settings:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found: Settings = tomllib.loads(text)["tool"]["mutants"]
    return found


def tree(name: str, part: Part) -> Path:
    """An empty working tree for mutmut, with its settings."""
    made = TREES / name
    rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for linked in LINKED:
        (made / linked).symlink_to(ROOT / linked)
    (made / "tenure_reader").symlink_to(ROOT / "reader" / "src" / "tenure_reader")
    config = ConfigParser()
    config["mutmut"] = {
        "source_paths": "\nworker\ntenure_reader",
        "only_mutate": "\n" + "\n".join(part["only_mutate"]),
        "also_copy": "\nhandlers\nschedules\nexamples\ndocs",
        "pytest_add_cli_args_test_selection": "\n" + "\n".join(part["tests"]),
        # What is told to the type checker alone.
        "do_not_mutate_patterns": r'\bcast\("',
        # A test without an end fails by itself. The limits of mutmut are for whatever else has none.
        "pytest_add_cli_args": "\n-p\nno:cacheprovider\n--timeout=20",
        "timeout_multiplier": "4",
        "timeout_constant": "5",
        "use_git_change_detection": "false",
    }
    with (made / "setup.cfg").open("w", encoding="utf-8") as file:
        config.write(file)
    return made


def mutants(made: Path) -> Iterator[Mutant]:
    for meta in sorted((made / "mutants").rglob("*.meta")):
        codes: dict[str, int | None] = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        yield from (Mutant(name, code) for name, code in codes.items())


def change(made: Path, mutant: Mutant) -> list[str]:
    """The lines of a mutant that differ, each with its sign."""
    shown = subprocess.run([MUTMUT, "show", mutant.name], cwd=made, capture_output=True, text=True, check=True).stdout
    lines = (line for line in shown.splitlines() if line[:1] in ("+", "-") and line[:3] not in ("+++", "---"))
    return [f"{line[0]} {line[1:].strip()}" for line in lines]


def run(name: str, part: Part, jobs: int) -> list[Mutant]:
    """Make and try all mutants of a part, and report.

    Raises:
        subprocess.CalledProcessError: its tests fail as they are, or mutmut fell over.
    """
    made = tree(name, part)
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "mutants"}
    print(f"{name}: the tests are {', '.join(part['tests'])}", flush=True)
    subprocess.run([MUTMUT, "run", "--max-children", str(jobs)], cwd=made, env=environment, check=True)
    tried = list(mutants(made))
    explained = EXPLAINED.read_text(encoding="utf-8") if EXPLAINED.exists() else ""
    for mutant in tried:
        if not mutant.found:
            lines = change(made, mutant)
            why = "no test reaches it" if mutant.exit_code in UNREACHED else "lived"
            told = all(line[2:] in explained for line in lines if line.startswith("+"))
            print(f"\n{mutant.name}: {why}{', as docs/mutants.md says' if told else ''}", *lines, sep="\n    ")
    return tried


def report(tried: Sequence[Mutant], least: float) -> bool:
    """Print how many were found of each module and in all; whether that is enough."""
    found = Counter(mutant.module for mutant in tried if mutant.found)
    made = Counter(mutant.module for mutant in tried)
    print()
    for module in sorted(made):
        print(f"{module:36} {found[module]:5,} of {made[module]:5,}  {100 * found[module] / made[module]:6.2f} %")
    endless = sum(mutant.exit_code in ENDLESS for mutant in tried)
    share = 100 * found.total() / made.total()
    print(f"{'all':36} {found.total():5,} of {made.total():5,}  {share:6.2f} %  ({endless} by running without an end)")
    return share >= least


def main(names: Sequence[str]) -> int:
    asked = settings()
    jobs = int(os.environ.get("JOBS") or os.cpu_count() or 1)
    tried = [mutant for name in names or asked["parts"] for mutant in run(name, asked["parts"][name], jobs)]
    if report(tried, asked["least"]):
        return 0
    print(f"less than {asked['least']} % of the mutants were found", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
