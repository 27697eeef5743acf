"""Before the first release: whether the workflow file is there and gets a token, by GitHub's own answer. It never blocks."""

from __future__ import annotations

import json

import pytest

from tests.store.making import registration, webhook
from tests.support import OWNER, REPOSITORY, USER, WORKFLOW
from tests.verify.scene import INSTALLATION, Scene
from worker.demo.fakegithub import Fault
from worker.demo.fakegithub.payloads import about_push, encode
from worker.github.workflow import LONGEST
from worker.lifecycle.facts import DAY, SECOND
from worker.verify.advice import FRESH
from worker.verify.interview import PATIENCE

ASKS = "on: push\npermissions:\n  id-token: write\njobs:\n  publish:\n    runs-on: ubuntu-latest\n"
DOES_NOT = "on: push\njobs:\n  publish:\n    runs-on: ubuntu-latest\n"
FILE = "GET /repositories/{id}/contents/.github/workflows/{file}"
FOLDER = "GET /repositories/{id}/contents/.github/workflows"
LAG = 5 * SECOND


@pytest.fixture
def reading(scene: Scene) -> Scene:
    """The App may read what repositories hold."""
    scene.fake.world.permit(INSTALLATION, "contents")
    return scene


def advisories(scene: Scene, policy_id: str = "pol-1") -> list[str]:
    """All but that any ref may publish, which holds of each of these policies once its file was read."""
    view = scene.view(policy_id)
    assert view["usable"], "it is advice, and never blocks"
    return [name for name in view["advisories"] if name != "any_ref"]


def asked(scene: Scene, route: str = FILE) -> int:
    return scene.fake.calls[route]


def hears_push(scene: Scene, kind: str) -> None:
    """The webhook of a push that `added`, `modified` or `removed` the file."""
    world = scene.fake.world
    repo = world.repository(REPOSITORY)
    letter = about_push(repo, world.account(repo.owner_id), **{kind: [f".github/workflows/{WORKFLOW}"]})
    scene.hears(webhook(scene.app, "push", json.loads(encode(letter.payload)), f"push-{scene.now()}"))


def pushed(scene: Scene, text: str | None) -> None:
    """A push with the file, or without it, is heard, and GitHub asked about it."""
    if text is None:
        scene.fake.world.remove_workflow(REPOSITORY, WORKFLOW)
    else:
        scene.fake.world.put_workflow(REPOSITORY, WORKFLOW, text)
    hears_push(scene, "removed" if text is None else "modified")
    scene.checks()
    scene.wait(LAG)
    scene.checks()


def test_a_file_that_is_not_there_is_told_when_the_policy_is_registered(reading: Scene) -> None:
    reading.registers()
    assert advisories(reading) == ["workflow_missing"]
    assert [change["type"] for change in reading.changes()] == ["policy.provisioned", "policy.refreshed"]


def test_a_file_that_gets_a_token_is_no_news(reading: Scene) -> None:
    reading.fake.world.put_workflow(REPOSITORY, WORKFLOW, ASKS)
    reading.registers()
    assert advisories(reading) == []
    assert asked(reading) == 1
    reading.checks()
    reading.sweeps()
    assert asked(reading) == 1, "it is read once a week"


def test_a_file_of_which_no_job_gets_a_token_is_told_and_a_push_that_mends_it_takes_it_back(reading: Scene) -> None:
    reading.fake.world.put_workflow(REPOSITORY, WORKFLOW, DOES_NOT)
    reading.registers()
    assert advisories(reading) == ["workflow_cannot_publish"]
    pushed(reading, ASKS)
    assert advisories(reading) == []
    pushed(reading, DOES_NOT)
    assert advisories(reading) == ["workflow_cannot_publish"]
    pushed(reading, None)
    assert advisories(reading) == ["workflow_missing"]


def test_just_after_a_push_github_is_not_asked_since_a_replica_may_answer(reading: Scene) -> None:
    reading.registers()
    before = asked(reading)
    reading.fake.world.put_workflow(REPOSITORY, WORKFLOW, ASKS)
    hears_push(reading, "added")
    reading.asks()
    assert (advisories(reading), asked(reading)) == ([], before)
    reading.wait(LAG)
    reading.checks()
    assert (advisories(reading), asked(reading)) == ([], before + 1)


def test_what_no_push_told_is_seen_within_a_week(reading: Scene) -> None:
    world = reading.fake.world
    world.set_visibility(REPOSITORY, "public")
    world.put_workflow(REPOSITORY, WORKFLOW, ASKS)
    reading.registers(visibility="public")
    world.remove_workflow(REPOSITORY, WORKFLOW)
    reading.wait(FRESH - DAY)
    reading.sweeps()
    assert advisories(reading) == []
    reading.wait(DAY)
    reading.sweeps()
    assert advisories(reading) == ["workflow_missing"]


