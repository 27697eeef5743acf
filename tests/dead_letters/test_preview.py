"""What a replay would do is told by the real code, and nothing is written."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handlers.base import Handled, UnusableEventError
from handlers.table import handle
from tests.dead_letters import poison
from tests.dead_letters.test_finding import wrong
from tests.store.making import (
    about_account,
    about_policy,
    about_repository,
    everything,
    give_up_on,
    lose_worker,
    ping,
    put,
    reasons,
    registration,
    settle_all,
    state,
)
from tests.support import OWNER, incoming, repository
from worker import dead_letters
from worker.app import App
from worker.dead_letters import DryRunVerdict, Effect
from worker.dead_letters.preview import AT_ONCE, WorkerLost, apart
from worker.dead_letters.search import deadly
from worker.lifecycle import scopes
from worker.lifecycle.facts import SECOND
from worker.store.inbox import EVENTS, MAX_DEATHS, SUSPECT, Envelope


def rehearsed(app: App) -> dict[str, Effect]:
    """What a replay of everything would do, by delivery; the store is as before."""
    chosen, _ = dead_letters.select(app)
    before = everything(app)
    effects = list(dead_letters.preview(app, chosen))
    assert everything(app) == before
    assert [effect.letter for effect in effects] == chosen
    return {effect.letter.delivery: effect for effect in effects}


def test_of_two_that_tell_of_the_same_the_newer_counts_whichever_comes_first(app: App) -> None:
    """Given a lock and an older unlock that is rehearsed after it, then whoever is registered next is locked."""
    now = app.status.now()
    give_up_on(app, about_account(app, "account.locked", "maria", at=now - 10 * SECOND))
    give_up_on(app, about_account(app, "account.unlocked", "maria", at=now - 20 * SECOND))
    give_up_on(app, registration(app, "pol-1", "d-registered", at=now - 5 * SECOND))
    (told,) = rehearsed(app)["d-registered"].policies
    assert told.after is not None
    chosen, _ = dead_letters.select(app)
    dead_letters.replay(app, chosen, reason="a test", by="maria")
    settle_all(app)
    assert (told.after["state"], told.after["reasons"]) == (state(app, "pol-1"), reasons(app, "pol-1"))
    assert state(app, "pol-1") == "disabled"


def test_a_change_is_shown_field_by_field(app: App) -> None:
    """Given a letter that blocks a policy, when it is rehearsed, then before and after are told, and nothing written."""
    settle_all(app, registration(app, "pol-1"), registration(app, "pol-other", repository_id=99, name="gadgets"))
    give_up_on(app, about_repository(app, "archived", "d-1"))
    effect = rehearsed(app)["d-1"]
    assert effect.verdict is DryRunVerdict.CHANGES
    assert {scopes.owner_id_of(scope) for scope in effect.checks} == {OWNER}
    (policy,) = effect.policies
    assert (policy.policy_id, policy.change, policy.learns, policy.newer) == ("pol-1", "policy.disabled", True, [])
    assert policy.before is not None
    assert policy.differences == {
        "state": ("provisional", "disabled"),
        "usable": (True, False),
        "usable_until": (policy.before["usable_until"], None),
        "reasons": ([], ["repository_archived"]),
    }
    assert state(app, "pol-1") == "provisional"


def test_what_is_rehearsed_is_what_a_replay_does(app: App) -> None:
    """Given letters that build on each other, when they are rehearsed and then replayed, then both come to the same."""
    settle_all(app, registration(app, "pol-1"))
    give_up_on(app, about_repository(app, "archived", "d-archived"))
    give_up_on(app, registration(app, "pol-new", "d-new"))
    give_up_on(app, about_policy(app, "policy.renewed", "pol-new", "d-renewed"))
    give_up_on(app, about_account(app, "account.locked", "maria", "d-locked"))
    effects = rehearsed(app)
    expected: dict[str, object] = {}
    for effect in effects.values():
        assert effect.verdict is DryRunVerdict.CHANGES
        expected |= {policy.policy_id: policy.after for policy in effect.policies}
    # It was archived before it was registered: what was said of it counts.
    (new,) = effects["d-new"].policies
    assert (new.before, new.change) == (None, "policy.disabled")
    assert {policy.policy_id for policy in effects["d-locked"].policies} == {"pol-1", "pol-new"}

    dead_letters.replay(app, dead_letters.select(app)[0], reason="a test", by="maria")
    settle_all(app)
    for policy_id, view in expected.items():
        policy = app.policies.load([policy_id])[policy_id].policy
        assert policy is not None
        assert policy.view is not None
        assert isinstance(view, dict)
        # An account's letter waits in another partition, so it may come first; then there is a revision less.
        own = {"updated_at": "", "revision": 0}
        assert {**policy.view, **own} == {**view, **own}


def test_a_letter_is_moot_where_something_newer_is_known(app: App) -> None:
    """Given an old block and a newer clearing, when the old one is rehearsed, then it says what is newer."""
    settle_all(app, registration(app, "pol-1"))
    give_up_on(app, about_repository(app, "archived", "d-old"))
    settle_all(app, about_repository(app, "unarchived", "d-newer"))
    effect = rehearsed(app)["d-old"]
    assert effect.verdict is DryRunVerdict.MOOT
    (policy,) = effect.policies
    assert (policy.differences, policy.change) == ({}, None)
    (newer,) = policy.newer
    assert (newer["aspect"], newer["value"]) == ("archived", False)


def test_what_is_known_already_is_moot(app: App) -> None:
    """Given a letter whose like was settled since, when it is rehearsed, then nothing would change."""
    settle_all(app, registration(app, "pol-1"))
    give_up_on(app, about_repository(app, "archived", "d-1"))
    settle_all(app, about_repository(app, "archived", "d-2"))
    assert rehearsed(app)["d-1"].verdict is DryRunVerdict.MOOT


def test_a_letter_that_nobody_listens_to_touches_nothing(app: App) -> None:
    """Given letters about strangers, when they are rehearsed, then no policy is touched."""
    give_up_on(app, about_repository(app, "archived", "d-1"), ping(app, "d-2"))
    give_up_on(app, about_policy(app, "policy.renewed", "pol-nobody", "d-3"))
    assert {effect.verdict for effect in rehearsed(app).values()} == {DryRunVerdict.UNTOUCHED}


def test_a_letter_that_would_fail_again_says_how(app: App) -> None:
    """Given a letter of the wrong form, when it is rehearsed, then it tells the error, and others are rehearsed."""
    settle_all(app, registration(app, "pol-1"), wrong(app))
    give_up_on(app, about_repository(app, "archived", "d-1"))
    effects = rehearsed(app)
    assert (effects["d-wrong"].verdict, effects["d-wrong"].error) == (DryRunVerdict.FAILS, "UnusableEventError")
    assert "repository.id" in str(effects["d-wrong"].message)
    assert effects["d-1"].verdict is DryRunVerdict.CHANGES


def test_a_letter_that_is_gone_is_said_to_be(app: App) -> None:
    """Given a selection, when a letter is dropped meanwhile, then the rehearsal goes on without it."""
    give_up_on(app, ping(app, "d-1"))
    chosen, _ = dead_letters.select(app)
    dead_letters.drop(app, chosen, reason="a test", by="maria")
    assert [effect.verdict for effect in dead_letters.preview(app, chosen)] == [DryRunVerdict.GONE]


def lost(app: App, item: Envelope) -> None:
    """Let three workers end over it."""
    put(app, item)
    lose_worker(app, app.inbox.claim(item.partition, "events", "one", 10).events)
    app.inbox.claim(item.partition, "events", "two", 10)
    for n in range(1, MAX_DEATHS):
        lose_worker(app, app.inbox.claim(item.partition, SUSPECT, f"worker-{n}", 10).events)
    app.inbox.claim(item.partition, SUSPECT, "last", 10)


def test_a_letter_that_ended_its_workers_is_rehearsed_in_a_process_of_its_own(app: App) -> None:
    """Given a letter whose workers ended, when it is rehearsed, then what it holds is translated elsewhere."""
    settle_all(app, registration(app, "pol-1"))
    lost(app, about_repository(app, "archived", "d-1"))
    (letter,) = dead_letters.find(app)
    assert letter.error == "WorkerLost"
    whole = dead_letters.show(app, letter.event_id)
    assert whole is not None
    assert [(x.worker, x.error) for x in whole.attempts] == [
        ("one", "WorkerLost"), ("worker-1", "WorkerLost"), ("worker-2", "WorkerLost"),
    ]  # fmt: skip
    assert rehearsed(app)["d-1"].verdict is DryRunVerdict.CHANGES


def test_a_letter_that_ended_one_worker_and_then_failed_is_not_looked_at_here_either(app: App) -> None:
    """Given an event that a worker was lost over, and that failed at the next, then it goes apart as well."""
    item = ping(app, "d-1")
    put(app, item)
    lose_worker(app, app.inbox.claim(item.partition, EVENTS, "one", 10).events)
    app.inbox.claim(item.partition, EVENTS, "two", 10)
    (event,) = app.inbox.claim(item.partition, SUSPECT, "three", 10).events
    app.inbox.fail(event, error="OddError", message="odd", trace="", worker="three", now=app.status.now(), final=True)
    (letter,) = dead_letters.find(app)
    whole = dead_letters.show(app, letter.event_id)
    assert whole is not None
    assert (letter.error, deadly(whole)) == ("OddError", True)


def test_few_processes_are_begun_at_once(tmp_path: Path) -> None:
    """Given more letters to be translated apart than may be at once, then the others wait."""
    event = incoming("ping", {"directory": str(tmp_path), "most": AT_ONCE, "seconds": 0.5})
    with ThreadPoolExecutor(AT_ONCE + 1) as pool:
        came = [pool.submit(apart, event, poison.counts) for _ in range(AT_ONCE + 1)]
        assert [one.result() for one in came] == [Handled()] * (AT_ONCE + 1)


def test_what_ends_that_process_is_told_and_ends_no_other() -> None:
    """Given a handler that ends its process, when it translates apart, then that is an error like any other."""
    event = incoming("repository.archived", {"repository": repository()})
    with pytest.raises(WorkerLost):
        apart(event, poison.ends)
    with pytest.raises(UnusableEventError):
        apart(event, poison.refuses)
    told = apart(event, handle)
    assert isinstance(told, Handled)
    assert told == handle(event)
