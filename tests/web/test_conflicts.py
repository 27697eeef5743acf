"""A `source` and an `id` are one event: what repeats it is a duplicate, and what contradicts it is told so."""

from __future__ import annotations

import orjson
import pytest

from tests.web.site import Site
from tests.web.test_events import REGISTERED, cloud_event, fields
from worker.store.inbox import EVENTS, identity

FIRST = cloud_event("policy.registered")


def of_owner(owner_id: int) -> dict[str, object]:
    github = REGISTERED["github"]
    assert isinstance(github, dict)
    return {**REGISTERED, "github": {**github, "repository_owner_id": owner_id}}


OTHERS = {
    "another type": cloud_event("policy.updated"),
    "another time": cloud_event("policy.registered", time="2026-01-31T12:00:00.123456+00:00"),
    "other data": cloud_event("policy.registered", data={**REGISTERED, "name": "Releases"}),
    "more data": cloud_event("policy.registered", data={**REGISTERED, "note": None}),
    "another owner": cloud_event("policy.registered", data=of_owner(5)),
    "an owner elsewhere": cloud_event("policy.registered", data=of_owner(6)),
    "about something else": cloud_event("account.locked"),
}


def give_up(site: Site) -> None:
    for partition in site.app.keyspace.all():
        for event in site.app.inbox.claim(partition, EVENTS, "test", 10).events:
            site.app.inbox.fail(event, error="E", message="m", trace="", worker="test", now=1, final=True)


def drop(site: Site) -> None:
    give_up(site)
    site.app.dead.drop(list(site.app.dead.read(site.app.dead.places())), reason="not needed", by="maria")


def wait(_: Site) -> None:
    """Nothing happens."""


WHEN = {"waiting": wait, "settled": Site.settle, "a dead letter": give_up, "dropped": drop}


@pytest.mark.parametrize("since", WHEN)
def test_another_body_under_a_used_id_is_refused_and_the_same_one_is_not(site: Site, since: str) -> None:
    """Given an event that waits, was settled, given up on or dropped, when its id is used again, then it is compared."""
    assert site.send(FIRST).status_code == 202
    WHEN[since](site)
    held = site.held()
    for what, event in OTHERS.items():
        response = site.send(event)
        assert response.status_code == 409, what
        assert response.json()["type"] == "urn:tenure:problem:conflict"
        assert fields(response.json()) == ["id"]
        assert site.held() == held
    assert site.send(FIRST).status_code == 202
    assert len(site.held()) == (0 if since in ("settled", "dropped") else 1)


@pytest.mark.parametrize(
    "again",
    [
        orjson.dumps(dict(reversed(FIRST.items()))),
        orjson.dumps(FIRST, option=orjson.OPT_INDENT_2),
        orjson.dumps(FIRST).replace(b'"ada"', b'"\\u0061da"'),
        orjson.dumps({**FIRST, "subject": "what nobody compares"}),
    ],
    ids=["keys in another order", "white space", "escaped", "other attributes"],
)
def test_what_is_the_same_as_json_is_a_duplicate(site: Site, again: bytes) -> None:
    assert site.send(FIRST).status_code == 202
    assert site.send(again).status_code == 202
    site.settle()
    assert site.send(again).status_code == 202
    assert site.held() == []
    assert site.app.status.counters()["duplicates"] == 1


@pytest.mark.parametrize(
    ("number", "same"), [("1.0", True), ("1e0", True), ("1.5", False), ('"1"', False), ("true", False)]
)
def test_numbers_are_compared_by_their_value(site: Site, number: str, same: bool) -> None:
    data = orjson.dumps(cloud_event("account.locked", data={"account": "ada", "note": [{"n": 1}]}))
    assert site.send(data).status_code == 202
    assert site.send(data.replace(b'"n":1', f'"n":{number}'.encode())).status_code == (202 if same else 409)


def test_a_batch_names_what_contradicts_and_nothing_of_it_is_taken(site: Site) -> None:
    """Given a used id and two that contradict each other, when all are in one batch, then each is named, and none taken."""
    assert site.send(FIRST).status_code == 202
    held = site.held()
    batch = [
        cloud_event(id="new"),
        cloud_event(id="twice", time="2026-01-31T12:00:00Z"),
        OTHERS["an owner elsewhere"],
        FIRST,
        cloud_event(id="twice", time="2026-01-31T12:00:01Z"),
    ]
    response = site.send(batch)
    assert response.status_code == 409
    assert fields(response.json()) == ["events[1].id", "events[2].id", "events[4].id"]
    assert site.held() == held
    assert site.send(batch[:1]).json() == {"accepted": 1}
    assert site.send([FIRST, batch[1], batch[1]]).json() == {"accepted": 3}
    assert len(site.held()) == 3


def test_others_of_the_same_group_are_taken(site: Site) -> None:
    """Given a batch that is refused, when others put in the same transaction, then they are not."""
    site.send(FIRST)
    accepted = site.send([cloud_event(id=f"e-{n}") for n in range(2, 5)])
    refused = site.send([cloud_event(id="e-5"), OTHERS["other data"]])
    assert (accepted.status_code, refused.status_code) == (202, 409)
    assert {held["delivery"] for held in site.held()} == {b"e-1", b"e-2", b"e-3", b"e-4"}


def mark_of(site: Site, event_id: str) -> str:
    return site.app.keyspace.of(event_id).said(event_id)


def test_what_was_said_is_known_while_it_waits_and_then_by_the_ledger(site: Site) -> None:
    """Given an event, when it waits, then its mark has no end; once it is settled there is none: the ledger has it."""
    site.send(FIRST)
    mark = mark_of(site, identity("cloudevent", "/registry", "e-1"))
    assert site.redis.pttl(mark) == -1
    site.settle()
    assert not site.redis.exists(mark)
    assert site.send(OTHERS["other data"]).status_code == 409
    assert site.send([FIRST, OTHERS["other data"]]).status_code == 409


def test_what_a_former_release_took_counts_as_it_did(site: Site) -> None:
    """Given an event that waits and one that was settled, without digests, when they come again, then as before."""
    site.send(FIRST)
    (held,) = site.held()
    event_id = identity("cloudevent", "/registry", "e-1")
    partition = next(p for p in site.app.keyspace.all() if site.redis.exists(p.event(event_id)))
    site.redis.hdel(partition.event(event_id), "said")
    site.redis.delete(mark_of(site, event_id))
    assert site.send(cloud_event("policy.updated")).status_code == 202
    assert [found["name"] for found in site.held()] == [held["name"]]
    site.settle()
    assert site.send(cloud_event("policy.updated")).status_code == 202
    assert site.held() == []


def test_what_a_worker_of_a_former_release_settled_is_known(site: Site) -> None:
    """Given an event that a worker without a ledger settled, when it comes again, then its mark tells, as it did."""
    site.send(FIRST)
    (held,) = site.held()
    event_id = identity("cloudevent", "/registry", "e-1")
    for partition in site.app.keyspace.all():
        site.redis.delete(partition.event(event_id))
        site.redis.zrem(partition.waiting(EVENTS), event_id)
    site.redis.set(mark_of(site, event_id), b"s" + held["said"])
    assert site.send(FIRST).status_code == 202
    assert site.send(OTHERS["other data"]).status_code == 409
    assert site.held() == []
    assert [entry.state for entry in site.app.event_ledger.find("e-1")] == ["settled"]
