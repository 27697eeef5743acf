"""Policies in the store: what is observed is remembered, and a step is committed once and as a whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines import configured
from tests.store.making import (
    about_account,
    about_member,
    about_policy,
    about_repository,
    assert_consistent,
    come_due,
    dead_letters,
    everything,
    exhaust,
    feed,
    idle,
    letter,
    login,
    plain,
    published,
    put,
    reasons,
    registration,
    set_time,
    settle_all,
    state,
    types,
    view,
    webhook,
)
from tests.support import MAX_ID, OWNER, REPOSITORY, RULES, USER, account, hint, registered, registration_data, said
from worker.app import App
from worker.lifecycle import scopes
from worker.lifecycle.facts import DAY, SECOND, Observation, ObservationSource, merge
from worker.lifecycle.policy import Policy, Step, advance, learn
from worker.lifecycle.views import ChangeType
from worker.settling.settler import POSTPONED
from worker.store.client import Client, Command, Reply, ScriptCall, StoreError
from worker.store.inbox import EVENTS, LANES, MAX_FAILURES
from worker.store.keys import Partition
from worker.store.policies import HISTORY, START, Commit, Policies, Touch, UnreadableError
from worker.store.topology import Topology

pytestmark = pytest.mark.usefixtures("server_program")

CAUSE = ObservationSource("registry", "e-1", "policy.registered")
ELSEWHERE = 42
"""An owner in another partition."""


def step_of(policy: Policy, *observations: Observation, now: int = 1) -> Step:
    step = advance(learn(policy, observations, RULES), now, RULES, learnt=True)
    assert step is not None
    return step


# Observe


def test_all_policies_of_a_scope_are_found_page_by_page(app: App) -> None:
    """Given 25 policies of one owner, when they are looked for 10 at a time, then each is found exactly once."""
    settle_all(app, *(registration(app, f"pol-{n:02d}", user=n % 2) for n in range(25)))
    partition, scope = app.keyspace.of(OWNER), scopes.owner(OWNER)
    indexes = (scopes.member(OWNER, 1), scope, scopes.member(OWNER, 0))
    cursor: str | None = START
    pages = []
    while cursor is not None:
        (page,) = app.policies.observe([Touch(partition, (), indexes, cursor)], 10)
        pages.append(list(page.loaded))
        cursor = page.cursor
    # 12 of one user, all 25, and 13 of the other: a page never holds more than was asked for.
    assert [len(page) for page in pages] == [10, 10, 10, 10, 10]
    assert sorted(policy_id for page in pages for policy_id in page) == sorted(2 * [f"pol-{n:02d}" for n in range(25)])


def test_the_newest_observation_is_remembered_whenever_it_comes(app: App) -> None:
    """Given two observations of one subject, when the older comes last, then the newer stays; and so do all digits."""
    scope = scopes.owner(MAX_ID)
    newer, older = hint(20, scope, "owner_login", f"n{MAX_ID}"), hint(10, scope, "owner_login", "old")
    app.policies.remember([newer])
    app.policies.remember([older])
    assert app.policies.remembered([scope])[scope] == [newer]
    with plain(app) as redis:
        key = app.keyspace.home_of_scope(scope).observed(scope)
        assert redis.pttl(key) > 0
        assert str(MAX_ID) in next(iter(cast("list[str]", redis.hvals(key))))


observations = st.one_of(
    st.builds(
        hint,
        st.integers(0, 3),
        st.just(scopes.repository(OWNER, REPOSITORY)),
        st.sampled_from(["archived", "deleted"]),
        st.booleans(),
    ),
    st.builds(
        hint,
        st.integers(0, 3),
        st.just(scopes.repository(OWNER, REPOSITORY)),
        st.just("name"),
        st.sampled_from(["widgets", "gadgets"]),
    ),
)


@given(st.lists(observations, max_size=8))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_remembering_agrees_with_merging(app: App, seen: list[Observation]) -> None:
    """Given observations in any order, some at the same time, when they are remembered, then as if they were merged."""
    app.client.redis.flushdb()
    for observation in seen:
        app.policies.remember([observation])
    scope = scopes.repository(OWNER, REPOSITORY)
    assert set(app.policies.remembered([scope])[scope]) == set(merge({}, seen).values())


def test_what_was_observed_before_a_registration_counts(app: App) -> None:
    """Given a repository archived first, when a policy for it is registered afterwards, then it begins disabled."""
    settle_all(app, about_repository(app, "archived", "d-1"))
    settle_all(app, registration(app, "pol-1"))
    assert types(app, "pol-1") == ["policy.disabled"]
    assert_consistent(app)


# Commit


def test_a_step_is_committed_once_however_often_it_is_run(app: App) -> None:
    """Given a step, when its commit is run twice, as a client does whose reply was lost, then the second does nothing."""
    commit = Commit(app.policies.load(["pol-1"])["pol-1"], step_of(Policy("pol-1", {}), registered(1)), CAUSE, None)
    assert app.policies.commit([commit]) == [True]
    before = everything(app)
    assert app.policies.commit([commit]) == [False]
    assert everything(app) == before
    assert_consistent(app)


def test_who_read_an_older_revision_writes_nothing(app: App) -> None:
    """Given two that read the same revision, when both commit, then the second is refused, whatever it would write."""
    settle_all(app, registration(app, "pol-1"))
    located = app.policies.load(["pol-1"])["pol-1"]
    assert located.policy is not None
    scope = scopes.repository(OWNER, REPOSITORY)
    first = step_of(located.policy, hint(2, scope, "archived", True), now=2)
    second = step_of(located.policy, hint(2, scope, "deleted", True), now=2)
    assert app.policies.commit([Commit(located, first, CAUSE, None)]) == [True]
    before = everything(app)
    assert app.policies.commit([Commit(located, second, CAUSE, None)]) == [False]
    assert everything(app) == before


def test_what_is_learnt_without_a_change_is_written_but_not_published(app: App) -> None:
    """Given a second login, when it is settled, then the record has it, and no revision was published."""
    settle_all(app, registration(app, "pol-1"), login(app, "pol-1", "l-1"))
    before = app.policies.load(["pol-1"])["pol-1"].policy
    settle_all(app, login(app, "pol-1", "l-2"))
    after = app.policies.load(["pol-1"])["pol-1"].policy
    assert before is not None
    assert after is not None
    assert (after.revision, after.edition) == (before.revision, before.edition + 1)
    assert len(feed(app)) == after.revision


def test_every_part_of_a_policy_follows_it_through_its_life(app: App) -> None:
    """Given policies in every state, when each event is settled, then record, view, indexes and feed agree."""
    for event in (
        registration(app, "pol-1"),
        registration(app, "pol-2", repository_id=None, name="gadgets"),
        registration(app, "pol-3", owner=ELSEWHERE),
        login(app, "pol-1"),
        about_repository(app, "archived", "d-1"),
        about_member(app, "member_removed", "d-2"),
        about_repository(app, "renamed", "d-3", name="gizmos"),
        login(app, "pol-2", repository_id=8),
        about_repository(app, "unarchived", "d-4"),
        about_policy(app, "policy.renewed", "pol-3", owner=ELSEWHERE),
        about_member(app, "member_added", "d-5"),
        about_policy(app, "policy.removed", "pol-1"),
    ):
        settle_all(app, event)
        assert_consistent(app)
    assert [state(app, "pol-1"), state(app, "pol-2", repository_id=8)] == [None, "active"]
    assert types(app, "pol-1")[-1] == "policy.removed"


def test_a_policy_moves_with_its_owner(app: App) -> None:
    """Given a policy, when it is registered for another owner, then all of it is in that owner's partition."""
    assert app.keyspace.of(OWNER) != app.keyspace.of(ELSEWHERE)
    settle_all(app, registration(app, "pol-1"), login(app, "pol-1"))
    settle_all(app, registration(app, "pol-1", "moved", owner=ELSEWHERE))
    assert view(app, "pol-1") is None
    assert state(app, "pol-1", owner=ELSEWHERE) == "provisional"
    assert_consistent(app)
    with plain(app) as redis:
        former = app.keyspace.of(OWNER)
        assert set(redis.scan_iter(f"{former.prefix}*pol-1*")) == set()
        assert redis.zcard(former.due) == 0
        assert redis.zscore(app.keyspace.of(ELSEWHERE).due, "pol-1") is not None


