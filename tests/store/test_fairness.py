"""One owner's flood: his events wait for each other, and nobody waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.store.making import about_member, about_repository, by_lane, idle, ping, put, registration, settle_all, view
from tests.support import OWNER
from worker.app import App
from worker.store.inbox import CROWD, EVENTS, OVERFLOW, SHARE, SUSPECT, Envelope, Event

pytestmark = pytest.mark.usefixtures("server_program")


def neighbour(app: App) -> int:
    """An owner of the same partition."""
    return next(n for n in range(OWNER + 1, OWNER + 10_000) if app.keyspace.of(n) == app.keyspace.of(OWNER))


def owned(envelopes: Sequence[Envelope], owner: int = OWNER) -> list[Envelope]:
    """As the doors put them: with the owner that they seem to concern."""
    return [envelope._replace(owner=owner) for envelope in envelopes]


def flood(app: App, count: int) -> list[Envelope]:
    return owned([about_repository(app, "renamed", f"flood-{n}", name=f"w{n}") for n in range(count)])


def claim(app: App, lane: str = EVENTS) -> list[Event]:
    return app.inbox.claim(app.keyspace.of(OWNER), lane, "w", 128).events


def claimed(app: App, lane: str = EVENTS) -> list[str]:
    return [event.delivery for event in claim(app, lane)]


def test_others_wait_for_a_share_of_an_owners_flood_and_no_more(app: App) -> None:
    """Given thousands of one owner's events, and then one of another, then that is claimed in the second batch."""
    other = neighbour(app)
    put(app, *flood(app, CROWD + 100))
    put(app, *owned([about_repository(app, "renamed", "theirs", owner=other, name="theirs")], other))
    assert claimed(app) == [f"flood-{n}" for n in range(SHARE)]
    assert claimed(app) == ["theirs"]


@pytest.mark.parametrize("named", [{"owner": OWNER}, {"policy": "pol-1"}])
def test_what_one_worker_has_of_an_owner_another_does_not_join(app: App, named: dict[str, Any]) -> None:
    first, second, third = (ping(app, f"p-{n}")._replace(**named) for n in range(3))
    put(app, first)
    under_way = claim(app)
    put(app, second, third)
    assert claim(app) == []
    app.inbox.acknowledge(under_way)
    assert claimed(app) == ["p-1", "p-2"]


def test_settling_tells_whether_somebody_left_something(app: App) -> None:
    """Given events that came meanwhile, then whoever settles goes on with those that another worker left for him, and leaves
    to that other for whom he was woken.
    """
    put(app, ping(app, "p-0")._replace(owner=OWNER))
    under_way = claim(app)
    put(app, ping(app, "p-1")._replace(owner=OWNER))
    assert not app.inbox.acknowledge(under_way), "a wake-up is under way"
    under_way = claim(app)
    put(app, ping(app, "p-2")._replace(owner=OWNER))
    assert claim(app) == []
    assert app.inbox.acknowledge(under_way), "whoever was woken left it"
    assert claimed(app) == ["p-2"]


def test_settling_tells_whether_something_overflowed(app: App) -> None:
    put(app, *flood(app, SHARE + 1))
    assert app.inbox.acknowledge(claim(app))


def test_the_overflow_waits_for_what_is_under_way(app: App) -> None:
    """Given a batch of an owner under way, then nothing of his overflow is; and when that is, what comes goes there, too."""
    put(app, *flood(app, 2 * SHARE))
    under_way = claim(app)
    assert claim(app, OVERFLOW) == []
    app.inbox.acknowledge(under_way)
    under_way = claim(app, OVERFLOW)
    assert len(under_way) == SHARE
    put(app, *owned([ping(app, "p-1")]))
    assert claim(app) == []
    app.inbox.acknowledge(under_way)
    assert claimed(app, OVERFLOW) == ["p-1"]


def test_what_overflows_is_settled_too(app: App) -> None:
    settle_all(app, registration(app, "pol-1"))
    settle_all(app, *flood(app, 100))
    assert idle(app)
    seen = view(app, "pol-1")
    assert seen is not None
    assert seen["repository"] == "w99"


def test_what_overflows_keeps_its_order_and_what_goes_first_does_so_there_too(app: App) -> None:
    removals = [about_member(app, "member_removed", f"first-{n}")._replace(first=True) for n in range(2 * SHARE)]
    put(app, *flood(app, 2 * SHARE), *owned(removals))
    under_way = claim(app)
    assert [event.delivery for event in under_way] == [f"first-{n}" for n in range(SHARE)]
    app.inbox.acknowledge(under_way)
    assert claimed(app, OVERFLOW) == [
        *(f"first-{n}" for n in range(SHARE, 2 * SHARE)),
        *(f"flood-{n}" for n in range(2 * SHARE)),
    ]


def test_a_worker_of_the_overflow_is_woken(app: App) -> None:
    put(app, *flood(app, SHARE + 1))
    taken = app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "w", 128)
    assert taken.overflowed
    assert app.inbox.depth()[OVERFLOW] == 1
    assert [lane for _, lane in app.inbox.overdue()] == [OVERFLOW]


def test_what_concerns_no_owner_has_no_share(app: App) -> None:
    put(app, *(ping(app, f"p-{n}") for n in range(3 * SHARE)))
    assert len(claimed(app)) == 3 * SHARE


def test_what_a_lost_worker_held_is_a_suspect_and_does_not_overflow(app: App) -> None:
    """Given more than a share that one worker held when it ended, then all of it is tried one at a time."""
    events = flood(app, SHARE)
    put(app, *events)
    claimed(app)
    late = flood(app, 2 * SHARE)[SHARE:]
    put(app, *late)
    for event in events:
        app.client.redis.zadd(event.partition.waiting(EVENTS), {event.event_id: 0})
    assert claimed(app) == [event.delivery for event in late]
    assert set(by_lane(app, events).values()) == {SUSPECT}
