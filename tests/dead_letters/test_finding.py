"""Dead letters: found by whatever is known of them, shown with everything that is kept, dropped for good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.store.making import (
    about_member,
    about_policy,
    about_repository,
    exhaust,
    give_up_on,
    idle,
    login,
    ping,
    plain,
    put,
    registration,
    settle_all,
)
from tests.support import OWNER
from worker import dead_letters
from worker.app import App
from worker.dead_letters import Filter, FilterError, parsed
from worker.lifecycle.facts import HOUR, SECOND
from worker.store.client import Command
from worker.store.inbox import MAX_FAILURES, Envelope

NOW = 1_000 * HOUR
MANY = 10_000
LISTED_WITHIN = 1.0
"""Seconds for 10,000 letters (the promise)."""


def wrong(app: App, event_id: str = "d-wrong", text: str = "x") -> Envelope:
    """A webhook whose body does not fit its model."""
    body = json.dumps({"action": "archived", "repository": {"id": text}}).encode()
    return about_repository(app, "archived", event_id)._replace(body=body, owner=OWNER)


def found(app: App, **wanted: object) -> list[str]:
    """Deliveries of the letters that fit."""
    return [letter.delivery for letter in dead_letters.find(app, Filter(**wanted))]  # type: ignore[arg-type]


def test_a_payload_that_does_not_fit_its_model_is_kept_with_all_that_is_known_of_it(app: App) -> None:
    """Given a webhook of the wrong form, when it is settled, then a letter has it whole, with its attempt."""
    before = app.status.now()
    settle_all(app, wrong(app))
    (letter,) = dead_letters.find(app)
    assert (letter.kind, letter.name, letter.delivery, letter.owner) == (
        "github",
        "repository.archived",
        "d-wrong",
        OWNER,
    )
    assert (letter.error, letter.attempts) == ("UnusableEventError", 1)
    assert "repository.id" in letter.message
    assert before < letter.received_at <= letter.died_at <= app.status.now()
    whole = dead_letters.show(app, letter.event_id)
    assert whole is not None
    assert whole.body == wrong(app).body
    assert len(whole.body) == letter.size
    (attempt,) = whole.attempts
    assert (attempt.worker, attempt.error, attempt.message) == ("test", letter.error, letter.message)
    assert letter.received_at <= attempt.at <= letter.died_at
    with plain(app) as redis:
        place = letter.partition
        assert (redis.pttl(place.event(letter.event_id)), redis.pttl(place.dead)) == (-1, -1)


def test_a_letter_whose_retries_are_exhausted_has_every_attempt(app: App) -> None:
    """Given a policy whose record is broken, when an event about it is tried to the end, then each try is told."""
    settle_all(app, registration(app, "pol-1"))
    app.client.one(Command(("SET", app.keyspace.of(OWNER).policy("pol-1"), "rubbish")))
    exhaust(app, about_repository(app, "archived", "d-1"))
    assert idle(app)
    (letter,) = dead_letters.find(app)
    assert (letter.error, letter.attempts) == ("UnreadableError", MAX_FAILURES)
    whole = dead_letters.show(app, letter.event_id)
    assert whole is not None
    assert [attempt.error for attempt in whole.attempts] == ["UnreadableError"] * MAX_FAILURES
    times = [attempt.at for attempt in whole.attempts]
    assert times == sorted(set(times))


def test_letters_are_found_by_what_is_known_of_them(app: App) -> None:
    """Given letters of several kinds, when they are filtered, then those that fit are found, the last first."""
    settle_all(app, registration(app, "pol-1"), registration(app, "pol-2", owner=7, repository_id=8))
    give_up_on(app, about_repository(app, "archived", "hook-1")._replace(owner=OWNER))
    give_up_on(app, login(app, "pol-1", "login-1")._replace(policy="pol-1", owner=OWNER), error="OSError")
    give_up_on(app, about_policy(app, "policy.renewed", "pol-2", "renew-2", owner=7)._replace(policy="pol-2"))
    give_up_on(app, about_member(app, "member_removed", "member-1"), message="who is <b>mallory</b>?")
    everything = ["member-1", "renew-2", "login-1", "hook-1"]
    assert found(app) == everything
    assert found(app, event="repository.*") == ["hook-1"]
    assert found(app, event="login.succeeded") == ["login-1"]
    assert found(app, kind="registry") == ["renew-2"]
    assert found(app, owner=OWNER) == ["login-1", "hook-1"]
    # This one names a policy and no owner.
    assert found(app, owner=7) == ["renew-2"]
    # By its name, and by what the policy watches.
    assert found(app, policy="pol-1") == ["member-1", "login-1", "hook-1"]
    assert found(app, policy="pol-2") == ["renew-2"]
    assert found(app, error="OSError") == ["login-1"]
    assert found(app, text="<b>mallory</b>") == ["member-1"]
    assert found(app, text='"jti": "login-1"') == ["login-1"]
    assert found(app, text="nowhere") == []
    assert found(app, kind="github", event="organization.*") == ["member-1"]
    third = next(dead_letters.find(app, Filter(policy="pol-2")))
    assert found(app, since=third.died_at) == ["member-1", "renew-2"]
    assert found(app, until=third.died_at - 1) == ["login-1", "hook-1"]
    assert dead_letters.count(app) == 4
    assert dead_letters.count(app, Filter(kind="github")) == 2


def test_pages_are_the_list_in_pieces(app: App) -> None:
    """Given letters of several partitions, when they are read page by page, then each comes once, in order."""
    give_up_on(app, *(ping(app, f"d-{n}", owner=n) for n in range(25)))
    paged: list[str] = []
    after = None
    for _ in range(3):
        page = dead_letters.page(app, after=after, limit=10)
        paged += [letter.delivery for letter in page.letters]
        after = page.next
    assert after is None
    assert paged == found(app)
    assert len(set(paged)) == 25


def test_selected_letters_come_in_the_order_of_their_receipt(app: App) -> None:
    """Given letters given up on in another order, when they are selected, then those received first come first."""
    first, second = ping(app, "d-1"), ping(app, "d-2")
    put(app, first)
    give_up_on(app, second)
    chosen, missing = dead_letters.select(app, ids=[second.event_id, "nobody", first.event_id])
    assert ([x.delivery for x in chosen], missing) == (["d-1", "d-2"], ["nobody"])
    assert [x.delivery for x in dead_letters.select(app, limit=1)[0]] == ["d-1"]


def test_a_dropped_letter_is_gone_and_stays_known_in_the_audit_trail(app: App) -> None:
    """Given two letters, when one is dropped twice, then it alone is gone, with one entry, and does not come back."""
    give_up_on(app, ping(app, "d-1"), ping(app, "d-2"))
    (letter,) = dead_letters.find(app, Filter(text="d-1"))
    assert dead_letters.drop(app, [letter], reason="a test", by="maria") == 1
    assert dead_letters.drop(app, [letter], reason="a test", by="maria") == 0
    assert found(app) == ["d-2"]
    assert dead_letters.show(app, letter.event_id) is None
    (entry,) = app.audit.since(0)
    assert (entry.action, entry.by, entry.reason) == ("letter.dropped", "maria", "a test")
    assert (entry.subjects, entry.outcome) == ((letter.event_id,), "done")
    assert entry.details["delivery"] == "d-1"
    # Delivered again it would get a new date.
    assert put(app, ping(app, "d-1"))[0].duplicate
    with plain(app) as redis:
        assert all(redis.pttl(key) == -1 for key in redis.scan_iter("tenure:{*}:audit"))


def test_letters_are_groups_by_event_and_error(app: App) -> None:
    """Given letters of two events and two errors, when they are counted, then each group has its number and its ends."""
    before = app.status.now()
    give_up_on(app, ping(app, "d-1"), ping(app, "d-2", owner=9), message="first")
    give_up_on(app, ping(app, "d-3", owner=8), message="last")
    give_up_on(app, ping(app, "d-4"), login(app, "pol-1"), error="KeyError")
    groups = dead_letters.groups(app)
    assert {(x.kind, x.event, x.error): x.letters for x in groups} == {
        ("github", "ping", "ValueError"): 3,
        ("github", "ping", "KeyError"): 1,
        ("exchange", "login.succeeded", "KeyError"): 1,
    }
    assert [x.last for x in groups] == sorted((x.last for x in groups), reverse=True)
    largest = groups[-1]
    died = [x.died_at for x in dead_letters.find(app, dead_letters.of_group(largest))]
    assert (largest.first, largest.last, largest.message) == (min(died), max(died), "last")
    assert before < largest.first
    # Counted in the store or read one by one.
    for wanted, count in ((Filter(error="KeyError"), 2), (Filter(since=before), 5), (Filter(text="last"), 1)):
        assert sum(group.letters for group in dead_letters.groups(app, wanted)) == count


def test_an_events_name_is_no_pattern_of_its_group(app: App) -> None:
    """Given events of which one's name is a pattern that fits the other's, when its group is asked for, it is alone."""
    give_up_on(app, ping(app, "d-1")._replace(name="p*"), ping(app, "d-2"))
    (group,) = [x for x in dead_letters.groups(app) if x.event == "p*"]
    assert [x.delivery for x in dead_letters.find(app, dead_letters.of_group(group))] == ["d-1"]


def fill(app: App, count: int, body: bytes) -> None:
    """Letters as `put.lua` and `fail.lua` leave them, in as few steps as possible."""
    now = app.status.now()
    commands = []
    for n in range(count):
        partition, event_id = app.keyspace.of(n), f"{n:032x}"
        at = now - HOUR + n * SECOND // 10
        fields = ("kind", "github", "name", "repository.archived", "delivery", f"d-{n}", "body", body, "owner", n,
                  "lane", "events", "received_at", at - SECOND, "attempts", 8, "failures", 8, "error", "ValueError",
                  "message", "unexpected; see where it happened")  # fmt: skip
        commands += [
            Command(("HSET", partition.event(event_id), *fields)),
            Command(("ZADD", partition.dead, at, event_id)),
        ]
    app.client.run(commands)


def processor_time(app: App) -> float:
    """What this process and the server have used, s. Others on this machine take time, and none of that."""
    used = app.client.redis.info("cpu")
    return time.process_time() + float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


@pytest.mark.usefixtures("server_program")
def test_ten_thousand_letters_are_listed_within_a_second(app: App, measured: Callable[[str], None]) -> None:
    """Given 10,000 letters, when all are listed, then it takes less than a second, and bodies stay where they are."""
    fill(app, MANY, b"x" * 1000)
    begun = processor_time(app)
    listed = list(dead_letters.find(app))
    took = processor_time(app) - begun
    measured(f"{MANY:,} dead letters were listed in {took:.2f} s of processor time, the server's included")
    assert [letter.died_at for letter in listed] == sorted((x.died_at for x in listed), reverse=True)
    assert len(listed) == MANY
    assert took < LISTED_WITHIN
    begun = processor_time(app)
    (group,) = dead_letters.groups(app)
    took = processor_time(app) - begun
    measured(f"{MANY:,} dead letters were counted as groups in {took:.2f} s of processor time, the server's included")
    assert (group.letters, group.first, group.last) == (MANY, listed[-1].died_at, listed[0].died_at)
    assert took < LISTED_WITHIN


@pytest.mark.parametrize(
    ("texts", "field", "message"),
    [
        ({"owner": "octo"}, "owner", "the id of a GitHub owner, in digits"),
        ({"owner": "9" * 20}, "owner", "the id of a GitHub owner, in digits"),
        ({"kind": "gitlab"}, "kind", "one of github, registry, exchange, operator"),
        ({"since": "soon"}, "since", "a time"),
        ({"event": "push", "until": "31 June"}, "until", "a time"),
    ],
)
def test_a_text_that_is_no_filter_is_named_with_what_to_give(texts: dict[str, str], field: str, message: str) -> None:
    with pytest.raises(FilterError, match=message) as refused:
        parsed(texts, NOW)
    assert refused.value.field == field


def test_a_filter_is_read_from_texts() -> None:
    texts = {"event": "push", "kind": "github", "owner": "7", "since": "2h", "until": "1970-01-01T00:00:01Z"}
    assert parsed(texts, NOW) == Filter(event="push", kind="github", owner=7, since=NOW - 2 * HOUR, until=SECOND)
