"""`tenure audit`: what operators did, when and why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from worker.app import App
from worker.cli import output
from worker.cli.moments import moment_option
from worker.cli.session import AsJson, Exit, ended, opened, target
from worker.dead_letters import describe
from worker.store.audit import AuditEntry

LOOK_SECONDS = 0.25


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(audit)


def audit(
    ctx: typer.Context,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help="A time, or so long ago: 10m, 2h, 3d. Else from the beginning.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is done, until Ctrl-C.")] = False,
    export: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write it as JSON lines; a file appears when all is written.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what operators did: when, what, on which policies, letters or replays, who, why, and what came of it.

    Nothing trims the audit trail. Exit code 3 if it has nothing.
    """
    if follow and export is not None:
        raise typer.BadParameter("a file of what goes on is never whole", param_hint="--export")
    begin = None if since is None else moment_option(since)
    app = opened(ctx)
    start = 0 if begin is None else begin.at(app.status.now())
    if export is not None:
        _export(app, start, export)
        return
    shown = 0
    try:
        for entry in app.audit.follow(start, lambda: time.sleep(LOOK_SECONDS)) if follow else app.audit.since(start):
            _show(entry, as_json=as_json)
            shown += 1
    except KeyboardInterrupt:
        return
    if not shown:
        raise ended(Exit.NOTHING, "nothing was done by an operator")


def _export(app: App, start: int, name: str) -> None:
    count = 0
    with target(name) as out:
        for line in _lines(app.audit.since(start)):
            out.write(line + "\n")
            count += 1
    output.note(f"exported {count} entries")


def _lines(entries: Iterator[AuditEntry]) -> Iterator[str]:
    return (output.as_json(describe.entry(entry)) for entry in entries)


def _show(entry: AuditEntry, *, as_json: bool) -> None:
    row = describe.entry(entry)
    if as_json:
        output.line(output.as_json(row))
        return
    subjects = ",".join(entry.subjects) or "-"
    cells = (row["at"], entry.action, subjects, entry.by, entry.reason or "-", entry.outcome, _came_of(entry))
    output.line("\t".join(map(output.clean, cells)))


def _came_of(entry: AuditEntry) -> str:
    """The plain details: numbers and names."""
    plain = {name: value for name, value in entry.details.items() if isinstance(value, int | str | float)}
    return " ".join(f"{name}={value}" for name, value in plain.items()) or "-"
