"""`tenure demo`."""

from __future__ import annotations

import typer


def demo() -> None:
    """Play the whole story on a stack of its own, in a temporary folder; exits with 1 if anything differs from it."""
    from rich.console import Console  # noqa: PLC0415 - start-up time

    from worker import logs  # noqa: PLC0415
    from worker.demo.run import perform  # noqa: PLC0415

    logs.configure("warning", "auto")
    if not perform(Console(soft_wrap=True)):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(demo)
