"""How logins are counted: once each, whatever happens to their events, and in a room that has an end."""

from __future__ import annotations

import json
from random import Random
from typing import cast

import pytest

from tests.store.making import (
    about_member,
    everything,
    login,
    plain,
    published,
    put,
    refusal,
    registration,
    settle_all,
)
from tests.support import OWNER
from worker.app import App
from worker.lifecycle.facts import HOUR, SECOND, Micros
from worker.lifecycle.logins import COUNTED, NAMES, LoginOutcome
from worker.store import client
from worker.store.client import Answers, Command, Replicas, Transactions
from worker.store.event_ledger import KEPT
from worker.store.inbox import EVENTS, REFUSAL_REMEMBERED_MS, Envelope
from worker.store.logins import LoginsOf, PolicyLogins, with_logins

pytestmark = pytest.mark.usefixtures("server_program")


def key_of(app: App, outcome: LoginOutcome = LoginOutcome.REFUSED) -> str:
    return app.keyspace.directory("pol-1").logins(outcome, "pol-1")


def told(app: App, policy_id: str = "pol-1") -> PolicyLogins:
    policy = app.policies.load([policy_id])[policy_id].policy
    assert policy is not None
    return app.logins.of(policy)


def refused(app: App, policy_id: str = "pol-1") -> LoginsOf:
    found = told(app, policy_id).refused
    assert found is not None
    return found


def forget_marks(app: App, *letters: Envelope) -> None:
    """Let the time be over in which these are known to have been settled."""
    for item in letters:
        app.client.redis.delete(item.partition.settled(item.event_id), item.partition.said(item.event_id))


# What a refusal does, and does not


def test_a_refusal_is_counted_and_changes_nothing_else(app: App) -> None:
    """Given a policy, when tokens are refused under it, then the last and each code is told, and it stands as it stood."""
    settle_all(app, registration(app, "pol-1"), login(app, "pol-1"))
    before = {key: value for key, value in everything(app).items() if b"pol-1" in key or b"changes" in key}
    now = app.status.now()
    settle_all(
        app,
        refusal(app, "pol-1", "r-1", code="environment", at=now - 2),
        refusal(app, "pol-1", "r-3", code="workflow_file", ref="refs/heads/main", run_id=2**63 - 1, at=now),
        refusal(app, "pol-1", "r-2", code="environment", at=now - 1),
    )
    found = refused(app)
    assert (found.every.times, found.every.first_at, found.every.last_at) == (3, now - 2, now)
    assert found.every.last == {"code": "workflow_file", "id": "r-3", "ref": "refs/heads/main", "run_id": 2**63 - 1}
    assert [(code, count.times) for code, count in found.named.items()] == [("workflow_file", 1), ("environment", 2)]
    after = everything(app)
    assert {key: after[key] for key in before} == before


def test_a_refusal_of_a_policy_that_nobody_registered_is_dropped(app: App) -> None:
    """Given refusals that name no policy, when they are settled, then nothing is kept of them, also not for later."""
    settle_all(app, *(refusal(app, f"nobody-{n}", f"r-{n}") for n in range(50)))
    assert not list(app.client.redis.scan_iter("tenure:{*}:logins:*"))
    settle_all(app, registration(app, "nobody-1"))
    assert told(app, "nobody-1") == PolicyLogins(None, None)


def test_a_login_is_counted_where_it_is_told_in_one_batch_with_its_policy(app: App) -> None:
    settle_all(app, registration(app, "pol-1"), login(app, "pol-1", "l-1"), login(app, "pol-1", "l-2"))
    found = told(app).succeeded
    assert found is not None
    assert (found.every.times, found.every.last["id"]) == (2, "l-2")


def test_the_last_use_is_known_of_a_policy_that_was_used_before_logins_were_counted(app: App) -> None:
    """Given a policy with a login among its facts and no count, when it is read, then its last use is told."""
    settle_all(app, registration(app, "pol-1"), login(app, "pol-1", "l-1"))
    app.client.redis.delete(key_of(app, LoginOutcome.SUCCEEDED))
    found = told(app).succeeded
    assert found is not None
    assert (found.every.times, found.every.last) == (0, {"id": "l-1"})


# Once each


def test_an_event_that_two_workers_settle_is_counted_once(app: App) -> None:
    """Given a worker that was slow, when another settles its events before it answers, then each is counted once."""
    settle_all(app, registration(app, "pol-1"))
    letters = [refusal(app, "pol-1", f"r-{n}") for n in range(5)]
    put(app, *letters)
    claimed = app.inbox.claim(letters[0].partition, EVENTS, "one", 128)
    assert len(claimed.events) == 5
    app.processor("two").process(claimed)
    app.processor("one").process(claimed)
    assert refused(app).every.times == 5


