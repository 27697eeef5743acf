"""`POST /events`: CloudEvents from the registry and the exchange."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from handlers.base import Incoming
from handlers.table import EVENTS, handle
from tests.web.site import OPERATOR, REGISTRY, SECOND_REGISTRY, Site, until
from worker.lifecycle.facts import ObservationSource
from worker.store.inbox import identity
from worker.web import events
from worker.web.bodies import MAX_BODY

LARGEST = 2**63 - 1

REGISTERED: dict[str, object] = {
    "policy_id": "p-1",
    "name": "Release",
    "package_owner": {"account": "acme", "kind": "organization"},
    "created_by": {"account": "ada", "github_user_id": LARGEST},
    "github": {
        "repository_owner": "octo",
        "repository_owner_id": LARGEST - 1,
        "repository": "widgets",
        "repository_id": str(LARGEST - 2),
        "visibility": "private",
        "workflow_file": "release.yml",
        "environment": None,
    },
}
DATA: dict[str, dict[str, object]] = {
    "policy.registered": REGISTERED,
    "policy.updated": REGISTERED,
    "policy.renewed": {"policy_id": "p-1"},
    "policy.removed": {"policy_id": "p-1", "reason": "not needed"},
    "login.succeeded": {"policy_id": "p-1", "repository_id": 2, "repository_owner_id": 77, "jti": "j"},
    "login.refused": {"policy_id": "p-1", "code": "workflow_file", "ref": "refs/heads/main", "run_id": 12},
    "account.locked": {"account": "ada"},
    "account.unlocked": {"account": "ada"},
    "account.deleted": {"account": "ada"},
    "account.restored": {"account": "ada"},
    "package_owner.member_removed": {"package_owner": "acme", "account": "ada"},
    "package_owner.member_added": {"package_owner": "acme", "account": "ada"},
}


def cloud_event(kind: str = "policy.renewed", **changed: object) -> dict[str, object]:
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/registry",
        "type": kind,
        "time": "2026-01-31T12:00:00.123456Z",
        "data": DATA[kind],
        **changed,
    }
    return {name: value for name, value in event.items() if value is not ...}


def fields(response: object) -> list[str]:
    assert isinstance(response, dict)
    return [error["field"] for error in response["errors"]]


def test_every_type_has_a_model_and_an_example() -> None:
    assert set(events.MODELS) == set(EVENTS) == set(DATA)


@pytest.mark.parametrize("kind", DATA)
def test_an_event_is_taken_with_its_own_time(site: Site, kind: str) -> None:
    response = site.send(cloud_event(kind, id="e-9"))
    assert (response.status_code, response.json()) == (202, {"accepted": 1})
    (held,) = site.held()
    assert held["kind"] == (b"exchange" if kind.startswith("login.") else b"registry")
    assert (held["name"], held["delivery"]) == (kind.encode(), b"e-9")
    assert int(held["occurred_at"]) == 1769860800123456
    assert orjson.loads(held["body"]) == DATA[kind]
    handle(Incoming(ObservationSource("registry", "e-9", kind), 1, held["body"]))
    until(lambda: site.woken("events") == 1)


def test_no_digit_of_an_id_is_lost(site: Site) -> None:
    site.send(cloud_event("policy.registered"))
    body = site.held()[0]["body"]
    assert b'"github_user_id":9223372036854775807' in body
    assert b'"repository_owner_id":9223372036854775806' in body
    assert b'"repository_id":"9223372036854775805"' in body
    site.settle()
    view = site.http.get("/policies/p-1", headers={"Authorization": f"Bearer {REGISTRY}"}).json()["view"]
    assert (view["repository_owner_id"], view["repository_id"]) == (LARGEST - 1, LARGEST - 2)


def test_an_event_waits_where_another_of_its_id_would(site: Site) -> None:
    """Given two events of one id that are about different things, when they come, then the first waits and the other is refused."""
    assert site.send(cloud_event("account.locked")).status_code == 202
    assert site.send(cloud_event("policy.renewed")).status_code == 409
    (found,) = site.redis.scan_iter("tenure:{p*}:inbox:event:*")
    event_id = identity("cloudevent", "/registry", "e-1")
    assert found.decode() == site.app.keyspace.of(event_id).event(event_id)


@pytest.mark.parametrize("token", [REGISTRY, SECOND_REGISTRY])
def test_every_registry_token_is_right(site: Site, token: str) -> None:
    assert site.send(cloud_event(), token=token).status_code == 202


@pytest.mark.parametrize("token", [None, "canary-of-nobody", OPERATOR, REGISTRY[:-1], REGISTRY + "x", "canary é"])
def test_any_other_token_is_refused(site: Site, token: str | None) -> None:
    headers = {} if token is None else {b"Authorization": f"Bearer {token}".encode()}
    response = site.http.post("/events", content=b"canary", headers=headers)
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert response.headers["content-type"] == "application/problem+json"
    assert site.http.post("/events", headers={b"Authorization": f"Basic {token}".encode()}).status_code == 401


def test_the_token_comes_before_everything_that_looks_at_the_request(site: Site) -> None:
    assert site.send(b"canary", kind="text/plain", token=None).status_code == 401
    assert site.send(b"canary", kind="text/plain").status_code == 415
    assert site.send(b"canary").status_code == 400


@pytest.mark.parametrize("kind", ["application/json", "application/cloudevents", "application/cloudevents+xml"])
def test_another_content_type_is_refused(site: Site, kind: str) -> None:
    assert site.send(cloud_event(), kind=kind).status_code == 415


def test_a_charset_may_be_named(site: Site) -> None:
    assert site.send(cloud_event(), kind="application/cloudevents+json; charset=UTF-8").status_code == 202


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b"NaN", b'{"time": NaN}', b"\xff", b"[" * 100_000])
def test_what_is_not_an_object_is_refused(site: Site, body: bytes) -> None:
    assert site.send(body, kind=events.SINGLE).status_code == 400


@pytest.mark.parametrize("body", [b"", b"[", b"{}", b"1", b"[NaN]", b"\xff"])
def test_what_is_not_an_array_is_no_batch(site: Site, body: bytes) -> None:
    assert site.send(body, kind=events.BATCH).status_code == 400


def test_too_much_is_refused(site: Site) -> None:
    one = cloud_event()
    assert site.send([one] * (events.MAX_EVENTS + 1)).status_code == 413
    assert site.send(b" " * (MAX_BODY + 1)).status_code == 413
    assert site.held() == []


def test_a_batch_is_taken_whole_over_all_partitions(site: Site) -> None:
    batch = [cloud_event("account.locked", id=f"e-{i}", data={"account": f"a-{i}"}) for i in range(events.MAX_EVENTS)]
    assert site.send(batch).json() == {"accepted": events.MAX_EVENTS}
    assert len(site.held()) == events.MAX_EVENTS
    homes = {key[:13] for key in site.redis.scan_iter("tenure:{p*}:inbox:event:*", count=1000)}
    assert len(homes) == site.app.keyspace.partitions


def test_a_batch_with_one_bad_event_is_taken_not_at_all(site: Site) -> None:
    batch = [cloud_event("account.locked", id=f"e-{i}", data={"account": f"a-{i}"}) for i in range(100)]
    batch[57]["data"] = {"account": 5}
    response = site.send(batch)
    assert (response.status_code, fields(response.json())) == (422, ["events[57].data.account"])
    assert site.held() == []


def test_an_empty_batch_is_taken(site: Site) -> None:
    assert site.send([]).json() == {"accepted": 0}


def test_the_same_event_twice_is_held_once_and_counted_twice(site: Site) -> None:
    assert site.send([cloud_event(), cloud_event()]).json() == {"accepted": 2}
    assert site.send(cloud_event()).json() == {"accepted": 1}
    assert len(site.held()) == 1
    site.settle()
    assert site.send([cloud_event(), cloud_event(id="e-2")]).json() == {"accepted": 2}
    assert [held["delivery"] for held in site.held()] == [b"e-2"]


def test_the_same_id_from_another_source_is_another_event(site: Site) -> None:
    assert site.send([cloud_event(), cloud_event(source="/exchange")]).json() == {"accepted": 2}
    assert len(site.held()) == 2


def in_(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


BAD: list[tuple[dict[str, object], list[str]]] = [
    (cloud_event(specversion="0.3"), ["specversion"]),
    (cloud_event(specversion=...), ["specversion"]),
    (cloud_event(id=""), ["id"]),
    (cloud_event(id=5), ["id"]),
    (cloud_event(id="x" * 201), ["id"]),
    (cloud_event(source=...), ["source"]),
    (cloud_event(type="policy.invented"), ["type"]),
    (cloud_event(type=None), ["type"]),
    (cloud_event(time=...), ["time"]),
    (cloud_event(time="yesterday"), ["time"]),
    (cloud_event(time=1769860800), ["time"]),
    (cloud_event(time="2026-01-31"), ["time"]),
    (cloud_event(time="2026-01-31T12:00:00"), ["time"]),
    (cloud_event(time="2026-02-31T12:00:00Z"), ["time"]),
    (cloud_event(time="1969-12-31T23:59:59Z"), ["time"]),
    (cloud_event(data=...), ["data"]),
    (cloud_event(data=[]), ["data"]),
    (cloud_event(data="canary"), ["data"]),
    (cloud_event(data={}), ["data.policy_id"]),
    (cloud_event(data={"policy_id": " "}), ["data.policy_id"]),
    (cloud_event(id="", source="", time=""), ["id", "source", "time"]),
    (cloud_event("login.succeeded", data={"policy_id": "p", "repository_id": 2**63, "repository_owner_id": 1.0}),
     ["data.repository_id", "data.repository_owner_id", "data.jti"]),
    (cloud_event("policy.registered", data={**REGISTERED, "github": {"repository_owner_id": "canary"}}),
     ["data.github.repository_owner", "data.github.repository_owner_id", "data.github.repository",
      "data.github.workflow_file"]),
    (cloud_event("policy.registered", data={**REGISTERED, "package_owner": {"account": "acme", "kind": "canary"}}),
     ["data.package_owner.kind"]),
]  # fmt: skip


@pytest.mark.parametrize(("event", "named"), BAD)
def test_every_bad_field_is_named(site: Site, event: dict[str, object], named: list[str]) -> None:
    response = site.send(event)
    assert (response.status_code, fields(response.json())) == (422, named)
    assert "canary" not in response.text
    assert site.held() == []

    batch = site.send([cloud_event(id="good"), event])
    assert (batch.status_code, fields(batch.json())) == (422, [f"events[1].{field}" for field in named])
    assert site.held() == []


def test_what_is_no_event_in_a_batch_is_named(site: Site) -> None:
    response = site.send([cloud_event(), 5, None])
    assert (response.status_code, fields(response.json())) == (422, ["events[1]", "events[2]"])


def test_a_sender_may_be_ahead_by_five_minutes(site: Site) -> None:
    assert site.send(cloud_event(time=in_(290), id="1")).status_code == 202
    ahead = site.send(cloud_event(time=in_(310), id="2"))
    assert (ahead.status_code, fields(ahead.json())) == (422, ["time"])
    assert site.send(cloud_event(time="1970-01-01T00:00:00Z", id="3")).status_code == 202


def test_unknown_fields_are_tolerated(site: Site) -> None:
    event = cloud_event(data={"policy_id": "p", "new": {"a": [None]}}, traceparent="x", subject="p", dataschema="y")
    assert site.send(event).status_code == 202


def test_what_an_event_is_found_by_is_kept_with_it(site: Site) -> None:
    """If it becomes a dead letter, an operator wants to know whom it is about, without reading it."""
    site.send(cloud_event("policy.registered"))
    site.send(cloud_event("login.succeeded", id="e-2"))
    site.send(cloud_event("policy.renewed", id="e-3"))
    site.send(cloud_event("account.locked", id="e-4"))
    kept = {held["delivery"]: tuple(held.get(name) for name in ("source", "owner", "policy")) for held in site.held()}
    assert kept == {
        b"e-1": (b"/registry", str(LARGEST - 1).encode(), b"p-1"),
        b"e-2": (b"/registry", b"77", b"p-1"),
        b"e-3": (b"/registry", None, b"p-1"),
        b"e-4": (b"/registry", None, None),
    }
