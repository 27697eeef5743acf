"""What logins had in common: whatever is proposed of that, all of them would have passed."""

from __future__ import annotations

import json
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.models import PolicyRegistered
from handlers.registry import data_of, registration_of
from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.grants import Grant
from tenure_reader.lookup import grant_of
from tenure_reader.matching import Matching
from tenure_reader.rules import match
from tests.support import OWNER, REPOSITORY, registration_data
from worker.lifecycle.conditions import written
from worker.lifecycle.registration import Registration
from worker.lifecycle.shapes import LONGEST_PART, MOST_REFS, Shape, propose, read, shape_of

HOME = "octo/widgets/.github/workflows"
SHARED = "octo/shared/.github/workflows/publish.yml"


def registration(**github: object) -> Registration:
    return registration_of(PolicyRegistered.model_validate(registration_data(**github)))  # type: ignore[arg-type]


def claims(
    ref: str = "refs/tags/v1.0",
    *,
    caller: str = "release.yml",
    called: str | None = None,
    environment: str | None = None,
    runner: str = "github-hosted",
) -> dict[str, object]:
    """A token's; `called`: another workflow than the one that the run began with."""
    began = f"{HOME}/{caller}@{ref}"
    told: dict[str, object] = {
        "repository_owner": "octo", "repository_owner_id": str(OWNER), "repository": "octo/widgets",
        "repository_id": str(REPOSITORY), "event_name": "push", "ref": ref, "workflow_ref": began,
        "job_workflow_ref": called or began, "workflow_sha": "a" * 40,
        "job_workflow_sha": "b" * 40 if called else "a" * 40, "runner_environment": runner,
    }  # fmt: skip
    return told | ({} if environment is None else {"environment": environment})


def shape(token: dict[str, object]) -> Shape:
    """As the exchange tells of it."""
    told = cast("dict[str, str]", token)
    return shape_of(
        ref=told["ref"], environment=told.get("environment"), caller=told["workflow_ref"],
        called=told["job_workflow_ref"], runner=told["runner_environment"],
    )  # fmt: skip


def grant(of: Registration) -> Grant:
    view = {
        "policy_id": "pol-1", "revision": 1, "state": "active", "usable": True, "usable_until": None, "reasons": [],
        "package_owner": {"account": "acme", "kind": "user"}, "created_by": {"account": "m", "github_user_id": None},
        "repository_owner_id": OWNER, "repository": "widgets", "repository_id": REPOSITORY,
        "workflow_file": of.workflow_file, "environment": of.environment, **written(of.asked),
    }  # fmt: skip
    return grant_of(json.dumps(view))


def passes(of: Registration, token: dict[str, object], matching: Matching | None = None) -> bool:
    job = GITHUB_ACTIONS.job(token)
    given = {} if matching is None else {"matching": matching}
    return match(grant(of), job, 1, **given).matched  # type: ignore[arg-type]


def proposed(tokens: list[dict[str, object]], of: Registration) -> Registration:
    return propose(of, [shape(token) for token in tokens]).registration


# Shapes


def test_versions_of_a_tag_are_one_shape_and_branches_are_what_they_are() -> None:
    assert shape(claims("refs/tags/v1.2.3")) == shape(claims("refs/tags/v10.0.4"))
    assert shape(claims("refs/tags/v1.2.3")).ref == "refs/tags/v#.#.#"
    assert shape(claims("refs/heads/py3")).ref == "refs/heads/py3"
    assert shape(claims("refs/tags/v1.2.3")).called == "="
    assert shape(claims("refs/tags/v1", called=f"{SHARED}@refs/tags/v2")).called == f"{SHARED}@refs/tags/v#"
    assert shape(claims(called=f"{SHARED}@{'a1' * 20}")).called == f"{SHARED}@{'a1' * 20}"


def test_a_part_that_is_too_long_is_as_good_as_not_told() -> None:
    assert shape(claims("refs/heads/" + "x" * LONGEST_PART)).ref is None
    assert shape(claims("refs/heads/" + "x" * LONGEST_PART)).caller is None


@given(st.builds(Shape, *[st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)] * 5))
def test_a_shape_is_read_back_as_it_was_written(of: Shape) -> None:
    assert read(json.loads(of.written)) == of
    assert read({**json.loads(of.written), "ref": 7}) == of._replace(ref=None)


def test_other_logins_have_other_names() -> None:
    parts = ["a", None]
    shapes = [Shape(a, b, c, d, e) for a in parts for b in parts for c in parts for d in parts for e in parts]
    assert len({one.name for one in shapes}) == len(shapes)


# Proposals


