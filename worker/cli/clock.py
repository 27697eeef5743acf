"""`tenure clock`: whose time it is, and what to do after the store's clock was far ahead."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from worker.cli import output
from worker.cli.policy_acts import operator
from worker.cli.session import AsJson, Exit, ended, opened, stated
from worker.lifecycle.facts import SECOND
from worker.lifecycle.views import rfc3339
from worker.store.clock_reset import ClockReset
from worker.words.text import span


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(clock)


def clock(
    ctx: typer.Context,
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Reset it; else only show what that would do.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; goes into the audit trail.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the store's clock and Tenure's time, and what a reset would date anew; with --apply --reason, reset it.

    Time never goes back by itself: after the store's clock was ahead, it goes on a sixteenth slower until the clock has
    caught up. Once the clock is right, and was ahead by an hour or more, a reset lets time go by the clock at once, and
    dates what was learnt meanwhile earlier by that. Exit code 3 if there is nothing to reset.
    """
    why = stated(reason) if apply else ""
    app = opened(ctx)
    reset = ClockReset(app.client, app.status, app.policies, app.settings.rules)
    times, ahead = app.status.times(), reset.ahead()
    counts: dict[str, int] = {}
    if ahead and apply:
        counts = reset.reset(by=operator(), reason=why, pause=lambda duration: time.sleep(duration / SECOND))
    elif ahead:
        counts = reset.offset()
    if as_json:
        report = {
            "clock": rfc3339(times.clock), "time": rfc3339(times.now), "ahead_seconds": ahead // SECOND, "reset": bool(ahead and apply),
            "dated_anew": dict(sorted(counts.items())),
        }  # fmt: skip
        output.line(output.as_json(report))
    else:
        output.line(f"the store's clock  {rfc3339(times.clock)}")
        output.line(f"Tenure's time      {rfc3339(times.now)}")
    if not ahead:
        raise ended(Exit.NOTHING, "nothing to reset: time is not ahead of the store's clock by an hour or more")
    what = ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "nothing"
    if apply:
        output.note(f"reset: time goes by the store's clock; dated anew by {span(ahead)}: {what}")
    else:
        output.note(
            f"would be dated anew by {span(ahead)}: {what}. If the store's clock is right, give --apply --reason"
        )
