"""A worker process to which things happen while it is at work on an event; what happens is in the delivery's id.

    poison-…   the process ends at once, as by a crash in native code
    hold-…     it never gets on with this event
    pause-…    the process is stopped just before it commits what follows from the event; SIGCONT lets it go on

Run as `python unlucky_worker.py`, with settings from the environment. All else is as in any worker.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence

from handlers.base import Handled, Incoming
from handlers.table import handle
from schedules.table import TABLE
from worker import logs
from worker.processes import run_worker
from worker.settings import load
from worker.settling import processor
from worker.store.policies import Commit, Policies

commit = Policies.commit


def unlucky_handle(incoming: Incoming) -> Handled:
    if incoming.source.id.startswith("poison-"):
        os.kill(os.getpid(), signal.SIGKILL)
    if incoming.source.id.startswith("hold-"):
        threading.Event().wait()
    return handle(incoming)


def unlucky_commit(self: Policies, commits: Sequence[Commit]) -> list[bool | str]:
    if any(item.cause.id.startswith("pause-") for item in commits):
        os.kill(os.getpid(), signal.SIGSTOP)
    return commit(self, commits)


if __name__ == "__main__":
    processor.handle = unlucky_handle  # type: ignore[attr-defined]
    Policies.commit = unlucky_commit  # type: ignore[method-assign]
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    run_worker(settings, TABLE)
