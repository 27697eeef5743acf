"""Handlers that end the process they run in, or never return."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from handlers.base import Handled, Incoming, UnusableEventError


def ends(incoming: Incoming) -> Handled:
    os.kill(os.getpid(), signal.SIGKILL)
    return Handled()


def counts(incoming: Incoming) -> Handled:
    """Refuses, if more than so many are at it at once: each leaves a file while it is, in the directory that it is told."""
    said = json.loads(incoming.body)
    mine = Path(said["directory"], str(os.getpid()))
    mine.touch()
    deadline = time.monotonic() + said["seconds"]
    while time.monotonic() < deadline:
        if len(list(mine.parent.iterdir())) > said["most"]:
            raise UnusableEventError("too many")
        time.sleep(0.01)
    mine.unlink()
    return Handled()


def refuses(incoming: Incoming) -> Handled:
    raise UnusableEventError("no")
