"""The order in which events come, and how often, does not matter: the same events lead to the same standing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.making import (
    about_member,
    about_policy,
    about_repository,
    assert_consistent,
    dead_letters,
    login,
    put,
    registration,
    settle_all,
)
from tests.support import OWNER
from worker.app import App
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.views import View
from worker.store.inbox import Envelope

pytestmark = pytest.mark.usefixtures("server_program")

ELSEWHERE = 42
Make: TypeAlias = Callable[[App, str, Micros], Envelope]


def dated(letter: Envelope, at: Micros) -> Envelope:
    return letter._replace(occurred_at=at)


policies = st.sampled_from(["pol-1", "pol-2"])
owners = st.sampled_from([OWNER, OWNER, OWNER, ELSEWHERE])
ids = st.sampled_from([7, 7, 7, 8])
events = st.one_of(
    st.builds(
        lambda policy, owner, repository: (
            lambda app, event_id, at: registration(app, policy, event_id, owner=owner, repository_id=repository, at=at)
        ),
        policies,
        owners,
        st.sampled_from([7, 7, 8, None]),
    ),
    st.builds(
        lambda policy, owner, repository: (
            lambda app, event_id, at: login(app, policy, event_id, owner=owner, repository_id=repository, at=at)
        ),
        policies,
        owners,
        ids,
    ),
    st.builds(
        lambda action, owner, repository: (
            lambda app, event_id, at: dated(
                about_repository(app, action, event_id, owner=owner, repository_id=repository), at
            )
        ),
        st.sampled_from(["archived", "unarchived", "deleted", "publicized"]),
        owners,
        ids,
    ),
    st.builds(
        lambda action, owner: lambda app, event_id, at: dated(about_member(app, action, event_id, owner=owner), at),
        st.sampled_from(["member_removed", "member_added"]),
        owners,
    ),
    st.builds(
        lambda name, policy: lambda app, event_id, at: dated(about_policy(app, name, policy, event_id), at),
        st.sampled_from(["policy.renewed", "policy.removed"]),
        policies,
    ),
)


def outcome(app: App, letters: list[Envelope], *, one_by_one: bool) -> dict[str, dict[str, object]]:
    """Settle these in an empty store; what is published of each policy in the end, but for when and how often."""
    app.client.redis.flushdb()
    app.client.redis.set("tenure:partitions", app.keyspace.partitions)
    if one_by_one:
        for item in letters:
            settle_all(app, item)
    else:
        put(app, *letters)
        settle_all(app)
    assert_consistent(app)
    assert dead_letters(app) == []
    found = app.policies.load(["pol-1", "pol-2"])
    return {policy_id: told(at.policy.view) for policy_id, at in found.items() if at.policy and at.policy.view}


def told(view: View) -> dict[str, object]:
    """A view but for when and how often; a removed policy hears nothing any more, so all of it may be old."""
    if view["state"] == "removed":
        return {"state": "removed"}
    return {name: value for name, value in view.items() if name not in {"revision", "updated_at"}}


@given(st.lists(events, min_size=2, max_size=9), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_order_and_any_repetition_of_the_same_events_end_in_the_same_views(
    app: App, made: list[Make], random: Random, one_by_one: bool
) -> None:
    """Given some events, when they come in another order and some of them twice, then the same is published."""
    now = app.status.now()
    letters = [make(app, f"e-{n}", now - (len(made) - n) * SECOND) for n, make in enumerate(made)]
    again = [*letters, *letters[::2]]
    random.shuffle(again)
    assert outcome(app, letters, one_by_one=True) == outcome(app, again, one_by_one=one_by_one)
