"""The same with real processes: workers, one that asks, a scheduler, and webhooks that GitHub itself sends."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Processes, settings_of, wait_until
from tests.store.making import published, registration
from tests.support import OWNER, REPOSITORY, USER
from worker.app import App, build
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.local.valkey import EmbeddedStore, free_port
from worker.settings import load

pytestmark = pytest.mark.processes

SOON = 10.0
"""Seconds within which standing is true again after the last fault is gone."""


@pytest.fixture
def environment(store: EmbeddedStore, credentials: dict[str, str]) -> dict[str, str]:
    return {**settings_of(store), **credentials, "TENURE_HTTP_PORT": str(free_port())}


@pytest.fixture
def app(environment: dict[str, str]) -> Iterator[App]:
    built = build(load(environment))
    yield built
    built.broker.close()
    built.client.redis.close()


@pytest.fixture
def stack(app: App, environment: dict[str, str], tmp_path: Path, fake: FakeGitHub) -> Iterator[Processes]:
    """A worker, an asker, a scheduler and the doors, to which the small GitHub sends its webhooks."""
    started = Processes(environment, tmp_path)
    started.worker(app)
    started.ready(app, "asker", started.start("-m", "worker", "worker", "--asking"))
    started.scheduler(app)
    started.start("-m", "worker", "web")
    url = f"http://127.0.0.1:{environment['TENURE_HTTP_PORT']}"

    def open_() -> bool:
        try:
            return httpx.get(f"{url}/livez", trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    wait_until(open_, "the doors are open")
    fake.webhook_target(f"{url}/webhooks/github", "webhook-secret")
    yield started
    started.kill()


def stands(app: App, policy_id: str = "pol-1") -> tuple[str, list[str]] | None:
    policy = app.policies.load([policy_id])[policy_id].policy
    return None if policy is None or policy.view is None else (policy.view["state"], policy.view["reasons"])


def register(app: App) -> None:
    said = registration(app, "pol-1")
    app.inbox.put([[said]])
    app.wakeups.wake(said.partition, "events", said.event_id)
    verified = "registered and verified"
    wait_until(
        lambda: (p := app.policies.load(["pol-1"])["pol-1"].policy) and p.view and p.view["verified_at"], verified
    )


def test_access_goes_with_the_hint_and_comes_back_with_the_proof(app: App, stack: Processes, fake: FakeGitHub) -> None:
    register(app)
    fake.faults.add(Fault(kind="status", status=502))
    fake.world.remove_member(OWNER, USER, tell=True)
    wait_until(lambda: stands(app) == ("disabled", ["creator_left_organization"]), "disabled by the hint", 2)
    fake.world.add_member(OWNER, USER, tell=True)
    wait_until(lambda: fake.calls["GET /user/{id}"] or app.ledger.trouble().failures >= 2, "GitHub was asked")
    assert stands(app) == ("disabled", ["creator_left_organization"])
    fake.faults.heal()
    wait_until(lambda: stands(app) == ("provisional", []), "enabled by the proof", SOON)


def test_an_asker_that_is_killed_loses_nothing(app: App, stack: Processes, fake: FakeGitHub) -> None:
    register(app)
    fake.world.archive(REPOSITORY, tell=True)
    wait_until(lambda: stands(app) == ("disabled", ["repository_archived"]), "disabled by the hint")
    fake.faults.add(Fault(kind="stall", route="GET /repositories/{id}", seconds=8))
    fake.forget_calls()
    fake.world.archive(REPOSITORY, archived=False, tell=True)
    wait_until(lambda: fake.calls["GET /repositories/{id}"], "GitHub is being asked")
    asker = stack.of_role("asker")
    asker.send(signal.SIGKILL)
    asker.wait()
    fake.faults.heal()
    assert stands(app) == ("disabled", ["repository_archived"])
    stack.ready(app, "asker", stack.start("-m", "worker", "worker", "--asking"))
    wait_until(lambda: stands(app) == ("provisional", []), "enabled by the proof", SOON)
    assert [c["type"] for c in published(app)["pol-1"] if c["type"] != "policy.refreshed"] == [
        "policy.provisioned", "policy.disabled", "policy.reenabled",
    ]  # fmt: skip


def test_a_webhook_that_did_not_arrive_is_delivered_again(app: App, stack: Processes, fake: FakeGitHub) -> None:
    register(app)
    fake.world.webhook_target(f"http://127.0.0.1:{free_port()}/webhooks/github", "webhook-secret")
    fake.world.archive(REPOSITORY, tell=True)
    fake.webhook_target(f"http://127.0.0.1:{app.settings.http_port}/webhooks/github", "webhook-secret")
    assert stands(app) == ("provisional", [])
    second = app.status.now() // 1_000_000
    app.wakeups.tick("sweeps", "deliveries", second, second)
    wait_until(lambda: stands(app) == ("disabled", ["repository_archived"]), "delivered again", SOON)
