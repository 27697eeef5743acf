"""`tenure find`: whether an event arrived and what came of it, and whatever else an id or a name is of."""

from __future__ import annotations

import pytest

from tests.cli.running import Tenure
from tests.store.making import about_repository, letter, ping, put, settle_all, webhook
from worker.app import App
from worker.store.inbox import cloud_event_id

OWNER = 600613


@pytest.fixture
def registered(tenure: Tenure) -> Tenure:
    tenure.register("p1", owner_id=str(OWNER), repository_id="71")
    return tenure


def test_a_delivery_that_disabled_a_policy(registered: Tenure, app: App) -> None:
    settle_all(app, about_repository(app, "archived", "d-1", owner=OWNER, repository_id=71))
    ((found, received, kind, state, revisions, more, *_),) = registered.done("find", "d-1").rows
    assert (found, kind, state, revisions, more) == ("event", "github", "settled", "p1@2", "0")
    (told,) = registered.done("find", "d-1", "--json").objects
    assert told["received_at"] == received
    assert told["revisions"] == [{"policy_id": "p1", "revision": 2}]


def test_a_cloud_event_by_its_source_and_id(tenure: Tenure, app: App) -> None:
    event = letter(app, "account.locked", {"account": "x"}, "e 1", owner="x", kind="registry")
    settle_all(app, event._replace(event_id=cloud_event_id("urn:a registry", "e 1"), said=bytes(16)))
    for sought in ("e 1", "urn:a registry e 1"):
        (told,) = tenure.done("find", sought, "--json").objects
        assert (told["found"], told["state"], told["kind"]) == ("event", "settled", "registry")
    assert tenure("find", "urn:another e 1").code == 3


def test_what_waits_and_what_died(tenure: Tenure, app: App) -> None:
    wrong = webhook(app, "repository.archived", {"repository": {"id": "x"}}, "d-wrong")
    settle_all(app, wrong)
    put(app, ping(app, "d-1"))
    assert [row[3] for row in tenure.done("find", "d-1").rows] == ["waits"]
    (dead,) = tenure.done("find", "d-wrong", "--json").objects
    assert (dead["state"], dead["letter"]) == ("dead letter", wrong.event_id)
    assert dead["problem"].startswith("UnusableEventError: ")
    (by_id,) = tenure.done("find", wrong.event_id, "--json").objects
    assert by_id == {"found": "letter", "id": wrong.event_id, "delivery": "d-wrong"}


@pytest.mark.parametrize("sought", ["p1", str(OWNER), "71", "octo", "OCTO/widgets", "widgets", "acme", "alice"])
def test_a_policy_by_whatever_is_known_of_it(registered: Tenure, sought: str) -> None:
    (told,) = registered.done("find", sought, "--json").objects
    assert (told["found"], told["policy_id"], told["state"]) == ("policy", "p1", "provisional")


def test_a_replay(tenure: Tenure, app: App) -> None:
    settle_all(app, webhook(app, "repository.archived", {"repository": {"id": "x"}}, "d-wrong"))
    tenure("dead", "replay", "--all", "--apply", "--reason", "x")
    (batch,) = app.replays.newest(1)
    (told,) = tenure.done("find", batch, "--json").objects
    assert (told["found"], told["id"], told["state"]) == ("replay", batch, "ended")


def test_nothing_has_it(tenure: Tenure) -> None:
    ended = tenure("find", "d-1")
    assert (ended.code, ended.out) == (3, "")
    assert "nothing has this id or name; the ledger of events has every event since 2" in ended.err
