"""Two GitHubs with the very same ids: each policy is verified at its own, and at no other."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from schedules.jobs import look_for_deliveries, run_checks, run_sweeps
from tests.conftest import settings_of
from tests.store.making import letter, registration, settle_all
from tests.support import JSON, NAME, OWNER, REPOSITORY, USER, repository
from tests.verify.scene import INSTALLATION
from worker.app import App, build
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.demo.fakegithub.records import DeliveryRecord
from worker.lifecycle import scopes
from worker.lifecycle.facts import DAY, HOUR, SECOND, Micros
from worker.lifecycle.owners import DEFAULT, kind_at, owner_at
from worker.local.valkey import EmbeddedStore
from worker.operators.policies import ActionRefusedError, recheckable
from worker.processes import JobContext
from worker.settings import load
from worker.verify.build import VerificationParts, build_all, build_verification
from worker.verify.checker import WINDOW
from worker.verify.losses import SECOND_LOOK

GHES = "ghes"
THERE = owner_at(GHES, OWNER)
OTHER_INSTALLATION = 17


def filled(github: FakeGitHub, installation: int) -> FakeGitHub:
    world = github.world
    world.add_org("octo", account_id=OWNER)
    world.add_user("maria", account_id=USER)
    world.add_member(OWNER, USER)
    world.add_repository(OWNER, NAME, repository_id=REPOSITORY)
    world.install(OWNER, installation_id=installation)
    return github


@dataclass
class Sides:
    """Tenure between two GitHubs. Its clock is the store's, moved on by hand."""

    app: App
    fakes: dict[str, FakeGitHub]
    ahead: Micros = 0

    def now(self) -> Micros:
        return self.app.status.now() + self.ahead

    def start(self) -> None:
        self.asking = {alias: build_verification(self.app, self.now, issuer=alias) for alias in self.fakes}

    def parts(self, alias: str) -> VerificationParts:
        return self.asking[alias]

    def asks(self) -> None:
        for _ in range(3):
            self.ahead += WINDOW
            for parts in self.asking.values():
                parts.checker.run(10.0)
            self.ahead += SECOND_LOOK

    def sweeps(self, alias: str) -> list[str]:
        checks = self.app.checks.at(alias)
        reports = [self.parts(alias).sweeper.sweep(owner, "test") for owner, _ in checks.stalest(10)]
        self.ahead += SECOND_LOOK + SECOND
        self.asks()
        return [report.outcome for report in reports]

    def stands(self, policy_id: str) -> tuple[str, list[str]]:
        policy = self.app.policies.load([policy_id])[policy_id].policy
        assert policy is not None
        assert policy.view is not None
        return policy.view["state"], policy.view["reasons"]

    def verified(self, policy_id: str) -> bool:
        policy = self.app.policies.load([policy_id])[policy_id].policy
        assert policy is not None
        assert policy.view is not None
        return policy.view["verified_at"] is not None

    def hears(self, alias: str, action: str, number: int) -> None:
        body: dict[str, JSON] = {"action": action, "repository": repository()}
        told = letter(
            self.app,
            f"repository.{action}",
            body,
            f"h-{alias}-{number}",
            owner=owner_at(alias, OWNER),
            kind=kind_at(alias),
        )
        settle_all(self.app, told._replace(occurred_at=self.now()))


@pytest.fixture
def sides(store: EmbeddedStore) -> Iterator[Sides]:
    with FakeGitHub() as here, FakeGitHub(12) as there:
        there.world.hooks.kept_seconds = 7 * 86_400
        fakes = {DEFAULT: filled(here, INSTALLATION), GHES: filled(there, OTHER_INSTALLATION)}
        issuers = {
            DEFAULT: {"issuers": ["https://token.actions.githubusercontent.com"]},
            GHES: {
                "issuers": ["https://ghes.example.org/_services/token"], "api_url": there.url, "app_id": str(there.app_id),
                "private_key": there.private_key_pem, "redelivery_days": 7,
            },
        }  # fmt: skip
        settings = load({
            **settings_of(store), "TENURE_GITHUB_APP_ID": str(here.app_id), "TENURE_GITHUB_PRIVATE_KEY": here.private_key_pem,
            "TENURE_GITHUB_API_URL": here.url, "TENURE_ISSUERS": json.dumps(issuers),
        })  # fmt: skip
        app = build(settings)
        made = Sides(app, fakes)
        made.start()
        settle_all(app, registration(app, "here"), registration(app, "there", issuer=GHES))
        yield made
        for parts in made.asking.values():
            parts.close()
        app.broker.close()
        app.client.redis.close()


