"""Logs: structlog for our own lines, and the standard library's through the same pipe."""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_SECRET_NAMES = re.compile(r"secret|token|password|authorization|signature|private_key|body", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\w+://[^\s/@:]*):[^\s/@]+@")
REDACTED = "[redacted]"


def scrubbed(text: str) -> str:
    """A text without the passwords of the URLs in it: errors of clients quote the URL they were given."""
    return _URL_PASSWORD.sub(rf"\1:{REDACTED}@", text)


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Values under a telling name, and passwords in URLs, never reach a line."""
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = REDACTED
        elif isinstance(value, str) and "://" in value:
            event[name] = scrubbed(value)
    return event


def _json(event: EventDict, **_: object) -> str:
    return orjson.dumps(event, default=str).decode()


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Set up logging for this process: JSON, or for people if `form` is console, or auto and the stream a terminal."""
    stream = stream or sys.stderr
    people = form == "console" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    trace = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
    )
    last: list[Processor] = (
        [redact, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if people
        else [trace, redact, structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    for noisy in ("apscheduler", "dramatiq", "asyncio", "httpx", "pika", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(LEVELS[level], logging.WARNING))


def logger(room: str) -> FilteringBoundLogger:
    """A logger whose lines name the room they come from."""
    bound: FilteringBoundLogger = structlog.get_logger(room=room)
    return bound