def test_a_sweep_that_is_late_reads_nothing(reading: Scene) -> None:
    reading.fake.world.put_workflow(REPOSITORY, WORKFLOW, ASKS)
    reading.registers()
    reading.wait(FRESH)
    reading.asking.sweeper.sweep(OWNER, "test", late=True)
    assert asked(reading) == 1
    reading.asking.sweeper.sweep(OWNER, "test")
    assert asked(reading) == 2


def test_without_the_permission_nothing_is_asked_and_nothing_said(scene: Scene) -> None:
    scene.registers()
    scene.sweeps()
    assert advisories(scene) == []
    assert (asked(scene), asked(scene, FOLDER)) == (0, 0)


@pytest.mark.parametrize("status", [403, 451, 500])
def test_a_file_that_may_not_be_seen_is_not_called_missing(reading: Scene, status: int) -> None:
    reading.fake.faults.add(Fault(kind="status", status=status, route=FILE, times=None))
    reading.registers()
    assert advisories(reading) == []


def test_a_folder_that_may_not_be_seen_is_not_called_empty(reading: Scene) -> None:
    reading.fake.faults.add(Fault(kind="status", status=403, route=FOLDER, times=None))
    reading.registers()
    assert advisories(reading) == []


def test_a_repository_whose_files_cannot_be_seen_has_no_file_missing(reading: Scene) -> None:
    """As GitHub may answer for one that the App was not given: 404 to all of it."""
    reading.fake.faults.add(Fault(kind="status", status=404, path=f"/repositories/{REPOSITORY}/contents"))
    reading.registers()
    assert advisories(reading) == []


def test_where_github_answers_nothing_about_files_the_rest_is_left(reading: Scene) -> None:
    reading.fake.faults.add(Fault(kind="status", status=502, route=FILE))
    reading.hears(
        *(registration(reading.app, f"pol-{n}", workflow_file=f"release-{n}.yml") for n in range(1, PATIENCE + 4))
    )
    reading.asks()
    assert asked(reading) == PATIENCE
    assert all(reading.view(f"pol-{n}")["verified_at"] for n in range(1, PATIENCE + 4))


def test_no_answer_keeps_nothing_else_waiting_and_is_asked_for_again(reading: Scene) -> None:
    reading.fake.faults.add(Fault(kind="status", status=502, route=FILE, times=1))
    reading.registers()
    assert reading.view()["verified_at"] is not None
    reading.wait(4 * SECOND)
    reading.checks()
    assert advisories(reading) == ["workflow_missing"]


def test_what_a_strangers_installation_shows_says_nothing(reading: Scene) -> None:
    world = reading.fake.world
    world.set_visibility(REPOSITORY, "public")
    world.uninstall(INSTALLATION)
    world.add_org("evil", account_id=666)
    world.install(666, installation_id=9666)
    world.permit(9666, "contents")
    reading.registers()
    reading.sweeps()
    assert reading.view()["advisories"] == []
    assert asked(reading) == 0


def test_letter_case_does_not_make_a_file_missing(reading: Scene) -> None:
    reading.fake.world.put_workflow(REPOSITORY, WORKFLOW.title(), DOES_NOT)
    reading.registers()
    assert advisories(reading) == ["workflow_cannot_publish"]


def test_names_of_files_are_quoted(reading: Scene) -> None:
    file = "release & früh.yml"
    reading.fake.world.put_workflow(REPOSITORY, file, DOES_NOT)
    reading.registers(workflow_file=file)
    assert advisories(reading) == ["workflow_cannot_publish"]


@pytest.mark.parametrize("text", ["#" * (LONGEST + 1), "a: &a [*a, *a]\n" * 5_000, "\u202e" * 1_000, "x" * 100_000])
def test_a_file_that_cannot_be_told_says_nothing(reading: Scene, text: str) -> None:
    reading.fake.world.put_workflow(REPOSITORY, WORKFLOW, text)
    reading.registers()
    assert advisories(reading) == []


def test_what_cannot_be_told_any_more_is_no_longer_claimed(reading: Scene) -> None:
    reading.fake.world.put_workflow(REPOSITORY, WORKFLOW, DOES_NOT)
    reading.registers()
    pushed(reading, "{}")
    assert advisories(reading) == []


def test_a_workflow_of_another_repository_is_not_read(reading: Scene) -> None:
    reading.registers(workflow_file="labs/shared/.github/workflows/publish.yml")
    assert asked(reading) == 0


