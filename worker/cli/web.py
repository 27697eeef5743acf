"""`tenure web`: the HTTP API and the console."""

from __future__ import annotations

import contextlib
import threading

import typer

from worker.app import build
from worker.cli.service import service_settings
from worker.http.app import create_app
from worker.http.server import server
from worker.logs import logger
from worker.processes import beat_until
from worker.settings import PREFIX, SettingsError, check_port


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(web)


def web() -> None:
    """Run the HTTP API: webhooks, events, reads, health, metrics, and the operators' console."""
    settings = service_settings()
    if not settings.webhook_secrets:
        raise SettingsError("TENURE_WEBHOOK_SECRETS: not set; give the secret that GitHub signs its webhooks with")
    check_port(settings)
    # As one text: what stands under the name of a secret is redacted, even a number.
    held = ", ".join(f"{PREFIX}{name.upper()}: {number}" for name, number in settings.counted().items())
    logger("web").info("how many are set", held=held)
    logger("web").info("listening", url=f"http://{settings.http_host}:{settings.http_port}")
    app = build(settings)
    app.publish_settings()
    stopped = threading.Event()
    threading.Thread(target=beat_until, args=(app, "web", stopped), name="alive", daemon=True).start()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server(create_app(app), settings.http_host, settings.http_port, proxies=settings.proxies).run()
    finally:
        stopped.set()
