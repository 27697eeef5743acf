"""The AsyncAPI document is whole, and describes what is really published."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from schedules.jobs import FEED_KEPT
from tests.docs.markdown import DOCS
from tests.docs.test_schemas import SCHEMAS, published, validator  # noqa: F401 - a fixture
from tests.engines import plain_client
from worker.app import App
from worker.lifecycle.facts import DAY
from worker.local.valkey import EmbeddedStore

DOCUMENT: dict[str, Any] = json.loads((DOCS / "asyncapi.json").read_text(encoding="utf-8"))

REFERENCE = {
    "type": "object",
    "required": ["$ref"],
    "properties": {"$ref": {"type": "string"}},
    "additionalProperties": False,
}
STRUCTURE: dict[str, Any] = {
    "type": "object",
    "required": ["asyncapi", "info", "servers", "channels", "operations", "components"],
    "additionalProperties": False,
    "properties": {
        "asyncapi": {"const": "3.0.0"},
        "id": {"type": "string", "format": "uri"},
        "info": {"type": "object", "required": ["title", "version"]},
        "defaultContentType": {"type": "string"},
        "servers": {"additionalProperties": {
            "type": "object", "required": ["host", "protocol"], "additionalProperties": False,
            "properties": {name: {"type": "string"} for name in ("host", "protocol", "pathname", "description")},
        }},
        "channels": {"additionalProperties": {
            "type": "object", "required": ["address", "messages"], "additionalProperties": False,
            "properties": {
                **{name: {"type": "string"} for name in ("address", "title", "summary", "description")},
                "servers": {"type": "array", "items": REFERENCE},
                "messages": {"type": "object", "minProperties": 1, "additionalProperties": REFERENCE},
                "parameters": {"additionalProperties": {
                    "type": "object", "additionalProperties": False,
                    "properties": {
                        "description": {"type": "string"}, "default": {"type": "string"},
                        "examples": {"type": "array", "items": {"type": "string"}},
                    },
                }},
            },
        }},
        "operations": {"additionalProperties": {
            "type": "object", "required": ["action", "channel"], "additionalProperties": False,
            "properties": {
                "action": {"enum": ["send", "receive"]}, "channel": REFERENCE,
                "messages": {"type": "array", "items": REFERENCE},
                **{name: {"type": "string"} for name in ("title", "summary", "description")},
            },
        }},
        "components": {"type": "object", "properties": {"messages": {"additionalProperties": {
            "type": "object", "required": ["payload"], "additionalProperties": False,
            "properties": {
                **{name: {"type": "string"} for name in ("name", "title", "summary", "contentType")},
                "payload": {"type": "object"}, "examples": {"type": "array"},
                "correlationId": {"type": "object", "required": ["location"]},
            },
        }}}},
    },
}  # fmt: skip
"""The parts of AsyncAPI 3.0 that the document uses, with nothing beside them."""


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield str(part["$ref"])
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def found(reference: str) -> object:
    """What a reference leads to."""
    if not reference.startswith("#/"):
        return SCHEMAS[reference.removeprefix("schemas/")]
    place: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        place = place[step]
    return place


def test_it_has_the_structure_of_an_asyncapi_document() -> None:
    Draft202012Validator(STRUCTURE).validate(DOCUMENT)
    assert DOCUMENT["info"]["version"] == version("tenure")
    for reference in references(DOCUMENT):
        assert found(reference), reference
    for channel in DOCUMENT["channels"].values():
        assert set(re.findall(r"\{(\w+)\}", channel["address"])) == set(channel["parameters"])
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])


def test_its_examples_are_messages() -> None:
    examples = DOCUMENT["components"]["messages"]["change"]["examples"]
    assert examples
    for example in examples:
        validator("change-event.json").validate(example["payload"])


def test_it_describes_what_is_really_published(
    published: tuple[list[dict[str, Any]], list[dict[str, Any]]],  # noqa: F811
    app: App,
    store: EmbeddedStore,
) -> None:
    channel = DOCUMENT["channels"]["changes"]
    default = channel["parameters"]["partition"]["default"]
    message = cast("dict[str, Any]", found(channel["messages"]["change"]["$ref"]))
    assert found(message["payload"]["$ref"]) is SCHEMAS["change-event.json"]
    payload = validator("change-event.json")
    assert channel["address"].replace("{partition}", default) == app.keyspace.all()[0].changes
    heard = 0
    with plain_client(store.url) as client:
        for partition in app.keyspace.all():
            address = channel["address"].replace("{partition}", f"{{p{partition.number:02d}}}")
            for _, fields in cast("list[Any]", client.xrange(address)):
                assert set(fields) == {b"event"}
                event = json.loads(fields[b"event"])
                payload.validate(event)
                assert message["correlationId"]["location"] == "$message.payload#/id"
                assert event["id"] == f"{event['subject']}:{event['data']['view']['revision']}"
                heard += 1
    assert heard == len(published[0]) > 0
    assert FEED_KEPT >= 30 * DAY


@pytest.mark.parametrize("broken", ["asyncapi", "channels", "operations"])
def test_a_document_with_a_part_missing_would_be_noticed(broken: str) -> None:
    assert not Draft202012Validator(STRUCTURE).is_valid({k: v for k, v in DOCUMENT.items() if k != broken})
