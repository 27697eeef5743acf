"""Policies in the store: what is observed is remembered, and a step is committed once and as a whole."""

from __future__ import annotations

import json
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.making import (
    about_member,
    about_policy,
    about_repository,
    assert_consistent,
    everything,
    feed,
    letter,
    login,
    plain,
    published,
    registration,
    settle_all,
    state,
    types,
    view,
)
from tests.support import MAX_ID, OWNER, REPOSITORY, RULES, USER, hint, registered, registration_data
from worker.app import App
from worker.lifecycle import scopes
from worker.lifecycle.facts import Observation, Source, merge
from worker.lifecycle.policy import Policy, Step, advance, learn
from worker.store.client import StoreError
from worker.store.policies import HISTORY, START, Commit, Touch

pytestmark = pytest.mark.usefixtures("server_program")

CAUSE = Source("registry", "e-1", "policy.registered")
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
        (page,) = app.policies.touch([Touch(partition, (), indexes, cursor)], 10)
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
    app.client.redis.config_set("maxmemory", 1)
    with pytest.raises(StoreError, match="maxmemory"):
        app.inbox.put([[login(app, "pol-1")]])
    app.client.redis.config_set("maxmemory", 0)
    settle_all(app, login(app, "pol-1"))
    assert state(app, "pol-1") == "active"


def test_a_member_of_many_owners_is_touched_in_one_of_them_only(app: App) -> None:
    """Given one user in two organisations, when he leaves one, then his policies in the other are left alone."""
    settle_all(app, registration(app, "pol-1", user=USER), registration(app, "pol-2", user=USER, owner=ELSEWHERE))
    settle_all(app, about_member(app, "member_removed", "d-1", user=USER))
    assert [state(app, "pol-1"), state(app, "pol-2", owner=ELSEWHERE)] == ["disabled", "provisional"]