def test_a_repetition_is_not_counted_again(app: App) -> None:
    """Given a refusal that was counted, when it comes again, at once or after its mark is gone, then the count stays."""
    settle_all(app, registration(app, "pol-1"))
    old = app.status.now() - COUNTED[LoginOutcome.REFUSED] - SECOND
    fresh, late = refusal(app, "pol-1", "r-1"), refusal(app, "pol-1", "r-2", at=old)
    settle_all(app, fresh, late)
    assert (refused(app).every.times, refused(app).every.first_at) == (1, old)
    settle_all(app, fresh, late)
    forget_marks(app, late)
    settle_all(app, late)
    assert refused(app).every.times == 1


def test_what_is_counted_is_known_as_a_duplicate_for_longer_than_it_counts(app: App) -> None:
    """Given a sender whose clock is as far ahead as it may be, then no mark is gone while its event would count again."""
    ahead = 300 * SECOND
    assert COUNTED[LoginOutcome.REFUSED] + ahead < REFUSAL_REMEMBERED_MS * 1000
    assert COUNTED[LoginOutcome.SUCCEEDED] + ahead < KEPT
    settle_all(app, registration(app, "pol-1"))
    turned_away, taken = refusal(app, "pol-1"), login(app, "pol-1")
    settle_all(app, turned_away, taken)
    kept = app.client.redis.pttl(turned_away.partition.settled(turned_away.event_id))
    assert round(kept / 60_000) == 70
    assert app.event_ledger.find(turned_away.delivery) == []
    assert [entry.state for entry in app.event_ledger.find(taken.delivery)] == ["settled"]


def test_the_order_does_not_matter(app: App) -> None:
    """Given refusals with more codes than are kept, when they come in any order, then the same codes are kept, with the
    same last of each; where all are kept, also the same counts.
    """
    now = app.status.now()
    random = Random(5)
    for codes in (NAMES[LoginOutcome.REFUSED] + 9, NAMES[LoginOutcome.REFUSED]):
        events = [(f"e-{n}", f"c_{random.randrange(codes)}", now - random.randrange(30)) for n in range(120)]
        seen = []
        for turn in range(4):
            policy_id = f"pol-{codes}-{turn}"
            settle_all(app, registration(app, policy_id))
            random.shuffle(events)
            settle_all(app, *(refusal(app, policy_id, f"{policy_id}-{n}", code=code, at=at) for n, code, at in events))
            found = refused(app, policy_id)
            assert found.every.times == len(events)
            assert found.every.last_at == max(at for _, _, at in events)
            counted = codes == NAMES[LoginOutcome.REFUSED]
            seen.append({c: (x.last_at, x.times if counted else 0) for c, x in found.named.items()})
        assert seen[0] == seen[1] == seen[2] == seen[3]
        lasts: dict[str, Micros] = {}
        for _, code, at in events:
            lasts[code] = max(at, lasts.get(code, 0))
        newest = sorted(lasts.items(), key=lambda item: (item[1], item[0]))[-NAMES[LoginOutcome.REFUSED] :]
        assert {code: at for code, (at, _) in seen[0].items()} == dict(newest)


# A room that has an end


def test_whatever_an_exchange_sends_fills_nothing(app: App) -> None:
    """Given an exchange that refuses with thousands of codes, refs and runs, then a policy's room for that stays small."""
    settle_all(app, registration(app, "pol-1"))
    record = app.client.redis.get(app.keyspace.of(OWNER).policy("pol-1"))
    now = app.status.now()
    for start in range(0, 3000, 500):
        settle_all(app, *(
            refusal(app, "pol-1", f"r-{n}", code=f"c{n}" + "x" * 58, ref=f"refs/heads/{n}" + "é" * 980, run_id=n, at=now + n)
            for n in range(start, start + 500)
        ))  # fmt: skip
    assert refused(app).every.times == 3000
    assert app.client.redis.hlen(key_of(app)) == NAMES[LoginOutcome.REFUSED] + 1
    assert cast("int", app.client.redis.memory_usage(key_of(app))) < 16_384
    home = app.keyspace.of(OWNER)
    assert app.client.redis.get(home.policy("pol-1")) == record
    assert (app.client.redis.llen(home.history("pol-1")), len(published(app)["pol-1"])) == (1, 1)
    assert not list(app.client.redis.scan_iter("tenure:*:inbox:event:*"))