def test_a_policy_that_is_bound_by_the_answer_is_told_then(reading: Scene) -> None:
    reading.registers(repository_id=None)
    reading.checks()
    reading.sweeps()
    assert advisories(reading) == ["workflow_missing"]


def test_policies_of_one_file_cost_one_question(reading: Scene) -> None:
    reading.fake.world.put_workflow(REPOSITORY, WORKFLOW, DOES_NOT)
    reading.hears(*(registration(reading.app, f"pol-{n}") for n in range(1, 6)))
    reading.checks()
    assert asked(reading) == 1
    assert {tuple(advisories(reading, f"pol-{n}")) for n in range(1, 6)} == {("workflow_cannot_publish",)}


def test_the_reserve_of_the_budget_is_left_to_checks(reading: Scene) -> None:
    reading.fake.limits.set(INSTALLATION, limit=1_000, remaining=50)
    reading.registers()
    assert reading.view()["verified_at"] is not None
    assert asked(reading) == 0


# Environments


@pytest.fixture
def looking(scene: Scene) -> Scene:
    """The App may look at environments."""
    scene.fake.world.permit(INSTALLATION, "actions")
    return scene


def registers(scene: Scene, **github: object) -> list[str]:
    """A policy that names more than others do; its advisories."""
    said = registration(scene.app, "pol-1", f"e-{scene.now()}")
    data = json.loads(said.body)
    data["github"] |= {"environment": "Release", **github}
    scene.hears(said._replace(body=json.dumps(data).encode()))
    scene.checks()
    assert scene.view()["usable"]
    return scene.view()["advisories"]


def test_an_environment_that_is_not_there_restricts_nothing(looking: Scene) -> None:
    assert registers(looking) == ["environment_missing", "any_ref"]
    looking.fake.world.put_environment(REPOSITORY, "release", admits=["v*"])
    assert registers(looking) == []


@pytest.mark.parametrize(
    ("admits", "reviewers", "told"),
    [
        (None, [], ["environment_unprotected", "any_ref"]),
        (["*"], [], ["environment_unprotected", "any_ref"]),
        (["v*", "**/*"], [], ["environment_unprotected", "any_ref"]),
        (None, [USER], ["any_ref"]),
        (["v*"], [], []),
        ([], [], []),
        (["main"], [USER], []),
    ],
)
def test_what_an_environment_admits(
    looking: Scene, admits: list[str] | None, reviewers: list[int], told: list[str]
) -> None:
    looking.fake.world.put_environment(REPOSITORY, "release", admits=admits, reviewers=reviewers)
    assert registers(looking) == told


def test_a_change_of_an_environment_is_seen_within_a_week(looking: Scene) -> None:
    looking.fake.world.set_visibility(REPOSITORY, "public")
    looking.fake.world.put_environment(REPOSITORY, "release", admits=["v*"])
    assert registers(looking, visibility="public") == []
    before = len(looking.changes())
    looking.fake.world.put_environment(REPOSITORY, "release")
    looking.wait(FRESH)
    looking.sweeps()
    assert looking.view()["advisories"] == ["environment_unprotected", "any_ref"]
    assert len(looking.changes()) == before + 1


def test_without_the_permission_nothing_is_said_of_environments(scene: Scene) -> None:
    assert registers(scene) == []
    assert asked(scene, "GET /repositories/{id}/environments/{name}") == 0


@pytest.mark.parametrize("status", [403, 404, 500])
def test_environments_that_cannot_be_listed_are_not_called_missing(looking: Scene, status: int) -> None:
    looking.fake.faults.add(Fault(kind="status", status=status, route="GET /repositories/{id}/environments"))
    assert registers(looking) == []


# What a policy leaves open


def test_a_policy_for_any_ref_is_told_so_once_its_file_was_read(reading: Scene) -> None:
    reading.fake.world.put_workflow(REPOSITORY, WORKFLOW, ASKS)
    assert registers(reading, environment=None) == ["any_ref"]
    assert registers(reading, environment=None, refs=["refs/tags/v*"]) == ["refs_unprotected"]
    assert registers(reading, environment=None, ref_protected=True) == []


def test_where_nothing_was_read_no_policy_is_told_of_its_refs(scene: Scene) -> None:
    assert registers(scene, environment=None) == []


def test_any_caller_and_a_self_hosted_runner_are_told_at_once(scene: Scene) -> None:
    assert registers(scene, called_workflow="*", runner="self-hosted") == ["any_caller", "self_hosted_runner"]
    assert registers(scene, called_workflow=None, runner="github-hosted") == []
