"""`tenure up`: everything on this machine."""

from __future__ import annotations

import contextlib
import os
import sys

import typer

from worker.cli.service import service_settings
from worker.local.stack import Stack, announce, login_link, running_stack, wait_until_ready
from worker.settings import Settings
from worker.store.client import StoreError


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(up)


def up() -> None:
    """Run everything on this machine: store, HTTP API, workers, scheduler, until Ctrl-C.

    The store is an embedded Valkey with its data in TENURE_DATA_DIR, unless TENURE_REDIS_URL is set. Secrets that are
    not set are made, and kept in files of the data directory.
    """
    settings = service_settings()
    with running_stack(settings, environment=dict(os.environ)) as stack:
        stack.supervisor.stop_on_signals()
        sys.stderr.write("Tenure is starting\n")
        announce(stack, settings.aliases)
        if wait_until_ready(stack.http_url, lambda: stack.supervisor.stopping):
            sys.stderr.write("Tenure is ready; Ctrl-C stops it\n")
            _invite(settings, stack)
        elif not stack.supervisor.stopping:
            sys.stderr.write("Tenure is not ready yet; see the log lines, and `tenure doctor`\n")
        stack.supervisor.watch()
        sys.stderr.write("Tenure is stopping\n")
    sys.stderr.write("Tenure has stopped; nothing that was acknowledged is lost\n")


def _invite(settings: Settings, stack: Stack) -> None:
    """Show whoever started it a link that logs in. It is for people only: what is no terminal may be a log, in which
    stands how to log in without one.
    """
    if not sys.stderr.isatty():
        sys.stderr.write(f"Log in at {stack.http_url}/console/login with an operator token: see above where that is\n")
        return
    with contextlib.suppress(StoreError):
        link = login_link(settings, stack)
        if link is not None:
            sys.stderr.write(f"Log in, once, within 10 minutes: {link}\n")
