"""`python -m bench [GROUP ...]`: measure, and print tables on stdout; progress goes to stderr."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from bench import decisions, door, idle, latency, ledger, mirror, path, peers, scale, sweep
from bench.frame import BenchError, Group, Options, Table, machine, server, workspace
from worker.logs import configure

GROUPS: dict[str, Group] = {
    "path": path.measure,
    "peers": peers.measure,
    "latency": latency.measure,
    "door": door.measure,
    "scale": scale.measure,
    "ledger": ledger.measure,
    "sweep": sweep.measure,
    "idle": idle.measure,
    "decisions": decisions.measure,
    "mirror": mirror.measure,
}
LIBRARIES = ("tenure", "dramatiq", "redis", "hiredis", "orjson", "uvicorn")
PLAIN = Options(
    events=20_000, messages=20_000, runs=3, policies=2_000, stored=100_000, samples=300, door_seconds=5,
    connections=32, idle_seconds=10, decisions=20_000, sql_seconds=5, mirrored=(100_000, 1_000_000),
    entered=(100_000, 1_000_000),
)  # fmt: skip
FULL_STORED = 1_000_000
QUICK = PLAIN._replace(
    events=8_000, messages=5_000, runs=1, stored=10_000, samples=100, door_seconds=2, idle_seconds=5, decisions=5_000, sql_seconds=2,
    mirrored=(10_000, 100_000), entered=(10_000, 100_000),
)  # fmt: skip


def main() -> int:
    arguments = _parser().parse_args()
    # The user's own settings of Tenure are not what is measured.
    for name in [name for name in os.environ if name.startswith("TENURE_")]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Where this process itself settles, it writes its lines as a worker does, to nowhere.
    configure("info", "json", Path(os.devnull).open("w"))  # noqa: SIM115 - open until the end
    options = QUICK if arguments.quick else PLAIN
    if arguments.full:
        options = options._replace(stored=FULL_STORED)
    tables: list[Table] = []
    failed: list[str] = []
    begin = time.monotonic()
    about = _about()
    for name in dict.fromkeys(arguments.groups or GROUPS):
        try:
            tables += GROUPS[name](options)
        except BenchError as error:
            failed.append(f"{name}: {error}")
    if arguments.json:
        json.dump({**about, "tables": [_plain(table) for table in tables], "failed": failed}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        _print(about, tables, time.monotonic() - begin)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", choices=[[], *GROUPS], help=", ".join(GROUPS))
    parser.add_argument("--full", action="store_true", help=f"store {FULL_STORED:,} policies, not {PLAIN.stored:,}")
    parser.add_argument("--quick", action="store_true", help="less of everything: a look, not a measurement")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _about() -> dict[str, str]:
    with workspace() as directory, server(directory) as where:
        found = where.version()
    return {
        "command": " ".join(["python", "-m", "bench", *sys.argv[1:]]),
        "machine": machine(),
        "server": f"{found} on 127.0.0.1, unless a column says otherwise with appendonly yes and appendfsync always",
        "versions": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def _plain(table: Table) -> dict[str, object]:
    return {
        "title": table.title,
        "rows": [dict(zip(table.columns, row, strict=True)) for row in table.rows],
        "notes": table.notes,
    }


def _print(about: dict[str, str], tables: list[Table], took: float) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, soft_wrap=True)
    for name, value in about.items():
        console.print(f"{name:<9} {escape(value)}")
    for table in tables:
        console.print(f"\n[bold]{escape(table.title)}[/bold]")
        drawn = RichTable(show_edge=False, box=None, padding=(0, 3, 0, 0))
        for number, column in enumerate(table.columns):
            drawn.add_column(escape(column), justify="right" if number else "left")
        for row in table.rows:
            drawn.add_row(*(escape(_shown(cell)) for cell in row))
        console.print(drawn)
        for note in table.notes:
            console.print(f"  {escape(note)}", style="dim")
    console.print(f"\nmeasured in {took:.0f} s")


def _shown(cell: str | float | None) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if abs(cell) >= 100 or cell == int(cell) else f"{cell:.1f}"


if __name__ == "__main__":
    sys.exit(main())