def test_each_is_asked_about_its_own(sides: Sides) -> None:
    sides.fakes[DEFAULT].world.archive(REPOSITORY)
    sides.asks()
    assert (sides.stands("here"), sides.stands("there")) == (("disabled", ["repository_archived"]), ("provisional", []))
    assert sides.verified("there")
    sides.fakes[GHES].world.remove_member(OWNER, USER)
    assert sides.sweeps(GHES) == ["done"]
    assert sides.stands("there") == ("disabled", ["creator_left_organization"])
    assert sides.stands("here") == ("disabled", ["repository_archived"])
    sides.fakes[DEFAULT].world.archive(REPOSITORY, archived=False)
    assert sides.sweeps(DEFAULT) == ["done"]
    assert (sides.stands("here"), sides.stands("there")[0]) == (("provisional", []), "disabled")


def test_a_hint_of_one_asks_nothing_of_the_other(sides: Sides) -> None:
    sides.asks()
    before = dict(sides.fakes[DEFAULT].calls)
    sides.fakes[GHES].world.archive(REPOSITORY)
    sides.hears(GHES, "archived", 1)
    assert (sides.stands("here")[0], sides.stands("there")[0]) == ("provisional", "disabled")
    sides.asks()
    assert dict(sides.fakes[DEFAULT].calls) == before
    assert sides.fakes[GHES].calls["GET /repositories/{id}"] > 0


def test_a_hint_of_one_is_no_proof_at_the_other(sides: Sides) -> None:
    """Where the default instance says that it is archived, the other's word that it is not gives nothing back."""
    sides.fakes[DEFAULT].world.archive(REPOSITORY)
    sides.hears(DEFAULT, "archived", 1)
    sides.hears(GHES, "unarchived", 2)
    sides.asks()
    assert (sides.stands("here")[0], sides.stands("there")[0]) == ("disabled", "provisional")


def test_a_repository_that_is_gone_at_one_is_there_at_the_other(sides: Sides) -> None:
    sides.asks()
    sides.fakes[GHES].world.delete_repository(REPOSITORY)
    for alias in (GHES, DEFAULT):
        assert sides.sweeps(alias) == ["done"]
    assert sides.stands("there") == ("disabled", ["repository_unreachable"])
    assert sides.stands("here") == ("provisional", [])
    assert sides.app.missing_scopes.tally(sides.now()).lost == 0
    assert sides.app.missing_scopes.at(GHES).tally(sides.now()).lost == 1


def test_one_that_is_down_keeps_nobody_else_waiting(sides: Sides) -> None:
    sides.fakes[GHES].faults.add(Fault(kind="status", status=503))
    sides.asks()
    assert (sides.verified("here"), sides.verified("there")) == (True, False)
    assert sides.app.ledger.trouble().failures == 0
    assert sides.app.ledger.at(GHES).trouble().failures > 0
    assert sides.app.checks.waiting() == 0
    assert sides.app.checks.at(GHES).waiting() == 1


def test_installations_are_each_instance_s_own(sides: Sides) -> None:
    sides.asks()
    here, there = sides.app.directory.of(OWNER), sides.app.directory.at(GHES).of(OWNER)
    assert here is not None
    assert there is not None
    assert (here.installation_id, there.installation_id) == (INSTALLATION, OTHER_INSTALLATION)


