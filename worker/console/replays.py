"""Replaying and dropping dead letters, and watching it."""

from __future__ import annotations

import re
import time
from functools import partial

from starlette.responses import Response

from worker import dead_letters
from worker.app import App
from worker.console.acts import reason_of
from worker.console.background import Background
from worker.console.letters import chosen_of
from worker.console.session import Visit, redirect
from worker.console.templating import CONSOLE, link
from worker.dead_letters import Progress, ReplayError, UnknownReplayError
from worker.store.replays import ENDED, RUNNING
from worker.web.problems import ProblemError
from worker.words.text import sentence

AT_ONCE = 4
"""Replays that one process runs at once; more are to wait, or be run by the command line."""
BEGIN_SECONDS = 5.0
_BATCH = re.compile(r"[0-9a-f]{12}")


class ReplaysPage:
    """Runs replays beside the requests that ask for them. When the process ends they are interrupted, and can be gone on with."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._background = Background(
            "replay",
            AT_ONCE,
            full=f"{AT_ONCE} replays run already. Wait for one of them to end, or use `tenure dead replay`.",
            remedy="it can be gone on with",
            passing=(ReplayError,),
        )

    def close(self) -> None:
        """Leave them before the next letter."""
        self._background.close()

    def act(self, visit: Visit) -> Response:
        """Replay or drop the letters that a form is about."""
        act, reason = visit.form.get("act"), reason_of(visit)
        if act == "replay":
            return self._replay(visit, reason)
        if act != "drop":
            raise ProblemError(422, "fields", "There is no such act.")
        chosen, _ = chosen_of(visit)
        dropped = dead_letters.drop(visit.app, chosen, reason=reason, by=visit.by)
        return redirect(link(f"{CONSOLE}/letters", dropped=dropped))

    def _replay(self, visit: Visit, reason: str) -> Response:
        batch, rate = visit.form.get("batch"), _rate(visit.form.get("rate"))
        if not _BATCH.fullmatch(batch):
            raise ProblemError(422, "fields", "This form is incomplete. Go back, reload the page and try again.")
        where = link(f"{CONSOLE}/replay", batch=batch)
        if self._app.replays.get(batch) is not None:
            return redirect(where)  # The form was sent twice.
        chosen, selection = chosen_of(visit)
        self._background.begin(
            partial(
                dead_letters.replay, self._app, chosen, reason=reason, by=visit.by, rate=rate, selection=selection,
                batch=batch, ends=self._background.ends,
            )
        )  # fmt: skip
        deadline = time.monotonic() + BEGIN_SECONDS
        while self._app.replays.get(batch) is None and time.monotonic() < deadline:
            time.sleep(0.01)
        return redirect(where)

    def show(self, visit: Visit) -> Response:
        """How far a replay is."""
        progress = self._progress(visit, visit.query.get("batch", ""))
        return visit.page("replay.html", {"progress": progress, "replay": progress.replay, "goes": _goes(progress)})

    def steer(self, visit: Visit) -> Response:
        """Stop a replay, or go on with it."""
        progress = self._progress(visit, visit.form.get("batch"))
        batch = progress.replay.batch
        try:
            if visit.form.get("act") == "stop":
                # Somebody who stops a replay is in a hurry.
                dead_letters.stop_replay(visit.app, batch, by=visit.by)
            elif progress.replay.state == ENDED or progress.running:
                raise ProblemError(409, "replay", "This replay is over, or somebody is at it.")
            else:
                reason = reason_of(visit)
                self._background.begin(
                    partial(
                        dead_letters.resume, self._app, batch, by=visit.by, reason=reason, ends=self._background.ends
                    )
                )
        except ReplayError as error:
            raise ProblemError(409, "replay", sentence(str(error))) from None
        return redirect(link(f"{CONSOLE}/replay", batch=batch))

    @staticmethod
    def _progress(visit: Visit, batch: str) -> Progress:
        try:
            return dead_letters.status(visit.app, batch)
        except UnknownReplayError:
            raise ProblemError(404, "unknown_replay", "There is no replay with this id.") from None


def _goes(progress: Progress) -> bool:
    """Whether there is more to see soon."""
    return progress.replay.state == RUNNING or progress.waiting > 0


def _rate(text: str) -> float | None:
    """Letters a second; None for no limit.

    Raises:
        ProblemError: it is no number, or too small.
    """
    try:
        rate = float(text) if text.strip() else None
    except ValueError:
        rate = 0.0
    if rate is not None and not dead_letters.SLOWEST <= rate <= 100_000:
        message = f"Rate: give a number of at least {dead_letters.SLOWEST}, or leave it empty. Go back and try again."
        raise ProblemError(422, "fields", message)
    return rate
