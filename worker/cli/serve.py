"""`tenure up`, `web`, `worker`, `scheduler`."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from worker.local.stack import Stack
    from worker.settings import Settings


def _settings() -> Settings:
    from worker import logs  # noqa: PLC0415 - start-up time
    from worker.settings import load  # noqa: PLC0415

    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    return settings


def up() -> None:
    """Run everything on this machine: store, doors, workers, scheduler, until Ctrl-C.

    The store is an embedded Valkey with its data in TENURE_DATA_DIR, unless TENURE_REDIS_URL is set. Secrets that are
    not set are made, and kept in files of the data directory.
    """
    from worker.local.stack import announce, running_stack, wait_until_ready  # noqa: PLC0415 - start-up time

    settings = _settings()
    with running_stack(settings, environment=dict(os.environ)) as stack:
        stack.supervisor.stop_on_signals()
        sys.stderr.write("Tenure is starting\n")
        announce(stack)
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
    from worker.local.stack import login_link  # noqa: PLC0415 - start-up time
    from worker.store.client import StoreError  # noqa: PLC0415

    if not sys.stderr.isatty():
        sys.stderr.write(f"Log in at {stack.http_url}/console/login with an operator token: see above where that is\n")
        return
    with contextlib.suppress(StoreError):
        link = login_link(settings, stack)
        if link is not None:
            sys.stderr.write(f"Log in, once, within 10 minutes: {link}\n")


def web() -> None:
    """Run the doors: webhooks, events, reads, health, metrics, and the operators' console."""
    from worker.app import build  # noqa: PLC0415 - start-up time
    from worker.http.app import create_app  # noqa: PLC0415
    from worker.http.server import server  # noqa: PLC0415
    from worker.logs import logger  # noqa: PLC0415
    from worker.settings import PREFIX, SettingsError, check_port  # noqa: PLC0415

    settings = _settings()
    if not settings.webhook_secrets:
        raise SettingsError("TENURE_WEBHOOK_SECRETS: not set; give the secret that GitHub signs its webhooks with")
    check_port(settings)
    # As one text: what stands under the name of a secret is redacted, even a number.
    held = ", ".join(f"{PREFIX}{name.upper()}: {number}" for name, number in settings.counted().items())
    logger("web").info("how many are set", held=held)
    logger("web").info("doors open", url=f"http://{settings.http_host}:{settings.http_port}")
    with contextlib.suppress(KeyboardInterrupt):
        behind_proxy = settings.public_url is not None
        server(create_app(build(settings)), settings.http_host, settings.http_port, behind_proxy=behind_proxy).run()


def worker(
    processes: Annotated[int | None, typer.Option(help="How many processes; TENURE_PROCESSES if not given.")] = None,
    single: Annotated[bool, typer.Option("--single", hidden=True, help="Be one of them.")] = False,
    asking: Annotated[bool, typer.Option("--asking", hidden=True, help="Be the one that asks GitHub.")] = False,
    part: Annotated[str, typer.Option(hidden=True, help="Serve this part: all, small or bulky.")] = "all",
) -> None:
    """Run workers, which settle what the doors have taken in: so many, one more for large bodies, and with GitHub
    credentials one that asks GitHub.
    """
    from schedules.table import JOBS  # noqa: PLC0415 - start-up time
    from worker.local.supervisor import Supervisor, workers  # noqa: PLC0415
    from worker.processes import Part, run_worker  # noqa: PLC0415

    settings = _settings()
    if single or asking:
        run_worker(settings, JOBS, Part.ASKING if asking else Part(part))
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


def scheduler() -> None:
    """Run the scheduler, which wakes workers when something is due. Two of them do no harm."""
    from schedules.scheduler import run_scheduler  # noqa: PLC0415 - start-up time

    run_scheduler(_settings())


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for command in (up, web, worker, scheduler):
        app.command()(command)
