"""Handlers that end the process they run in, or never return."""

from __future__ import annotations

import os
import signal

from handlers.base import Handled, Incoming, UnusableEventError


def ends(incoming: Incoming) -> Handled:
    os.kill(os.getpid(), signal.SIGKILL)
    return Handled()


def refuses(incoming: Incoming) -> Handled:
    raise UnusableEventError("no")
