"""`tenure scheduler`: wakes workers when something is due."""

from __future__ import annotations

import typer

from schedules.scheduler import run_scheduler
from worker.cli.service import service_settings


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(scheduler)


def scheduler() -> None:
    """Run the scheduler, which wakes workers when something is due. Two of them do no harm."""
    run_scheduler(service_settings())
