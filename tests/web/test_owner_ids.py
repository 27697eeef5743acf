"""Registrations that leave out the GitHub owner's id: who has the login is asked once, and kept with the event."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import orjson
import pytest
from pydantic import SecretStr

from tests.docs.test_schemas import validator
from tests.store.making import feed
from tests.web.site import REGISTRY, Site, settings_for, site_on, until
from tests.web.test_events import REGISTERED, cloud_event, fields
from worker.app import build
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.lifecycle.views import View
from worker.local.valkey import EmbeddedStore
from worker.operators.find import find
from worker.store.inbox import EVENTS
from worker.verify import owners
from worker.verify.owners import MOST_LOGINS, OwnerIds
from worker.web import owners as web_owners

OCTO, HEX, ADA = 41, 42, 43
HERE = 900
BY_LOGIN = "GET /users/{login}"
FIELD = "data.github.repository_owner_id"


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    """A GitHub with the organisation octo, where the App is installed, and the user ada, who has not heard of it."""
    with FakeGitHub() as github:
        github.world.add_org("octo", account_id=OCTO)
        github.world.add_user("ada", account_id=ADA)
        github.world.install(OCTO, installation_id=HERE)
        yield github


def access(github: FakeGitHub) -> dict[str, object]:
    """The settings that let Tenure ask it."""
    return {
        "github_app_id": str(github.app_id),
        "github_private_key": SecretStr(github.private_key_pem),
        "github_api_url": github.url,
    }


@pytest.fixture
def here(site: Site, store: EmbeddedStore, fake: FakeGitHub, tmp_path: Path) -> Iterator[Site]:
    """A site on an empty store that can ask GitHub."""
    with site_on(store, tmp_path, **access(fake)) as knowing:
        yield knowing


def now(**before: float) -> str:
    return (datetime.now(UTC) - timedelta(**before)).isoformat()


def registered(
    policy_id: str = "p-1", login: str = "octo", *, time: str = "", owner: object = ..., **changed: object
) -> dict[str, object]:
    github = {
        **cast("dict[str, object]", REGISTERED["github"]),
        "repository_owner": login,
        "repository_owner_id": owner,
    }
    data = {**REGISTERED, "policy_id": policy_id, "github": {k: v for k, v in github.items() if v is not ...}}
    return cloud_event("policy.registered", **{"id": f"of {policy_id}", "time": time or now(), "data": data, **changed})


def waits_for(site: Site, content: object) -> httpx.Response:
    """Send it as who waits for what becomes of it, with a worker at work."""
    answers: list[httpx.Response] = []

    def send() -> None:
        batched = "-batch" if isinstance(content, list) else ""
        headers = {
            "Content-Type": f"application/cloudevents{batched}+json",
            "Authorization": f"Bearer {REGISTRY}",
            "Prefer": "wait=20",
        }
        answers.append(httpx.post(f"{site.url}/events", content=orjson.dumps(content), headers=headers, timeout=60))

    sender = threading.Thread(target=send)
    sender.start()
    while sender.is_alive():
        site.settle()
        sender.join(0.02)
    return answers[0]


def send_to(site: Site, event: object) -> httpx.Response:
    """Send it by a connection of its own."""
    headers = {"Content-Type": "application/cloudevents+json", "Authorization": f"Bearer {REGISTRY}"}
    return httpx.post(f"{site.url}/events", content=orjson.dumps(event), headers=headers, timeout=60)


def view(site: Site, policy_id: str = "p-1") -> View:
    policy = site.app.policies.load([policy_id])[policy_id].policy
    assert policy is not None
    assert policy.view is not None
    return policy.view


def refusals(site: Site) -> list[dict[str, Any]]:
    return [event for event in feed(site.app) if event["type"] == "registration.refused"]


@pytest.mark.parametrize("owner", [..., None])
@pytest.mark.parametrize("login", ["octo", "OCTO", "https://github.com/octo/widgets"])
def test_the_login_is_asked_about_and_its_id_kept(here: Site, fake: FakeGitHub, login: str, owner: object) -> None:
    assert here.send(registered(login=login, owner=owner)).json() == {"accepted": 1}
    (held,) = here.held()
    body = json.loads(held["body"])["github"]
    assert (body["repository_owner_id"], body["repository_owner"]) == (OCTO, login)
    assert held["owner"] == str(OCTO).encode()
    here.settle()
    assert view(here)["repository_owner_id"] == OCTO
    assert fake.calls[BY_LOGIN] == 1


def test_an_owner_without_the_app_is_found_by_any_installation(here: Site) -> None:
    here.send(registered(login="ada"))
    here.settle()
    assert view(here)["repository_owner_id"] == ADA


@pytest.mark.parametrize("settles", [True, False])
def test_a_login_that_changes_hands_later_changes_nothing(here: Site, fake: FakeGitHub, *, settles: bool) -> None:
    """Given a registration by login, when somebody else takes the login, then a repetition of the event is what it was."""
    event = registered()
    here.send(event)
    if settles:
        here.settle()
    fake.world.rename_account(OCTO, "octo-labs")
    fake.world.add_user("octo", account_id=HEX)
    assert here.send(event).json() == {"accepted": 1}
    here.settle()
    assert (view(here)["repository_owner_id"], view(here)["revision"]) == (OCTO, 1)
    assert fake.calls[BY_LOGIN] == 1, "what is known is not asked again"


def test_a_repetition_long_after_is_no_refusal(here: Site) -> None:
    """Its answer is what became of the event, though its time is long gone, and whether or not GitHub answers."""
    event = registered(time=now(minutes=9.9))
    first = waits_for(here, event)
    assert first.json()["events"][0]["state"] == "settled"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OwnerIds, "find", lambda *_: pytest.fail("asked again"))
        assert waits_for(here, event).json() == first.json()


def test_another_body_under_its_id_is_a_conflict(here: Site) -> None:
    event = registered()
    here.send(event)
    named = registered(time=cast("str", event["time"]), owner=OCTO)
    assert here.send(named).status_code == 409, "it says an id, where the first one said none"


def test_an_unknown_login_is_refused_by_an_event_that_says_so(here: Site, fake: FakeGitHub) -> None:
    """Given a login that nobody has, when a policy is registered with it, then the feed says so once, and there is no policy."""
    event = registered(login="nobody-has-it")
    answer = waits_for(here, event)
    assert answer.status_code == 200
    (told,) = answer.json()["events"]
    assert (told["state"], told["revisions"], told["code"]) == ("refused", [], "unknown_owner")
    assert "github.repository_owner" in told["message"]
    assert waits_for(here, event).json() == answer.json()
    assert fake.calls[BY_LOGIN] == 1
    (refused,) = refusals(here)
    assert here.app.status.counters()["refused"] == 1
    assert (refused["subject"], refused["data"]["code"]) == ("p-1", "unknown_owner")
    assert refused["data"]["cause"] == {"kind": "registry", "id": "of p-1", "event": "policy.registered"}
    assert refused["data"]["source"] == "/registry"
    validator("feed-notice.json").validate(refused)
    assert here.app.policies.load(["p-1"])["p-1"].policy is None
    assert not here.held()


def test_who_looks_for_a_refused_event_sees_that_it_is(here: Site) -> None:
    here.send(registered(login="nobody-has-it"))
    here.settle()
    (entry,) = find(here.app, "/registry of p-1").events
    assert (entry.state, entry.problem, entry.came) == ("refused", "unknown_owner", ())


def test_what_is_registered_too_late_is_refused_without_asking(here: Site, fake: FakeGitHub) -> None:
    answer = waits_for(here, registered(time=now(minutes=10.1)))
    (told,) = answer.json()["events"]
    assert (told["state"], told["code"]) == ("refused", "resolved_too_late")
    assert fake.calls[BY_LOGIN] == 0
    assert [event["data"]["code"] for event in refusals(here)] == ["resolved_too_late"]


def test_an_update_by_the_same_login_keeps_the_owner_that_the_policy_has(here: Site, fake: FakeGitHub) -> None:
    """Given a policy whose owner was renamed since, and whose login somebody else has taken, when it is updated by login, then it
    does not become the stranger's; nor is an update too late.
    """
    here.send(registered())
    here.settle()
    fake.world.rename_account(OCTO, "octo-labs")
    fake.world.add_user("octo", account_id=HEX)
    for number, before in enumerate((0, 60)):
        update = registered(login="Octo", id=f"update-{number}", type="policy.updated", time=now(minutes=before))
        cast("dict[str, object]", update["data"])["name"] = f"Release {number}"
        assert here.send(update).status_code == 202
        here.settle()
    assert (view(here)["repository_owner_id"], refusals(here)) == (OCTO, [])
    assert fake.calls[BY_LOGIN] == 1
    here.send(registered(login="ada", id="another", type="policy.updated"))
    here.settle()
    assert view(here)["repository_owner_id"] == ADA, "another login is asked about"


def test_an_update_is_refused_and_leaves_the_policy_as_it_was(here: Site) -> None:
    here.send(registered())
    here.settle()
    before = view(here)
    here.send(registered(login="nobody-has-it", id="update", type="policy.updated"))
    here.settle()
    assert view(here) == before
    (refused,) = refusals(here)
    assert refused["data"]["cause"]["event"] == "policy.updated"


def test_a_bad_login_of_a_batch_keeps_nothing_else(here: Site, fake: FakeGitHub) -> None:
    """Each login is asked about once, also if many events name it."""
    batch = [registered(f"p-{n}", login) for n, login in enumerate(["octo", "nobody", "Octo", "ada", "no-body--"])]
    batch.append(registered("named", owner=OCTO))
    told = waits_for(here, batch).json()["events"]
    assert [event["state"] for event in told] == ["settled", "refused", "settled", "settled", "refused", "settled"]
    assert fake.calls[BY_LOGIN] == 4
    assert {event["subject"] for event in refusals(here)} == {"p-1", "p-4"}


def test_wrong_fields_are_named_before_anybody_is_asked(here: Site, fake: FakeGitHub) -> None:
    wrong = registered()
    cast("dict[str, Any]", wrong["data"])["github"].pop("workflow_file")
    response = here.send([wrong, registered("p-2")])
    assert (response.status_code, fields(response.json())) == (422, ["events[0].data.github.workflow_file"])
    assert (fake.calls[BY_LOGIN], here.held()) == (0, [])


@pytest.mark.parametrize("fault", ["reset", "status", "primary_limit", "wrong_type"])
def test_while_github_does_not_answer_nothing_is_taken(here: Site, fake: FakeGitHub, fault: Any) -> None:
    fake.faults.add(Fault(kind=fault, route=BY_LOGIN))
    response = here.send([registered(), registered("named", owner=OCTO)])
    assert (response.status_code, response.json()["type"]) == (503, "urn:tenure:problem:github")
    assert int(response.headers["retry-after"]) >= 1
    assert here.held() == []
    assert here.send(registered("named", owner=OCTO)).status_code == 202, "what says its id does not need GitHub"


def test_an_installation_that_lets_nobody_in_is_not_asked_twice(here: Site, fake: FakeGitHub) -> None:
    """Given two installations, one of them suspended since the list was read, then the other one answers."""
    fake.world.install(ADA, installation_id=901)
    assert here.send(registered("first")).status_code == 202
    fake.world.suspend(HERE)
    fake.rotate_tokens()
    assert here.send(registered("second")).status_code == 202
    here.settle()
    assert view(here, "second")["repository_owner_id"] == OCTO


def test_where_nobody_has_the_app_the_id_is_required(here: Site, fake: FakeGitHub) -> None:
    fake.world.uninstall(HERE)
    response = here.send(registered())
    assert (response.status_code, fields(response.json())) == (422, [FIELD])
    assert "installation" in response.json()["errors"][0]["message"]
    assert here.held() == []


def test_without_access_to_github_the_id_is_required_and_the_error_says_why(site: Site) -> None:
    response = site.send([registered(), registered("p-2", owner=None)])
    assert response.status_code == 422
    assert fields(response.json()) == [f"events[0].{FIELD}", f"events[1].{FIELD}"]
    assert all("TENURE_GITHUB_APP_ID" in error["message"] for error in response.json()["errors"])


def test_half_of_an_installations_calls_are_left_to_verifying(here: Site, fake: FakeGitHub) -> None:
    """Given that GitHub has told of a budget that is half used, when registrations come, then they are sent away."""
    fake.limits.set(HERE, limit=10, remaining=5)
    assert here.send(registered("first")).status_code == 202, "what was not asked yet is not known"
    response = here.send(registered("second"))
    assert (response.status_code, response.json()["type"]) == (503, "urn:tenure:problem:github")
    assert fake.calls[BY_LOGIN] == 1


def test_one_request_asks_about_so_many_logins_and_no_more(here: Site, fake: FakeGitHub) -> None:
    batch = [registered(f"p-{n}", f"login-{n}") for n in range(MOST_LOGINS + 1)]
    response = here.send(batch)
    assert response.status_code == 422
    assert fields(response.json()) == [f"events[{MOST_LOGINS}].{FIELD}"]
    assert fake.calls[BY_LOGIN] == 0
    assert here.send(batch[:-1]).status_code == 202
    assert fake.calls[BY_LOGIN] == MOST_LOGINS


def test_the_feed_over_http_tells_it_to_whom_it_concerns(here: Site) -> None:
    """Given a refusal, then it is told to whoever asks for all, for its policy or for its type, and to no owner."""
    cursor = here.http.get("/policies", headers={"Authorization": f"Bearer {REGISTRY}"}).json()["cursor"]
    # Whichever partition it is in.
    for n in range(8):
        here.send(registered(f"p-{n}", login="nobody-has-it"))
    here.settle()

    def told(**params: object) -> set[str]:
        response = here.http.get(
            "/changes", params=cast("dict[str, str]", {"cursor": cursor, **params}),
            headers={"Authorization": f"Bearer {REGISTRY}"},
        )  # fmt: skip
        assert response.status_code == 200
        return {event["subject"] for event in response.json()["changes"] if event["type"] == "registration.refused"}

    everyone = {f"p-{n}" for n in range(8)}
    assert told() == everyone
    assert told(type="registration.refused") == everyone
    assert told(policy="p-3") == {"p-3"}
    assert told(owner=OCTO) == told(type="switch.closed") == set()


def test_a_dead_letter_of_it_is_no_other_event(here: Site) -> None:
    """Given a registration that was resolved and given up on, when it is sent again, then it has the id that was found."""
    event = registered()
    here.send(event)
    for partition in here.app.keyspace.all():
        for held in here.app.inbox.claim(partition, EVENTS, "test", 10).events:
            here.app.inbox.fail(held, error="E", message="m", trace="", worker="test", now=1, final=True)
    assert here.send(event).status_code == 202
    here.settle()
    assert view(here)["repository_owner_id"] == OCTO


def test_the_list_of_installations_is_read_where_nobody_has(
    site: Site, store: EmbeddedStore, fake: FakeGitHub, tmp_path: Path
) -> None:
    """Given a store in which no verifier ever ran, then who has the App is asked first."""
    app = build(settings_for(store, tmp_path, **access(fake)))
    with OwnerIds.of(app, "github") as asking:
        assert asking.find(["octo", "nobody"]) == {"octo": OCTO, "nobody": None}
    app.broker.close()
    app.client.redis.close()


def test_while_github_hangs_nobody_else_waits(here: Site, fake: FakeGitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a GitHub that says nothing, when more ask than can be looked up at once, then each is sent away in time, and an
    event that says its id is taken meanwhile.
    """
    for module in (owners, web_owners):
        monkeypatch.setattr(module, "SECONDS", 1.5)
    fake.faults.add(Fault(kind="stall", route=BY_LOGIN, seconds=30.0))
    with ThreadPoolExecutor(12) as senders:
        waiting = [senders.submit(send_to, here, registered(f"p-{n}")) for n in range(12)]
        until(lambda: fake.calls[BY_LOGIN] > 0)
        assert here.send(registered("named", owner=OCTO)).status_code == 202
        assert not all(each.done() for each in waiting)
        assert {each.result(20).status_code for each in waiting} == {503}
    fake.faults.heal()
    here.settle()
    assert here.send(registered("later")).status_code == 202


def test_one_event_sent_many_times_at_once_is_refused_once(here: Site) -> None:
    event = registered(login="nobody-has-it")
    with ThreadPoolExecutor(8) as senders:
        answers = list(senders.map(lambda _: send_to(here, event), range(24)))
    assert {answer.status_code for answer in answers} == {202}
    here.settle()
    assert len(refusals(here)) == 1
    assert waits_for(here, event).json()["events"][0]["state"] == "refused"
