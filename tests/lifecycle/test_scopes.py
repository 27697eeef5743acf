"""What is read from a scope: whose it is, and under whom it is kept."""

from __future__ import annotations

import pytest

from worker.lifecycle import scopes

HERE = scopes.repository(41, 7)
THERE = scopes.called("Octo/Labs", "Shared")


@pytest.mark.parametrize(("scope", "keeper"), [
    (scopes.policy("a:b"), "policy:a%3Ab"),
    (scopes.account("acme"), "account:acme"),
    (scopes.package_member("acme", "maria"), "package-member:maria:account:acme"),
    (scopes.owner(41), "owner:41"),
    (HERE, "owner:41"),
    (scopes.unbound(41, "widgets"), "owner:41"),
    (scopes.name(41, "widgets"), "owner:41"),
    (scopes.member(41, 5), "owner:41"),
    (scopes.collaborator(HERE, 5), "owner:41"),
    (scopes.workflow(HERE, "a:b.yml"), "owner:41"),
    (THERE, "called-owner:octo%2Flabs"),
    (scopes.called_owner("Octo/Labs"), "called-owner:octo%2Flabs"),
    (scopes.workflow(THERE, "a.yml"), "called-owner:octo%2Flabs"),
])  # fmt: skip
def test_what_is_kept_for_later_is_kept_under_one_owner_or_by_itself(scope: str, keeper: str) -> None:
    assert scopes.keeper_of(scope) == keeper


def test_only_a_membership_has_a_user() -> None:
    assert scopes.user_id_of(scopes.member(41, 2**63 - 1)) == 2**63 - 1
    assert scopes.user_id_of(scopes.collaborator(HERE, 5)) is None
    assert scopes.user_id_of(scopes.owner(41)) is None


def test_only_names_are_about_who_has_held_them() -> None:
    assert scopes.is_name(scopes.name(41, "widgets"))
    assert not scopes.is_name(scopes.unbound(41, "widgets"))


def test_a_policy_id_is_read_whole_and_of_policies_only() -> None:
    assert scopes.policy_id_of("policy:a:b%20c") == "a:b c"
    assert scopes.policy_id_of(scopes.account("policy")) is None


def test_every_part_is_written_so_that_it_ends_where_it_ends() -> None:
    assert scopes.policy("a b/ä") == "policy:a%20b%2F%C3%A4"
    assert scopes.called("Octo", "A/B") == "called:octo/a%2Fb"
    assert scopes.workflow(HERE, "A/b.yml") == f"workflow:A%2Fb.yml:{HERE}"
    assert scopes.package_member("A:b", "C d") == "package-member:C%20d:account:A%3Ab"
    assert scopes.unbound(41, "A.b") == "unbound:41:a.b"


@pytest.mark.parametrize(("scope", "owner_id"), [
    (THERE, None),
    (scopes.called_owner("octo"), None),
    (scopes.workflow(THERE, "a.yml"), None),
    (scopes.workflow(HERE, "a.yml"), 41),
])  # fmt: skip
def test_what_is_known_by_a_login_may_be_anywhere(scope: str, owner_id: int | None) -> None:
    assert scopes.owner_id_of(scope) == owner_id
