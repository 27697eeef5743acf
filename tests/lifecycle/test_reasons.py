"""Each row of the table of reasons is whole: it is raised, it clears, somebody can settle it, and it reads what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.base import OPERATOR, REGISTRY
from handlers.table import handle
from tests.lifecycle import worlds
from tests.support import (
    CREATOR,
    NAME,
    OWNER,
    PACKAGE_OWNER,
    POLICY,
    REPOSITORY,
    RULES,
    USER,
    WITH_PROOF,
    WORKFLOW,
    Life,
    hint,
    incoming,
    knowing,
    proof,
    registered,
)
from worker.github.answers import Repository
from worker.lifecycle import scopes
from worker.lifecycle.decide import decide
from worker.lifecycle.facts import Facts, Observation, Source
from worker.lifecycle.known import Known
from worker.lifecycle.policy import concerns
from worker.lifecycle.reasons import ADVISORIES, REASONS, Proof, Reason
from worker.lifecycle.rules import Rules
from worker.lifecycle.sight import Sight
from worker.lifecycle.tenure import Tenure
from worker.lifecycle.views import Change
from worker.verify.evidence import Witness
from worker.verify.inquiry import Inquiry, Person
from worker.verify.inquiry import Subject as AskedAbout

ROWS = REASONS | ADVISORIES
HEARD = {name: row for name, row in REASONS.items() if name != "verification_lapsed"}
"""Reasons that an observation raises; the clock raises the other."""
PUBLIC = registered(0, repository_id=REPOSITORY, visibility="public")


def tenure(*told: Observation) -> Tenure:
    standing = decide(knowing([PUBLIC, *told], RULES).facts, POLICY, 1, RULES)
    assert standing is not None
    return standing.tenure


def subject_of(row: Reason) -> tuple[str, str]:
    """The first thing that it reads; of a name, that another repository holds it."""
    scope, aspect = row.reads(tenure(), POLICY)[0]
    return scope, f"{aspect}{REPOSITORY + 1}" if aspect.endswith(":") else aspect


@pytest.mark.parametrize("row", HEARD.values(), ids=HEARD)
def test_each_reason_disables_and_clears(row: Reason) -> None:
    subject, life = subject_of(row), Life()
    life.hears(0, PUBLIC)
    assert concerns(life.policy, hint(2, *subject, True)), f"{row.name}: nobody watches {subject[0]}"
    assert life.hears(2, hint(2, *subject, True)) is Change.DISABLED, f"{row.name}: {subject} does not raise it"
    assert (life.view["reasons"], life.view["usable"], life.view["usable_until"]) == ([row.name], False, None)
    assert life.hears(3, hint(3, *subject, False)) is Change.REENABLED, f"{row.name}: {subject} does not clear it"
    assert (life.view["state"], life.view["reasons"]) == ("active", [])


@pytest.mark.parametrize("row", HEARD.values(), ids=HEARD)
def test_where_github_can_be_asked_a_hint_disables_and_only_a_proof_enables(row: Reason) -> None:
    subject, life = subject_of(row), Life(WITH_PROOF)
    life.hears(0, PUBLIC)
    assert life.hears(2, hint(2, *subject, True)) is Change.DISABLED
    assert life.hears(3, hint(3, *subject, False)) is None
    assert life.view["reasons"] == [row.name]
    assert life.hears(4, proof(1, *subject, False)) is None
    assert life.hears(5, proof(4, *subject, False)) is Change.REENABLED, f"{row.name}: no proof clears it"


# Whose word settles it


def answers() -> dict[Proof, list[Observation]]:
    """What each source says when all is well."""
    witness = Witness(OWNER, Source("github", "sweep", "sweep"), own=True)
    here = AskedAbout(scopes.repository(OWNER, REPOSITORY), REPOSITORY, NAME, names={"old"}, visibilities={"private"})
    found = Repository(
        REPOSITORY, NAME, OWNER, "octo", "Organization", {"archived": False, "disabled": False}, "public"
    )
    registry: list[Observation] = []
    for account in (CREATOR, PACKAGE_OWNER):
        for name in ("account.unlocked", "account.restored"):
            registry += handle(incoming(name, {"account": account}, kind=REGISTRY)).observations
    member = {"package_owner": PACKAGE_OWNER, "account": CREATOR}
    registry += handle(incoming("package_owner.member_added", member, kind=REGISTRY)).observations
    push = {
        "ref": "refs/heads/main",
        "repository": {"id": REPOSITORY, "name": NAME, "owner": {"id": OWNER}, "default_branch": "main"},
        "commits": [{"added": [f".github/workflows/{WORKFLOW}"]}],
    }
    return {
        Proof.REPOSITORY: [*witness.seen(here, found, 5), *witness.owner(Inquiry(OWNER), "octo", 5)],
        Proof.OWNER: witness.owner(Inquiry(OWNER, deleted=True), "octo", 5),
        Proof.MEMBERSHIP: witness.membership(Person(USER), 5, active=True),
        Proof.ACCESS: [witness.access(here, USER, 5, may_write=True)],
        Proof.REGISTRY: registry,
        Proof.OPERATOR: list(handle(incoming("policy.released", {"policy_id": POLICY}, kind=OPERATOR)).observations),
        Proof.PUSH: list(handle(incoming("push", push)).observations),
    }


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_somebody_settles_each_reason(row: Reason) -> None:
    """The source that a row names says something of what the row reads."""
    read = row.reads(tenure(), POLICY)
    said = [o for o in answers()[row.proof] if any(o.scope == s and o.aspect.startswith(a or "?") for s, a in read)]
    assert said, f"{row.name}: has no proof source: {row.proof.value} says nothing of {read}"


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_each_row_says_all_that_people_are_told(row: Reason) -> None:
    for field in ("means", "clears", "holds_while", "raised_by", "cleared_by"):
        assert getattr(row, field), f"{row.name}: {field} is empty"


# What a rule reads


def known(facts: Facts, found: Tenure, now: int, rules: Rules) -> Known:
    registration = found.registration
    return Known(
        facts,
        found,
        now,
        rules,
        own_scope=scopes.policy(POLICY),
        owner_scope=scopes.owner(found.owner_id),
        creator_scope=scopes.account(registration.creator),
        package_owner_scope=scopes.account(registration.package_owner),
        sight=Sight(facts, scopes.owner(found.owner_id), proof_required=rules.proof_required, lag=rules.replica_lag),
        asserted=frozenset(fact.aspect for fact in facts.values() if fact.value is True),
    )


@given(worlds.whatever, st.integers(0, worlds.LATEST), st.sampled_from([RULES, WITH_PROOF]))
def test_a_rule_reads_what_its_row_says_and_nothing_else(told: list[Observation], now: int, rules: Rules) -> None:
    facts = knowing(told, rules).facts
    standing = decide(facts, POLICY, now, rules)
    assert standing is not None
    whole = known(facts, standing.tenure, now, rules)
    for row in ROWS.values():
        read = row.reads(standing.tenure, POLICY)
        only = {k: o for k, o in facts.items() if any(o.scope == s and o.aspect.startswith(a) for s, a in read)}
        assert row.rule(known(only, standing.tenure, now, rules)) == row.rule(whole), row.name
