"""Which dead letters a command is about: ids, filters, or all."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, NamedTuple, get_type_hints

import typer

from worker.app import App
from worker.cli import output
from worker.cli.session import Exit, ended
from worker.dead_letters import Filter, FilterError, parsed, select
from worker.lifecycle.facts import Micros
from worker.store.dead import DeadLetter

Ids = Annotated[list[str] | None, typer.Argument(metavar="[LETTER]...", help="Ids, as `tenure dead list` shows them.")]
Everything = Annotated[bool, typer.Option("--all", help="Every dead letter.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many.")]


class FilterOptions(NamedTuple):
    """The filters as they were given: an option for each field."""

    event: Annotated[str | None, typer.Option(help="Event's name, or a pattern: 'repository.*'.")]
    kind: Annotated[str | None, typer.Option(help="github, github/ALIAS, registry, exchange or operator.")]
    owner: Annotated[
        str | None, typer.Option(help="Id of the GitHub owner that it is about; alias/id of another instance.")
    ]
    policy: Annotated[str | None, typer.Option(help="Policy that it names, or tells something of.")]
    error: Annotated[str | None, typer.Option(help="Class of the last error: UnusableEventError.")]
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Given up on since: a time, or 10m, 2h, 3d ago.")]
    until: Annotated[str | None, typer.Option(metavar="WHEN", help="Given up on until then.")]
    text: Annotated[str | None, typer.Option(help="Text in the error's message, the delivery's id or the body.")]

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
            typer.BadParameter: a field makes no sense.
        """
        try:
            return parsed({name: str(value) for name, value in self._asdict().items() if value is not None}, now)
        except FilterError as error:
            raise typer.BadParameter(str(error), param_hint=f"--{error.field}") from None


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes `picked`, as typer should see it: with the filters' options in its place."""
    options = get_type_hints(FilterOptions, include_extras=True)

    @wraps(command)
    def run(*args: object, **options_given: object) -> None:
        picked = FilterOptions(**{name: options_given.pop(name) for name in options})  # type: ignore[arg-type]  # typer checked
        command(*args, picked=picked, **options_given)

    hints = get_type_hints(command, include_extras=True)
    parameters: list[Parameter] = []
    for parameter in signature(command).parameters.values():
        if parameter.name == "picked":
            parameters += [Parameter(n, Parameter.KEYWORD_ONLY, default=None, annotation=h) for n, h in options.items()]
        else:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what `inspect.signature` asks for first
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def selected(app: App, picked: FilterOptions, ids: list[str] | None, limit: int | None) -> tuple[list[DeadLetter], int]:
    """The letters, those received first first, and how many of the named ones are no dead letters (any more).

    Raises:
        typer.Exit: nothing fits.
    """
    matches, missing = select(app, picked.filter(app.status.now()), ids=ids or None, limit=limit)
    for event_id in missing:
        output.note(f"no dead letter has the id {event_id}")
    if not matches:
        raise ended(Exit.NOTHING, "no dead letter fits")
    return matches, len(missing)
