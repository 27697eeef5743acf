"""`tenure changes`: the change feed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from handlers.table import REGISTRATION_REFUSED
from worker.cli import output
from worker.cli.moments import moment_option
from worker.cli.session import AsJson, Exit, ended, opened
from worker.lifecycle.facts import Micros
from worker.store.feed import CursorGoneError, Feed, FeedEntry, past

BLOCK_MS = 250
"""How long one look at the feed waits."""


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(changes)


def changes(
    ctx: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is published, until Ctrl-C.")] = False,
    since: Annotated[
        str, typer.Option(metavar="WHEN", help="A time such as 2026-01-31T12:00:00Z, or so long ago: 10m, 2h, 3d.")
    ] = "1h",
    as_json: AsJson = False,
) -> None:
    """Show what was published: time, change, policy, state, reasons and cause. Exit code 3 if there was nothing.

    The feed is kept for 30 days at least. With --json, each line is the CloudEvent that the token exchange reads.
    """
    begin = moment_option(since)
    app = opened(ctx)
    start = begin.at(app.status.now())
    shown = 0
    try:
        for entry in _entries(app.feed, start, follow=follow):
            _show(entry, as_json=as_json)
            shown += 1
    except KeyboardInterrupt:
        return
    except CursorGoneError:
        told = "the feed does not go on: it was trimmed, or another store answers than before; call this again"
        raise ended(Exit.FAILED, told) from None
    if not shown:
        raise ended(Exit.NOTHING, f"nothing was published since {output.when(start, app.status.now())}")


def _entries(feed: Feed, start: Micros, *, follow: bool) -> Iterator[FeedEntry]:
    """What was published since `start`; then, with `follow`, what is published from now on, each entry once."""
    if not follow:
        yield from feed.since(start)
        return
    # Following begins before the past is read, so that nothing falls between the two.
    cursor = feed.end()
    read: dict[int, tuple[int, int]] = {}
    for entry in feed.since(start):
        read[entry.partition] = entry.order
        yield entry
    while True:
        entries = feed.wait(cursor, BLOCK_MS)
        cursor = past(cursor, entries)
        yield from (entry for entry in entries if entry.order > read.get(entry.partition, (0, 0)))


def _show(entry: FeedEntry, *, as_json: bool) -> None:
    event = json.loads(entry.event)
    if as_json:
        output.line(output.as_json(event))
        return
    view, cause = event["data"].get("view"), event["data"].get("cause")
    if view is None or cause is None:
        if not entry.partition or event["type"] == REGISTRATION_REFUSED:
            # Of all else, every partition says the same.
            _tell(event["time"], event["type"], event["subject"], "-", "-", _said(event))
        return
    _tell(
        event["time"],
        event["type"],
        event["subject"],
        view["state"],
        ",".join(view["reasons"]) or "-",
        f"{cause['kind']} {cause['event']} {cause['id']}",
    )


def _said(event: dict[str, Any]) -> str:
    """What is said of what has no view."""
    if event["type"] == REGISTRATION_REFUSED:
        return f"{event['data']['code']}: {event['data']['repository_owner']}/{event['data']['repository']}"
    switch = event["data"].get("switch")
    return "-" if switch is None else f"{switch['by']}: {switch['reason']}"


def _tell(*cells: str) -> None:
    if output.on_terminal():
        time, change, subject, state, reasons, said = map(output.clean, cells)
        output.line(f"{time[:19]}Z  {change:<18}  {subject}  {state}  {reasons}  {said}")
    else:
        output.line("\t".join(map(output.clean, cells)))