class Interrupted(Client):
    """Lets something happen once, right after its first round trip."""

    def __init__(self, topology: Topology, happens: Callable[[], None]) -> None:
        super().__init__(topology)
        self._happens: Callable[[], None] | None = happens

    def run(self, calls: Sequence[ScriptCall | Command], *, atomic: bool = False) -> list[Reply]:
        replies = super().run(calls, atomic=atomic)
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()
        return replies


def test_a_policy_that_moves_while_it_is_loaded_is_looked_for_again(app: App) -> None:
    """Given a policy located in one partition, when it moves before its record is read, then it is found in the other."""
    settle_all(app, registration(app, "pol-1"), registration(app, "pol-2"))
    move = registration(app, "pol-1", "moved", owner=ELSEWHERE)
    policies = Policies(Interrupted(app.client.topology, lambda: settle_all(app, move)), app.keyspace)
    found = policies.load(["pol-1", "pol-2", "pol-3"])
    assert [found[policy_id].home for policy_id in ("pol-1", "pol-2")] == [
        app.keyspace.of(ELSEWHERE), app.keyspace.of(OWNER),
    ]  # fmt: skip
    assert [(x.policy is not None, x.exists, x.broken) for x in found.values()] == [
        (True, True, False), (True, True, False), (False, False, False),
    ]  # fmt: skip


