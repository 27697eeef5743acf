"""What a handler does not need may be anything: it is as good as missing, and never a reason to keep an event."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.base import Handled, UnusableEventError, paired
from handlers.table import handle
from tests.handlers.test_webhooks import HEARD
from tests.support import JSON, NAME, OWNER, REPOSITORY, account, incoming, installation, repository
from worker.lifecycle import scopes

ODD: tuple[JSON, ...] = (None, {}, [], "", 0, -1, 10**400, True, [None], [{}], {"id": None}, "\ud800", 1.5)
"""Values that stand where others are expected."""

NEEDED = {
    "repository", "repository.id", "repository.name", "organization", "organization.id", "installation", "account",
    "account.id", "membership", "membership.user", "membership.user.id", "member", "member.id", "changes.owner.from",
    "changes.owner", "changes", "ref",
}  # fmt: skip
"""Without these nobody can tell what is lost, or by whom: an operator has to look."""


def places(value: JSON, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield (*path, name)
            yield from places(inner, (*path, name))


def changed(value: JSON, path: tuple[str, ...], odd: JSON) -> JSON:
    """The same with another value at one place."""
    if not path:
        return odd
    assert isinstance(value, dict)
    return {**value, path[0]: changed(value[path[0]], path[1:], odd)}


@pytest.mark.parametrize("name", HEARD)
def test_an_odd_field_is_a_dead_letter_only_where_it_is_needed(name: str) -> None:
    for body, _, _ in HEARD[name]:
        for path in places(body):
            for odd in ODD:
                try:
                    handle(incoming(name, changed(body, path, odd)))
                except UnusableEventError:
                    assert ".".join(path) in NEEDED, (path, odd)


def test_half_a_character_costs_nothing_but_itself() -> None:
    body = json.dumps({"repository": repository(description="cut \ud83d"), "sender": {"login": "\udc00"}}).encode()
    whole = json.dumps({"repository": repository(description="cut")}).encode()
    assert b"\\ud83d" in body
    assert handle(incoming("repository.archived", body)) == handle(incoming("repository.archived", whole))


def test_a_whole_character_and_an_escaped_backslash_stay_what_they_are() -> None:
    """`\\\\ud800` is a backslash and four letters, and a pair is one character."""
    raw = b'{"repository": {"id": 7, "name": "a\\\\ud800\\ud83d\\ude00", "owner": {"id": 41}}, "x": "\\ud800"}'
    (_, named) = handle(incoming("repository.archived", raw)).observations
    assert named.scope == scopes.unbound(41, "a\\ud800\U0001f600")


@given(
    st.lists(
        st.sampled_from([r"\\\\", r"\n", r"\ud83d", r"\uDe00", r"\udBff", r"\u0041", "u", "d83d", "x"]), max_size=12
    )
)
def test_each_half_is_mended_and_nothing_else(parts: list[str]) -> None:
    """Whatever stands before it: Python reads halves as they are, and cannot write them."""
    text = '{"a":"' + "".join(parts) + '"}'
    said = json.loads(text)["a"]
    mended = json.loads(paired(text.encode()))["a"]
    assert mended == "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in said)
    assert (mended == said) is (paired(raw := text.encode()) is raw)


def test_escapes_take_no_more_memory_than_the_text() -> None:
    body = b'{"a":"' + rb"\\" * 2_000_000 + rb"\n" * 2_000_000 + rb'\ud83d"}'
    tracemalloc.start()
    mended = paired(body)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mended.endswith(rb'\n\ufffd"}')
    assert most < 3 * len(body)


@pytest.mark.parametrize("event", ["push", "repository.unarchived", "repository.created", "public"])
def test_without_an_owner_nothing_is_learnt_where_nothing_is_lost(event: str) -> None:
    body: JSON = {
        "ref": "refs/heads/main",
        "repository": repository(owner={"name": "octo", "email": "octo@example.org"}),
    }
    assert handle(incoming(event, body)) == Handled()


@pytest.mark.parametrize("action", ["renamed", "deleted"])
def test_what_another_action_of_the_same_event_needs_may_be_anything(action: str) -> None:
    body: JSON = {"organization": account(OWNER, "octo-new"), "membership": "odd"}
    assert handle(incoming(f"organization.{action}", body)).observations


def test_of_an_account_that_is_gone_nothing_is_followed() -> None:
    assert handle(incoming("installation_target.renamed", {"account": None, "target_type": "User"})) == Handled()


def test_an_enterprise_s_installation_checks_nobody() -> None:
    enterprise: JSON = {"id": OWNER, "slug": "octo-corp", "name": "Octo Corp"}
    assert handle(incoming("team.edited", {"installation": installation(account=enterprise)})) == Handled()
    also: JSON = {"installation": installation(account=enterprise), "organization": account(42)}
    assert handle(incoming("team.edited", also)).checks == (scopes.owner(42),)


def test_what_a_list_holds_that_does_not_fit_is_passed_over() -> None:
    listed: JSON = [None, {}, {"id": "x", "name": 5}, {"id": REPOSITORY, "name": NAME}, 7]
    handled = handle(
        incoming("installation_repositories.removed", {"installation": installation(), "repositories_removed": listed})
    )
    assert {observation.scope for observation in handled.observations if observation.value is True} >= {
        scopes.repository(OWNER, REPOSITORY),
        scopes.unbound(OWNER, NAME),
    }
