"""What a policy asks of a token: in its view only where it asks, told of when it changes, and followed where it names a repository."""

from __future__ import annotations

import pytest

from tests.lifecycle.test_called import LABS, LABS_OWNER, THEIRS, always, met, moved
from tests.support import POLICY, REPOSITORY, Life, hint, registered, repository_scope, said
from worker.lifecycle import scopes
from worker.lifecycle.conditions import NAMES, NOTHING, RegisteredConditions, written
from worker.lifecycle.decide import watched_scopes
from worker.lifecycle.facts import Micros, Observation
from worker.lifecycle.registration import decode, encode
from worker.lifecycle.views import DEFINITION, ChangeType

PINNED = f"{LABS}@refs/tags/v*"
EACH: dict[str, RegisteredConditions] = {
    "refs": RegisteredConditions(refs=("refs/heads/main",)), "ref_protected": RegisteredConditions(ref_protected=True),
    "workflow_binds": RegisteredConditions(workflow_binds="job"), "called_workflow": RegisteredConditions(called_workflow="*"),
    "runner": RegisteredConditions(runner="github-hosted"), "events": RegisteredConditions(events=("push", "release")),
    "packages": RegisteredConditions(packages=("acme.*",)), "actions": RegisteredConditions(actions=("publish",)),
    "issuer": RegisteredConditions(issuer="ghes"),
}  # fmt: skip


def asking(at: Micros, asked: RegisteredConditions, workflow_file: str = "release.yml") -> Observation:
    said = registered(at, "widgets", REPOSITORY, visibility="public")
    registration = decode(str(said.value))._replace(asked=asked, workflow_file=workflow_file)
    return said._replace(value=encode(registration))


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_is_a_member_of_the_view_only_where_it_is_asked(name: str) -> None:
    plain, life = Life(), Life()
    plain.hears(1, asking(0, NOTHING))
    life.hears(1, asking(0, EACH[name]))
    assert name in DEFINITION
    advised = {"called_workflow": ["any_caller"]}.get(name, [])
    assert life.view == {**plain.view, **written(EACH[name]), "advisories": advised}
    assert list(plain.view)[-1] == "updated_at"
    assert not set(plain.view) & set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_condition_that_changes_is_an_update(name: str) -> None:
    life = Life()
    life.hears(1, asking(0, NOTHING))
    life.hears(3, asking(2, EACH[name]))
    assert life.changes[-1] is ChangeType.UPDATED
    life.hears(5, asking(4, EACH[name]))
    assert len(life.changes) == 2
    life.hears(7, asking(6, NOTHING))
    assert life.changes[-1] is ChangeType.UPDATED
    assert len(life.changes) == 3


def test_a_workflow_that_may_be_called_is_followed() -> None:
    them = asking(0, RegisteredConditions(called_workflow=PINNED))
    assert always(them).called_workflow == PINNED
    assert always(them).workflow_file == "release.yml"
    owner = moved(3, LABS_OWNER, 40, "labs-new")
    repository = moved(4, scopes.called("labs-new", "shared"), 70, "common")
    followed = always(them, met(2, THEIRS, 40, 70), owner, repository)
    assert followed.called_workflow == "labs-new/common/.github/workflows/publish.yml@refs/tags/v*"
    assert followed.workflow_file == "release.yml"
    ours = asking(0, RegisteredConditions(called_workflow="octo/shared/.github/workflows/publish.yml"))
    renamed = hint(4, scopes.unbound(41, "shared"), "renamed_to", "common")
    assert always(ours, renamed).called_workflow == "octo/common/.github/workflows/publish.yml"


@pytest.mark.parametrize("how", ["deleted", "transferred", "taken"])
def test_one_whose_repository_came_to_an_end_may_be_called_no_more(how: str) -> None:
    """What has its address since is somebody else's. The caller stays bound, and may call what is its own."""
    bound = met(2, THEIRS, 40, 70)
    end = met(4, THEIRS, 41, 71) if how == "taken" else hint(4, THEIRS, how, True)
    life = Life()
    life.hears(1, asking(0, RegisteredConditions(called_workflow=PINNED)))
    life.hears(5, bound, end)
    assert life.changes[-1] is ChangeType.UPDATED
    assert (life.view.get("called_workflow"), life.view.get("workflow_binds")) == (None, "caller")
    assert life.view["advisories"] == ["workflow_missing"]
    life.hears(7, asking(6, RegisteredConditions(called_workflow=PINNED)))
    assert (life.view.get("called_workflow"), life.view.get("workflow_binds")) == (PINNED, None)


def test_any_workflow_is_nobody_s() -> None:
    found = always(asking(0, RegisteredConditions(called_workflow="*")))
    assert found.called_workflow == "*"
    assert found.tenure.called is None


def test_either_file_that_is_missing_is_told_of() -> None:
    them = asking(0, RegisteredConditions(called_workflow=PINNED))
    own = scopes.workflow(repository_scope(), "release.yml")
    theirs = scopes.workflow(THEIRS, "publish.yml")
    for file in (own, theirs):
        gone, back = hint(3, file, "missing", True), hint(5, file, "missing", False)
        assert always(them, gone).advisories == ("workflow_missing",)
        assert always(them, gone, back).advisories == ()
        assert file in watched_scopes(always(them).tenure, POLICY)
    assert always(them, hint(3, THEIRS, "deleted", True)).advisories == ("workflow_missing",)


def self_hosted(at: Micros) -> Observation:
    """A login that ran on a self-hosted runner."""
    return said(at, scopes.policy(POLICY), "self_hosted", True)


def test_a_login_on_a_self_hosted_runner_is_told_until_the_policy_is_registered_again() -> None:
    life = Life()
    life.hears(1, asking(0, NOTHING))
    assert life.hears(3, self_hosted(2)) is ChangeType.REFRESHED
    assert life.view["advisories"] == ["self_hosted_runner"]
    assert life.hears(5, self_hosted(4)) is None, "it is known"
    life.hears(7, asking(6, NOTHING))
    assert life.view["advisories"] == []
    life.hears(9, self_hosted(5))
    assert life.view["advisories"] == [], "what was before the registration is not told after it"


def test_where_other_runners_are_refused_an_earlier_login_does_not_matter() -> None:
    life = Life()
    life.hears(1, asking(0, RegisteredConditions(runner="github-hosted")))
    life.hears(3, self_hosted(2))
    assert life.view["advisories"] == []
