"""`tenure find`: whatever an id or a name is of."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli import output
from worker.cli.session import AsJson, Exit, ended, opened
from worker.lifecycle.facts import Micros
from worker.lifecycle.views import rfc3339
from worker.operators.find import Found
from worker.operators.find import find as found_by
from worker.store.event_ledger import Entry


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(find)


def find(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(metavar="ID", help="Or a name; a CloudEvent's as 'SOURCE ID'.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Find by any id or name: an event, a policy, a letter, a replay.

    A delivery's id, or a CloudEvent's, tells whether it arrived, what became of it, and which policies changed through it.
    The id, login or name of an owner, repository, package owner or creator finds its policies. Exit code 3 if there is
    nothing.
    """
    app = opened(ctx)
    found = found_by(app, text)
    for row in _objects(found):
        if as_json:
            output.line(output.as_json(row))
        else:
            output.row(*_cells(row, app.status.now()))
    if found.unread:
        output.note(f"{found.unread} policies were not looked through; `tenure policy list` looks through all")
    if found.nothing:
        since = "is empty" if found.since is None else f"has every event since {rfc3339(found.since)}"
        raise ended(Exit.NOTHING, f"nothing has this id or name; the ledger of events {since}")


def _objects(found: Found) -> list[dict[str, object]]:
    rows = [_event(entry) for entry in found.events]
    if found.letter is not None:
        rows.append({"found": "letter", "id": found.letter.event_id, "delivery": found.letter.delivery})
    if found.replay is not None:
        rows.append({"found": "replay", "id": found.replay.batch, "state": found.replay.state, "by": found.replay.by})
    return rows + [
        {"found": "policy", "policy_id": view["policy_id"], "state": view["state"], "revision": view["revision"]}
        for view in found.policies
    ]


def _event(entry: Entry) -> dict[str, object]:
    """`revisions` names the first; there were `more`. `letter` is the id of a dead letter."""
    return {
        "found": "event",
        "received_at": rfc3339(entry.received_at),
        "kind": entry.kind,
        "state": entry.state,
        "revisions": [came._asdict() for came in entry.came],
        "more": entry.more,
        "letter": entry.event_id if entry.state == "dead letter" else None,
        "problem": entry.problem,
    }


def _cells(row: dict[str, object], now: Micros) -> list[str]:
    """What is found first, then its values; revisions as `policy@revision`."""
    return [str(row["found"]), *(_cell(name, value, now) for name, value in row.items() if name != "found")]


def _cell(name: str, value: object, now: Micros) -> str:
    if name == "received_at":
        return output.when_written(str(value), now)
    if isinstance(value, list):
        return ",".join(f"{came['policy_id']}@{came['revision']}" for came in value) or "-"
    return "-" if value is None else str(value)
