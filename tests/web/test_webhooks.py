"""`POST /webhooks/github`: every answer of the contract, and what is in the store afterwards."""

from __future__ import annotations

import hashlib
import hmac
import io
from pathlib import Path

import orjson
import pytest

from handlers.table import WEBHOOKS
from tenure_reader.keys import partition_number
from tests.web.site import PREVIOUS, SECRET, Site, sign, until
from worker.web.webhooks import envelope_of

ARCHIVED = {"action": "archived", "repository": {"id": 11, "name": "widgets", "owner": {"id": 7, "login": "octo"}}}
SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "github-webhooks"


def test_a_delivery_is_queued_as_it_was_signed(site: Site) -> None:
    # Given a body that no serializer would write like this
    body = b'{ "action":"archived",\n "repository":{"id":9223372036854775807,"name":"w","owner":{"id":"77"}} }'

    # When it is delivered
    response = site.deliver(body, delivery="abc-1")

    # Then it is on disk, byte by byte, and its sender knows
    assert (response.status_code, response.json()) == (202, {"delivery": "abc-1", "status": "queued"})
    (held,) = site.held()
    assert held["body"] == body
    assert (held["kind"], held["name"], held["delivery"]) == (b"github", b"repository.archived", b"abc-1")
    assert int(held["received_at"]) > 0
    assert "occurred_at" not in held


def test_a_worker_is_woken(site: Site) -> None:
    site.deliver(ARCHIVED)
    until(lambda: site.woken("events") == 1)


def test_a_redelivery_is_taken_again_until_it_is_settled_and_is_a_duplicate_then(site: Site) -> None:
    assert site.deliver(ARCHIVED).json()["status"] == "queued"
    received = site.held()[0]["received_at"]

    again = site.deliver(ARCHIVED)
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    assert [held["received_at"] for held in site.held()] == [received]

    site.settle()
    assert site.held() == []
    after = site.deliver(ARCHIVED)
    assert (after.status_code, after.json()) == (200, {"delivery": "d-1", "status": "duplicate"})
    assert site.held() == []


def test_the_same_delivery_id_with_another_body_or_event_is_another_event(site: Site) -> None:
    site.deliver(ARCHIVED)
    assert site.deliver({**ARCHIVED, "action": "unarchived"}).status_code == 202
    assert site.deliver({**ARCHIVED, "zen": "x"}).status_code == 202
    assert site.deliver(ARCHIVED, event="team").status_code == 202
    assert len(site.held()) == 4


def test_both_secrets_of_a_rotation_are_right(site: Site) -> None:
    assert site.deliver(ARCHIVED, secret=SECRET, delivery="1").status_code == 202
    assert site.deliver(ARCHIVED, secret=PREVIOUS, delivery="2").status_code == 202


def wrong_signatures() -> dict[str, str | bytes | None]:
    body = orjson.dumps(ARCHIVED)
    right = sign(body)
    return {
        "missing": None,
        "empty": "",
        "of another secret": sign(body, "canary-of-nobody"),
        "of another body": sign(body + b" "),
        "truncated": right[:-1],
        "too long": right + "0",
        "without its prefix": right.removeprefix("sha256="),
        "in upper case": right.upper(),
        "under another prefix": right.replace("sha256", "sha1"),
        "not ASCII": b"sha256=" + "é".encode() * 32,
        "any bytes": b"sha256=\xff\xfe\x80" + right[10:].encode(),
    }


@pytest.mark.parametrize("which", wrong_signatures())
def test_a_wrong_signature_is_refused(site: Site, which: str) -> None:
    response = site.deliver(ARCHIVED, headers={"X-Hub-Signature-256": wrong_signatures()[which]})
    assert response.status_code == 401
    assert response.json()["type"] == "urn:tenure:problem:signature"
    assert response.headers["content-type"] == "application/problem+json"
    assert site.held() == []


def test_a_sha1_signature_alone_is_none(site: Site) -> None:
    old = "sha1=" + hmac.new(SECRET.encode(), orjson.dumps(ARCHIVED), hashlib.sha1).hexdigest()
    response = site.deliver(ARCHIVED, headers={"X-Hub-Signature": old, "X-Hub-Signature-256": None})
    assert response.status_code == 401


