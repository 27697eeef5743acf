"""The technique of June 2026, from end to end: the right workflow file, run from where nobody reviewed it, with a valid token.

What a policy refuses is refused, and what it lets through its owner was told of before the first release.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import NamedTuple

import httpx
import pytest

from tenure_reader import Reader
from tests.conftest import Processes, settings_of, wait_until
from tests.support import JSON, OWNER, USER
from worker.app import App, build
from worker.demo.fakegithub import FakeGitHub
from worker.local.valkey import EmbeddedStore, free_port
from worker.settings import load

pytestmark = pytest.mark.processes

A, B = "a" * 40, "b" * 40
OWN = ".github/workflows"
EVIL = "evil/tools/.github/workflows/steal.yml"
SHARED = "labs/shared/.github/workflows/publish.yml"
WORKFLOW = "on: push\npermissions:\n  id-token: write\njobs:\n  publish:\n    runs-on: ubuntu-latest\n"


class Scenario(NamedTuple):
    """A policy, what of it is told before the release, and which runs pass."""

    github: dict[str, JSON]
    advisories: set[str]
    passes: set[str]


POLICIES = {
    "says-nothing": Scenario(
        {}, {"any_ref"}, {"snapshot", "dispatched", "pull request", "branch's file", "other caller"}
    ),
    "any-branch": Scenario({"refs": ["refs/heads/**"]}, {"refs_unprotected"}, {"snapshot", "dispatched"}),
    "any-called": Scenario(
        {"refs": ["refs/tags/v*"], "called_workflow": "*", "events": ["push"]}, {"any_caller"}, {"foreign workflow"}
    ),
    "tags": Scenario({"refs": ["refs/tags/v*"], "events": ["push"]}, set(), {"other caller"}),
    "tags-by-caller": Scenario({"refs": ["refs/tags/v*"], "events": ["push"], "workflow_binds": "caller"}, set(), set()),
    "protected": Scenario({"ref_protected": True, "workflow_binds": "caller", "events": ["push"]}, set(), set()),
    "environment": Scenario(
        {"environment": "release", "refs": ["refs/tags/v*"], "workflow_binds": "caller", "events": ["push"]}, set(), set()
    ),
    "shared-workflow": Scenario({"workflow_file": SHARED, "refs": ["refs/tags/v*"], "events": ["push"]}, set(), set()),
}  # fmt: skip
REPOSITORIES = {name: 1_000 + n for n, name in enumerate(POLICIES)}
REVIEWED = {"other caller"}
"""Another file of a tag that only a release manager makes calls the policy's file of the same commit: that was reviewed."""
REFUSED_BY_ALL = {
    "foreign caller", "stranger's pull request", "repository made again", "squatted login", "other issuer", "no issuer's"
}  # fmt: skip
ISSUER, TENANT = "https://token.actions.githubusercontent.com", "https://token.actions.acme.ghe.com"


def claims(repository: str, /, **changed: str) -> dict[str, str]:
    """A release: a push of a protected tag, with the job in the run's own workflow; or in the shared one, where that is it."""
    ref = changed.get("ref", "refs/tags/v1")
    own = f"octo/{repository}/{OWN}/release.yml@{ref}"
    told = {
        "iss": ISSUER, "repository_owner": "octo", "repository_owner_id": str(OWNER), "repository": f"octo/{repository}",
        "repository_id": str(REPOSITORIES[repository]), "workflow_ref": own, "job_workflow_ref": own, "workflow_sha": A,
        "job_workflow_sha": A, "ref": ref, "ref_protected": "true", "event_name": "push", "environment": "release",
        "runner_environment": "github-hosted",
    }  # fmt: skip
    if repository == "shared-workflow":
        told |= {"job_workflow_ref": f"{SHARED}@refs/tags/v3", "job_workflow_sha": B}
    return {**told, **changed}


def attacks(repository: str) -> dict[str, dict[str, str]]:
    """What comes with a valid token, for a repository of a policy."""
    file = f"octo/{repository}/{OWN}/release.yml"
    branch = {"ref": "refs/heads/snapshot-1", "ref_protected": "false"}
    away = {"repository_owner": "evil", "repository_owner_id": "666", "repository_id": "6666"}
    return {
        "snapshot": claims(repository, **branch),
        "dispatched": claims(repository, **branch, event_name="workflow_dispatch"),
        "pull request": claims(repository, ref="refs/pull/7/merge", ref_protected="false", event_name="pull_request"),
        "stranger's pull request": claims(repository, event_name="pull_request_target"),
        # A tag that is protected runs a file of its own, which calls the policy's file of a branch that is not.
        "branch's file": claims(
            repository, workflow_ref=f"octo/{repository}/{OWN}/ci.yml@refs/tags/v1",
            job_workflow_ref=f"{file}@refs/heads/snapshot-1", job_workflow_sha=B,
        ),
        "other caller": claims(
            repository, workflow_ref=f"octo/{repository}/{OWN}/ci.yml@refs/tags/v1", job_workflow_ref=f"{file}@refs/tags/v1"
        ),
        "foreign workflow": claims(repository, job_workflow_ref=f"{EVIL}@refs/heads/main", job_workflow_sha=B),
        "foreign caller": claims(
            repository, **away, repository="evil/fork", workflow_ref=f"evil/fork/{OWN}/ci.yml@refs/heads/main",
            job_workflow_ref=f"{file}@refs/tags/v1",
        ),
        "repository made again": claims(repository, repository_id="6666"),
        "squatted login": claims(repository, repository_owner_id="666", repository_id="6666"),
        # Ids are unique within one GitHub only: these are another one's owner and repository.
        "other issuer": claims(repository, iss=TENANT),
        "no issuer's": claims(repository, iss="https://token.actions.githubusercontent.com.example"),
    }  # fmt: skip


