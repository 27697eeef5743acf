"""Moments as operators give them: a time, or how long ago."""

from __future__ import annotations

import typer

from worker.words.text import Given, given_moment


def given(said: str, option: str = "--since") -> Given:
    """What an option says.

    Raises:
        typer.BadParameter: it is neither a time nor a span.
    """
    try:
        return given_moment(said)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
