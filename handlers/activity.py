"""Signs of life, and events that are only worth a line in the log."""

from __future__ import annotations

from handlers.base import Handled, Incoming, hint, parse
from handlers.models import PushEvent
from handlers.repositories import both
from worker.lifecycle import scopes

_WORKFLOWS = ".github/workflows/"


COUNTED = 1000
"""Workflow files of one push that count; of more, those that are gone first. They are advice, and nobody has so many."""


def push(incoming: Incoming) -> Handled:
    """A push to the default branch that touches workflow files tells which of them exist now.

    Commits are listed oldest first, so the last one that touches a file decides.
    """
    event = parse(PushEvent, incoming)
    if event.ref != f"refs/heads/{event.repository.default_branch}":
        return Handled()
    missing: dict[str, bool] = {}
    for commit in event.commits:
        touched = [(path, True) for path in commit.removed]
        touched += [(path, False) for path in (*commit.added, *commit.modified)]
        for path, gone in touched:
            if path.startswith(_WORKFLOWS):
                missing[path.removeprefix(_WORKFLOWS)] = gone
    where = both(event.repository)
    told = list(missing.items())
    if len(told) > COUNTED:
        told = sorted(told, key=lambda said: not said[1])[:COUNTED]
    learnt = [hint(incoming, scopes.workflow(scope, file), "missing", gone) for file, gone in told for scope in where]
    return Handled(tuple(learnt), where if learnt else ())


def seen(_: Incoming) -> Handled:
    """Heard, and noted by the inbox: nothing more follows from it."""
    return Handled()
