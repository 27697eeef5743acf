"""Signs of life, and events that are only worth a line in the log."""

from __future__ import annotations

from collections.abc import Iterator

from handlers.base import Handled, Incoming, hint, hints, parse
from handlers.models import PushEvent
from handlers.repositories import both, by_address, owner_told
from worker.lifecycle import scopes

_WORKFLOWS = ".github/workflows/"


COUNTED = 1000
"""Workflow files of one push that count; of more, those that are gone first. They are advice, and nobody has so many."""


def push(incoming: Incoming) -> Handled:
    """A push to the default branch that touches workflow files tells which of them exist now.

    Commits are listed oldest first, so the last one that touches a file decides. And nobody can push to a repository
    that is archived.
    """
    event = parse(PushEvent, incoming)
    owner = owner_told(incoming, event)
    if event.ref != f"refs/heads/{event.repository.default_branch}" or owner is None:
        return Handled()
    missing: dict[str, bool] = {}
    for commit in (*event.commits, event.head_commit):
        for path, gone in _touched(commit):
            if path.startswith(_WORKFLOWS):
                missing[path.removeprefix(_WORKFLOWS)] = gone
    where = both(event.repository, owner)
    observations = list(missing.items())
    if len(observations) > COUNTED:
        observations = sorted(observations, key=lambda said: not said[1])[:COUNTED]
    everywhere = (*where, *by_address(incoming, event.repository.owner, event.repository.name))
    learnt = [
        hint(incoming, scopes.workflow(scope, file), "missing", gone)
        for file, gone in observations
        for scope in everywhere
    ]
    checks = where if learnt else ()
    if event.repository.archived is False:
        learnt += hints(incoming, where, "archived", False, dated=event.repository.updated_at)
    return Handled(tuple(learnt), checks)


def _touched(commit: object) -> Iterator[tuple[str, bool]]:
    """The files that a commit touches, and whether each is gone. Read by hand, since a push may have very many commits."""
    for kind in ("removed", "added", "modified"):
        listed = commit.get(kind) if isinstance(commit, dict) else None
        for path in listed if isinstance(listed, list) else ():
            if isinstance(path, str):
                yield path, kind == "removed"


def ignored(_: Incoming) -> Handled:
    """Heard, and noted by the inbox: nothing more follows from it."""
    return Handled()