@pytest.mark.parametrize(("days", "again"), [(2, [DEFAULT, GHES]), (5, [GHES])])
def test_missed_webhooks_are_asked_for_where_they_are_kept(sides: Sides, days: int, again: list[str]) -> None:
    heard: list[str] = []

    def noted(alias: str, _: DeliveryRecord) -> int:
        heard.append(alias)
        return 202

    for alias, fake in sides.fakes.items():
        fake.on_redelivery(partial(noted, alias))
        at = (sides.now() - days * DAY) / SECOND
        fake.world.record_delivery("repository", 502, action="archived", guid=f"g-{alias}", delivered_at=at)
    runs = {alias: parts.redeliverer.run() for alias, parts in sides.asking.items()}
    assert heard == again
    assert {alias for alias, run in runs.items() if run.redelivered} == set(again)


def test_a_webhook_that_is_lost_has_its_own_owners_swept(sides: Sides) -> None:
    for alias in (DEFAULT, GHES):
        assert sides.sweeps(alias) == ["done"]
    fake = sides.fakes[GHES]
    fake.on_redelivery(lambda _: 500)
    at = (sides.now() - 6 * DAY) / SECOND
    fake.world.record_delivery(
        "repository", 502, action="archived", guid="g", delivered_at=at, installation_id=OTHER_INSTALLATION
    )
    sides.parts(GHES).redeliverer.run()
    sides.ahead += DAY
    assert sides.parts(GHES).redeliverer.run().given_up == 1
    assert sides.app.checks.at(GHES).stalest(10) == [(THERE, 0)]
    assert sides.app.checks.stalest(10)[0][1] > 0


def test_jobs_ask_every_instance_and_one_that_hangs_keeps_no_other(sides: Sides) -> None:
    """Given a GitHub that answers nobody for a while, when the jobs run, then the other one's work is done meanwhile."""
    parts = build_all(sides.app)
    assert [each.issuer for each in parts] == [DEFAULT, GHES]
    context = JobContext(sides.app, sides.app.processor("test"), parts)
    slow = Fault(kind="stall", seconds=3.0)
    sides.fakes[DEFAULT].faults.add(slow)
    run = threading.Thread(target=run_sweeps, args=(context,))
    run.start()
    try:
        for _ in range(200):
            if sides.verified("there"):
                break
            threading.Event().wait(0.02)
        assert sides.verified("there")
        assert not sides.verified("here")
    finally:
        run.join()
    sides.fakes[DEFAULT].faults.heal()
    run_checks(context)
    look_for_deliveries(context)
    for each in parts:
        each.close()


def test_a_policy_of_an_instance_without_an_app_cannot_be_rechecked(sides: Sides, store: EmbeddedStore) -> None:
    here, issuers = sides.fakes[DEFAULT], {GHES: {"issuers": ["https://ghes.example.org/_services/token"]}}
    settings = load({
        **settings_of(store), "TENURE_GITHUB_APP_ID": str(here.app_id), "TENURE_GITHUB_PRIVATE_KEY": here.private_key_pem,
        "TENURE_ISSUERS": json.dumps(issuers),
    })  # fmt: skip
    app = build(settings)
    recheckable(app, "here")
    with pytest.raises(ActionRefusedError, match="ghes its app_id"):
        recheckable(app, "there")
    settle_all(app, registration(app, "later", issuer=GHES))
    assert app.checks.at(GHES).due(sides.now() + HOUR) == sides.app.checks.at(GHES).due(sides.now() + HOUR)
    app.broker.close()


def test_owners_wait_apart(sides: Sides) -> None:
    assert [owner for owner, _ in sides.app.checks.stalest(10)] == [OWNER]
    assert [owner for owner, _ in sides.app.checks.at(GHES).stalest(10)] == [THERE]
    sides.app.checks.ask([scopes.owner(OWNER), scopes.owner(THERE)], sides.now())
    for alias, owner in ((DEFAULT, OWNER), (GHES, THERE)):
        checks = sides.app.checks.at(alias)
        taken = [check for p in checks.due(sides.now()) for check in checks.take(p, "test", sides.now() + HOUR, 10)]
        assert {check.owner_id for check in taken} == {owner}
