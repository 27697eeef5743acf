"""`tenure consumer`: those who follow the feed over HTTP and have their position kept here."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli import output
from worker.cli.policy_acts import operator
from worker.cli.session import AsJson, Exit, ended, opened, stated
from worker.lifecycle.views import rfc3339
from worker.store.consumers import Lag

HEADINGS = ("CONSUMER", "TOKEN", "LEFT", "BEHIND", "ACKNOWLEDGED")
consumers = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(consumers, name="consumer", help="Named consumers of the change feed: how far they are, forget one.")


@consumers.callback()
def _consumer() -> None:
    """Named consumers of the change feed: how far they are, forget one.

    A consumer is made by `PUT /consumers/NAME`, and acknowledges by it what it has done.
    """


@consumers.command("list")
def list_(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """List them: whose each is, how many changes it has not acknowledged, since when. Exit code 3 if there is none.

    One of which the feed does not go on is `gone`: it has to load everything anew.
    """
    app = opened(ctx)
    lags = app.consumers.lags()
    if as_json:
        for lag in lags:
            output.line(output.as_json(described(lag)))
    elif lags:
        now = app.status.now()
        output.table(HEADINGS, [_row(lag, output.when(lag.consumer.acknowledged_at, now)) for lag in lags])
    if not lags:
        raise ended(Exit.NOTHING, "there is no named consumer")


@consumers.command()
def forget(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The consumer's name.")],
    *,
    reason: Annotated[str | None, typer.Option(help="Why; goes into the audit trail.")] = None,
) -> None:
    """Forget a consumer that nobody needs any more: it has no position, and no alert tells of it. Wants --reason.

    If it is there after all, it is told that nobody knows it, and makes itself anew. Exit code 3 if there is none.
    """
    why = stated(reason)
    app = opened(ctx)
    if name not in {consumer.name for consumer in app.consumers.all()}:
        raise ended(Exit.NOTHING, f"no consumer has the name {name}")
    app.consumers.forget(name, by=operator(), reason=why)
    output.note(f"{name} is forgotten")


def described(lag: Lag) -> dict[str, object]:
    """For machines; seconds to the millisecond."""
    consumer = lag.consumer
    return {
        "consumer": consumer.name, "role": consumer.role, "token": consumer.by, "changes_left": lag.changes,
        "behind_seconds": round(lag.seconds, 3), "gone": lag.gone, "made_at": rfc3339(consumer.made_at),
        "acknowledged_at": rfc3339(consumer.acknowledged_at),
    }  # fmt: skip


def _row(lag: Lag, acknowledged: str) -> tuple[str, str, str, str, str]:
    consumer = lag.consumer
    behind = "gone" if lag.gone else output.span(round(lag.seconds * 1_000_000))
    token = consumer.by if consumer.by == consumer.role else f"{consumer.role} {consumer.by}"
    return consumer.name, token, str(lag.changes), behind, acknowledged
