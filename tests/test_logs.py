"""What is logged: lines that may be shown to anybody, whatever somebody's URL or exception holds."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from worker import logs
from worker.logs import REDACTED, redact, scrubbed

CANARY = "canary-5f0c"


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """Everything that is logged, in either form. Logging is left as it was found."""
    root = logging.getLogger()
    names = ("apscheduler", "dramatiq", "asyncio", "httpx", "pika", "uvicorn")
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in names}
    configuration = structlog.get_config()
    stream = io.StringIO()
    logs.configure("debug", request.param, stream)
    yield stream
    structlog.configure(**configuration)
    root.handlers[:], root.level, levels = before
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    "password", [CANARY, f"a@{CANARY}", f"{CANARY}@b", f"a/{CANARY}/b", f"a:{CANARY}@/{CANARY}", f"#{CANARY}?"]
)
@pytest.mark.parametrize("scheme", ["redis", "rediss", "amqp", "https"])
def test_the_password_of_a_url_never_shows_whatever_is_in_it(scheme: str, password: str) -> None:
    text = f"Error 111 connecting to {scheme}://user:{password}@host.example:6379/0. Connection refused."
    assert scrubbed(text) == (
        f"Error 111 connecting to {scheme}://user:{REDACTED}@host.example:6379/0. Connection refused."
    )


@pytest.mark.parametrize("name", ["password", "token", "secret"])
def test_nor_does_a_secret_of_its_query(name: str) -> None:
    assert CANARY not in scrubbed(f"unix:///run/store.sock?db=1&{name}={CANARY} is away")


@pytest.mark.parametrize("text", ["nothing", "redis://host.example:6379/0", "mail@host.example at 12:30"])
def test_a_text_without_a_password_stays_as_it_is(text: str) -> None:
    assert scrubbed(text) == text


def test_values_inside_values_are_looked_at_too() -> None:
    url = f"redis://:{CANARY}@host.example/0"
    event = {
        "event": url,
        "parts": [url, {"url": url}, (url, 7)],
        "headers": {"Authorization": CANARY, "nested": {"X-Hub-Signature-256": [CANARY]}, "plain": "kept"},
        "webhook_secret": CANARY,
    }
    cleaned = redact(None, "info", event)
    assert CANARY not in repr(cleaned)
    assert cleaned["headers"]["plain"] == "kept"
    assert cleaned["webhook_secret"] == REDACTED


def test_a_line_says_where_an_exception_came_from_and_not_what_it_holds(lines: io.StringIO) -> None:
    """Given exceptions that quote what they were given, when they are logged in either way, then no line quotes it."""
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise KeyError(f"redis://user:a@{CANARY}/@host.example/0") from error
    except KeyError:
        logs.logger("test").exception("cannot go on", url=f"amqp://u:{CANARY}@host.example")
        logging.getLogger("somebody.else").exception("cannot go on either", extra={"token": CANARY})
    written = lines.getvalue()
    assert CANARY not in written
    assert "KeyError" in written
    assert written.count("in test_a_line_says_where") == 2


def test_what_libraries_log_goes_through_the_same_pipe(lines: io.StringIO) -> None:
    logging.getLogger("somebody.else").warning("lost %s", f"redis://:{CANARY}@host.example/0")
    assert CANARY not in lines.getvalue()
    assert REDACTED in lines.getvalue()
    if lines.getvalue().startswith("{"):
        assert json.loads(lines.getvalue())["logger"] == "somebody.else"


HOSTILE = "\x1b[2J\x9b31m\u202egnp.exe\u2066\u200b\u2028[info     ] forged"


def test_nothing_that_is_logged_controls_a_terminal(lines: io.StringIO) -> None:
    logs.logger("test").info(f"event {HOSTILE}", name=HOSTILE, names=[HOSTILE], line="a\nb")
    written = lines.getvalue()
    own = written.replace("\x1b[", "") if HOSTILE not in written else written
    for char in "\x9b\u202e\u2066\u200b":
        assert char not in own
    assert "\x1b[2J" not in written
    assert len(written.splitlines()) == len(written.rstrip("\n").split("\n")) == 1


def test_an_outage_is_said_when_it_begins_once_a_minute_and_when_it_is_over(lines: io.StringIO) -> None:
    now = 0.0
    outage = logs.Outage(logs.logger("test"), lambda: now)
    outage.over("back")
    for _ in range(100):
        outage.failed("away", error="READONLY")
    assert lines.getvalue().count("away") == 1
    now += logs.REPEAT_SECONDS
    outage.failed("away")
    assert lines.getvalue().count("away") == 2
    assert "99" in lines.getvalue()
    outage.over("back")
    outage.over("back")
    assert lines.getvalue().count("back") == 1
    outage.failed("away")
    assert lines.getvalue().count("away") == 3
