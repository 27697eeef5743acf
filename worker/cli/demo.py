"""`tenure demo`."""

from __future__ import annotations

import typer
from rich.console import Console

from worker import logs
from worker.cli.session import Exit, ended
from worker.demo.github import NoGitHubError
from worker.demo.run import perform


def demo() -> None:
    """Play the whole story on a stack of its own, in a temporary folder; exits with 1 if anything differs from it."""
    logs.configure("warning", "auto")
    try:
        as_told = perform(Console(soft_wrap=True))
    except NoGitHubError as error:
        raise ended(Exit.FAILED, str(error)) from None
    if not as_told:
        raise typer.Exit(Exit.FAILED)


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(demo)
