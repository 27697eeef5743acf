"""Who brought a change about: the event that decides the state, not the one during whose settling it was learnt."""

from __future__ import annotations

import json

import pytest

from tests.store.making import about_account, about_member, about_repository, login, plain, registration, settle_all
from tests.support import OWNER
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


def test_each_new_reason_in_the_history_names_its_own_source(app: App) -> None:
    """Given what two senders told before a policy was registered, then its first entry says whose word each reason is."""
    settle_all(app, about_repository(app, "archived", "d-1"), about_account(app, "account.locked", "maria", "d-2"))
    settle_all(app, registration(app, "pol-1"))
    home = app.keyspace.of(OWNER)
    (entry,) = app.policies.history("pol-1", home)
    assert {reason: (told["kind"], told["event"]) for reason, told in entry.sources.items()} == {
        "repository_archived": ("github", "repository.archived"),
        "creator_locked": ("registry", "account.locked"),
    }
    # What was there before is not new.
    settle_all(app, about_member(app, "member_removed", "d-3"))
    assert list(app.policies.history("pol-1", home)[0].sources) == ["creator_left_organization"]


def test_an_entry_of_a_former_release_is_read(app: App) -> None:
    settle_all(app, registration(app, "pol-1"))
    home = app.keyspace.of(OWNER)
    with plain(app) as redis:
        (written,) = redis.lrange(home.history("pol-1"), 0, -1)
        redis.lset(home.history("pol-1"), 0, json.dumps(json.loads(written)[:6]))
    (entry,) = app.policies.history("pol-1", home)
    assert (entry.type, entry.sources) == ("policy.provisioned", {})
