"""Work that goes on beside the requests that ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from worker.logs import logger, scrubbed
from worker.store.client import StoreError
from worker.web.problems import ProblemError, error_fields

log = logger("console")


class Background:
    """Runs work of one kind, `name`, some of it at once. When the process ends, so does the work, which looks at `ends`."""

    def __init__(
        self, name: str, at_once: int, *, full: str, remedy: str, passing: tuple[type[Exception], ...] = ()
    ) -> None:
        self.ends = threading.Event()
        self._name = name
        self._room = threading.Semaphore(at_once)
        self._full = full
        """What somebody is told for whom there is no room."""
        self._remedy = remedy
        """What to do about work that was interrupted, for the log."""
        self._passing: tuple[type[Exception], ...] = (StoreError, *passing)
        """Errors that interrupt the work and are no defect of it."""

    def close(self) -> None:
        """Let all of it end before its next step."""
        self.ends.set()

    def begin(self, work: Callable[[], object]) -> None:
        """Run it in a thread of its own.

        Raises:
            ProblemError: too much of it runs already.
        """
        if not self._room.acquire(blocking=False):
            raise ProblemError(409, "busy", self._full)
        threading.Thread(target=self._guarded, args=(work,), name=self._name, daemon=True).start()

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except self._passing as error:
            log.warning("interrupted", work=self._name, remedy=self._remedy, error=scrubbed(str(error)))
        except Exception as error:  # noqa: BLE001 - nobody else would tell of it
            log.error("failed", work=self._name, **error_fields(error))  # noqa: TRY400 - the fields have the trace
        finally:
            self._room.release()
