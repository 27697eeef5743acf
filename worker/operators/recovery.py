"""What an operator does about a store that went back in time."""

from __future__ import annotations

from typing import Final

from worker.app import App
from worker.lifecycle.views import rfc3339
from worker.store.epoch import Recovery

ACCEPTED: Final = "recovery.accepted"


def accept(app: App, recovery: Recovery, *, by: str, reason: str) -> bool:
    """Open the policies again, as the store knows them. May be repeated: whoever ends in between leaves it to be done again.
    Returns whether everything is still closed: an operator had closed it, or the store went back once more.

    Raises:
        StoreError: the store could not be reached.
    """
    now = app.status.now()
    details = {"epoch": recovery.epoch, "lost_since": rfc3339(recovery.since)}
    app.audit.record(ACCEPTED, by=by, reason=reason, subjects=(), details=details)
    held = app.recoveries.open(recovery, by=by, reason=reason, at=now)
    app.epochs.accept(recovery, now)
    again = app.epochs.recovery()
    if again is not None and again.accepted is None:
        # It went back once more meanwhile, and that was closed by the switch that has just been opened.
        app.recoveries.close(again)
        return True
    return held