def test_what_was_said_of_an_account_follows_a_policy_to_another_owner(app: App) -> None:
    """Given a locked creator, when the policy is updated to another owner, then the creator is still locked."""
    settle_all(app, registration(app, "pol-1"), about_account(app, "account.locked", "maria"))
    settle_all(app, registration(app, "pol-1", "moved", owner=ELSEWHERE))
    assert reasons(app, "pol-1") == ["creator_locked"]
    assert_consistent(app)


def test_a_policy_that_moves_reads_what_an_event_on_its_way_has_said(app: App) -> None:
    """Given an event that is only remembered so far, when a policy moves past it, then the policy has heard of it."""
    settle_all(app, registration(app, "pol-1"), about_repository(app, "unarchived", "d-1"))
    app.policies.remember([said(app.status.now(), scopes.account("maria"), "locked", True)])
    settle_all(app, registration(app, "pol-1", "moved", owner=ELSEWHERE))
    assert reasons(app, "pol-1") == ["creator_locked"]


def test_what_happened_while_a_policy_was_another_owners_counts_when_it_comes_back(app: App) -> None:
    """Given a policy that went to another owner, when its repository is deleted meanwhile, then it returns blocked."""
    settle_all(app, registration(app, "pol-1"), login(app, "pol-1"))
    settle_all(app, registration(app, "pol-1", "away", owner=ELSEWHERE))
    settle_all(app, about_repository(app, "deleted", "d-1"))
    assert reasons(app, "pol-1") == []
    settle_all(app, registration(app, "pol-1", "back"))
    assert reasons(app, "pol-1") == ["repository_deleted"]
    assert state(app, "pol-1") != "active"
    assert_consistent(app)


def test_a_worker_lost_after_its_commit_owes_no_second_reading(app: App) -> None:
    """Given a policy that was written and not read again, when anything is settled on it, then it hears what it missed."""
    now = app.status.now()
    rules = app.settings.rules
    learnt = learn(Policy("pol-1", {}), [registered(now, repository_id=REPOSITORY)], rules)
    step = advance(learnt, now, rules, learnt=True)
    assert step is not None
    step = step._replace(policy=step.policy._replace(unread=step.policy.watching))
    located = app.policies.load(["pol-1"])["pol-1"]
    assert app.policies.commit([Commit(located, step, CAUSE, None)]) == [True]
    # Observed between the reading and the arrival in the index: nobody was found there to be told.
    app.policies.remember([hint(now + 1, scopes.repository(OWNER, REPOSITORY), "archived", True)])
    settle_all(app, about_member(app, "member_added", "d-1"))
    assert reasons(app, "pol-1") == ["repository_archived"]
    policy = app.policies.load(["pol-1"])["pol-1"].policy
    assert policy is not None
    assert policy.unread == frozenset()
    assert_consistent(app)


# Records that cannot be read


SPOILT: dict[str, tuple[Callable[[Partition], str], bool]] = {
    "view": (lambda home: home.repository(OWNER, REPOSITORY), True),
    "history": (lambda home: home.history("pol-1"), True),
    "record": (lambda home: home.policy("pol-1"), True),
    "index": (lambda home: home.scope_index(scopes.owner(OWNER)), False),
    "what is remembered": (lambda home: home.observed(scopes.owner(OWNER)), False),
}
"""Key of a policy or of its owner, and whether others of the owner can be settled without it."""


