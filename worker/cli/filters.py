"""Which dead letters a command is about: ids, filters, or all."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

from worker.app import App
from worker.cli import output
from worker.cli.moments import given
from worker.cli.session import Exit, ended
from worker.dead_letters import Filter, select
from worker.lifecycle.facts import Micros
from worker.store.dead import DeadLetter

WHEN = "WHEN"
Ids = Annotated[list[str] | None, typer.Argument(metavar="[LETTER]...", help="Ids, as `tenure dead list` shows them.")]
Event = Annotated[str | None, typer.Option(help="Event's name, or a pattern: 'repository.*'.")]
Kind = Annotated[str | None, typer.Option(help="github, registry, exchange or operator.")]
Owner = Annotated[int | None, typer.Option(help="Id of the GitHub owner that it is about.", min=0)]
Policy = Annotated[str | None, typer.Option(help="Policy that it names, or tells something of.")]
Error = Annotated[str | None, typer.Option(help="Class of the last error: UnusableEventError.")]
Since = Annotated[str | None, typer.Option(metavar=WHEN, help="Given up on since: a time, or 10m, 2h, 3d ago.")]
Before = Annotated[str | None, typer.Option(metavar=WHEN, help="Given up on until then.")]
Text = Annotated[str | None, typer.Option(help="Text in the error's message, the delivery's id or the body.")]
Everything = Annotated[bool, typer.Option("--all", help="Every dead letter.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many.")]
KINDS = ("github", "registry", "exchange", "operator")


class Given(NamedTuple):
    """The filters as they were given."""

    event: str | None
    kind: str | None
    owner: int | None
    policy: str | None
    error: str | None
    since: str | None
    until: str | None
    text: str | None

    def check(self, ids: list[str] | None, *, everything: bool) -> None:
        """
        Raises:
            typer.BadParameter: not exactly one of ids, filters and --all.
        """
        if (bool(ids), any(part is not None for part in self), everything).count(True) != 1:
            raise typer.BadParameter("say which letters: their ids, or filters, or --all", param_hint="LETTER")

    def filter(self, now: Micros) -> Filter:
        """
        Raises:
            typer.BadParameter: a time or the kind is none.
        """
        if self.kind is not None and self.kind not in KINDS:
            raise typer.BadParameter(f"one of {', '.join(KINDS)}", param_hint="--kind")
        return Filter(
            event=self.event,
            kind=self.kind,
            owner=self.owner,
            policy=self.policy,
            error=self.error,
            since=None if self.since is None else given(self.since).at(now),
            until=None if self.until is None else given(self.until, "--until").at(now),
            text=self.text,
        )


def selected(app: App, picked: Given, ids: list[str] | None, limit: int | None) -> tuple[list[DeadLetter], int]:
    """The letters, those received first first, and how many of the named ones are no dead letters (any more).

    Raises:
        typer.Exit: nothing fits.
    """
    found, missing = select(app, picked.filter(app.status.now()), ids=ids or None, limit=limit)
    for event_id in missing:
        output.note(f"no dead letter has the id {event_id}")
    if not found:
        raise ended(Exit.NOTHING, "no dead letter fits")
    return found, len(missing)
