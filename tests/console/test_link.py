"""`tenure up` shows whoever started it a link that logs in."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.console.calling import Caller

SECONDS = 60
LINK = re.compile(r"Log in, once, within 10 minutes: (http://127\.0\.0\.1:\d+)/console/login#([\w-]+)")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[int]:
    """A stack that was started from a terminal, whose other side this is."""
    master, slave = pty.openpty()
    ambient = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "up"],
        env={**ambient, "PYTHONPATH": str(ROOT), "TENURE_HTTP_PORT": "0", "TENURE_PROCESSES": "1"},
        cwd=tmp_path,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield master
    finally:
        process.send_signal(signal.SIGINT)
        while process.poll() is None:
            if select.select([master], [], [], 0.05)[0]:
                _read(master)
        os.close(master)


def _read(master: int) -> str:
    try:
        return os.read(master, 65536).decode()
    except OSError:  # Linux's way to say that the other side is closed.
        return ""


@pytest.mark.processes
def test_the_link_logs_in_and_is_in_no_log(terminal: int) -> None:
    """Given a stack on a terminal, when its link is followed, then somebody is logged in, once, and no log has it."""
    shown, deadline = "", time.monotonic() + SECONDS
    while (found := LINK.search(shown)) is None:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += _read(terminal)
    caller = Caller(found[1])
    with caller.http:
        assert caller.tries("", code=found[2]).status_code == 303
        assert "Log out" in caller.get("/").text
        assert caller.tries("", code=found[2]).status_code == 401
    while select.select([terminal], [], [], 0.2)[0]:
        shown += _read(terminal)
    assert shown.count(found[2]) == 1
