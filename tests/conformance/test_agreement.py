"""Two readers that share no code, the product's and the one written from the documents, agree about whatever a policy asks and a
token says.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tenure_reader.conformance.adapter import answer, decided
from tests.conformance.unsafe import RightReader
from tests.reader.world import GRANT

OWN, SHARED = "octo/widgets/.github/workflows", "labs/shared/.github/workflows"
A, B = "a" * 40, "b" * 40
REFS = [
    "refs/heads/main",
    "refs/heads/Main",
    "refs/tags/v1",
    "refs/tags/v1/x",
    "refs/pull/7/merge",
    "",
    "refs/heads/x@refs/tags/v1",
]
PATTERNS = ["refs/heads/main", "refs/tags/v*", "refs/tags/**", "refs/*/main", "**", "refs/heads/x*"]
FILES = [
    f"{OWN}/release.yml",
    f"{OWN}/Release.yml",
    f"{OWN}/ci.yml",
    f"{OWN}/publish@v2.yml",
    f"{SHARED}/publish.yml",
    f"{SHARED}/Publish.yml",
]


def some(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.sampled_from(values), max_size=2)


WORKFLOWS = st.builds("{}@{}".format, st.sampled_from(FILES), st.sampled_from([*REFS, A]))
CONDITIONS = st.fixed_dictionaries({}, optional={
    "refs": some(PATTERNS), "ref_protected": st.just(value=True), "workflow_binds": st.sampled_from(["job", "caller"]),
    "called_workflow": st.sampled_from([
        "*", f"{SHARED}/publish.yml", f"{SHARED}/publish.yml@refs/tags/v*", f"{SHARED}/publish.yml@**", f"{OWN}/ci.yml",
    ]),
    "runner": st.sampled_from(["github-hosted", "self-hosted"]), "events": some(["push", "release"]),
    "packages": some(["acme.*", "*", "widgets", "\u212a*"]), "actions": some(["publish", "stage"]),
})  # fmt: skip
VIEWS = st.builds(
    lambda conditions, file, environment: {**GRANT, "workflow_file": file, "environment": environment, **conditions},
    CONDITIONS, st.sampled_from(["release.yml", "publish@v2.yml", f"{SHARED}/publish.yml"]), st.sampled_from([None, "prod"]),
)  # fmt: skip
RUNS = st.fixed_dictionaries(
    {"job_workflow_ref": WORKFLOWS, "event_name": st.sampled_from(["push", "release", "Push", "workflow_run"])},
    optional={
        "workflow_ref": WORKFLOWS, "workflow_sha": st.sampled_from([A, B, "", 7]),
        "job_workflow_sha": st.sampled_from([A, B, "", 7]), "ref": st.sampled_from(REFS),
        "ref_protected": st.sampled_from(["true", "false", True]), "environment": st.sampled_from(["prod", "PROD", "other", ""]),
        "runner_environment": st.sampled_from(["github-hosted", "self-hosted", "", ["github-hosted"]]),
    },
)  # fmt: skip
SETTINGS = st.fixed_dictionaries({}, optional={
    "workflow_file_case": st.sampled_from(["insensitive", "exact"]), "workflow_binds": st.sampled_from(["job", "caller"]),
    "forbidden_events": some(["push", "workflow_run"]),
})  # fmt: skip
WANTED = st.fixed_dictionaries({}, optional={
    "package": st.sampled_from(["acme.core", "ACME.x", "widgets", "other", "kit", ""]), "action": st.sampled_from(["publish", "Stage"]),
})  # fmt: skip


GOOD: dict[str, Any] = {
    "repository_owner": "octo", "repository_owner_id": "41", "repository": "octo/widgets", "repository_id": 7,
    "job_workflow_ref": f"{OWN}/release.yml@refs/tags/v1", "workflow_ref": f"{OWN}/release.yml@refs/tags/v1", "workflow_sha": A,
    "job_workflow_sha": A, "ref": "refs/tags/v1", "ref_protected": "true", "environment": "prod", "event_name": "push",
    "runner_environment": "github-hosted",
}  # fmt: skip


CHANGING = [claim for claim in GOOD if not claim.startswith("repository")]


@settings(max_examples=400)
@given(
    views=st.lists(VIEWS, min_size=1, max_size=3),
    run=RUNS,
    said=st.sets(st.sampled_from(CHANGING), max_size=3),
    left_out=st.sampled_from(
        [*([None] * 4), "ref", "workflow_ref", "workflow_sha", "runner_environment", "environment"]
    ),
    asked=st.builds(lambda settings, wanted: {"settings": settings, **wanted}, SETTINGS, WANTED),
)
def test_they_let_the_same_tokens_publish(
    views: list[dict[str, Any]],
    run: dict[str, Any],
    said: set[str],
    left_out: str | None,
    asked: dict[str, Any],
) -> None:
    """A run as it should be, of which a few things are otherwise."""
    told = {**GOOD, **{claim: value for claim, value in run.items() if claim in said}}
    case = {
        "now": "2026-06-01T12:00:00.000000Z", **asked,
        "claims": {claim: value for claim, value in told.items() if claim != left_out},
        "views": [{**view, "policy_id": f"p{number}"} for number, view in enumerate(views)],
    }  # fmt: skip
    ours = answer(decided(case))
    assert {name: ours[name] for name in ("allowed", "policy_id")} == RightReader().answer(case)