@pytest.fixture
def github(fake: FakeGitHub) -> FakeGitHub:
    """The owner's repositories: each with its workflow file, a protected main, a branch that somebody just made, and tags of
    which only a release manager makes those that begin with v.
    """
    world, installed = fake.world, fake.world.installation_of(OWNER)
    assert installed is not None
    for permission in ("contents", "actions"):
        world.permit(installed.id, permission)
    for name, repository_id in REPOSITORIES.items():
        world.add_repository(OWNER, name, repository_id=repository_id)
        world.put_workflow(repository_id, "release.yml", WORKFLOW)
        world.put_branch(repository_id, "main", protected=True)
        world.put_branch(repository_id, "snapshot-1")
        world.put_ruleset(repository_id, "tag", include=["refs/tags/v*"])
        world.put_environment(repository_id, "release", admits=["v*"])
    return fake


@pytest.fixture
def environment(store: EmbeddedStore, credentials: dict[str, str]) -> dict[str, str]:
    issuers = json.dumps({"acme": {"issuers": [TENANT]}, "github": {"issuers": [ISSUER]}})
    return {**settings_of(store), **credentials, "TENURE_HTTP_PORT": str(free_port()), "TENURE_ISSUERS": issuers}


@pytest.fixture
def app(environment: dict[str, str], github: FakeGitHub) -> Iterator[App]:
    built = build(load(environment))
    yield built
    built.broker.close()
    built.client.redis.close()


class Site(NamedTuple):
    http: httpx.Client

    def registers(self, policy_id: str, github: dict[str, JSON]) -> dict[str, JSON]:
        """Tell of a policy, and wait for what comes of it."""
        names: dict[str, JSON] = {
            "repository_owner": "octo", "repository": policy_id, "repository_id": REPOSITORIES[policy_id],
            "visibility": "private", "workflow_file": "release.yml",
        }  # fmt: skip
        data = {
            "policy_id": policy_id, "name": policy_id, "package_owner": {"account": "acme", "kind": "organization"},
            "created_by": {"account": "maria", "github_user_id": USER}, "github": {**names, **github},
        }  # fmt: skip
        event = {
            "specversion": "1.0", "id": policy_id, "source": "/registry", "type": "policy.registered",
            "time": datetime.now(UTC).isoformat(), "data": data,
        }  # fmt: skip
        headers = {
            "Authorization": "Bearer registry-token", "Content-Type": "application/cloudevents+json", "Prefer": "wait=30",
        }  # fmt: skip
        response = self.http.post("/events", content=json.dumps(event), headers=headers)
        assert response.status_code == 200, response.text
        (answer,) = response.json()["events"]
        return dict(answer)

    def view(self, policy_id: str) -> dict[str, JSON]:
        response = self.http.get(f"/policies/{policy_id}", headers={"Authorization": "Bearer registry-token"})
        return dict(response.json()["view"])


@pytest.fixture
def site(app: App, environment: dict[str, str], processes: Processes) -> Iterator[Site]:
    """A worker, a verifier, a scheduler and the HTTP API, each a process of its own."""
    processes.worker(app, **environment)
    processes.ready(app, "asker", processes.start("-m", "worker", "worker", "--asking", **environment))
    processes.scheduler(app, **environment)
    processes.start("-m", "worker", "web", **environment)
    with httpx.Client(
        base_url=f"http://127.0.0.1:{environment['TENURE_HTTP_PORT']}", timeout=60, trust_env=False
    ) as http:

        def serves() -> bool:
            try:
                return http.get("/livez").status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        wait_until(serves, "the API answers")
        yield Site(http)


def test_what_is_not_refused_was_told_before(site: Site, store: EmbeddedStore) -> None:
    """Given policies that say more or less, when runs come with valid tokens from throw-away branches and their like, then
    each is refused, or the policy's advisories told of it before anybody logged in.
    """
    for policy_id, scenario in POLICIES.items():
        answer = site.registers(policy_id, scenario.github)
        # The registry knows no id of the owner: who has the login was asked.
        assert (answer["state"], site.view(policy_id)["repository_owner_id"]) == ("settled", OWNER)

    def verified() -> bool:
        return all(site.view(name)["advisories"] == sorted(each.advisories) for name, each in POLICIES.items())

    wait_until(verified, "each policy is told what it leaves open", 30)
    with closing(Reader.connect(store.url)) as reader:
        for name, scenario in POLICIES.items():
            release = reader.evaluate(claims(name, ref="refs/heads/main" if name == "any-branch" else "refs/tags/v1"))
            assert release.allowed, (name, release.difference)
            outcomes = {attack: reader.evaluate(run) for attack, run in attacks(name).items()}
            passed = {attack for attack, decision in outcomes.items() if decision.allowed}
            assert passed == scenario.passes, name
            assert not passed & REFUSED_BY_ALL
            assert scenario.advisories or passed <= REVIEWED, "what passes was told before"
            told = {attack: decision.difference.code for attack, decision in outcomes.items() if decision.difference}
            assert told["foreign caller"] == "owner_id"
            assert told["repository made again"] == "name_reused"
            assert told["stranger's pull request"] == "event_forbidden"
            assert told["other issuer"] == "owner_id"
            assert told["no issuer's"] == "issuer_unknown"
            if name.startswith("tags"):
                assert told["snapshot"] == told["pull request"] == told["dispatched"] == "ref"
