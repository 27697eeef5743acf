"""The schemas accept what is really published and sent, and refuse what is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError
from referencing import Registry, Resource

from handlers.models import CloudEvent
from handlers.registry import ANY_ID, leaves_out_owner, with_owner
from tests.docs.markdown import DOCS, blocks, text
from tests.engines import plain_client
from tests.support import JSON, account, person, registration_data, repository
from worker.app import App
from worker.demo import payloads
from worker.demo.story import ADA, ENGINE, STRANGERS
from worker.lifecycle.decide import State
from worker.lifecycle.facts import DAY, SECOND
from worker.lifecycle.reasons import ADVISORIES, REASONS
from worker.lifecycle.views import ChangeType, View
from worker.local.valkey import EmbeddedStore
from worker.store.inbox import EVENTS, Envelope, identity
from worker.web.events import MAX_EVENTS, MODELS
from worker.web.owners import REGISTRATIONS

SCHEMAS = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (DOCS / "schemas").glob("*.json")}
REGISTRY: Registry[Any] = Registry().with_resources(
    (schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()
)


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(SCHEMAS[name], registry=REGISTRY, format_checker=Draft202012Validator.FORMAT_CHECKER)


def fits(name: str, document: object) -> bool:
    return bool(validator(name).is_valid(document))


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_each_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$id"].endswith(f"/{name}")


# What is published

Said: TypeAlias = tuple[str, str, object, int | None]
"""Name, kind, body and time of an event."""


def _tell(app: App, number: int, said: Said) -> None:
    name, kind, body, occurred_at = said
    owner = ENGINE.owner.id
    letter = Envelope(
        partition=app.keyspace.of(owner),
        event_id=identity(kind, str(number)),
        kind=kind,
        name=name,
        delivery=f"d-{number}",
        body=json.dumps(body).encode(),
        occurred_at=occurred_at,
    )
    app.inbox.put([[letter]])
    app.processor("test").drain(app.keyspace.of(owner), EVENTS)


def _story(now: int) -> Iterator[Said]:
    """Enough for a change event of every type."""
    engine, mill = ENGINE, ENGINE._replace(id=2**63 - 1, name="mill")
    named = {"policy_id": "mill"}
    unbound = payloads.registration("unbound", engine._replace(name="loom"), ADA)
    cast("dict[str, object]", unbound["github"]).update(repository_id=None, visibility=None)
    yield "policy.registered", "registry", payloads.registration("engine", engine, ADA), now
    yield "policy.registered", "registry", unbound, now
    yield (
        "policy.registered",
        "registry",
        payloads.registration("mill", mill, ADA, environment="release"),
        now - 8 * DAY,
    )
    yield "policy.registered", "registry", payloads.registration("due", mill, ADA), now - 6 * DAY
    yield "repository.archived", "github", payloads.about_repository("archived", engine, ADA), None
    yield "organization.member_removed", "github", payloads.about_member("member_removed", engine.owner, ADA, ADA), None
    yield "repository.unarchived", "github", payloads.about_repository("unarchived", engine, ADA), None
    yield "organization.member_added", "github", payloads.about_member("member_added", engine.owner, ADA, ADA), None
    yield (
        "installation.suspend",
        "github",
        {"installation": {"account": account(engine.owner.id, engine.owner.login)}},
        None,
    )
    yield "login.succeeded", "exchange", payloads.login("engine", engine, 1), now + SECOND
    yield "login.succeeded", "exchange", payloads.login("unbound", engine._replace(id=77), 2), now + SECOND
    yield "policy.renewed", "registry", named, now
    changes = payloads.renamed_from(mill.name)
    renamed = payloads.about_repository("renamed", mill._replace(name="windmill"), ADA, changes)
    yield "repository.renamed", "github", renamed, None
    moved = payloads.transferred_from(engine.owner)
    gone = payloads.about_repository("transferred", engine._replace(owner=STRANGERS), ADA, moved)
    yield "repository.transferred", "github", gone, None
    yield (
        "repository.publicized",
        "github",
        payloads.about_repository("publicized", mill._replace(private=False), ADA),
        None,
    )
    yield "policy.held", "operator", {**named, "reason": "a look"}, now + SECOND
    yield "policy.removed", "registry", named, now + 2 * SECOND
    yield "policy.registered", "registry", payloads.registration("idle", engine._replace(id=78), ADA), now


@pytest.fixture
def published(app: App, store: EmbeddedStore) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Change events and views of a story that was settled on a real store, read with a plain client."""
    now = app.status.now()
    for number, said in enumerate(_story(now)):
        _tell(app, number, said)
    app.settler.settle_due(100)
    with plain_client(store.url) as client:
        streams = [f"tenure:{{p{number:02d}}}:changes" for number in range(app.settings.partitions)]
        entries = [entry for stream in streams for entry in cast("list[Any]", client.xrange(stream))]
        keys = [
            key for kind in ("repository", "repository-name") for key in client.scan_iter(f"tenure:{{p*}}:{kind}:*")
        ]
        views = [view for key in keys for view in cast("list[bytes]", client.hvals(key))]
    return [json.loads(fields[b"event"]) for _, fields in entries], [json.loads(view) for view in views]


