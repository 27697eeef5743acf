"""Dry runs: of few letters while somebody waits for the page, of many in the background."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from starlette.responses import Response

from worker import dead_letters
from worker.app import App
from worker.console.background import Background
from worker.console.letters import REHEARSED, act_form, chosen_to_try, rehearse
from worker.console.session import Visit, redirect
from worker.console.templating import CONSOLE, link
from worker.dead_letters import DryRun
from worker.store.dead import DeadLetter
from worker.web.problems import ProblemError

AT_ONCE = 2
"""Dry runs that one process makes at once in the background."""


class DryRuns:
    """Makes dry runs. When the process ends they do, and their pages say how many letters were tried."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._background = Background(
            "dry run",
            AT_ONCE,
            full="Other dry runs are being made. Wait for one of them to end, and try again.",
            remedy="make it again",
        )

    def close(self) -> None:
        """Leave them before the next letter."""
        self._background.close()

    def preview(self, visit: Visit) -> Response:
        """What a replay of the chosen letters, or of all that fit, would do; with the form that does it."""
        criteria, query, chosen, whole = chosen_to_try(visit)
        batch = dead_letters.batch_id()
        if whole:
            dead_letters.freeze(self._app, batch, criteria, chosen)
            if len(chosen) > REHEARSED:
                self._begin(batch, chosen)
                return redirect(link(f"{CONSOLE}/letters/dry-run", batch=batch, **query))
        tried = rehearse(self._app, chosen)
        form = act_form(chosen, batch, query, left=tried.left, whole=whole)
        return visit.page(
            "preview.html", {"count": len(chosen), "effects": tried.effects, "verdicts": tried.verdicts, **form}
        )

    def _begin(self, batch: str, chosen: Sequence[DeadLetter]) -> None:
        """
        Raises:
            ProblemError: too many are being made.
        """
        # Noted before it begins: the page that shows it may be asked for at once.
        self._note(batch, DryRun(len(chosen), 0, ended=False, noted_at=self._app.status.now(), groups=()))
        note, ends = partial(self._note, batch), self._background.ends
        self._background.begin(partial(dead_letters.dry_run, self._app, chosen, note, ends))

    def _note(self, batch: str, dry_run: DryRun) -> None:
        self._app.dead.note_dry_run(batch, dry_run.written())

    def show(self, visit: Visit) -> Response:
        """How far a dry run in the background is, what it found, and, once it is over, the form that acts on that."""
        batch = visit.query.get("batch", "")
        written = self._app.dead.dry_run(batch)
        if written is None:
            raise ProblemError(404, "unknown_dry_run", "There is no such dry run any more. Search again, and try anew.")
        dry_run = DryRun.read(written)
        query = {name: value for name, value in visit.query.items() if name != "batch"}
        form = act_form((), batch, query, left=dry_run.left, whole=True)
        running = dry_run.running(visit.now)
        return visit.page("dry_run.html", {"run": dry_run, "running": running, "count": dry_run.total, **form})