@pytest.mark.parametrize("which", SPOILT)
def test_a_key_of_another_type_is_nobody_else_s_trouble(app: App, which: str) -> None:
    """Given a key that somebody overwrote, when the owner is deleted, then all others are closed at once, a neighbour of the
    same partition is served, and the event is kept with the key's name.
    """
    key_of, others = SPOILT[which]
    home = app.keyspace.of(OWNER)
    key = key_of(home)
    neighbour = next(n for n in range(OWNER + 1, OWNER + 10_000) if app.keyspace.of(n) == app.keyspace.of(OWNER))
    settle_all(app, *(registration(app, f"pol-{n}", repository_id=REPOSITORY + n - 1) for n in (1, 2, 3)))
    settle_all(app, registration(app, "theirs", owner=neighbour, repository_id=900))
    client = app.client.redis
    client.delete(key)
    if which == "record":
        client.hset(key, "a", "b")
    else:
        client.set(key, "overwritten")
    put(
        app,
        webhook(app, "organization.deleted", {"action": "deleted", "organization": account(OWNER)}, "gone"),
        about_repository(app, "archived", "theirs", owner=neighbour, repository_id=900),
    )
    app.processor("test").drain(home, EVENTS)
    assert state(app, "theirs", owner=neighbour, repository_id=900) == "disabled"
    if others:
        seen = [state(app, f"pol-{n}", repository_id=REPOSITORY + n - 1) for n in (2, 3)]
        assert seen == ["disabled", "disabled"]
    exhaust(app)
    (letter,) = dead_letters(app)
    assert letter.message is not None
    assert key in letter.message or "pol-1 cannot be read" in letter.message


def test_one_unreadable_record_keeps_no_other_policy_waiting(app: App) -> None:
    """Given one broken record among 120, when their repository is archived, then 119 close and the event is kept."""
    settle_all(app, *(registration(app, f"pol-{n:03d}") for n in range(120)))
    home = app.keyspace.of(OWNER)
    app.client.one(Command(("SET", home.policy("pol-010"), "no record of ours")))
    event = about_repository(app, "archived", "d-1")
    settle_all(app, event)
    for _ in range(MAX_FAILURES):
        for lane in LANES:
            come_due(app, home, event.event_id, lane)
        settle_all(app)
    with plain(app) as redis:
        seen = [json.loads(raw) for raw in cast("list[str]", redis.hvals(home.repository(OWNER, REPOSITORY)))]
    assert Counter(found["state"] for found in seen) == {"disabled": 119, "provisional": 1}
    assert idle(app)
    (dead,) = dead_letters(app)
    assert (dead.delivery, dead.error, dead.failures) == ("d-1", "UnreadableError", MAX_FAILURES)
    # Its first attempt took two pages, and the record was in the first of them.
    assert json.loads(dead.fields["failure:1"])["error"] == "PartlySettledError"
    assert "pol-010" in str(dead.message)


def test_due_policies_that_cannot_be_read_keep_no_other_waiting(app: App) -> None:
    """Given more broken records than the clock takes at once, when it looks twice, then those behind them are settled."""
    due_soon = app.status.now() - 6 * DAY
    home = app.keyspace.of(OWNER)
    settle_all(app, *(registration(app, f"broken-{n}", at=due_soon) for n in range(3)))
    settle_all(app, *(registration(app, f"sound-{n}", at=due_soon + SECOND) for n in range(3)))
    for n in range(3):
        app.client.one(Command(("SET", home.policy(f"broken-{n}"), "no record of ours")))
    first, second, third = (app.settler.settle_due(3) for _ in range(3))
    assert [type(outcome.error) for outcome in first] == [UnreadableError] * 3
    assert [[change for _, change in outcome.changes] for outcome in second] == [[ChangeType.EXPIRING]] * 3
    assert third == []
    # They are looked at again later.
    set_time(app, app.status.now() + POSTPONED)
    assert sorted(due.policy_id for due in app.policies.due(10)) == [f"broken-{n}" for n in range(3)]


def test_a_removed_policy_is_in_no_index_and_stays_removed(app: App) -> None:
    """Given a removed policy, when it is registered again, then it stays removed and nothing finds it."""
    settle_all(app, registration(app, "pol-1"))
    settle_all(app, about_policy(app, "policy.removed", "pol-1"))
    settle_all(app, registration(app, "pol-1", "again"))
    assert types(app, "pol-1") == ["policy.provisioned", "policy.removed"]
    assert_consistent(app)
    with plain(app) as redis:
        home = app.keyspace.of(OWNER)
        assert [redis.zcard(home.all), redis.zcard(home.due), redis.exists(home.repository(OWNER, REPOSITORY))] == [
            0,
            0,
            0,
        ]


