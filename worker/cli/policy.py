"""`tenure policy`."""

from __future__ import annotations

import typer

policies = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(policies, name="policy", help="Look at policies, and act on them.")


@policies.callback()
def _policy() -> None:
    """Look at policies, and act on them."""
