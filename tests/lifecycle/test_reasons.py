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
from worker.github.answers import RepositoryAnswer
from worker.lifecycle import scopes
from worker.lifecycle.conditions import RegisteredConditions
from worker.lifecycle.decide import decide
from worker.lifecycle.facts import Facts, Observation, ObservationSource, merge
from worker.lifecycle.policy import concerns
from worker.lifecycle.policy_facts import PolicyFacts
from worker.lifecycle.reasons import ADVISORIES, REASONS, Proof, Reason, telling
from worker.lifecycle.registration import decode, encode
from worker.lifecycle.rules import Rules
from worker.lifecycle.sight import Sight
from worker.lifecycle.tenure import Tenure
from worker.lifecycle.views import ChangeType
from worker.verify.evidence import EvidenceBuilder
from worker.verify.inquiry import Inquiry, Person, WorkflowReference
from worker.verify.inquiry import RepositorySubject as AskedAbout

ROWS = REASONS | ADVISORIES
HEARD = {name: row for name, row in REASONS.items() if name != "verification_lapsed"}
"""Reasons that an observation raises; the clock raises the other."""
TAGS = "refs/tags/v*"
PUBLIC = registered(
    0,
    repository_id=REPOSITORY,
    visibility="public",
    environment="Release",
    asked=RegisteredConditions(refs=(TAGS,)),
)


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
    assert life.hears(2, hint(2, *subject, True)) is ChangeType.DISABLED, f"{row.name}: {subject} does not raise it"
    assert (life.view["reasons"], life.view["usable"], life.view["usable_until"]) == ([row.name], False, None)
    assert life.hears(3, hint(3, *subject, False)) is ChangeType.REENABLED, f"{row.name}: {subject} does not clear it"
    assert (life.view["state"], life.view["reasons"]) == ("active", [])


@pytest.mark.parametrize("row", HEARD.values(), ids=HEARD)
def test_where_github_can_be_asked_a_hint_disables_and_only_a_proof_enables(row: Reason) -> None:
    subject, life = subject_of(row), Life(WITH_PROOF)
    life.hears(0, PUBLIC)
    assert life.hears(2, hint(2, *subject, True)) is ChangeType.DISABLED
    assert life.hears(3, hint(3, *subject, False)) is None
    assert life.view["reasons"] == [row.name]
    assert life.hears(4, proof(1, *subject, False)) is None
    assert life.hears(5, proof(4, *subject, False)) is ChangeType.REENABLED, f"{row.name}: no proof clears it"


# Whose word settles it


