"""Who brought a change about: the event that decides the state, not the one during whose settling it was learnt."""

from __future__ import annotations

import json

import pytest

from tests.store.making import about_repository, login, registration, settle_all
from worker.app import App

pytestmark = pytest.mark.usefixtures("server_program")


def changes(app: App) -> list[tuple[str, str]]:
    events = [json.loads(entry.event) for entry in app.feed.since(0)]
    return [(event["type"], event["data"]["cause"]["event"]) for event in events]


def test_a_login_is_not_the_cause_of_what_an_archiving_brought_about(app: App) -> None:
    """Given a login that tells a policy its repository, and the archiving of that repository waits behind it, when both
    are settled in one batch, then the disabling names the archiving.
    """
    settle_all(app, registration(app, "pol-1", repository_id=None))
    settle_all(app, login(app, "pol-1"), about_repository(app, "archived", "d-1", name="elsewhere"))
    assert changes(app)[1:] == [("policy.disabled", "repository.archived")]


def test_a_login_is_the_cause_of_what_it_brought_about(app: App) -> None:
    """Given something harmless was observed of a repository, when a login tells a policy that it is its own, then the
    change names the login.
    """
    settle_all(app, registration(app, "pol-1", repository_id=None))
    settle_all(app, about_repository(app, "unarchived", "d-1", name="elsewhere"))
    settle_all(app, login(app, "pol-1"))
    assert changes(app)[1:] == [("policy.activated", "login.succeeded")]


def test_a_registration_is_the_cause_where_it_learns_of_an_older_archiving(app: App) -> None:
    settle_all(app, about_repository(app, "archived", "d-1"))
    settle_all(app, registration(app, "pol-1"))
    assert changes(app) == [("policy.disabled", "policy.registered")]
