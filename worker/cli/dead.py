"""`tenure dead`: look at dead letters, replay and drop them."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from worker import dead_letters
from worker.app import App
from worker.cli import output, replay
from worker.cli.filters import Everything, FilterOptions, Ids, Limit, filtered, selected
from worker.cli.policy_acts import operator
from worker.cli.session import AsJson, Exit, ended, opened, stated
from worker.dead_letters import Filter, describe, find, groups, show, with_prefix
from worker.lifecycle.facts import Micros
from worker.store.dead import DeadLetter, Whole

ON_TERMINAL = 100
"""How many letters fit a terminal, if nobody says how many are wanted."""
SHOWN = 20
"""Letters that are listed where the beginning of an id fits several."""
HEADINGS = ("LETTER", "GIVEN UP ON", "RECEIVED", "EVENT", "DELIVERY", "OWNER", "POLICY", "ATTEMPTS", "ERROR", "MESSAGE")

letters = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    replay.register(letters)
    letters.command("drop")(filtered(drop))
    app.add_typer(letters, name="dead", help="Dead letters: look at them, replay and drop them.")


@letters.callback()
def _dead() -> None:
    """Dead letters: events that could not be handled. They are kept until you replay or drop them."""


@letters.command("list")
@filtered
def list_letters(
    ctx: typer.Context,
    *,
    picked: FilterOptions,
    limit: Limit = None,
    by_group: Annotated[
        bool, typer.Option("--groups", help="A line for all that have kind, event and error in common.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List dead letters, those given up on last first. Exit code 3 if there are none."""
    app = opened(ctx)
    now = app.status.now()
    criteria = picked.filter(now)
    if by_group:
        _list_groups(app, criteria, limit, as_json=as_json)
        return
    on_terminal = output.on_terminal() and not as_json
    shown = limit if limit is not None else ON_TERMINAL if on_terminal else None
    matches = find(app, criteria)
    page = list(islice(matches, shown))
    if not page:
        raise _none(criteria)
    if as_json:
        for letter in page:
            output.line(output.as_json(describe.letter(letter)))
        return
    output.table(HEADINGS, (cells(letter, now) for letter in page))
    if on_terminal and limit is None and next(matches, None) is not None:
        output.note(f"there are more than {shown}; see --groups and --limit, or narrow the search")


def _none(criteria: Filter) -> typer.Exit:
    return ended(Exit.NOTHING, "no dead letter fits" if criteria.described() else "no dead letters")


def _list_groups(app: App, criteria: Filter, limit: int | None, *, as_json: bool) -> None:
    grouped = groups(app, criteria)[:limit]
    if not grouped:
        raise _none(criteria)
    if as_json:
        for group in grouped:
            output.line(output.as_json(describe.group(group)))
        return
    now = app.status.now()
    rows = (
        (x.letters, x.event, x.kind, x.error, output.when(x.first, now), output.when(x.last, now), x.message)
        for x in grouped
    )
    output.table(("LETTERS", "EVENT", "KIND", "ERROR", "FIRST", "LAST", "LAST MESSAGE"), rows)
    if output.on_terminal():
        output.note(
            "replay or drop a group with --event, --kind and --error: tenure dead replay --event EVENT --error ERROR"
        )


def cells(letter: DeadLetter, now: Micros) -> tuple[object, ...]:
    """A letter in one line."""
    return (
        letter.event_id,
        output.when(letter.died_at, now),
        output.when(letter.received_at, now),
        letter.name,
        letter.delivery,
        "-" if letter.owner is None else letter.owner,
        letter.policy or "-",
        letter.attempts,
        letter.error,
        letter.message,
    )


@letters.command("show")
def show_letter(
    ctx: typer.Context,
    letter: Annotated[
        str, typer.Argument(metavar="LETTER", help="The id of the letter or of its delivery, or how it begins.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: what was sent, when, and each attempt with its error, worker and place in the code."""
    app = opened(ctx)
    meant = with_prefix(app, letter)
    if len(meant) > 1:
        output.table(HEADINGS, (cells(item, app.status.now()) for item in meant[:SHOWN]))
        raise ended(Exit.USAGE, f"{len(meant)} dead letters have an id that begins so; write more of it")
    item = show(app, meant[0].event_id) if meant else None
    if item is None:
        raise ended(Exit.NOTHING, f"no dead letter has an id that begins with {letter}; see `tenure dead list`")
    if as_json:
        output.line(output.as_json(describe.whole(item)))
        return
    _show(item, app.status.now())


def _show(whole: Whole, now: Micros) -> None:
    letter = whole.dead_letter
    headers: dict[str, object] = {
        "id": letter.event_id,
        "event": f"{letter.name} ({letter.kind})",
        "delivery": letter.delivery,
        "source": letter.source or "-",
        "time": "-" if letter.occurred_at is None else output.when(letter.occurred_at, now),
        "received_at": output.when(letter.received_at, now),
        "died_at": output.when(letter.died_at, now),
        "owner": "-" if letter.owner is None else letter.owner,
        "policy": letter.policy or "-",
        "by": letter.by or "-",
        "error": letter.error,
        "message": letter.message,
        "attempts": letter.attempts,
        "size": f"{letter.size} bytes",
    }
    output.fields(headers, "letter")
    rows = ((output.when(x.at, now), x.worker, x.error, x.message) for x in whole.attempts)
    output.table(("FAILED", "WORKER", "ERROR", "MESSAGE"), rows, section="failed")
    last = whole.attempts[-1].trace if whole.attempts else ""
    for section, text in (("trace", last), ("body", whole.body.decode(errors="backslashreplace"))):
        for line in text.splitlines():
            output.fields({section: line}, section) if output.on_terminal() else output.row(section, line)


def drop(
    ctx: typer.Context,
    ids: Ids = None,
    *,
    picked: FilterOptions,
    everything: Everything = False,
    limit: Limit = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; else only show what would be dropped.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; goes into the audit trail.")] = None,
    as_json: AsJson = False,
) -> None:
    """Drop dead letters, for good. Without --apply, show which and change nothing.

    Exit codes: 3 nothing fits, 4 some of the letters that were named are not there (any more).
    """
    why = stated(reason) if apply else ""
    picked.check(ids, everything=everything)
    app = opened(ctx)
    chosen, missing = selected(app, picked, ids, limit)
    now = app.status.now()
    if as_json:
        for letter in chosen:
            output.line(output.as_json(dead_letters.describe.letter(letter)))
    else:
        output.table(HEADINGS, (cells(letter, now) for letter in chosen))
    if not apply:
        output.note(f"{len(chosen)} would be dropped for good; nothing was changed. Add --apply --reason TEXT to do it")
    else:
        dropped = dead_letters.drop(app, chosen, reason=why, by=operator())
        output.note(f"dropped {dropped} of {len(chosen) + missing}")
        missing += len(chosen) - dropped
    if missing:
        raise typer.Exit(Exit.PARTLY)