def test_the_history_of_a_policy_has_an_end_and_the_feed_has_everything(app: App) -> None:
    """Given a policy that changes very often, when it is looked at, then its history is bounded and its newest."""
    settle_all(app, registration(app, "pol-1"))
    for n in range(HISTORY + 5):
        settle_all(app, about_repository(app, "unarchived" if n % 2 else "archived", f"d-{n}"))
    assert_consistent(app)
    entries = app.policies.history("pol-1", app.keyspace.of(OWNER))
    assert [entries[0].revision, entries[-1].revision] == [HISTORY + 6, 7]
    assert len(published(app)["pol-1"]) == HISTORY + 6


# Ids


def test_an_id_never_loses_a_digit(app: App) -> None:
    """Given the greatest ids there are, when a policy lives with them, then all of what is written has every digit."""
    settle_all(app, registration(app, "pol-1", user=MAX_ID - 2, owner=MAX_ID, repository_id=MAX_ID - 1))
    settle_all(app, login(app, "pol-1", owner=MAX_ID, repository_id=MAX_ID - 1))
    settle_all(app, about_member(app, "member_removed", "d-1", owner=MAX_ID, user=MAX_ID - 2))
    seen = view(app, "pol-1", owner=MAX_ID, repository_id=MAX_ID - 1)
    assert seen is not None
    assert (seen["repository_owner_id"], seen["repository_id"], seen["state"]) == (MAX_ID, MAX_ID - 1, "disabled")
    assert seen["created_by"] == {"account": "maria", "github_user_id": MAX_ID - 2}
    assert cast("dict[str, object]", published(app)["pol-1"][-1]["data"])["view"] == seen
    record = app.policies.load(["pol-1"])["pol-1"].policy
    assert record is not None
    assert scopes.member(MAX_ID, MAX_ID - 2) in record.watching
    assert f"{MAX_ID - 1}:{MAX_ID}" in {fact.value for fact in record.facts.values()}
    assert_consistent(app)


def test_ids_as_strings_of_digits_are_the_same_ids(app: App) -> None:
    """Given a registration with its ids as strings, when it is settled, then its view has them as integers."""
    data = registration_data(repository_owner_id=str(MAX_ID), repository_id=str(MAX_ID - 1))
    settle_all(app, letter(app, "policy.registered", data, "e-1", owner=MAX_ID, kind="registry"))
    seen = view(app, "pol-1", owner=MAX_ID, repository_id=MAX_ID - 1)
    assert seen is not None
    assert f'"repository_id": {MAX_ID - 1}' in json.dumps(seen)


# The scripts themselves


def test_a_server_that_forgot_the_scripts_is_given_them_again(app: App) -> None:
    """Given a server whose script cache was flushed, when anything is run, then it is run, once."""
    for event in (registration(app, "pol-1"), login(app, "pol-1"), about_member(app, "member_removed", "d-1")):
        app.client.redis.script_flush()
        settle_all(app, event)
    app.client.redis.script_flush()
    (receipts,) = app.inbox.put([[login(app, "pol-1", f"l-{n}") for n in range(3)]])
    assert [receipt.duplicate for receipt in receipts] == [False, False, False]
    assert types(app, "pol-1") == ["policy.provisioned", "policy.activated", "policy.disabled"]
    assert_consistent(app)


def test_a_full_server_refuses_and_is_obeyed_again_when_it_has_room(app: App) -> None:
    """Given a server without room, when an event is put, then it is refused; when there is room, it is taken."""
    settle_all(app, registration(app, "pol-1"))
    with configured(app.client, {"maxmemory": 1}), pytest.raises(StoreError, match="maxmemory"):
        app.inbox.put([[login(app, "pol-1")]])
    settle_all(app, login(app, "pol-1"))
    assert state(app, "pol-1") == "active"


def test_a_member_of_many_owners_is_touched_in_one_of_them_only(app: App) -> None:
    """Given one user in two organisations, when he leaves one, then his policies in the other are left alone."""
    settle_all(app, registration(app, "pol-1", user=USER), registration(app, "pol-2", user=USER, owner=ELSEWHERE))
    settle_all(app, about_member(app, "member_removed", "d-1", user=USER))
    assert [state(app, "pol-1"), state(app, "pol-2", owner=ELSEWHERE)] == ["disabled", "provisional"]
