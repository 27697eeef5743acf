"""Dry runs: of few letters while somebody waits for the page, of many in the background."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

from starlette.responses import Response

from worker import dead_letters
from worker.app import App
from worker.console.letters import REHEARSED, act_form, chosen_to_try, rehearse
from worker.console.session import Visit, redirect
from worker.console.templating import CONSOLE, link
from worker.dead_letters import DryRun
from worker.logs import logger
from worker.store.client import StoreError
from worker.store.dead import DeadLetter
from worker.web.problems import ProblemError, error_fields

AT_ONCE = 2
"""Dry runs that one process makes at once in the background."""

log = logger("console")


class DryRuns:
    """Makes dry runs. When the process ends they do, and their pages say how many letters were tried."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._ends = threading.Event()
        self._room = threading.Semaphore(AT_ONCE)

    def close(self) -> None:
        """Leave them before the next letter."""
        self._ends.set()

    def preview(self, visit: Visit) -> Response:
        """What a replay of the chosen letters, or of all that fit, would do; with the form that does it."""
        wanted, asked, chosen, whole = chosen_to_try(visit)
        batch = dead_letters.batch_id()
        if whole:
            dead_letters.freeze(self._app, batch, wanted, chosen)
            if len(chosen) > REHEARSED:
                self._begin(batch, chosen)
                return redirect(link(f"{CONSOLE}/letters/dry-run", batch=batch, **asked))
        tried = rehearse(self._app, chosen)
        form = act_form(chosen, batch, asked, left=tried.left, whole=whole)
        return visit.page(
            "preview.html", {"count": len(chosen), "effects": tried.effects, "verdicts": tried.verdicts, **form}
        )

    def _begin(self, batch: str, chosen: Sequence[DeadLetter]) -> None:
        """
        Raises:
            ProblemError: too many are being made.
        """
        if not self._room.acquire(blocking=False):
            raise ProblemError(
                409, "busy", "Other dry runs are being made. Wait for one of them to end, and try again."
            )
        first = DryRun(len(chosen), 0, ended=False, noted_at=self._app.status.now(), groups=())
        self._app.dead.note_dry_run(batch, first.written())
        threading.Thread(target=self._guarded, args=(batch, chosen), name="dry-run", daemon=True).start()

    def _guarded(self, batch: str, chosen: Sequence[DeadLetter]) -> None:
        note = partial(self._app.dead.note_dry_run, batch)
        try:
            dead_letters.dry_run(self._app, chosen, lambda seen: note(seen.written()), self._ends)
        except StoreError as error:
            log.warning("a dry run was interrupted; make it again", error=str(error))
        except Exception as error:  # noqa: BLE001 - nobody else would tell of it
            log.error("a dry run failed", **error_fields(error))  # noqa: TRY400 - the fields have the trace
        finally:
            self._room.release()

    def show(self, visit: Visit) -> Response:
        """How far a dry run in the background is, what it found, and, once it is over, the form that acts on that."""
        batch = visit.query.get("batch", "")
        written = self._app.dead.dry_run(batch)
        if written is None:
            raise ProblemError(404, "unknown_dry_run", "There is no such dry run any more. Search again, and try anew.")
        found = DryRun.read(written)
        asked = {name: value for name, value in visit.query.items() if name != "batch"}
        form = act_form((), batch, asked, left=found.left, whole=True)
        running = found.running(visit.now)
        return visit.page("dry_run.html", {"run": found, "running": running, "count": found.total, **form})