def test_the_signature_comes_before_everything_that_looks_at_the_request(site: Site) -> None:
    """Nobody without the secret learns what else would be wrong."""
    nothing_right = {"Content-Type": "text/plain", "X-GitHub-Event": None, "X-Hub-Signature-256": "sha256=0"}
    assert site.deliver(b"[canary", headers=nothing_right).status_code == 401
    assert site.deliver(b"[canary", headers={**nothing_right, "X-Hub-Signature-256": None}).status_code == 401
    assert (
        site.deliver(b"[canary", headers={**nothing_right, "X-Hub-Signature-256": sign(b"[canary")}).status_code == 415
    )


@pytest.mark.parametrize("given", ["application/x-www-form-urlencoded", "text/json", None, "application/jsonx", ""])
def test_another_content_type_is_refused(site: Site, given: str | None) -> None:
    response = site.deliver(ARCHIVED, headers={"Content-Type": given})
    assert response.status_code == 415
    assert "application/json" in response.json()["detail"]


def test_a_compressed_body_is_refused(site: Site) -> None:
    assert site.deliver(ARCHIVED, headers={"Content-Encoding": "gzip"}).status_code == 415


@pytest.mark.parametrize("given", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"])
def test_parameters_and_case_of_the_content_type_do_not_matter(site: Site, given: str) -> None:
    assert site.deliver(ARCHIVED, headers={"Content-Type": given}).status_code == 202


@pytest.mark.parametrize("name", ["X-GitHub-Event", "X-GitHub-Delivery"])
@pytest.mark.parametrize("value", [None, "", b"\xff\xfe", "x" * 201])
def test_missing_or_odd_headers_are_refused(site: Site, name: str, value: str | bytes | None) -> None:
    response = site.deliver(ARCHIVED, headers={name: value})
    assert response.status_code == 400
    assert name in response.json()["detail"]
    assert site.held() == []


NOT_OBJECTS = {
    "nothing": b"",
    "truncated": orjson.dumps(ARCHIVED)[:-1],
    "not JSON": b"canary",
    "a form": b"payload=%7B%7D",
    "an array": b'[{"action": "archived"}]',
    "a text": b'"canary"',
    "null": b"null",
    "a number": b"1",
    "NaN": b'{"action": NaN}',
    "infinity": b'{"action": -Infinity}',
    "a number too large for any": b'{"id": 1e999}',
    "not UTF-8": b'{"action": "\xff"}',
    "UTF-16": '{"action": "archived"}'.encode("utf-16"),
    "half a surrogate, and not whole": b'{"action": "\\ud800"',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "two objects": b"{}{}",
    "deep arrays": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deeper than the handlers can read": b'{"a":' + b"[" * 300 + b"]" * 300 + b"}",
    "an open nesting": b"[" * 1_000_000,
}


@pytest.mark.parametrize("half", [b"\\ud83d", b"\\uDE00", b"\\ud83d\\ud83d"])
def test_a_text_that_was_cut_in_the_middle_of_a_character_is_no_reason_to_refuse_the_rest(
    site: Site, half: bytes
) -> None:
    """GitHub cuts descriptions and messages of commits wherever they get too long."""
    body = orjson.dumps(ARCHIVED)[:-1] + b', "description": "cut ' + half + b'"}'
    response = site.deliver(body)
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert [held["body"] for held in site.held()] == [body]


@pytest.mark.parametrize("which", NOT_OBJECTS)
def test_what_is_not_a_json_object_is_refused(site: Site, which: str) -> None:
    response = site.deliver(NOT_OBJECTS[which])
    assert (response.status_code, response.json()["type"]) == (400, "urn:tenure:problem:body")
    assert site.held() == []


