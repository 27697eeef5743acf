"""Every rule by itself: what fails it, what operators are told of that, and what the bearer of the token is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tenure_reader.claims import Difference, Job, Workflow, integer, text
from tenure_reader.decision import Decision, Nearby, decide, unmatched
from tenure_reader.github import GITHUB_ACTIONS, GitHubRun
from tenure_reader.grants import Grant
from tenure_reader.matching import Matching
from tenure_reader.rules import DIFFERENCES, Match, Stage, best, closed, match, same
from tenure_reader.times import micros, rfc3339, utc
from tests.reader.world import GRANT

MAIN = "refs/heads/main"
TOKEN = {
    "repository_owner": "octo", "repository_owner_id": "41", "repository": "octo/widgets", "repository_id": 7,
    "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main", "event_name": "push",
}  # fmt: skip
JOB = Job(
    owner_id=41,
    repository_id=7,
    repository="octo/widgets",
    workflow=Workflow("octo/widgets", "release.yml", MAIN),
    environment="",
    malformed=None,
    event="push",
    run=GitHubRun(TOKEN),
)
NAMED: Grant = {**GRANT, "repository_id": None}
STAGED: Grant = {**GRANT, "environment": "Production"}
CALLED: Grant = {**GRANT, "workflow_file": "Labs/Shared/.github/workflows/publish.yml"}
SAME = ""
"""What the bearer is told is what operators are."""
NOBODY = "no policy lets this repository publish"
OVER = "the policy's time is over; its owner can renew it"
NOTHING = Nearby(owner_known=False, named=None)

FAILURES: list[tuple[Grant, Job, str, str, str, str]] = [
    (
        GRANT, JOB._replace(malformed=Difference("claims_missing", "no claim")),
        "claims", "claims_missing", "no claim", "the token lacks claims that every token of GitHub Actions has",
    ),
    (
        GRANT, JOB._replace(malformed=Difference("claims_malformed", "odd")),
        "claims", "claims_malformed", "odd", "a claim of the token has another form than GitHub gives it",
    ),
    (
        GRANT, JOB._replace(event="workflow_run"), "event", "event_forbidden",
        "a run started by workflow_run may not publish", "a run that was started by this event may not publish",
    ),
    (
        GRANT, JOB._replace(owner_id=42),
        "repository_owner", "owner_id", "the policy is for owner id 41, the token from 42", NOBODY,
    ),
    (
        GRANT, JOB._replace(repository_id=8, repository="octo/WIDGETS"), "repository", "name_reused",
        "another repository has the name Widgets now; the policy is for id 7", NOBODY,
    ),
    (
        GRANT, JOB._replace(repository_id=8, repository="octo/gadgets"), "repository", "repository_id",
        "the policy is for repository id 7, the token from 8", NOBODY,
    ),
    (
        NAMED, JOB._replace(repository="octo/gadgets"), "repository", "repository_name",
        "the policy is for repository Widgets, the token from gadgets", NOBODY,
    ),
    (
        NAMED, JOB._replace(repository="octo"), "repository", "repository_name",
        "the policy is for repository Widgets, the token from none", NOBODY,
    ),
    (
        GRANT, JOB._replace(workflow=None), "workflow_file", "workflow_unreadable",
        "no workflow file can be read from the token", "the token names no workflow file",
    ),
    (
        GRANT, JOB._replace(workflow=Workflow("evil/widgets", "release.yml", MAIN)), "workflow_file", "workflow_repository",
        "the policy names release.yml; the job ran evil/widgets/.github/workflows/release.yml", SAME,
    ),
    (
        CALLED, JOB, "workflow_file", "workflow_repository",
        "the policy names Labs/Shared/.github/workflows/publish.yml; the job ran release.yml", SAME,
    ),
    (
        GRANT, JOB._replace(workflow=Workflow("octo/widgets", "other.yml", MAIN)), "workflow_file", "workflow_file",
        "the policy names release.yml; the job ran other.yml", SAME,
    ),
    (
        CALLED, JOB._replace(workflow=Workflow("labs/shared", "release.yml", MAIN)), "workflow_file", "workflow_file",
        "the policy names Labs/Shared/.github/workflows/publish.yml; the job ran labs/shared/.github/workflows/release.yml",
        SAME,
    ),
    (
        STAGED, JOB, "environment", "environment",
        "the policy names the environment Production; the job ran in none", SAME,
    ),
    (
        STAGED, JOB._replace(environment="staging"), "environment", "environment",
        "the policy names the environment Production; the job ran in staging", SAME,
    ),
    (
        {**GRANT, "usable": False, "state": "disabled", "reasons": ["one", "two"]}, JOB, "standing", "disabled",
        "the policy is disabled: one, two", "the policy is disabled; its owner can look up why",
    ),
    ({**GRANT, "usable": False, "state": "expired"}, JOB, "standing", "expired", "the policy is expired", OVER),
    ({**GRANT, "usable": False, "state": "removed"}, JOB, "standing", "removed", "the policy is removed", "the policy was removed"),
    (
        {**GRANT, "usable": False, "state": "of next year"}, JOB, "standing", "disabled",
        "the policy is of next year", "the policy is disabled; its owner can look up why",
    ),
    (
        {**GRANT, "usable_until": "1970-01-01T00:00:00.000002Z"}, JOB, "standing", "window_closed",
        "the policy's window closed at 1970-01-01T00:00:00.000002Z", OVER,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("grant", "job", "stage", "code", "detail", "told"), FAILURES)
def test_what_differs_is_told_to_operators_and_less_of_it_to_the_bearer(
    grant: Grant, job: Job, *, stage: str, code: str, detail: str, told: str
) -> None:
    answer = match(grant, job, 2)
    assert (answer.policy_id, answer.matched) == ("p", False)
    assert [s for s in answer.stages if s.outcome == "failed"] == [Stage(stage, "failed", detail, code, told or detail)]


@pytest.mark.parametrize(("grant", "job"), [
    (GRANT, JOB),
    (GRANT, JOB._replace(repository="octo/renamed", workflow=Workflow("OCTO/Renamed", "release.yml", MAIN))),
    (NAMED, JOB._replace(repository="octo/WIDGETS", repository_id=None)),
    (STAGED, JOB._replace(environment="PRODUCTION")),
    (CALLED, JOB._replace(workflow=Workflow("labs/shared", "publish.yml", MAIN))),
    ({**GRANT, "usable_until": "1970-01-01T00:00:00.000003Z"}, JOB),
    ({**GRANT, "usable_until": "1970-01-01T02:00:00.000003+02:00"}, JOB),
])  # fmt: skip
def test_what_is_as_the_policy_wants_it_passes_every_rule(grant: Grant, job: Job) -> None:
    answer = match(grant, job, 2)
    assert answer.matched
    assert {(stage.outcome, stage.detail, stage.code, stage.told) for stage in answer.stages} == {
        ("passed", "", "", "")
    }


def test_what_comes_after_what_differs_is_not_asked() -> None:
    stages = match(GRANT, JOB._replace(repository_id=8), 2).stages
    assert [stage.outcome for stage in stages] == ["passed"] * 4 + ["failed"] + ["skipped"] * 11
    assert {stage[2:] for stage in stages[5:]} == {("", "", "")}


def test_a_name_that_others_contradict_counts_for_nothing() -> None:
    detail = "policies with the token's repository id know it as gadgets; give this policy its repository id"
    answer = match(NAMED, JOB, 2, "gadgets")
    assert answer.stages[4] == Stage("repository", "failed", detail, "name_contradicted", NOBODY)
    assert match(GRANT, JOB, 2, "gadgets").matched


@pytest.mark.parametrize(("one", "other", "alike"), [
    ("widgets", "Widgets", True),
    ("k", "K", True),
    ("k", "\N{KELVIN SIGN}", False),
    ("s", "\N{LATIN SMALL LETTER LONG S}", False),
    ("\N{LATIN SMALL LETTER SHARP S}", "ss", False),
    ("a", "b", False),
])  # fmt: skip
def test_only_the_case_of_letters_may_differ(one: str, other: str, *, alike: bool) -> None:
    assert same(one, other) is alike
    assert same(other, one) is alike


@pytest.mark.parametrize("usable", [False, None, 1, "true", "True"])
def test_only_true_is_usable(usable: object) -> None:
    odd: Grant = {**GRANT, "usable": usable}  # type: ignore[typeddict-item]
    assert closed(odd, 0) == Difference("disabled", "the policy is active")


# Of several policies


def test_the_one_that_matched_is_best_and_else_the_one_that_came_furthest() -> None:
    near, far = match(STAGED, JOB, 2), match(GRANT, JOB._replace(owner_id=1), 2)
    assert best([far, near]) is near
    assert best([near, far]) is near
    # However few stages a match may have.
    short = Match("q", matched=True, stages=())
    assert best([near, short, far]) is short


def decided(*grants: Grant, job: Job = JOB, nearby: Nearby = NOTHING) -> Decision:
    return decide(grants, job, 2, nearby)


def test_the_most_specific_policy_that_lets_it_counts() -> None:
    bound: Grant = {**STAGED, "policy_id": "d"}
    waiting: Grant = {**STAGED, "repository_id": None, "policy_id": "c"}
    plain: Grant = {**GRANT, "policy_id": "b"}
    named: Grant = {**NAMED, "policy_id": "a"}
    job = JOB._replace(environment="production")
    decision = decided(named, plain, waiting, bound, {**plain, "policy_id": "bb"}, job=job)
    assert [grant["policy_id"] for grant in decision.granted] == ["d", "c", "b", "bb", "a"]
    assert [answer.policy_id for answer in decision.matches] == ["d", "c", "b", "bb", "a"]
    assert (decision.at, decision.allowed, decision.grant, decision.difference) == (2, True, bound, None)


def test_of_each_policy_its_highest_revision_counts() -> None:
    newer: Grant = {**GRANT, "revision": 2, "usable": False, "state": "disabled"}
    for order in ([GRANT, newer], [newer, GRANT]):
        decision = decided(*order)
        assert (len(decision.matches), decision.allowed, decision.grant) == (1, False, None)
    assert decided({**newer, "revision": 1}, GRANT).matches == decided({**newer, "revision": 1}).matches


def test_a_token_that_may_publish_by_one_policy_may() -> None:
    other: Grant = {**GRANT, "policy_id": "a", "workflow_file": "other.yml"}
    decision = decided(other, GRANT)
    assert decision.granted == (GRANT,)
    assert [answer.matched for answer in decision.matches] == [False, True]
    assert decision.difference is None
    refused = decided(other).difference
    assert refused is not None
    assert (refused.stage, refused.code) == ("workflow_file", "workflow_file")
    assert replace(decided(other), matches=()).difference is None


def test_a_name_under_which_its_id_is_not_known_is_contradicted() -> None:
    bound: Grant = {**GRANT, "policy_id": "a", "repository": "gadgets"}
    decision = decided(NAMED, bound)
    assert [(answer.policy_id, answer.matched) for answer in decision.matches] == [("a", True), ("p", False)]
    assert decision.matches[1].stages[4].code == "name_contradicted"
    # Another spelling is the same name, and what waits for a name knows no id.
    assert len(decided(NAMED, {**GRANT, "policy_id": "a"}).granted) == 2
    assert decided(NAMED, {**NAMED, "policy_id": "a", "repository": "other"}).granted == (NAMED,)


@pytest.mark.parametrize(("nearby", "at", "code", "detail"), [
    (NOTHING, 3, "owner_id", "no policy is for owner id 41"),
    (
        Nearby(owner_known=True, named=None), 4, "repository_id",
        "no policy of this owner is for repository id 7",
    ),
    (
        Nearby(owner_known=True, named="q"), 4, "name_reused",
        "another repository has the name widgets; policy q is for its former bearer",
    ),
])  # fmt: skip
def test_without_a_policy_what_is_near_is_told(nearby: Nearby, at: int, code: str, detail: str) -> None:
    answer = decided(nearby=nearby)
    assert answer.matches == (unmatched(JOB, nearby),)
    (only,) = answer.matches
    assert (only.policy_id, only.matched, answer.allowed, answer.grant) == (None, False, False, None)
    assert only.stages[at] == Stage(only.stages[at].stage, "failed", detail, code, DIFFERENCES[code])
    assert answer.difference == only.stages[at]


def test_without_a_policy_the_token_itself_is_still_looked_at() -> None:
    malformed = Difference("claims_missing", "m")
    assert unmatched(JOB._replace(malformed=malformed), NOTHING).stages[0].detail == "m"
    assert unmatched(JOB._replace(event="workflow_run"), NOTHING).stages[2].code == "event_forbidden"
    lenient = Matching(forbidden_events=frozenset())
    assert unmatched(JOB._replace(event="workflow_run"), NOTHING, lenient).stages[3].code == "owner_id"


# What a token says


@pytest.mark.parametrize(("value", "number"), [
    ("7", 7), ("0", 0), ("00", None), ("07", None), ("", None), ("-7", None), ("\N{ARABIC-INDIC DIGIT SEVEN}", None),
    ("9" * 20, 10**20 - 1), ("9" * 21, None), ("1" + "0" * 19, 10**19),
    (7, 7), (-7, -7), (10**20 - 1, 10**20 - 1), (10**20, None), (-(10**20), None), (1 - 10**20, 1 - 10**20),
    (True, None), (False, None), (7.0, None), (None, None), (["7"], None),
])  # fmt: skip
def test_an_id_is_a_number_or_its_digits(value: object, number: int | None) -> None:
    assert integer(value) == number


@pytest.mark.parametrize(("value", "read"), [
    ("push", "push"), ("\u00e4\U0001f600", "\u00e4\U0001f600"), ("\ud7ff\ue000", "\ud7ff\ue000"),
    ("", None), (7, None), (None, None), (["push"], None),
    ("a\ud800", None), ("\udfff", None), ("\udbff b", None),
])  # fmt: skip
def test_a_text_is_one_that_can_be_written(value: object, read: str | None) -> None:
    assert text({"event_name": value}, "event_name") == read
    assert text({"event_name": value}, "other") is None


def test_a_job_is_what_the_claims_say() -> None:
    staged = {**TOKEN, "environment": "Production"}
    assert GITHUB_ACTIONS.job(staged) == JOB._replace(environment="Production", run=GitHubRun(staged))
    assert GITHUB_ACTIONS.job(TOKEN) == JOB
    missing = Difference("claims_missing", f"the token has no {', '.join(GITHUB_ACTIONS.required)}")
    assert GITHUB_ACTIONS.job({}) == Job(None, None, "", None, "", missing, "", GitHubRun({}))
    assert JOB.name == "widgets"
    assert JOB._replace(repository="octo/a/b").name == "a/b"


@pytest.mark.parametrize(("changed", "difference"), [
    ({"repository_id": None, "event_name": ""}, Difference("claims_missing", "the token has no repository_id, event_name")),
    ({"repository_id": "x"}, Difference("claims_malformed", "the claim repository_id is not an id")),
    ({"repository_owner_id": 4.1}, Difference("claims_malformed", "the claim repository_owner_id is not an id")),
    ({"repository_owner": 41}, Difference("claims_malformed", "the claim repository_owner is not a text")),
    ({"event_name": ["push"]}, Difference("claims_malformed", "the claim event_name is not a text")),
])  # fmt: skip
def test_a_token_of_another_form_is_told_so(changed: dict[str, object], difference: Difference) -> None:
    assert GITHUB_ACTIONS.job({**TOKEN, **changed}).malformed == difference


def test_claims_that_are_checked_are_those_that_are_required_or_optional() -> None:
    assert [GITHUB_ACTIONS.checks(name) for name in ("repository", "environment", "sub", "x")] == [
        True,
        True,
        False,
        False,
    ]
    known = [GITHUB_ACTIONS.knows(name) for name in ("repository", "environment", "sub", "repo_property_x", "x")]
    assert known == [True, True, True, True, False]


def test_moments_are_written_and_read_to_the_microsecond() -> None:
    moment = 1_767_323_045_000_006
    assert rfc3339(moment) == "2026-01-02T03:04:05.000006Z"
    assert micros(utc(moment)) == moment
    assert micros(datetime.max.replace(tzinfo=UTC)) == 253_402_300_799_999_999
