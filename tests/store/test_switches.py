"""What is settled while a switch is closed."""

from __future__ import annotations

from tests.store.making import about_repository, dead_letters, idle, login, registration, settle_all
from tests.support import OWNER
from worker.app import App
from worker.store.switches import Scope


def test_what_publishes_nothing_is_settled_under_a_switch_too(app: App) -> None:
    """Given an owner that is held, when a login tells nothing new and a webhook does, then both are settled."""
    settle_all(app, registration(app, "pol-1"), login(app, "pol-1", "first"))
    app.switches.close(Scope("owner", str(OWNER)), reason="r", by="maria", at=app.status.now(), request_id="r-1")
    settle_all(app, login(app, "pol-1", "second"))
    settle_all(app, about_repository(app, "archived", "archived"))
    assert idle(app)
    assert dead_letters(app) == []
    policy = app.policies.load(["pol-1"])["pol-1"].policy
    assert policy is not None
    assert policy.view is not None
    assert policy.view["state"] == "disabled"