@pytest.mark.parametrize(
    "payload",
    [
        b'{"action":"archived","repository":{"id":1,"id":2,"name":"w","owner":{"id":7}},"action":"archived"}',
        b'{"action":"archived","repository":null,"organization":null}',
        b'{"action":"archived","repository":{"id":"11","owner":{"id":"9223372036854775807"}}}',
        b'{"action":"archived","repository":{"owner":{"id":9223372036854775808}}}',
        b'{"action":"archived","repository":{"owner":{"id":-1}}}',
        b'{"action":"archived","repository":{"owner":{"id":1.5}}}',
        b'{"action":"archived","repository":{"owner":{"id":true}}}',
        b'{"action":"archived","repository":{"owner":{"id":"%s"}}}' % (b"9" * 5000),
        '{"action":"archived","repository":{"owner":{"id":"٣"}}}'.encode(),
        b'{"action":"archived","repository":[1],"changes":{"owner":[]}}',
        b'{"action":"archived"}',
    ],
)
def test_a_signed_object_is_always_taken_however_odd(site: Site, payload: bytes) -> None:
    """Whether it can be used is for a worker to find out; here it would be lost."""
    assert site.deliver(payload).status_code == 202
    assert [held["body"] for held in site.held()] == [payload]


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("star", {"action": "created"}),
        ("workflow_run", {"action": "requested"}),
        ("repository", {"action": "edited"}),
        ("repository", {}),
        ("repository", {"action": 5}),
        ("repository", {"action": None}),
        ("repository", {"action": "archived" * 1000}),
        ("repository.archived", {}),
        ("no such event", {"action": "x"}),
    ],
)
def test_an_event_that_nothing_listens_to_is_ignored(site: Site, event: str, payload: object) -> None:
    response = site.deliver(payload, event=event, delivery="i-1")
    assert (response.status_code, response.json()) == (202, {"delivery": "i-1", "status": "ignored"})
    assert site.held() == []


def test_a_ping_is_answered_like_any_other(site: Site) -> None:
    assert site.deliver({"zen": "Keep it logically awesome.", "hook_id": 1}, event="ping").status_code == 202
    assert site.deliver({"zen": "x"}, event="ping", secret="canary-of-nobody").status_code == 401


@pytest.mark.parametrize("name", WEBHOOKS)
def test_everything_in_the_table_is_heard(site: Site, name: str) -> None:
    event, _, action = name.replace("*", "anything").partition(".")
    assert site.deliver({"action": action} if action else {}, event=event).json()["status"] == "queued"
    assert [held["name"].decode() for held in site.held()] == [name.replace("*", "anything")]


PLACED = [
    ({"repository": {"owner": {"id": 7}}}, 7),
    ({"repository": {"owner": {"id": 7}}, "organization": {"id": 8}}, 7),
    ({"repository": {"owner": {"id": 7}}, "changes": {"owner": {"from": {"user": {"id": 5}}}}}, 5),
    ({"repository": {"owner": {"id": 7}}, "changes": {"owner": {"from": {"organization": {"id": "6"}}}}}, 6),
    ({"repository": {"owner": {"id": 7}}, "changes": {"owner": {"from": {"user": None}}}}, 7),
    ({"repository": {"owner": None}, "organization": {"id": 8}}, 8),
    ({"installation": {"account": {"id": 9}}}, 9),
    ({"account": {"id": 10}}, 10),
    ({"account": {"id": 1.0}}, "d"),
    ({}, "d"),
]


@pytest.mark.parametrize(("payload", "key"), PLACED)
def test_an_event_waits_with_its_owner(site: Site, payload: dict[str, object], key: int | str) -> None:
    body = orjson.dumps({"action": "transferred", **payload})
    letter = envelope_of("repository", "d", body, site.app.keyspace)
    assert letter is not None
    assert letter.partition.number == partition_number(key, site.app.keyspace.partitions)


def test_a_refusal_is_logged_without_what_was_sent(site: Site, lines: io.StringIO) -> None:
    before = len(lines.getvalue())
    site.deliver({"canary": "canary"}, headers={"X-Hub-Signature-256": "sha256=canary"})
    logged = [orjson.loads(line) for line in lines.getvalue()[before:].splitlines()]
    assert [line for line in logged if line["event"] == "request refused" and line["reason"] == "signature"]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="left out: the recorded deliveries are not beside this checkout")
def test_recorded_deliveries_are_queued_or_ignored(site: Site) -> None:
    for path in sorted(SAMPLES.glob("*.json")):
        event = path.name.split(".")[0]
        response = site.deliver(path.read_bytes(), event=event, delivery=path.name)
        assert response.status_code == 202, path.name
        assert response.json()["status"] in ("queued", "ignored")


def test_a_payload_may_name_any_action_and_counts_as_what_listens_to_it(site: Site) -> None:
    """Given actions that nobody has heard of, when they are counted, then there are as many counters as rows."""
    for number in range(20):
        for event in ("push", "team", "workflow_run"):
            site.deliver({"action": f"made-up-{number}"}, event=event, delivery=f"{event}-{number}")
    received = {name: count for name, count in site.app.status.counters().items() if name.startswith("received:")}
    assert received == {"received:push": 20, "received:team.*": 20}
