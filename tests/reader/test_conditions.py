"""What a policy may ask beside repository, workflow and environment: what passes, what does not, and what its bearer is told."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenure_reader.decision import Nearby, decide
from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.grants import Conditions, Grant
from tenure_reader.lookup import grant_of
from tenure_reader.matching import CONTRACT, Matching
from tenure_reader.memory import Memory
from tenure_reader.routing import UnavailableError
from tenure_reader.rules import CONDITIONAL, DIFFERENCES, LONGEST_TOLD, RULES, Question, Wanted, covers, match, plain
from tests.reader.world import GRANT

A, B = "a" * 40, "b" * 40
OWN = "octo/widgets/.github/workflows"
SHARED = "labs/shared/.github/workflows"
TAG = "refs/tags/v1.0"
TOKEN: dict[str, object] = {
    "repository_owner": "octo", "repository_owner_id": "41", "repository": "octo/widgets", "repository_id": "7",
    "job_workflow_ref": f"{OWN}/release.yml@{TAG}", "job_workflow_sha": A, "workflow_ref": f"{OWN}/release.yml@{TAG}",
    "workflow_sha": A, "ref": TAG, "ref_protected": "true", "runner_environment": "github-hosted", "event_name": "push",
}  # fmt: skip
CALLER: Grant = {**GRANT, "workflow_binds": "caller"}
NAMED: Grant = {**GRANT, "called_workflow": f"{SHARED}/publish.yml"}
PINNED: Grant = {**GRANT, "called_workflow": f"{SHARED}/publish.yml@refs/tags/v*"}
ANY: Grant = {**GRANT, "called_workflow": "*"}
REFS: Grant = {**GRANT, "refs": ["refs/heads/main", "refs/tags/v*"]}
PROTECTED: Grant = {**GRANT, "ref_protected": True}
HOSTED: Grant = {**GRANT, "runner": "github-hosted"}
EVENTS: Grant = {**GRANT, "events": ["push", "release"]}
PACKAGES: Grant = {**GRANT, "packages": ["Acme.*", "widgets"]}
ACTIONS: Grant = {**GRANT, "actions": ["stage"]}


def shared(ref: str = "refs/tags/v3") -> dict[str, object]:
    return {"job_workflow_ref": f"{SHARED}/publish.yml@{ref}", "job_workflow_sha": B}


def beside(sha: object = A, name: str = "publish.yml", ref: str = TAG) -> dict[str, object]:
    return {"job_workflow_ref": f"{OWN}/{name}@{ref}", "job_workflow_sha": sha}


def code(grant: Grant, changed: dict[str, object] | None = None, matching: Matching = Matching()) -> str | None:  # noqa: B008
    claims = {name: value for name, value in {**TOKEN, **(changed or {})}.items() if value is not None}
    answer = match(grant, GITHUB_ACTIONS.job(claims), 2, matching=matching)
    return next((stage.code for stage in answer.stages if stage.outcome == "failed"), None)


@pytest.mark.parametrize(("grant", "changed", "differs"), [
    # Refs
    (REFS, {}, None),
    (REFS, {"ref": "refs/heads/main"}, None),
    (REFS, {"ref": "refs/heads/evil"}, "ref"),
    (REFS, {"ref": "refs/tags/v1/evil"}, "ref"),
    (REFS, {"ref": "refs/heads/MAIN"}, "ref"),
    (REFS, {"ref": "refs/pull/7/merge"}, "ref"),
    (REFS, {"ref": None}, "ref"),
    (REFS, {"ref": ""}, "ref"),
    (REFS, {"ref": [TAG]}, "ref"),
    ({**REFS, "refs": ["**"]}, {"ref": None}, "ref"),
    ({**REFS, "refs": []}, {}, "ref"),
    (PROTECTED, {}, None),
    (PROTECTED, {"ref_protected": "false"}, "ref_unprotected"),
    (PROTECTED, {"ref_protected": None}, "ref_unprotected"),
    (PROTECTED, {"ref_protected": True}, "ref_unprotected"),
    (PROTECTED, {"ref_protected": "True"}, "ref_unprotected"),
    # They bind a file of the own repository to the run's own commit, and no other
    *[(grant, changed, differs) for grant in (REFS, PROTECTED) for changed, differs in [
        (beside(B, "release.yml", "refs/heads/evil"), "workflow_commit"),
        ({"job_workflow_sha": B}, "workflow_commit"),
        ({"job_workflow_sha": None}, "workflow_commit"),
        ({"workflow_sha": None}, "workflow_commit"),
        ({"workflow_sha": None, "job_workflow_sha": None}, "workflow_commit"),
        ({"workflow_sha": 7, "job_workflow_sha": 7}, "workflow_commit"),
    ]],
    (GRANT, {"job_workflow_sha": B}, None),
    ({**REFS, "workflow_file": f"{SHARED}/publish.yml"}, shared(), None),
    ({**REFS, **ANY, "refs": REFS["refs"]}, beside(B), "workflow_commit"),
    ({**REFS, **ANY, "refs": REFS["refs"]}, shared(), None),
    # The job's workflow, or the one that called it
    (GRANT, shared(), "workflow_repository"),
    (GRANT, beside(), "workflow_file"),
    (GRANT, {"workflow_ref": f"{OWN}/ci.yml@{TAG}"}, None),
    (CALLER, {}, None),
    (CALLER, beside(), None),
    (CALLER, beside(B), "called_commit"),
    (CALLER, beside(None), "called_commit"),
    (CALLER, {**beside(None), "workflow_sha": None}, "called_commit"),
    (CALLER, {"job_workflow_sha": None, "workflow_sha": None}, None),
    (CALLER, {"job_workflow_sha": B}, "called_commit"),
    (CALLER, beside(B, "release.yml", "refs/heads/evil"), "called_commit"),
    (CALLER, {**beside(None, "release.yml", "refs/heads/evil"), "workflow_sha": None}, "called_commit"),
    (CALLER, shared(), "called_workflow"),
    (CALLER, {**shared(), "job_workflow_sha": A}, "called_workflow"),
    (CALLER, {"workflow_ref": f"{OWN}/ci.yml@{TAG}"}, "caller_file"),
    (CALLER, {"workflow_ref": f"{OWN}/release.yml.evil.yml@{TAG}"}, "caller_file"),
    (CALLER, {"workflow_ref": f"evil/widgets/.github/workflows/release.yml@{TAG}"}, "caller_repository"),
    (CALLER, {"workflow_ref": None}, "caller_unreadable"),
    (CALLER, {"workflow_ref": ["x"]}, "caller_unreadable"),
    (CALLER, {"workflow_ref": f"OCTO/Widgets/.github/workflows/Release.yml@{TAG}"}, None),
    (CALLER, {
        "workflow_ref": f"OCTO/Widgets/.github/workflows/Release.yml@{TAG}",
        "job_workflow_ref": f"OCTO/Widgets/.github/workflows/Release.yml@{TAG}",
    }, None),
    ({**CALLER, "workflow_file": f"{SHARED}/publish.yml"}, shared(), "caller_repository"),
    ({**CALLER, "workflow_file": f"{OWN}/release.yml"}, {}, "caller_repository"),
    # The one that it may have called
    (NAMED, {}, None),
    (NAMED, shared(), None),
    (NAMED, shared("0a1b2c3d"), None),
    (NAMED, {**shared(), "job_workflow_ref": f"LABS/Shared/.github/workflows/Publish.yml@{TAG}"}, None),
    (NAMED, {**shared(), "workflow_ref": f"{OWN}/ci.yml@{TAG}"}, "caller_file"),
    (NAMED, {**shared(), "workflow_ref": None}, "caller_unreadable"),
    (NAMED, {"job_workflow_ref": f"{SHARED}/other.yml@{TAG}"}, "called_workflow"),
    (NAMED, {"job_workflow_ref": f"evil/shared/.github/workflows/publish.yml@{TAG}"}, "called_workflow"),
    (NAMED, beside(), None),
    (NAMED, beside(B), "called_commit"),
    (PINNED, shared("refs/tags/v3"), None),
    (PINNED, shared("refs/tags/v3/evil"), "called_workflow"),
    (PINNED, shared("refs/heads/v3"), "called_workflow"),
    (PINNED, shared("refs/heads/evil@refs/tags/v3"), "called_workflow"),
    ({**PINNED, "called_workflow": f"{SHARED}/publish.yml@v3"}, shared("refs/heads/evil@v3"), "called_workflow"),
    ({**PINNED, "called_workflow": f"{SHARED}/publish.yml@v3"}, shared("v3"), None),
    ({**NAMED, "called_workflow": f"{SHARED}/publish@v2.yml@v3"}, {"job_workflow_ref": f"{SHARED}/publish@v2.yml@v3"}, None),
    ({**NAMED, "called_workflow": "nothing"}, shared(), "called_workflow"),
    ({**NAMED, "called_workflow": f"{SHARED}/publish.yml@x/.github/workflows/y.yml"}, shared("x/.github/workflows/y.yml"), None),
    ({**NAMED, "workflow_binds": "job"}, shared(), None),
    ({**NAMED, "workflow_binds": "job"}, {**shared(), "workflow_ref": f"{OWN}/ci.yml@{TAG}"}, "caller_file"),
    (ANY, shared(), None),
    (ANY, beside(B), None),
    (ANY, {**shared(), "workflow_ref": f"{OWN}/ci.yml@{TAG}"}, "caller_file"),
    # Runner and event
    (HOSTED, {}, None),
    (HOSTED, {"runner_environment": "self-hosted"}, "runner"),
    (HOSTED, {"runner_environment": "GitHub-hosted"}, "runner"),
    (HOSTED, {"runner_environment": None}, "runner"),
    (HOSTED, {"runner_environment": ["github-hosted"]}, "runner"),
    ({**HOSTED, "runner": "self-hosted"}, {}, "runner"),
    (EVENTS, {}, None),
    (EVENTS, {"event_name": "release"}, None),
    (EVENTS, {"event_name": "workflow_dispatch"}, "event_not_admitted"),
    (EVENTS, {"event_name": "Push"}, "event_not_admitted"),
    ({**EVENTS, "events": []}, {}, "event_not_admitted"),
    ({**EVENTS, "events": ["pull_request_target"]}, {"event_name": "pull_request_target"}, "event_forbidden"),
])  # fmt: skip
def test_a_condition_is_kept(grant: Grant, changed: dict[str, object], differs: str | None) -> None:
    assert code(grant, changed) == differs


EXACT = Matching(workflow_file_case="exact")
CALLERS = Matching(workflow_binds="caller")
LENIENT = Matching(forbidden_events=frozenset())


@pytest.mark.parametrize(("matching", "grant", "changed", "differs"), [
    (EXACT, GRANT, {}, None),
    (EXACT, GRANT, beside(A, "Release.yml"), "workflow_file"),
    (EXACT, GRANT, {"job_workflow_ref": f"OCTO/widgets/.github/workflows/release.yml@{TAG}"}, None),
    (EXACT, CALLER, {"workflow_ref": f"{OWN}/Release.yml@{TAG}"}, "caller_file"),
    (EXACT, NAMED, {**shared(), "job_workflow_ref": f"{SHARED}/Publish.yml@{TAG}"}, "called_workflow"),
    (Matching(), GRANT, beside(A, "RELEASE.YML"), None),
    (Matching(), {**GRANT, "workflow_file": "ki.yml"}, beside(A, "\N{KELVIN SIGN}i.yml"), "workflow_file"),
    (CALLERS, GRANT, beside(), None),
    (CALLERS, GRANT, {"workflow_ref": f"{OWN}/ci.yml@{TAG}"}, "caller_file"),
    (CALLERS, {**GRANT, "workflow_binds": "job"}, {"workflow_ref": f"{OWN}/ci.yml@{TAG}"}, None),
    (CALLERS, {**GRANT, "workflow_file": f"{SHARED}/publish.yml"}, shared(), "caller_repository"),
    (LENIENT, GRANT, {"event_name": "pull_request_target"}, None),
    (Matching(forbidden_events=frozenset({"push"})), GRANT, {}, "event_forbidden"),
    (Matching(forbidden_events=frozenset({"push"})), GRANT, {"event_name": "workflow_run"}, None),
])  # fmt: skip
def test_an_installation_decides(
    matching: Matching, grant: Grant, changed: dict[str, object], differs: str | None
) -> None:
    assert code(grant, changed, matching) == differs


# Packages and actions

JOB = GITHUB_ACTIONS.job(TOKEN)
NEARBY = Nearby(owner_known=True, named=None)


@pytest.mark.parametrize(("grant", "wanted", "differs"), [
    (PACKAGES, Wanted(), None),
    (PACKAGES, Wanted("acme.core"), None),
    (PACKAGES, Wanted("WIDGETS"), None),
    (PACKAGES, Wanted("widgets.evil"), "package"),
    (PACKAGES, Wanted("evil.acme.core"), "package"),
    (PACKAGES, Wanted(""), "package"),
    (PACKAGES, Wanted(None, "publish"), None),
    ({**PACKAGES, "packages": []}, Wanted("acme.core"), "package"),
    (ACTIONS, Wanted("any", "stage"), None),
    (ACTIONS, Wanted(None, "publish"), "action"),
    (ACTIONS, Wanted(None, "Stage"), "action"),
    (ACTIONS, Wanted(), None),
    (GRANT, Wanted("any", "any"), None),
])  # fmt: skip
def test_a_policy_is_for_its_packages_and_actions(grant: Grant, wanted: Wanted, differs: str | None) -> None:
    answer = match(grant, JOB, 2, wanted=wanted)
    assert next((stage.code for stage in answer.stages if stage.outcome == "failed"), None) == differs
    assert covers(grant, package=wanted.package, action=wanted.action) is (differs is None)


def test_an_action_that_a_policy_is_not_for_is_told_and_a_caller_that_is_not_named_is_detailed() -> None:
    told = [stage.told for stage in match(ACTIONS, JOB, 2, wanted=Wanted(None, "yank")).stages if stage.told]
    assert told == ["the policy is for stage; the action is yank"]
    nameless = GITHUB_ACTIONS.job({**TOKEN, "workflow_ref": ""})
    details = [stage.detail for stage in match(CALLER, nameless, 2).stages if stage.detail]
    assert details == ["the workflow that the run began with cannot be read from the token"]


def test_of_several_policies_those_that_are_for_the_package_let_it() -> None:
    core: Grant = {**PACKAGES, "policy_id": "core", "packages": ["acme.core"]}
    tools: Grant = {**PACKAGES, "policy_id": "tools", "packages": ["acme.tools"]}
    both = decide([core, tools], JOB, 2, NEARBY)
    assert [(grant["policy_id"], grant["packages"]) for grant in both.granted] == [
        ("core", ["acme.core"]), ("tools", ["acme.tools"]),
    ]  # fmt: skip
    one = decide([core, tools], JOB, 2, NEARBY, wanted=Wanted("acme.tools"))
    assert [grant["policy_id"] for grant in one.granted] == ["tools"]
    none = decide([core, tools], JOB, 2, NEARBY, wanted=Wanted("other"))
    assert not none.allowed
    assert none.difference is not None
    assert none.difference.told == "the policy is for acme.core; the package is other"


# Told

CALLED = "publish.yml, a reusable workflow that release.yml called"


@pytest.mark.parametrize(("grant", "changed", "told"), [
    (GRANT, beside(), "the policy names release.yml; the job ran publish.yml, a reusable workflow that release.yml called"),
    (
        GRANT, {**shared(), "workflow_ref": f"{OWN}/ci.yml@{TAG}"},
        f"the policy names release.yml; the job ran {SHARED}/publish.yml, a reusable workflow that ci.yml called",
    ),
    (GRANT, {"job_workflow_ref": f"{OWN}/other.yml@{TAG}", "workflow_ref": None}, "the policy names release.yml; the job ran other.yml"),
    (CALLER, {"workflow_ref": f"{OWN}/ci.yml@{TAG}"}, "the policy names release.yml; the run began with ci.yml"),
    (CALLER, {"workflow_ref": None}, DIFFERENCES["caller_unreadable"]),
    (
        CALLER, shared(),
        f"the policy names no other repository's workflow; the job ran {SHARED}/{CALLED}",
    ),
    (
        PINNED, shared("refs/heads/evil"),
        f"the policy lets {SHARED}/publish.yml@refs/tags/v* be called; the job ran {SHARED}/{CALLED}",
    ),
    (
        CALLER, beside(B),
        f"the job ran publish.yml, a reusable workflow that release.yml called, of commit {B}; the run is of commit {A}",
    ),
    (REFS, {"job_workflow_sha": None}, f"the job ran release.yml, of commit one not told; the run is of commit {A}"),
    (REFS, {"ref": "refs/heads/x"}, "the policy admits refs/heads/main, refs/tags/v*; the run was for refs/heads/x"),
    (REFS, {"ref": None}, "the policy admits refs/heads/main, refs/tags/v*; the run was for no branch or tag"),
    ({**REFS, "refs": list("abcde")}, {}, f"the policy admits a, b, c and 2 more; the run was for {TAG}"),
    (PROTECTED, {"ref_protected": "false"}, f"the policy admits protected branches and tags; the run was for {TAG}, which is none"),
    ({**GRANT, "environment": "prod"}, {}, "the policy names the environment prod; the job ran in none"),
    (HOSTED, {"runner_environment": "self-hosted"}, "the policy admits github-hosted runners; the job's was self-hosted"),
    (HOSTED, {"runner_environment": None}, "the policy admits github-hosted runners; the job's was one of which the token does not tell"),
    (EVENTS, {"event_name": "schedule"}, "the policy admits push, release; the run was started by schedule"),
    ({**REFS, "refs": list("abc")}, {}, f"the policy admits a, b, c; the run was for {TAG}"),
    ({**REFS, "refs": list("abcd")}, {}, f"the policy admits a, b, c and 1 more; the run was for {TAG}"),
    (REFS, {"workflow_sha": None}, f"the job ran release.yml, of commit {A}; the run is of commit one not told"),
    (PROTECTED, {"ref": None, "ref_protected": None}, "the policy admits protected branches and tags; the run was for no branch or tag, which is none"),
    (
        {**CALLER, "workflow_file": f"{SHARED}/publish.yml"}, shared(),
        f"the policy names {SHARED}/publish.yml; the run began with release.yml",
    ),
])  # fmt: skip
def test_the_bearer_is_told_what_was_expected_and_what_was_there(
    grant: Grant, changed: dict[str, object], told: str
) -> None:
    claims = {name: value for name, value in {**TOKEN, **changed}.items() if value is not None}
    (failed,) = [stage for stage in match(grant, GITHUB_ACTIONS.job(claims), 2).stages if stage.outcome == "failed"]
    assert failed.told == told


@pytest.mark.parametrize("ids", [{"repository_owner_id": "42"}, {"repository_id": "8"}])
def test_a_stranger_is_told_nothing_of_what_the_policy_says(ids: dict[str, object]) -> None:
    asking: Grant = {**REFS, **PROTECTED, "runner": "self-hosted", "events": ["release"], "environment": "secret"}
    answer = match(asking, GITHUB_ACTIONS.job({**TOKEN, **ids, "ref": "refs/heads/x"}), 2)
    assert {stage.told for stage in answer.stages} == {"", "no policy lets this repository publish"}


@given(st.text(max_size=400))
def test_what_is_told_is_one_short_line_in_which_everything_is_seen(name: str) -> None:
    shown = plain(name)
    assert shown.isprintable()
    assert len(shown) <= LONGEST_TOLD + 1
    if name.isprintable() and len(name) <= LONGEST_TOLD:
        assert shown == name


NAMES = st.text(st.characters(codec="utf-8"), max_size=300)


@given(NAMES, NAMES, NAMES, NAMES)
def test_nothing_that_a_token_says_makes_what_is_told_more_than_a_line(
    file: str, caller: str, ref: str, event: str
) -> None:
    claims = {
        **TOKEN, "job_workflow_ref": f"{OWN}/{file}@{ref}", "workflow_ref": f"{caller}/{OWN}/{file}@{ref}",
        "job_workflow_sha": ref, "workflow_sha": caller, "ref": ref, "runner_environment": event, "event_name": event or "x",
        "environment": caller,
    }  # fmt: skip
    for grant in (GRANT, CALLER, PINNED, ANY, REFS, PROTECTED, HOSTED, EVENTS, {**GRANT, "environment": "prod"}):
        for stage in match(cast("Grant", grant), GITHUB_ACTIONS.job(claims), 2).stages:
            assert stage.told.isprintable()
            assert len(stage.told) < 8 * LONGEST_TOLD


# As they are stored

ALL: Conditions = {
    "refs": ["refs/heads/main"], "ref_protected": True, "workflow_binds": "caller", "called_workflow": "*",
    "runner": "github-hosted", "events": ["push"], "packages": ["acme.*"], "actions": ["publish"], "issuer": "ghes",
}  # fmt: skip


def test_a_view_s_conditions_are_read_and_kept_in_memory() -> None:
    asking = grant_of({**GRANT, **ALL})
    assert asking == {**GRANT, **ALL}
    memory = Memory()
    memory.take(asking)
    memory.take({**GRANT, "policy_id": "plain"})
    assert memory.get("p") == {**GRANT, **ALL}
    assert memory.get("plain") == {**GRANT, "policy_id": "plain"}


@pytest.mark.parametrize("value", [None, 7, False, "", [7], {"a": "b"}, [None], "refs/heads/main", [["push"]]])
@pytest.mark.parametrize("name", Conditions.__annotations__)
def test_a_condition_of_another_kind_closes(name: str, value: object) -> None:
    """It would ask for nothing, or for something else than was meant."""
    if isinstance(value, str) and name in ("called_workflow", "runner", "issuer"):
        assert code(cast("Grant", {**GRANT, name: value}), shared()) is not None
        return
    with pytest.raises(UnavailableError, match=name):
        grant_of({**GRANT, name: value})


_CLAIM = st.one_of(
    st.none(), st.just(""), st.sampled_from(["push", A, B, TAG, "true", f"{OWN}/ci.yml@{TAG}"]), st.integers(0, 9)
)


@given(
    st.fixed_dictionaries(dict.fromkeys(sorted(GITHUB_ACTIONS.optional), _CLAIM)),
    st.builds(Wanted, st.sampled_from([None, "acme.core"]), st.sampled_from([None, "publish"])),
)
def test_of_a_policy_that_makes_no_condition_everything_passes_what_asks_of_conditions(
    said: dict[str, object], wanted: Wanted
) -> None:
    """So these rules need not be asked of one, where the job's workflow is bound."""
    job = GITHUB_ACTIONS.job({**TOKEN, **{name: value for name, value in said.items() if value is not None}})
    question = Question(job, 0, None, CONTRACT, wanted)
    assert all(RULES[stage](GRANT, question) is None for stage in CONDITIONAL)
    assert not set(RULES) - CONDITIONAL - {
        "claims", "issuer", "event", "repository_owner", "repository", "workflow_file", "environment", "standing"
    }  # fmt: skip
