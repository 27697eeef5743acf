"""What several events of one batch make of a policy, while others settle it, too."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.store.making import about_account, about_repository, put, registration, view
from tests.support import OWNER
from worker.app import App
from worker.store.inbox import EVENTS
from worker.store.policies import Commit, Policies

pytestmark = pytest.mark.usefixtures("server_program")


def test_an_event_that_adds_nothing_to_a_step_that_is_lost_is_not_lost_with_it(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a policy that owes another look at what is remembered, and two events of one batch, of which the first finds
    the second's there, when another worker, which looked before, writes in between, then both count.
    """
    home, elsewhere = app.keyspace.of(OWNER), app.keyspace.of("maria")
    put(app, registration(app, "pol-1"))
    one, two = app.processor("one"), app.processor("two")
    one.process(app.inbox.claim(home, EVENTS, "one", 1))
    put(app, about_account(app, "account.unlocked", "maria"), about_account(app, "account.locked", "maria"))
    put(app, about_repository(app, "unarchived", "d-1"))
    write, held, told = Policies.commit, list[tuple[Policies, Sequence[Commit]]](), list[list[bool | str]]()

    def between(policies: Policies, commits: Sequence[Commit]) -> list[bool | str]:
        if not told and not held:
            held.append((policies, commits))
            one.process(app.inbox.claim(elsewhere, EVENTS, "one", 2))
            return told[0]
        if not told:
            told.append(write(*held[0]))
        return write(policies, commits)

    monkeypatch.setattr(Policies, "commit", between)
    two.process(app.inbox.claim(home, EVENTS, "two", 1))
    seen = view(app, "pol-1")
    assert told == [[True]]
    assert seen is not None
    assert seen["reasons"] == ["creator_locked"]
