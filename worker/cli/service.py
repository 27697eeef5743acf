"""What commands that keep running share."""

from __future__ import annotations

from worker import logs
from worker.settings import Settings, load


def service_settings() -> Settings:
    """The settings, with the log as they say."""
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    return settings
