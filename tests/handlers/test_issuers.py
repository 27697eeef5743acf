"""What another instance of GitHub tells, with the same ids: it is about its own owners, and about nobody else's."""

from __future__ import annotations

import json

import pytest

from handlers.base import EXCHANGE, REGISTRY, UnusableEventError
from handlers.registry import data_of
from handlers.table import WEBHOOKS, handle
from tests.handlers.test_webhooks import CASES, HEARD, Learnt, learnt
from tests.support import (
    JSON,
    OWNER,
    POLICY,
    REPOSITORY,
    Life,
    account,
    incoming,
    installation,
    person,
    registration_data,
    repository,
)
from worker.lifecycle import scopes
from worker.lifecycle.owners import DEFAULT, issuer_of, kind_at, owner_at
from worker.lifecycle.policy import concerns
from worker.lifecycle.registration import decode
from worker.lifecycle.tenure import login_ids

GHES = "ghes"
THERE = owner_at(GHES, OWNER)


def told(name: str, body: dict[str, JSON], issuer: str) -> tuple[Learnt, set[str], Life]:
    """What a webhook of an instance tells, and a policy of the default instance that hears all of it."""
    action = name.partition(".")[2]
    handled = handle(incoming(name, {**body, "action": action} if action else body, kind=kind_at(issuer)))
    life = Life()
    life.hears(1, *handle(incoming("policy.registered", registration_data(), kind=REGISTRY, at=0)).observations)
    concerned = [o for o in handled.observations if concerns(life.policy, o)]
    life.hears(2, *(o._replace(at=2, dated=None) for o in concerned))
    return learnt(handled), set(handled.checks), life


RENAMED: dict[str, JSON] = {"changes": {"login": {"from": "octo"}}}
MORE: list[tuple[str, dict[str, JSON]]] = [
    ("organization.renamed", {"organization": account(OWNER, "octo-labs"), **RENAMED}),
    ("installation_target.renamed", {"account": account(OWNER, "octo-labs"), "target_type": "Organization", **RENAMED}),
    ("membership.removed", {"organization": account(), "member": person()}),
    ("membership.added", {"installation": installation()}),
    ("team.edited", {"organization": account(), "repository": repository()}),
    ("team_add", {"repository": repository()}),
    ("org_block.blocked", {"organization": account(), "blocked_user": person()}),
]
"""What is looked at elsewhere, and tells of owners, too."""


def test_every_webhook_is_among_the_cases() -> None:
    names = [*HEARD, *(name for name, _ in MORE)]
    assert {name if name in WEBHOOKS else f"{name.partition('.')[0]}.*" for name in names} >= set(WEBHOOKS)


@pytest.mark.parametrize(("name", "body", "expected", "checks"), CASES)
def test_a_webhook_of_another_instance_is_about_its_own(
    name: str, body: dict[str, JSON], expected: Learnt, checks: set[str]
) -> None:
    """Given a policy with the very same ids, when another instance tells of them, then nothing of the policy changes."""
    said, asked, life = told(name, body, GHES)
    for scope in {scope for scope, _, _ in said} | asked:
        owner = scopes.owner_id_of(scope)
        assert f"{GHES}/" in scope if owner is None else issuer_of(owner) == GHES, scope
    assert {(scope.replace(f"{GHES}/", ""), aspect, value) for scope, aspect, value in said} == expected
    assert {scope.replace(f"{GHES}/", "") for scope in asked} == checks
    assert len(life.changes) == 1


@pytest.mark.parametrize(("name", "body"), MORE)
def test_whom_a_webhook_of_another_instance_names_is_its_own(name: str, body: dict[str, JSON]) -> None:
    here, asked_here, _ = told(name, body, DEFAULT)
    there, asked_there, life = told(name, body, GHES)
    assert {(scope.replace(f"{GHES}/", ""), aspect, value) for scope, aspect, value in there} == here
    assert {scope.replace(f"{GHES}/", "") for scope in asked_there} == asked_here
    assert all(f"{GHES}/" in scope for scope in {scope for scope, _, _ in there} | asked_there)
    assert here or asked_here
    assert len(life.changes) == 1


def test_an_older_worker_takes_it_for_nothing_that_it_knows() -> None:
    """It compares the kind with `github`, and finds no such event of a registry's either."""
    assert kind_at(GHES) != "github"
    with pytest.raises(UnusableEventError, match="nothing listens"):
        handle(incoming("repository.archived", {}, kind="githubs"))


# The registry and the exchange


def registration(**github: JSON) -> dict[str, JSON]:
    return registration_data(**github)


def test_a_registration_names_an_instance() -> None:
    handled = handle(incoming("policy.registered", registration(issuer=GHES), kind=REGISTRY))
    (said,) = handled.observations
    assert decode(str(said.value)).owner == THERE
    assert handled.checks == (scopes.repository(THERE, REPOSITORY),)
    data = data_of(decode(str(said.value)), POLICY)
    assert json.loads(json.dumps(data))["github"]["issuer"] == GHES
    again = handle(incoming("policy.registered", data, kind=REGISTRY))
    assert again.observations[0].value == said.value


@pytest.mark.parametrize("issuer", [None, "github"])
def test_the_default_instance_needs_no_name(issuer: str | None) -> None:
    (said,) = handle(incoming("policy.registered", registration(issuer=issuer), kind=REGISTRY)).observations
    (plain,) = handle(incoming("policy.registered", registration(), kind=REGISTRY)).observations
    assert said.value == plain.value


@pytest.mark.parametrize("issuer", ["", "GHES", "a/b", "1a", "a" * 33, "https://github.com", 7, "ghes "])
def test_what_is_no_alias_is_a_wrong_field(issuer: JSON) -> None:
    with pytest.raises(UnusableEventError, match=r"github\.issuer"):
        handle(incoming("policy.registered", registration(issuer=issuer), kind=REGISTRY))


@pytest.mark.parametrize(("issuer", "owner"), [(None, OWNER), ("github", OWNER), (GHES, THERE)])
def test_a_login_says_whose_token_it_was(issuer: str | None, owner: object) -> None:
    data: dict[str, JSON] = {
        "policy_id": POLICY, "repository_id": REPOSITORY, "repository_owner_id": OWNER, "issuer": issuer, "jti": "j",
    }  # fmt: skip
    (said,) = handle(incoming("login.succeeded", data, kind=EXCHANGE)).observations
    assert login_ids(said) == (REPOSITORY, owner)