def test_releases_from_tags_are_proposed_as_one_pattern_with_all_that_they_share() -> None:
    tokens = [claims(f"refs/tags/v{n}.0", environment="release") for n in range(1, 4)]
    found = proposed(tokens, registration())
    assert (found.asked.refs, found.asked.workflow_binds) == (("refs/tags/v*",), "caller")
    assert (found.asked.runner, found.environment) == ("github-hosted", "release")
    assert all(passes(found, token) for token in tokens)
    for other in (
        claims("refs/heads/snapshot", environment="release"),
        claims("refs/tags/v9", environment="release", runner="self-hosted"),
        claims("refs/tags/v9"),
        {**claims("refs/tags/v9", environment="release"), "workflow_ref": f"{HOME}/ci.yml@refs/tags/v9"},
    ):
        assert not passes(found, other)


def test_what_a_policy_asks_for_already_is_left_as_it_is() -> None:
    asks = registration(
        refs=["refs/**"], runner="self-hosted", workflow_binds="job", environment="prod"
    )  # fmt: skip
    assert proposed([claims(environment="release")], asks) == asks


@pytest.mark.parametrize(
    "tokens",
    [
        [claims(runner="github-hosted"), claims(runner="self-hosted", environment="x")],
        [claims(f"refs/heads/b{n}") for n in range(MOST_REFS + 1)],
    ],
)
def test_what_logins_do_not_share_is_not_proposed(tokens: list[dict[str, object]]) -> None:
    found = proposed(tokens, registration())
    assert found.environment is None
    assert found.asked.runner is None or not found.asked.refs
    assert all(passes(found, token) for token in tokens)


def test_a_reusable_workflow_of_another_repository_is_proposed_with_the_file_that_calls_it() -> None:
    tokens = [claims(f"refs/tags/v{n}", called=f"{SHARED}@refs/tags/r{n}") for n in range(3)]
    found = proposed(tokens, registration(workflow_file=SHARED))
    assert (found.workflow_file, found.asked.called_workflow) == ("release.yml", f"{SHARED}@refs/tags/r*")
    assert all(passes(found, token) for token in tokens)
    assert not passes(found, claims("refs/tags/v1", caller="ci.yml", called=f"{SHARED}@refs/tags/r1"))


def test_a_file_of_its_own_that_another_calls_may_be_of_another_commit_so_no_refs_are_proposed() -> None:
    tokens = [claims("refs/tags/v1", caller="ci.yml", called=f"{HOME}/release.yml@refs/heads/main")]
    found = proposed(tokens, registration())
    assert (found.asked.refs, found.asked.workflow_binds) == ((), None)
    assert all(passes(found, token) for token in tokens)


def test_what_is_not_told_is_said_and_nothing_is_proposed_of_it() -> None:
    found = propose(registration(), [shape(claims()), Shape()])
    assert found == (registration(), ("ref", "caller", "called", "runner"))
    assert propose(registration(), [shape(claims())]).untold == ()


REFS = st.sampled_from([
    "refs/tags/v1", "refs/tags/v2.10-rc1", "refs/tags/pkg-2/v3", "refs/tags/7", "refs/heads/main", "refs/heads/rel/1.x",
    "refs/pull/12/merge",
])  # fmt: skip
CALLED = st.sampled_from([
    None, f"{SHARED}@refs/tags/v1", f"{SHARED}@refs/heads/main", f"{SHARED}@{'c' * 40}",
    f"{HOME}/release.yml@refs/heads/main", f"{HOME}/build.yml@refs/tags/v1",
])  # fmt: skip
TOKENS = st.builds(
    claims, REFS, caller=st.sampled_from(["release.yml", "ci.yml"]), called=CALLED,
    environment=st.sampled_from([None, "release", "Prod"]), runner=st.sampled_from(["github-hosted", "self-hosted"]),
)  # fmt: skip


@given(
    st.lists(TOKENS, min_size=1, max_size=4),
    st.sampled_from(["release.yml", SHARED]),
    st.sampled_from([Matching(), Matching(workflow_file_case="exact"), Matching(workflow_binds="caller")]),
)
def test_every_login_that_was_passes_what_is_proposed_of_all(
    tokens: list[dict[str, object]], workflow_file: str, matching: Matching
) -> None:
    of = registration(workflow_file=workflow_file)
    accepted = [token for token in tokens if passes(of, token, matching)]
    if not accepted:
        return
    found = proposed(accepted, of)
    assert all(passes(found, token, matching) for token in accepted)
    # It can be sent as it is.
    assert registration_of(PolicyRegistered.model_validate(data_of(found, "pol-1"))) == found