def test_a_code_that_comes_late_takes_no_newer_ones_place(app: App) -> None:
    settle_all(app, registration(app, "pol-1"))
    now = app.status.now()
    settle_all(
        app, *(refusal(app, "pol-1", f"r-{n}", code=f"c_{n}", at=now) for n in range(NAMES[LoginOutcome.REFUSED]))
    )
    settle_all(app, refusal(app, "pol-1", "late", code="late", at=now - HOUR // 2))
    found = refused(app)
    assert (found.every.times, "late" in found.named) == (NAMES[LoginOutcome.REFUSED] + 1, False)


def test_a_key_of_another_type_is_nobody_else_s_trouble(app: App) -> None:
    """Given a key that somebody overwrote, when its policy's logins are settled, then they are, and others are counted."""
    settle_all(app, registration(app, "pol-1"), registration(app, "pol-2"))
    app.client.redis.set(key_of(app), "overwritten")
    settle_all(app, refusal(app, "pol-1"), refusal(app, "pol-2"))
    assert refused(app, "pol-2").every.times == 1
    assert app.client.redis.get(key_of(app)) == b"overwritten"


@pytest.mark.parametrize("field", ["*", "workflow_file"])
def test_what_is_none_of_ours_is_begun_anew(app: App, field: str) -> None:
    settle_all(app, registration(app, "pol-1"))
    app.client.redis.hset(key_of(app), field, "no count")
    assert told(app).refused is None
    settle_all(app, refusal(app, "pol-1"))
    assert refused(app).named["workflow_file"].times == 1


# Told in the history


def test_the_history_has_the_last_of_either_where_it_belongs(app: App) -> None:
    """Given logins between changes, when the history is read, then the last login and the last refusal are in it once."""
    settle_all(app, registration(app, "pol-1"))
    settle_all(app, login(app, "pol-1", "l-1"))
    settle_all(app, *(refusal(app, "pol-1", f"r-{n}") for n in range(3)))
    settle_all(app, about_member(app, "member_removed", "d-1"))
    history = with_logins(app.policies.history("pol-1", app.keyspace.of(OWNER)), told(app))
    assert [(entry.type, entry.revision, entry.state) for entry in history] == [
        ("policy.disabled", 3, "disabled"),
        ("login.refused", 2, "active"),
        ("policy.activated", 2, "active"),
        ("login.succeeded", 1, "provisional"),
        ("policy.provisioned", 1, "provisional"),
    ]
    last = history[1]
    assert last.cause == {"kind": "exchange", "id": "r-2", "event": "login.refused"}
    assert last.login is not None
    assert (last.login["code"], last.login["count"]) == ("workflow_file", 3)
    assert [entry.as_json().keys() == history[0].as_json().keys() for entry in history] == [
        True, False, True, False, True,
    ]  # fmt: skip


def test_of_logins_before_the_history_nothing_is_shown_in_it(app: App) -> None:
    settle_all(app, registration(app, "pol-1"), refusal(app, "pol-1", at=app.status.now() - HOUR // 2))
    history = app.policies.history("pol-1", app.keyspace.of(OWNER))
    assert with_logins(history, told(app)) == history


def test_a_contradiction_that_a_former_release_called_a_refusal_is_none(app: App) -> None:
    """Given an entry `login.refused` that a release before this one wrote, when it is read, it is `login.contradicted`."""
    settle_all(app, registration(app, "pol-1"))
    home = app.keyspace.of(OWNER)
    source = {"kind": "exchange", "id": "l-1", "event": "login.succeeded"}
    entry = [1, "2026-11-23T08:09:36.887641Z", "login.refused", "provisional", [], source]
    with plain(app) as redis:
        redis.lpush(home.history("pol-1"), json.dumps(entry))
    assert [entry.type for entry in app.policies.history("pol-1", home)] == ["login.contradicted", "policy.provisioned"]


def test_a_batch_of_refusals_costs_a_claim_a_look_a_count_and_an_answer(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a full batch of refusals, when it is settled, then it takes four round trips."""
    settle_all(app, *(registration(app, f"pol-{n}") for n in range(16)))
    letters = [refusal(app, f"pol-{n % 16}", f"r-{n}") for n in range(64)]
    home = letters[0].partition
    put(app, *(item._replace(partition=home, policy=f"pol-{n % 16}") for n, item in enumerate(letters)))
    trips: list[int] = []
    exchanged = client._exchanged

    def counted(transactions: Transactions, replicas: Replicas) -> Answers:
        trips.append(len(transactions))
        return exchanged(transactions, replicas)

    monkeypatch.setattr(client, "_exchanged", counted)
    app.processor("test").process(app.inbox.claim(home, EVENTS, "test", 128))
    assert len(trips) == 4
    assert refused(app, "pol-3").every.times == 4


def test_a_count_dated_ahead_of_the_clock_is_dated_anew_with_the_rest(app: App) -> None:
    """Given logins that were told while the clock was a day ahead, when time is reset, then later ones are the last."""
    settle_all(app, registration(app, "pol-1"))
    day = 24 * HOUR
    app.client.redis.hset(key_of(app), "*", f'3 {app.status.now()} {app.status.now() + day} {{"code":"x"}}')
    from worker.store.clock_reset import ClockReset

    reset = ClockReset(app.client, app.status, app.policies, app.settings.rules)
    ahead = Command(("SET", "tenure:{all}:clock-reset", day))
    app.client.one(ahead)
    assert reset.offset()["noted"] == 1
    reset._pass(day, "maria", apply=True)
    assert refused(app).every.last_at <= app.status.now()
    assert refused(app).every.times == 3
