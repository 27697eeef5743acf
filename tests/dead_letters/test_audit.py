"""The audit trail: what operators did, each act once, whichever process dies when."""

from __future__ import annotations

import json

import pytest

from tests.store.making import give_up_on, lose_worker, ping, put, registration, settle_all, state
from tests.support import OWNER
from worker import dead_letters
from worker.app import App
from worker.operators.submit import Submission, envelope_of, submit
from worker.store.audit import act, record_call
from worker.store.inbox import MAX_DEATHS, SUSPECT, Envelope
from worker.store.keys import AUDIT

pytestmark = pytest.mark.usefixtures("server_program")

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e"


def held(app: App, request_id: str = "request-1", reason: str = "a test") -> Submission:
    data = {"policy_id": "pol-1", "reason": reason}
    return Submission("policy.held", data, OWNER, request_id, app.status.now())


def told(app: App) -> list[tuple[str, str, str | None, tuple[str, ...], str]]:
    return [(x.action, x.by, x.reason, x.subjects, x.outcome) for x in app.audit.since(0)]


def test_an_act_that_settled_is_told(app: App) -> None:
    """Given a policy, when an operator holds it, then the trail says who, what, on what, when and why, as it was said."""
    settle_all(app, registration(app, "pol-1"))
    before = app.status.now()
    assert submit(app, [held(app, reason=HOSTILE)], by="maria")[0].done
    (entry,) = app.audit.since(0)
    assert (entry.action, entry.by, entry.reason) == ("policy.held", "maria", HOSTILE)
    assert (entry.subjects, entry.outcome) == (("pol-1",), "done")
    assert before // 1000 <= entry.at // 1000 <= app.status.now() // 1000
    assert entry.details["request"] == "request-1"


def test_an_act_whose_process_ends_after_it_was_put_is_told_once(app: App) -> None:
    """Given a hold whose process ends before its answer, when a worker settles it, then it is told, and only once."""
    settle_all(app, registration(app, "pol-1"))
    letter = envelope_of(app, held(app), by="maria")
    # A client puts again what it has no reply to.
    put(app, letter, letter)
    assert told(app) == []
    events = app.inbox.claim(letter.partition, "events", "one", 10).events
    lose_worker(app, events)
    settle_all(app)
    # A worker that was late answers for it, too.
    app.inbox.acknowledge(events)
    put(app, letter)
    assert state(app, "pol-1") == "disabled"
    assert told(app) == [("policy.held", "maria", "a test", ("pol-1",), "done")]


def test_an_act_that_is_given_up_on_is_told_as_failed_and_as_done_when_it_is_replayed(app: App) -> None:
    """Given a hold that fails for good, when it is replayed later, then both ends are told, and the replay."""
    settle_all(app, registration(app, "pol-1"))
    give_up_on(app, envelope_of(app, held(app), by="maria"), error="Odd", message="no")
    assert told(app) == [("policy.held", "maria", "a test", ("pol-1",), "failed: Odd: no")]
    dead_letters.replay(app, dead_letters.select(app)[0], reason="mended", by="alice")
    settle_all(app)
    assert [(action, by, outcome) for action, by, _, _, outcome in told(app)][1:] == [
        ("replay.started", "alice", "done"),
        ("replay.ended", "alice", "done"),
        ("policy.held", "maria", "done"),
    ]


def test_an_act_that_ends_its_workers_is_told_as_failed(app: App) -> None:
    """Given a hold that ends every worker, when it is given up on, then the trail says so."""
    letter: Envelope = envelope_of(app, held(app), by="maria")
    put(app, letter)
    lose_worker(app, app.inbox.claim(letter.partition, "events", "one", 10).events)
    app.inbox.claim(letter.partition, "events", "two", 10)
    for n in range(1, MAX_DEATHS):
        lose_worker(app, app.inbox.claim(letter.partition, SUSPECT, f"worker-{n}", 10).events)
    app.inbox.claim(letter.partition, SUSPECT, "last", 10)
    assert told(app) == [("policy.held", "maria", "a test", ("pol-1",), "failed: WorkerLost")]


def test_what_is_no_act_is_not_told(app: App) -> None:
    """Given webhooks and an import's single events, when they are settled, then the trail has nothing of them."""
    settle_all(app, registration(app, "pol-1"), ping(app, "d-1"))
    assert submit(app, [held(app)], by="maria", audited=False)[0].done
    assert told(app) == []


def test_an_entry_with_a_name_is_written_once(app: App) -> None:
    """Given a script that runs twice because a reply was lost, when it is an entry of a replay, then there is one."""
    call = record_call(act("replay.ended", "maria", None, ("batch",)), once="batch:ended")
    assert [app.client.one(call), app.client.one(call)] == [1, 0]
    app.audit.record("policy.rechecked", by="maria", reason=None, subjects=("pol-1",), details={"n": 2**63 - 1})
    app.audit.record("policy.rechecked", by="maria", reason=None, subjects=("pol-1",))
    assert [action for action, *_ in told(app)] == ["replay.ended", "policy.rechecked", "policy.rechecked"]
    assert list(app.audit.since(0))[1].details == {"n": 2**63 - 1}


def test_the_trail_is_read_from_both_ends(app: App) -> None:
    """Given many entries, when they are read by pages from either end, then each comes once, in order."""
    for n in range(12):
        app.audit.record("sweep.let_through", by="maria", reason=None, subjects=(str(n),))
    entries = list(app.audit.since(0, page=5))
    assert [entry.subjects for entry in entries] == [(str(n),) for n in range(12)]
    assert app.audit.newest(3) == entries[:-4:-1]
    assert app.audit.newest(3, before=entries[3].entry_id) == entries[2::-1]
    assert list(app.audit.since(entries[-1].at + 1_000_000)) == []
    following = app.audit.follow(0, lambda: None)
    assert [next(following) for _ in entries] == entries
    app.audit.record("sweep.let_through", by="maria", reason=None, subjects=("12",))
    assert next(following).subjects == ("12",)
    assert app.client.redis.ttl(AUDIT) == -1
    assert json.dumps([entry.details for entry in entries]) == json.dumps([{}] * 12)
