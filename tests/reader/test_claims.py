"""Would this token match? Each question, and the first that fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.grants import Grant
from tenure_reader.matching import FORBIDDEN_EVENTS
from tenure_reader.rules import RULES, Match, best
from tenure_reader.rules import match as match_job
from tests.support import (
    JSON,
    MAX_ID,
    OWNER,
    REPOSITORY,
    WINDOW,
    Life,
    hint,
    login,
    registered,
    removed,
    repository_scope,
)
from worker.lifecycle.facts import Observation
from worker.lifecycle.views import View

STAGES = [
    "claims", "issuer", "event", "repository_owner", "repository", "workflow_file", "called_workflow", "workflow_commit", "refs",
    "ref_protected", "environment", "runner", "events", "packages", "actions", "standing",
]  # fmt: skip

DOCUMENTED = {
    "actor", "actor_id", "aud", "base_ref", "check_run_id", "enterprise", "enterprise_id", "environment",
    "environment_node_id", "event_name", "exp", "head_ref", "iat", "iss", "issuer_scope", "job_workflow_ref", "job_workflow_sha", "jti", "nbf", "ref", "ref_protected",
    "ref_type", "repository", "repository_id", "repository_owner", "repository_owner_id", "repository_visibility",
    "run_attempt", "run_id", "run_number", "runner_environment", "sha", "sub", "workflow", "workflow_ref",
    "workflow_sha",
}  # fmt: skip
"""https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims, and `claims_supported` of the issuer's
openid-configuration."""


def view(*told: Observation, now: int = 1) -> View:
    life = Life()
    life.hears(now, *told)
    return life.view


BOUND = view(registered(0, repository_id=REPOSITORY, visibility="public"))
UNBOUND = view(registered(0))
STAGED = view(registered(0, repository_id=REPOSITORY, visibility="public", environment="Production"))

TOKEN: dict[str, JSON] = {
    "iss": "https://token.actions.githubusercontent.com",
    "aud": "registry",
    "sub": "repo:octo/widgets:ref:refs/heads/main",
    "repository": "octo/widgets",
    "repository_id": str(REPOSITORY),
    "repository_owner": "octo",
    "repository_owner_id": str(OWNER),
    "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main",
    "event_name": "push",
    "ref": "refs/heads/main",
}


def match(of: View, claims: Mapping[str, object], now: int) -> Match:
    return match_job(cast("Grant", of), GITHUB_ACTIONS.job(claims), now)


def failure(of: View, claims: Mapping[str, JSON] | None = None, *, now: int = 2) -> str | None:
    """The stage that failed; None if the token matched. Those before it passed and those after it were skipped."""
    answer = match(of, {**TOKEN, **(claims or {})}, now)
    assert [stage.stage for stage in answer.stages] == STAGES
    outcomes = [stage.outcome for stage in answer.stages]
    if answer.matched:
        assert outcomes == ["passed"] * len(STAGES)
        return None
    at = outcomes.index("failed")
    assert outcomes == ["passed"] * at + ["failed"] + ["skipped"] * (len(STAGES) - at - 1)
    assert [bool(stage.detail) for stage in answer.stages] == [i == at for i in range(len(STAGES))]
    return STAGES[at]


def test_a_token_of_the_right_run_matches() -> None:
    assert failure(BOUND) is None
    assert failure(UNBOUND) is None
    assert failure(STAGED, {"environment": "production"}) is None


@pytest.mark.parametrize("name", GITHUB_ACTIONS.required)
@pytest.mark.parametrize("given_as", [None, ""])
def test_without_a_required_claim_nothing_matches(name: str, given_as: str | None) -> None:
    assert failure(BOUND, {name: given_as}) == "claims"
    bare = {claim: value for claim, value in TOKEN.items() if claim != name}
    answer = match(BOUND, bare, 2)
    assert not answer.matched
    assert name in answer.stages[0].detail


@pytest.mark.parametrize("claim", ["repository_id", "repository_owner_id"])
@pytest.mark.parametrize("value", ["x7", "7.0", "-7", " 7", "9" * 5000, 10**4000, 7.0, True, [7], {"id": 7}])
def test_an_id_is_an_integer_or_digits(claim: str, value: JSON) -> None:
    assert failure(BOUND, {claim: value}) == "claims"


@pytest.mark.parametrize("claim", [name for name in GITHUB_ACTIONS.required if not name.endswith("_id")])
@pytest.mark.parametrize("value", [[], {}, ["push"], 7, True])
def test_what_is_no_id_is_a_text(claim: str, value: JSON) -> None:
    assert failure(BOUND, {claim: value}) == "claims"


@pytest.mark.parametrize("as_text", [True, False])
def test_ids_are_compared_in_all_their_digits(as_text: bool) -> None:
    large = view(registered(0, "widgets", MAX_ID, owner=MAX_ID - 1, visibility="public"))

    def written(number: int) -> JSON:
        return str(number) if as_text else number

    assert failure(large, {"repository_id": written(MAX_ID), "repository_owner_id": written(MAX_ID - 1)}) is None
    assert (
        failure(large, {"repository_id": written(MAX_ID - 1), "repository_owner_id": written(MAX_ID - 1)})
        == "repository"
    )
    assert (
        failure(large, {"repository_id": written(MAX_ID), "repository_owner_id": written(MAX_ID)}) == "repository_owner"
    )


@pytest.mark.parametrize("event", sorted(FORBIDDEN_EVENTS))
def test_events_that_run_on_somebody_elses_behalf_may_not_publish(event: str) -> None:
    assert failure(BOUND, {"event_name": event}) == "event"


@pytest.mark.parametrize("event", ["push", "release", "workflow_dispatch", "schedule", "pull_request", "future_event"])
def test_other_events_may(event: str) -> None:
    assert failure(BOUND, {"event_name": event}) is None


@pytest.mark.parametrize(
    ("of", "claims", "stage"),
    [
        (BOUND, {"repository_owner_id": "42"}, "repository_owner"),
        (BOUND, {"repository_id": "8"}, "repository"),
        (BOUND, {"repository_id": "8", "repository": "octo/other"}, "repository"),
        (UNBOUND, {"repository": "octo/other"}, "repository"),
        (UNBOUND, {"repository": "widgets"}, "repository"),
        (UNBOUND, {"repository": "Octo/WIDGETS", "repository_id": "99"}, None),
        (
            BOUND,
            {
                "repository": "octo/renamed",
                "job_workflow_ref": "octo/renamed/.github/workflows/release.yml@refs/heads/main",
            },
            None,
        ),
    ],
)
def test_ids_decide_and_the_name_only_where_no_id_is_known(
    of: View, claims: dict[str, JSON], stage: str | None
) -> None:
    assert failure(of, claims) == stage


def test_a_name_taken_by_another_repository_is_called_that() -> None:
    answer = match(BOUND, {**TOKEN, "repository_id": "8"}, 2)
    assert "another repository has the name widgets" in answer.stages[4].detail


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        (
            "octo/widgets/.github/workflows/release.yml@refs/heads/main",
            ("octo/widgets", "release.yml", "refs/heads/main"),
        ),
        (
            "octo/widgets/.github/workflows/release.yml@refs/tags/v1.0",
            ("octo/widgets", "release.yml", "refs/tags/v1.0"),
        ),
        (
            "octo/widgets/.github/workflows/release.yml@refs/pull/5/merge",
            ("octo/widgets", "release.yml", "refs/pull/5/merge"),
        ),
        (
            "octo/widgets/.github/workflows/release.yml@refs/heads/a@b",
            ("octo/widgets", "release.yml", "refs/heads/a@b"),
        ),
        ("octo/widgets/.github/workflows/release.yml@refs/heads/@", ("octo/widgets", "release.yml", "refs/heads/@")),
        (
            "octo/widgets/.github/workflows/release@v2.yml@refs/heads/main",
            ("octo/widgets", "release@v2.yml", "refs/heads/main"),
        ),
        (
            "octo/widgets/.github/workflows/release@v2.yml@refs/heads/x@v3",
            ("octo/widgets", "release@v2.yml", "refs/heads/x@v3"),
        ),
        (
            "octo/widgets/.github/workflows/release.yml@refs/heads/x@refs/y",
            ("octo/widgets", "release.yml", "refs/heads/x@refs/y"),
        ),
        ("octo/shared/.github/workflows/release.yml@0a1b2c3d", ("octo/shared", "release.yml", "0a1b2c3d")),
        ("octo/shared/.github/workflows/release@v2.yml@0a1b2c3d", ("octo/shared", "release@v2.yml", "0a1b2c3d")),
        ("octo/widgets/.github/workflows/release.yml", None),
        ("octo/widgets/release.yml@refs/heads/main", None),
        ("octo/widgets/.github/workflows/@refs/heads/main", None),
        ("@refs/heads/main", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_the_workflow_is_read_out_of_its_reference(reference: JSON, parts: tuple[str, str, str] | None) -> None:
    job = GITHUB_ACTIONS.job({"job_workflow_ref": reference, "workflow_ref": reference})
    assert job.workflow == job.run.caller == parts


@pytest.mark.parametrize(
    "reference",
    [
        "octo/widgets/.github/workflows/other.yml@refs/heads/main",
        "octo/widgets/.github/workflows/release.yml.bak@refs/heads/main",
        "octo/widgets/.github/workflows/x/release.yml@refs/heads/main",
        "octo/other/.github/workflows/release.yml@refs/heads/main",
        "octo/widgets/release.yml@refs/heads/main",
        "octo/widgets/.github/workflows/evil.yml@refs/heads/.github/workflows/release.yml",
        "octo/widgets/.github/workflows/evil.yml@refs/heads/x@refs/heads/octo/widgets/.github/workflows/release.yml",
    ],
)
def test_another_workflow_does_not_match(reference: str) -> None:
    assert failure(BOUND, {"job_workflow_ref": reference}) == "workflow_file"


def test_a_reusable_workflow_of_another_repository_must_be_named_by_the_policy() -> None:
    shared = "octo/shared/.github/workflows/publish.yml"
    named: View = {**BOUND, "workflow_file": shared}
    assert failure(named, {"job_workflow_ref": f"{shared}@refs/tags/v3"}) is None
    assert failure(named, {"job_workflow_ref": f"octo/{shared}@refs/tags/v3"}) == "workflow_file"
    assert failure(named) == "workflow_file"
    assert (
        failure(BOUND, {"job_workflow_ref": "octo/shared/.github/workflows/release.yml@refs/tags/v3"})
        == "workflow_file"
    )


@pytest.mark.parametrize(
    ("environment", "stage"),
    [
        ("Production", None),
        ("production", None),
        ("PRODUCTION", None),
        ("staging", "environment"),
        ("", "environment"),
        (None, "environment"),
        ("production ", "environment"),
        (["Production"], "environment"),
    ],
)
def test_the_environment_is_compared_without_case(environment: JSON, stage: str | None) -> None:
    assert failure(STAGED, {"environment": environment}) == stage
    assert failure(BOUND, {"environment": environment}) is None


def test_the_standing_is_asked_last_and_says_why() -> None:
    archived = hint(1, repository_scope(), "archived", True)
    disabled = view(registered(0, repository_id=REPOSITORY, visibility="public"), archived)
    assert failure(disabled) == "standing"
    assert match(disabled, TOKEN, 2).stages[-1].detail == "the policy is disabled: repository_archived"
    assert (
        failure(disabled, {"job_workflow_ref": "octo/widgets/.github/workflows/other.yml@refs/heads/x"})
        == "workflow_file"
    )
    gone = view(registered(0, repository_id=REPOSITORY, visibility="public"), removed(1))
    assert match(gone, TOKEN, 2).stages[-1].detail == "the policy is removed"


def test_a_window_is_open_until_its_end_and_closed_from_then_on_whatever_the_view_says() -> None:
    provisional = view(registered(0, repository_id=REPOSITORY))
    assert provisional["usable"]
    assert failure(provisional, now=WINDOW - 1) is None
    assert failure(provisional, now=WINDOW) == "standing"
    assert failure(provisional, now=WINDOW + 1) == "standing"
    assert failure(view(registered(0, repository_id=REPOSITORY), login(1)), now=10**15) is None


def test_every_documented_claim_is_either_looked_at_or_deliberately_not() -> None:
    assert {*GITHUB_ACTIONS.required, *GITHUB_ACTIONS.optional}.isdisjoint(GITHUB_ACTIONS.unchecked)
    assert [claim for claim in DOCUMENTED if not GITHUB_ACTIONS.knows(claim)] == []
    assert GITHUB_ACTIONS.knows("repo_property_team")
    assert not GITHUB_ACTIONS.knows("a_claim_of_next_year")
    assert list(RULES) == STAGES


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=5))
def test_unknown_and_unchecked_claims_are_tolerated(more: dict[str, str]) -> None:
    unchecked = dict.fromkeys([*GITHUB_ACTIONS.unchecked, "repo_property_team"], "anything at all")
    assert match(BOUND, {**more, **unchecked, **TOKEN}, 2).matched


def test_the_best_answer_is_the_match_or_the_one_that_came_furthest() -> None:
    staged = match(STAGED, TOKEN, 2)
    bound = match(BOUND, TOKEN, 2)
    foreign = match(view(registered(0, owner=99)), TOKEN, 2)
    assert best([foreign, staged, bound]) == bound
    assert best([foreign, staged]) == staged
    assert best([]) is None