def answers() -> dict[Proof, list[Observation]]:
    """What each source says when all is well."""
    witness = EvidenceBuilder(OWNER, ObservationSource("github", "sweep", "sweep"), own=True)
    here = AskedAbout(scopes.repository(OWNER, REPOSITORY), REPOSITORY, NAME, names={"old"}, visibilities={"private"})
    found = RepositoryAnswer(
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
        Proof.REGISTRY: [PUBLIC, *registry],
        Proof.OPERATOR: list(handle(incoming("policy.released", {"policy_id": POLICY}, kind=OPERATOR)).observations),
        Proof.WORKFLOW: [
            *handle(incoming("push", push)).observations,
            *witness.advised(
                scopes.workflow(here.scope, WORKFLOW), WorkflowReference(), 5, missing=False, tokenless=True
            ),
        ],
        Proof.REFS: witness.advised(
            scopes.refs(here.scope, TAGS), WorkflowReference(), 5, missing=False, unprotected=True
        ),
        Proof.ENVIRONMENT: witness.advised(
            scopes.environment(here.scope, "Release"), WorkflowReference(), 5, missing=False, unprotected=True
        ),
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


def known(facts: Facts, found: Tenure, now: int, rules: Rules) -> PolicyFacts:
    registration = found.registration
    return PolicyFacts(
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


# What tells people of it

HERE, CALLED_FILE = scopes.repository(OWNER, REPOSITORY), "publish.yml"
MEMBERSHIP, ACCESS = scopes.member(OWNER, USER), scopes.collaborator(HERE, USER)
HELD_NAME = scopes.name(OWNER, NAME)
OF_CREATOR, OF_OWNER = scopes.account(CREATOR), scopes.account(PACKAGE_OWNER)
OF_MEMBER = scopes.package_member(PACKAGE_OWNER, CREATOR)
OWNED = scopes.owner(OWNER)
RELEASE = scopes.environment(HERE, "release")

READ: dict[str, list[tuple[str, str]]] = {
    "repository_deleted": [(HERE, "deleted")],
    "repository_archived": [(HERE, "archived")],
    "repository_disabled": [(HERE, "disabled")],
    "repository_unreachable": [(HERE, "unreachable"), (HERE, "deleted"), (HERE, "transferred"), (OWNED, "")],
    "repository_transferred": [(HERE, "transferred")],
    "repository_replaced": [(HELD_NAME, "held_by:"), (HERE, "verified")],
    "owner_deleted": [(OWNED, "deleted")],
    "creator_left_organization": [(MEMBERSHIP, "left"), (MEMBERSHIP, "belonged"), (ACCESS, "stranger")],
    "creator_lost_repository_access": [(ACCESS, "lost"), (MEMBERSHIP, "left"), (MEMBERSHIP, "belonged")],
    "creator_left_package_owner": [(OF_MEMBER, "left")],
    "creator_locked": [(OF_CREATOR, "locked")],
    "creator_deleted": [(OF_CREATOR, "deleted")],
    "package_owner_locked": [(OF_OWNER, "locked")],
    "package_owner_deleted": [(OF_OWNER, "deleted")],
    "verification_lapsed": [
        (OWNED, "blind"),
        (OWNED, ""),
        (HERE, "verified"),
        (ACCESS, "unasked"),
        (MEMBERSHIP, "left"),
        (MEMBERSHIP, "belonged"),
    ],
    "held_by_operator": [(scopes.policy(POLICY), "held")],
    "workflow_missing": [(scopes.workflow(HERE, WORKFLOW), "missing")],
    "workflow_cannot_publish": [
        (scopes.workflow(HERE, WORKFLOW), "tokenless"),
        (scopes.workflow(HERE, WORKFLOW), "missing"),
    ],
    "environment_missing": [(RELEASE, "missing")],
    "environment_unprotected": [(RELEASE, "unprotected"), (RELEASE, "missing")],
    "any_ref": [
        (scopes.policy(POLICY), "registration"),
        (RELEASE, "missing"),
        (RELEASE, "open"),
        (scopes.workflow(HERE, WORKFLOW), "missing"),
    ],
    "refs_unprotected": [
        (scopes.refs(HERE, TAGS), "unprotected"),
        (scopes.policy(POLICY), "registration"),
        (RELEASE, "missing"),
        (RELEASE, "open"),
    ],
    "any_caller": [(scopes.policy(POLICY), "registration")],
    "self_hosted_runner": [(scopes.policy(POLICY), "self_hosted"), (scopes.policy(POLICY), "registration")],
    "visibility_changed": [(HERE, "visibility")],
    "renamed": [(HERE, "name"), (OWNED, "owner_login")],
}


def test_what_each_rule_reads_begins_with_what_tells_people() -> None:
    found = tenure()
    assert {name: [tuple(read) for read in row.reads(found, POLICY)] for name, row in ROWS.items()} == READ


def read_of(name: str, *told: Observation) -> list[tuple[str, str]]:
    standing = decide(knowing(told).facts, POLICY, 9, RULES)
    assert standing is not None
    return [(read.scope, read.aspect) for read in ROWS[name].reads(standing.tenure, POLICY)]


def test_of_a_repository_known_by_its_names_the_newest_name_comes_first() -> None:
    told = registered(0, "a", user=None), hint(2, scopes.unbound(OWNER, "a"), "renamed_to", "b")
    new, old = scopes.unbound(OWNER, "b"), scopes.unbound(OWNER, "a")
    assert read_of("repository_deleted", *told) == [(new, "deleted"), (old, "deleted")]
    assert read_of("repository_replaced", *told) == [
        (scopes.name(OWNER, "b"), "held_by:"),
        (scopes.name(OWNER, "a"), "held_by:"),
        (new, "verified"),
        (old, "verified"),
    ]
    # Nobody has the user id 0: of a creator unknown to GitHub nothing is read.
    nobody = [(scopes.member(OWNER, 0), "left"), (scopes.member(OWNER, 0), "belonged")]
    lost = [(scopes.collaborator(new, 0), "lost"), (scopes.collaborator(old, 0), "lost")]
    assert read_of("creator_lost_repository_access", *told) == [*lost, *nobody]
    files = [(scopes.workflow(new, WORKFLOW), "missing"), (scopes.workflow(old, WORKFLOW), "missing")]
    assert read_of("workflow_missing", *told) == files


def test_of_a_reusable_workflow_its_own_repository_is_read() -> None:
    labs = decode(str(PUBLIC.value))._replace(workflow_file=f"labs/shared/.github/workflows/{CALLED_FILE}")
    rename = hint(3, scopes.called_owner("labs"), "renamed_to", "40:new")
    places = [scopes.called("new", "shared"), scopes.called("labs", "shared")]
    ends = [*reversed(places), scopes.called_owner("labs"), scopes.called_owner("new")]
    assert read_of("workflow_missing", PUBLIC._replace(value=encode(labs)), rename) == [
        *((scopes.workflow(place, CALLED_FILE), "missing") for place in places),
        *((scope, aspect) for scope in ends for aspect in ("deleted", "transferred")),
    ]


def test_the_newest_fact_of_the_first_subject_tells_of_a_reason() -> None:
    unreachable, replaced = REASONS["repository_unreachable"], REASONS["repository_replaced"]
    told = [
        hint(2, HERE, "unreachable:7", True),
        hint(4, HERE, "unreachable:8", True),
        hint(5, HERE, "unreachable:9", False),
        hint(6, HERE, "deleted", True),
        hint(6, scopes.repository(OWNER, REPOSITORY + 1), "unreachable", True),
        hint(3, HELD_NAME, f"held_by:{REPOSITORY + 1}", True),
    ]
    facts = merge({}, told)
    assert telling(unreachable, facts, tenure(), POLICY) == told[1]
    assert telling(replaced, facts, tenure(), POLICY) == told[-1]
    assert telling(REASONS["verification_lapsed"], facts, tenure(), POLICY) is None
    held = proof(7, scopes.policy(POLICY), "held", True)
    assert telling(REASONS["held_by_operator"], merge(facts, [held]), tenure(), POLICY) == held


def test_of_several_subjects_the_first_of_which_it_holds_tells_of_it() -> None:
    """Given a policy for two kinds of refs, when the second is unprotected, then that is what people are told."""
    named = registered(
        0, repository_id=REPOSITORY, asked=RegisteredConditions(refs=(TAGS, "refs/heads/main", "refs/heads/next"))
    )
    told = [proof(2, scopes.refs(HERE, "refs/heads/main"), "unprotected", True)]
    told.append(proof(3, scopes.refs(HERE, "refs/heads/next"), "unprotected", True))
    facts = merge({}, [named, *told, proof(4, scopes.refs(HERE, TAGS), "unprotected", False)])
    standing = decide(facts, POLICY, 5, RULES)
    assert standing is not None
    assert standing.advisories == ("refs_unprotected",)
    assert telling(ADVISORIES["refs_unprotected"], facts, standing.tenure, POLICY) == told[0]


@pytest.mark.parametrize("runner", [None, "self-hosted"])
def test_of_a_self_hosted_runner_the_registration_tells_or_else_the_login(runner: str | None) -> None:
    named = registered(0, repository_id=REPOSITORY, asked=RegisteredConditions(runner=runner))
    login = proof(2, scopes.policy(POLICY), "self_hosted", True)
    facts = merge({}, [named, login])
    standing = decide(facts, POLICY, 5, RULES)
    assert standing is not None
    assert standing.advisories == ("self_hosted_runner",)
    assert telling(ADVISORIES["self_hosted_runner"], facts, standing.tenure, POLICY) == (
        login if runner is None else named
    )