def test_what_is_published_fits(published: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    events, views = published
    assert {event["type"] for event in events} == {change.value for change in ChangeType}
    assert {view["state"] for view in views} == {"active", "disabled", "provisional"}
    for event in events:
        validator("change-event.json").validate(event)
        validator("view.json").validate(event["data"]["view"])
    for view in views:
        validator("view.json").validate(view)


def test_each_part_of_a_view_and_of_a_change_event_is_needed(
    published: tuple[list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    events, views = published
    for whole, name in ((views[0], "view.json"), (events[0], "change-event.json")):
        for part in whole:
            assert not fits(name, {key: value for key, value in whole.items() if key != part}), part


BAD_VIEWS: list[dict[str, object]] = [
    {"revision": 0}, {"state": "retired"}, {"usable": "yes"}, {"usable": False}, {"usable_until": 5},
    {"usable_until": "2026-11-30"}, {"reasons": ["it_rains"]}, {"reasons": ["owner_deleted"]}, {"advisories": ["x"]},
    {"repository_id": 2**63}, {"repository_id": "7"}, {"repository_owner_id": 7.5}, {"visibility": "secret"},
    {"updated_at": "2026-11-23T08:09:36+00:00"}, {"package_owner": {"account": "a"}}, {"state": "disabled"},
]  # fmt: skip


def test_a_wrong_view_is_refused(published: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    good = next(view for view in published[1] if view["state"] == "active" and view["usable_until"])
    for wrong in BAD_VIEWS:
        assert not fits("view.json", {**good, **wrong}), wrong


BAD_EVENTS: list[tuple[list[str], object]] = [
    (["id"], "no-revision"), (["id"], "policy:0"), (["type"], "policy.sold"), (["specversion"], "0.3"),
    (["source"], "elsewhere"), (["data", "previous_state"], "removed"), (["data", "cause", "kind"], "rumour"),
    (["data", "cause", "event"], ""), (["data", "view", "usable_until"], 7), (["data", "view", "state"], "removed"),
    (["type"], "policy.removed"),
]  # fmt: skip


def test_a_wrong_change_event_is_refused(published: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    good = next(event for event in published[0] if event["type"] == "policy.activated")
    for path, value in BAD_EVENTS:
        wrong = copy.deepcopy(good)
        inner = wrong
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value
        assert not fits("change-event.json", wrong), path


def test_a_view_that_is_closed_to_the_first_version_fits(
    published: tuple[list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    for state, sealed, right in (("active", False, True), ("active", True, False), ("disabled", False, False)):
        view = next(view for view in published[1] if view["state"] == state)
        assert fits("view.json", {**view, "usable": sealed, "usable_v2": True}) == right, (state, sealed)


def test_the_view_schema_knows_exactly_the_fields_of_a_view() -> None:
    schema = SCHEMAS["view.json"]
    # In the feed there is one more, where a reader of the first version would be let through.
    assert set(schema["properties"]) == {*View.__annotations__, "usable_v2"}
    # What is asked of a token is there only where it is.
    assert schema["required"] == [name for name in View.__annotations__ if name in View.__required_keys__]
    properties = schema["properties"]
    assert properties["reasons"]["items"]["enum"] == list(REASONS)
    assert properties["advisories"]["items"]["enum"] == list(ADVISORIES)
    assert properties["state"]["enum"] == [state.value for state in State]
    assert SCHEMAS["change-event.json"]["properties"]["type"]["enum"] == [change.value for change in ChangeType]


def test_the_examples_of_the_contract_fit() -> None:
    examples = [json.loads(block.code) for block in blocks(text("docs/contract.md")) if block.language == "json"]
    views = [example for example in examples if "policy_id" in example and "usable_until" in example]
    assert len(views) == 1
    validator("view.json").validate(views[0])


# What is sent: schema and door agree

DATA: dict[str, dict[str, JSON]] = {
    "policy.registered": registration_data(),
    "policy.updated": registration_data(repository_id=None, visibility=None, environment="release"),
    "policy.renewed": {"policy_id": "pol-1"},
    "policy.removed": {"policy_id": "pol-1", "reason": "retired"},
    "login.succeeded": {
        "policy_id": "pol-1",
        "repository_id": "9223372036854775807",
        "repository_owner_id": 41,
        "jti": "j",
        "ref": "refs/tags/v1",
        "environment": "release",
        "caller": "octo/widgets/.github/workflows/release.yml@refs/tags/v1",
        "called": "octo/widgets/.github/workflows/release.yml@refs/tags/v1",
        "runner": "github-hosted",
    },
    "login.refused": {
        "policy_id": "pol-1",
        "code": "workflow_file",
        "ref": "refs/heads/main",
        "run_id": 4711,
        "actor": "maria-gh",
    },
    "account.locked": {"account": "maria"},
    "account.unlocked": {"account": "maria"},
    "account.deleted": {"account": "maria"},
    "account.restored": {"account": "maria"},
    "package_owner.member_removed": {"package_owner": "acme", "account": "maria"},
    "package_owner.member_added": {"package_owner": "acme", "account": "maria"},
}

WRONG: list[object] = [None, "", "   ", "x" * 1001, 7, 7.5, -1, 2**63, "9223372036854775808", True, [], {}]


def _paths(data: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in data.items():
        yield (*before, name)
        if isinstance(value, dict):
            yield from _paths(value, (*before, name))


def _changed(data: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    changed = copy.deepcopy(data)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    if value is _MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


_MISSING = object()


def _door_takes(model: type[BaseModel], data: object) -> bool:
    try:
        model.model_validate_json(json.dumps(data))
    except ValidationError:
        return False
    return True


def _envelope(kind: str, data: object) -> dict[str, Any]:
    return {
        "specversion": "1.0", "id": "e-1", "source": "urn:example:registry", "type": kind,
        "time": "2026-11-23T08:09:36.5+01:00", "data": data, "datacontenttype": "application/json",
    }  # fmt: skip


def test_every_type_has_data_here() -> None:
    assert list(DATA) == list(MODELS) == SCHEMAS["event.json"]["properties"]["type"]["enum"]
    assert SCHEMAS["event-batch.json"]["maxItems"] == MAX_EVENTS


@pytest.mark.parametrize("kind", DATA)
def test_schema_and_door_agree_on_data(kind: str) -> None:
    good = DATA[kind]
    assert fits("event.json", _envelope(kind, good))
    assert fits("event-batch.json", [_envelope(kind, good)])
    refused = 0
    for path in _paths(good):
        for value in (_MISSING, *WRONG):
            data = _changed(good, path, value)
            # Where GitHub can be asked, an owner's id may be left out: the rest is looked at with any.
            asked = kind in REGISTRATIONS and leaves_out_owner(data)
            taken = _door_takes(MODELS[kind], with_owner(data, ANY_ID) if asked else data)
            # Beyond 2^63 a string of digits has no pattern, and a repository or workflow must be one after tidying up.
            if taken or not isinstance(value, str):
                assert fits("event.json", _envelope(kind, data)) == taken, (path, value)
            refused += not taken
    assert refused


@pytest.mark.parametrize("path", ["specversion", "id", "source", "type", "time", "data"])
def test_schema_and_door_agree_on_the_envelope(path: str) -> None:
    good = _envelope("account.locked", {"account": "maria"})
    wrong = [_MISSING, None, "", 7, [], "x" * 1001, "2026-11-23", 1_772_366_400, "2026-11-23T08:09:36"]
    refused = 0
    for value in wrong:
        event = _changed(good, (path,), value)
        taken = _door_takes(CloudEvent, event) and (path != "type" or event["type"] in MODELS)
        if taken or value != "2026-11-23T08:09:36":
            assert fits("event.json", event) == taken, value
        refused += not taken
    assert refused


def test_real_shaped_webhooks_are_no_registry_events() -> None:
    assert not fits(
        "event.json", {"action": "archived", "repository": repository(), "sender": person(), "x": account()}
    )
