"""`tenure worker`: what settles, and what asks GitHub."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from schedules.table import TABLE
from worker.cli.service import service_settings
from worker.local.supervisor import Supervisor, workers
from worker.processes import ProcessRole, run_worker


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(worker)


def worker(
    processes: Annotated[int | None, typer.Option(help="How many processes; TENURE_PROCESSES if not given.")] = None,
    single: Annotated[bool, typer.Option("--single", hidden=True, help="Be one of them.")] = False,
    asking: Annotated[bool, typer.Option("--asking", hidden=True, help="Be the one that asks GitHub.")] = False,
    part: Annotated[str, typer.Option(hidden=True, help="Serve this part: all, small or bulky.")] = "all",
) -> None:
    """Run workers, which settle what the API has accepted: so many, one more for large bodies, and with GitHub
    credentials one that asks GitHub.
    """
    settings = service_settings()
    if single or asking:
        run_worker(settings, TABLE, ProcessRole.VERIFYING if asking else ProcessRole(part))
        return
    settings.store_url()
    count = processes or settings.processes
    supervisor = Supervisor(workers(count, dict(os.environ), asks=settings.asks_github))
    supervisor.stop_on_signals()
    supervisor.start()
    try:
        supervisor.watch()
    finally:
        supervisor.end()
