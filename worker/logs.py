"""Logs: structlog for our own lines, and the standard library's through the same pipe."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor, WrappedLogger

from worker.words.text import clean

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_SECRET_NAMES = re.compile(r"secret|token|password|authorization|signature|private_key|body", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\w+://[^\s/@:]*):\S+@")
_QUERY_SECRET = re.compile(r"([?&](?:password|token|secret)=)[^&\s\"']+", re.IGNORECASE)
REDACTED = "[redacted]"


def scrubbed(text: str) -> str:
    """A text without the passwords of the URLs in it: errors of clients quote the URL they were given."""
    if "://" not in text:
        return text
    return _QUERY_SECRET.sub(rf"\1{REDACTED}", _URL_PASSWORD.sub(rf"\1:{REDACTED}@", text))


def _clean(value: object) -> object:
    """A value, whatever is inside it, without passwords, and without what stands under a telling name."""
    if isinstance(value, str):
        return scrubbed(value)
    if isinstance(value, dict):
        return {name: REDACTED if _SECRET_NAMES.search(str(name)) else _clean(part) for name, part in value.items()}
    return [_clean(part) for part in value] if isinstance(value, list | tuple) else value


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Values under a telling name, and passwords in URLs, never reach a line; nor do the values in an exception."""
    for name, value in event.items():
        event[name] = REDACTED if _SECRET_NAMES.search(name) else _clean(value)
    return event


def frames(trace: TracebackType | None) -> str:
    """Where something happened: files, lines and functions, but no values, which may be anybody's secrets."""
    return scrubbed("".join(traceback.format_tb(trace, limit=-20)))


def _place_of(exc_info: ExcInfo) -> str:
    """An exception's kind and where it happened. Its message is left out: it may quote anybody's data."""
    kind, _, trace = exc_info
    return f"{kind.__name__}\n{frames(trace)}"


_TRACES = frozenset({"where", "exception", "stack"})
"""What our own code tells in several lines."""


def _plain(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Values as text that a terminal may show: nothing in them moves the cursor, colours, turns text around, or begins what
    looks like another line.
    """
    for name, value in event.items():
        lines = str(value).split("\n") if name in _TRACES else [value]
        event[name] = "\n".join(map(clean, lines))
    return event


def _json(event: EventDict, **_: object) -> str:
    written = orjson.dumps(event, default=str)
    # In ASCII nothing controls a terminal; names that are not are rare, and Python's own encoder is slow.
    return written.decode() if written.isascii() else json.dumps(event, default=str)


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
    last: list[Processor] = [
        structlog.processors.ExceptionRenderer(_place_of),
        redact,
        *([_plain] if people else []),
        structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer(serializer=_json),
    ]
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
    for noisy in ("apscheduler", "dramatiq", "asyncio", "httpcore", "httpx", "pika", "redis", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(LEVELS[level], logging.WARNING))


REPEAT_SECONDS = 60.0
"""How often it is said again that something still fails."""


class Outage:
    """Says that something fails: when it begins, once a minute while it lasts, and when it is over. Threads may share it.

    `clock` gives seconds that never go back.
    """

    def __init__(self, log: FilteringBoundLogger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._said_at: float | None = None
        self._unsaid = 0

    def failed(self, what: str, **about: str) -> None:
        """It failed. `what` says so in words, `about` tells more."""
        with self._lock:
            now = self._clock()
            if self._said_at is not None and now < self._said_at + REPEAT_SECONDS:
                self._unsaid += 1
                return
            repeated, self._unsaid, self._said_at = self._unsaid, 0, now
        self._log.error(what, **about, **({"repeated": str(repeated)} if repeated else {}))

    def over(self, what: str) -> None:
        """It works; `what` says so, if it did not before."""
        if self._said_at is None:
            return
        with self._lock:
            said_at, self._said_at, self._unsaid = self._said_at, None, 0
        if said_at is not None:
            self._log.info(what)


def logger(room: str) -> FilteringBoundLogger:
    """A logger whose lines name the room they come from."""
    bound: FilteringBoundLogger = structlog.get_logger(room=room)
    return bound
