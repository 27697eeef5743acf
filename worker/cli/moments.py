"""Moments as operators give them: a time, or how long ago."""

from __future__ import annotations

import typer

from worker.words.text import MomentOrAge, parse_moment


def moment_option(text: str, option: str = "--since") -> MomentOrAge:
    """What an option says.

    Raises:
        typer.BadParameter: it is neither a time nor a span.
    """
    try:
        return parse_moment(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
