"""How long a key is good, for whom, and that its login is heard of."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import asdict

import pytest

from examples.exchange.settings import ExchangeSettings, ExchangeSettingsError
from examples.exchange.vault import Record, digest, key_name, read_record, record_of, revoked_name, switched_name
from tenure_reader import Grant
from tests.conftest import wait_until
from tests.docs.markdown import table, text, ticked
from tests.exchange.service import INDEX_TOKEN, Service
from tests.reader.world import GRANT, OWNER, REPOSITORY, World
from tests.support import registration_data
from tests.web.site import Site, serve
from worker.http.app import create_app
from worker.local.valkey import free_port
from worker.store.switches import Scope


@pytest.fixture(autouse=True)
def policy(world: World) -> None:
    world.register(visibility="public")


def published(world: World) -> int:
    return sum(world.app.client.redis.xlen(p.changes) for p in world.app.keyspace.all())


def until_heard(service: Service, world: World, before: int) -> None:
    service.caught_up(published(world) - before)


def test_a_key_tells_the_index_for_whom_it_publishes(service: Service) -> None:
    told = service.check(service.key()).json()
    expires = told.pop("expires")
    assert told == {
        "good": True,
        "packageOwner": {"account": "acme", "kind": "organization"},
        "policyId": "pol-1",
    }
    assert expires.endswith("Z")
    (name,) = service.redis.keys("{exchange}:key:*")
    assert 0 < service.redis.pttl(name) <= 3600 * 1000


def test_only_the_index_may_ask(service: Service) -> None:
    key = service.key()
    for token in ("x", "canary-of-nobody", INDEX_TOKEN + "x"):
        assert service.check(key, token).status_code == 401
    for odd in (None, 7, ["x"]):
        assert service.check(odd).status_code == 400
    for other in ("", "tex_", key + "x", key[:-1], "x" * 5000, "ä"):
        assert not service.good(other)


def test_keys_die_with_their_policy_and_stay_dead_when_it_comes_back(service: Service, world: World) -> None:
    before = published(world)
    key = service.key()
    world.member("member_removed")
    until_heard(service, world, before)
    assert not service.good(key)
    assert service.login().status_code == 403
    world.member("member_added")
    until_heard(service, world, before)
    assert not service.good(key)
    assert service.good(service.key())


@pytest.mark.parametrize("scope", [
    Scope("all"), Scope("issuer", "github"), Scope("owner", str(OWNER)), Scope("creator", "maria"),
    Scope("repository", f"{OWNER}:{REPOSITORY}"), Scope("package_owner", "acme"),
], ids=str)  # fmt: skip
def test_keys_die_with_a_switch_and_stay_dead_when_it_is_open_again(
    service: Service, world: World, scope: Scope
) -> None:
    """Given a key, when everything of its scope is held and released, then it is dead for good, a key from before that is
    written late is dead too, and a new one is good.
    """
    key, switches, now = service.key(), world.app.switches, world.app.status.now
    (name,) = service.redis.keys("{exchange}:key:*")
    record = service.redis.get(name)
    assert record is not None
    switches.close(scope, reason="a stolen token", by="ops", at=now(), request_id="r-1")
    wait_until(lambda: service.redis.exists(switched_name(str(scope))), "the switch is heard of")
    assert not service.good(key)
    # The mirror that decides hears of it by itself.
    wait_until(lambda: service.login().status_code == 403, "logins are refused")
    switches.open(scope, reason="over", by="ops", at=now(), request_id="r-2")
    wait_until(lambda: service.login().status_code == 200, "it is open again")
    assert not service.good(key)
    service.redis.set(key_name(digest("late")), record, px=60_000)
    assert not service.good("late")
    assert service.good(service.key())


def test_a_key_that_is_written_by_a_decision_from_before_the_revocation_is_dead(service: Service, world: World) -> None:
    before = published(world)
    service.key()
    (name,) = service.redis.keys("{exchange}:key:*")
    record = service.redis.get(name)
    assert record is not None
    world.member("member_removed")
    world.member("member_added")
    until_heard(service, world, before)
    service.redis.set(key_name(digest("late")), record, px=60_000)
    assert not service.good("late")


@pytest.mark.parametrize(
    "changed",
    [{"workflow_file": "other.yml"}, {"environment": "prod"}, {"repository_id": 8}, {"repository_owner_id": 43}],
)
def test_a_key_dies_when_its_policy_says_something_else(
    service: Service, world: World, changed: dict[str, object]
) -> None:
    before = published(world)
    key = service.key()
    world.register(visibility="public", **changed)  # type: ignore[arg-type]
    until_heard(service, world, before)
    assert not service.good(key)


def test_a_key_by_name_goes_on_when_the_policy_learns_its_id_and_dies_if_that_is_anothers(
    service: Service, world: World
) -> None:
    world.register("named", repository="gadgets", repository_id=None, visibility=None)
    service.caught_up(1)
    run = {
        "repository": "octo/gadgets",
        "job_workflow_ref": "octo/gadgets/.github/workflows/release.yml@refs/heads/main",
    }
    first, second = service.key(**run, repository_id="8"), service.key(**run, repository_id="9")
    assert service.good(first)
    assert service.good(second)
    world.login("named", repository_id=8)
    service.caught_up(2)
    assert service.good(first)
    assert not service.good(second)


def test_a_key_for_some_packages_is_for_nothing_else() -> None:
    """And for nothing at all, if the index does not say what it is used for."""
    scoped: Grant = {**GRANT, "packages": ["Acme.*"], "actions": ["stage"]}
    record = record_of(scoped, 7, 0, 0)
    assert record.lets("acme.core", "stage")
    for package, action in (
        ("acme.core", "publish"),
        ("other", "stage"),
        (None, "stage"),
        ("acme.core", None),
        (None, None),
    ):
        assert not record.lets(package, action)
    assert record_of(GRANT, 7, 0, 0).lets(None, None)
    assert read_record(json.dumps(asdict(record)).encode()) == record
    assert record.still_is(scoped)
    assert not record.still_is(GRANT)
    assert not record.still_is({**scoped, "packages": ["acme.core"]})
    assert not record.still_is({**scoped, "refs": ["refs/heads/main"]})


def test_a_key_is_good_for_what_its_policy_is_for(service: Service, world: World) -> None:
    before = published(world)
    data = {**registration_data(repository_id=REPOSITORY, visibility="public"), "policy_id": "pol-1"}
    world.tell("policy.registered", {**data, "packages": ["Acme.*"]})
    until_heard(service, world, before)
    key = service.key()
    headers = {"Authorization": f"Bearer {INDEX_TOKEN}"}
    for package, good in (("acme.core", True), ("other", False), (None, False)):
        told = {"apiKey": key, "package": package, "action": "publish"}
        assert service.http.post("/keys/check", json=told, headers=headers).json()["good"] is good, package
    before = published(world)
    world.tell("policy.registered", data)
    until_heard(service, world, before)
    # It says something else now.
    assert not service.good(key)
    assert service.good(service.key())


def test_a_key_of_an_exchange_of_the_version_before_is_read() -> None:
    written = {name: value for name, value in asdict(record_of(GRANT, 7, 0, 0)).items() if name != "conditions"}
    record = read_record(json.dumps(written).encode())
    assert record == record_of(GRANT, 7, 0, 0)


@pytest.mark.parametrize("field", ["package", "action"])
def test_what_a_key_is_used_for_is_a_text(service: Service, field: str) -> None:
    headers = {"Authorization": f"Bearer {INDEX_TOKEN}"}
    answer = service.http.post("/keys/check", json={"apiKey": "x", field: 7}, headers=headers)
    assert answer.status_code == 400


def test_a_key_dies_when_its_policy_is_removed(service: Service, world: World) -> None:
    before = published(world)
    key = service.key()
    world.tell("policy.removed", {"policy_id": "pol-1"})
    until_heard(service, world, before)
    assert not service.good(key)


def test_a_rename_leaves_a_key_alone(service: Service, world: World) -> None:
    before = published(world)
    key = service.key()
    world.webhook("repository.renamed", repository_name="g", changes={"repository": {"name": {"from": "widgets"}}})
    until_heard(service, world, before)
    assert service.good(key)


def test_what_happens_while_no_exchange_runs_is_made_up_for(start: Callable[..., Service], world: World) -> None:
    lost = start().key()
    world.member("member_removed")
    world.member("member_added")
    second = start()  # Another exchange on the same Redis, as after a restart.
    kept = second.key()
    assert not second.good(lost)
    assert second.good(kept)
    world.webhook("repository.renamed", repository_name="g", changes={"repository": {"name": {"from": "widgets"}}})
    assert start().good(kept)


def test_a_key_whose_history_cannot_be_read_any_more_is_dead(start: Callable[..., Service], world: World) -> None:
    key = start().key()
    world.webhook("repository.renamed", repository_name="g", changes={"repository": {"name": {"from": "widgets"}}})
    world.app.client.redis.xtrim(world.app.keyspace.of(OWNER).changes, maxlen=0)
    assert not start().good(key)


def test_revocations_are_never_taken_back(service: Service, world: World) -> None:
    before = published(world)
    key = service.key()
    world.member("member_removed")
    until_heard(service, world, before)
    closed = service.redis.zscore(revoked_name("pol-1"), "revision")
    assert closed == 2
    service.redis.zadd(revoked_name("pol-1"), {"revision": 1}, gt=True)
    assert service.redis.zscore(revoked_name("pol-1"), "revision") == 2
    assert not service.good(key)


def test_while_the_mirror_is_not_trusted_a_key_is_good_only_if_nothing_changed(service: Service, world: World) -> None:
    before = published(world)
    key = service.key()
    # A view that is ahead of the feed, as where the mirror is behind.
    record = Record("pol-1", 9, "acme", "organization", OWNER, REPOSITORY, "widgets", "release.yml", None, 0)
    service.redis.set(key_name(digest("ahead")), json.dumps(asdict(record)), px=60_000)
    assert service.check("ahead").status_code == 503
    assert service.good(key)
    assert published(world) == before


# Logins are reported


def test_a_login_makes_the_policy_permanent(service: Service, world: World, site: Site) -> None:
    world.register("private", environment="prod")
    service.caught_up(1)
    service.key(environment="prod", run_id="4711", actor="maria-gh")

    def active() -> bool:
        site.settle()
        view = site.app.policies.load(["private"])["private"].policy
        return view is not None and view.view is not None and view.view["state"] == "active"

    wait_until(active, "the login is settled")
    wait_until(lambda: service.metric("exchange_outbox ") == 0, "the outbox is empty")
    facts = site.app.policies.load(["private"])["private"].policy
    assert facts is not None
    assert [fact.source.kind for fact in facts.facts.values() if fact.aspect == "login"] == ["exchange"]


def test_while_tenures_door_is_closed_a_login_waits(start: Callable[..., Service], world: World, site: Site) -> None:
    world.register("private", environment="prod")
    port = free_port()
    service = start(tenure_url=f"http://127.0.0.1:{port}")
    service.key(environment="prod")
    assert service.metric("exchange_outbox ") == 1
    with serve(create_app(site.app), port):
        wait_until(lambda: service.metric("exchange_outbox ") == 0, "the login is told")
        site.settle()
    policy = site.app.policies.load(["private"])["private"].policy
    assert policy is not None
    assert policy.view is not None
    assert policy.view["state"] == "active"


def test_a_login_that_tenure_will_never_take_stops_no_other(service: Service, world: World, site: Site) -> None:
    service.redis.xadd("{exchange}:outbox", {"event": json.dumps({"specversion": "1.0", "type": "nonsense"})})
    service.key()
    wait_until(lambda: service.metric("exchange_outbox ") == 0, "the outbox is empty")
    assert service.metric("exchange_outbox_refused") == 1
    assert [event[b"name".decode()] for event in site.held()] == [b"login.succeeded"]


def test_metrics_tell_of_the_mirror_and_of_what_was_decided(service: Service) -> None:
    service.key()
    service.login("x")
    service.run(event_name="workflow_run", another_new_claim="1", repo_property_team="core")
    assert service.metric('exchange_unknown_claims_total{claim="another_new_claim"}') == 1
    assert service.metric('exchange_unknown_claims_total{claim="repo_property_team"}') == 0
    assert service.metric('exchange_logins_total{outcome="granted"}') == 1
    assert service.metric('exchange_logins_total{outcome="token"}') == 1
    assert service.metric('exchange_logins_total{outcome="event"}') == 1
    assert service.metric("exchange_mirror_trusted") == 1
    assert 0 <= service.metric("exchange_mirror_lag_seconds") < 1
    assert service.metric("exchange_mirror_policies") == 1
    assert service.http.get("/livez").status_code == 200


# Settings

ENVIRONMENT = {
    "EXCHANGE_AUDIENCE": "https://index.example",
    "EXCHANGE_TENURE_REDIS_URL": "redis://127.0.0.1:6480/0",
    "EXCHANGE_REDIS_URL": "redis://127.0.0.1:6480/5",
    "EXCHANGE_TENURE_URL": "http://127.0.0.1:8480",
    "EXCHANGE_TENURE_TOKEN": "canary-1",
    "EXCHANGE_INDEX_TOKEN": "canary-2",
}


def test_every_setting_is_listed() -> None:
    told = {
        ticked(name)[0]: ticked(default) for name, default, _ in table(text("examples/exchange/README.md"), "settings")
    }
    fields = dataclasses.fields(ExchangeSettings)
    assert set(told) == {f"EXCHANGE_{field.name.upper()}" for field in fields}
    for field in fields:
        default = [] if field.default in (dataclasses.MISSING, "") else [str(field.default)]
        assert told[f"EXCHANGE_{field.name.upper()}"] == default


def test_settings_are_read_and_keep_their_secrets() -> None:
    settings = ExchangeSettings.load(ENVIRONMENT)
    assert settings.jwks_url == "https://token.actions.githubusercontent.com/.well-known/jwks"
    assert "canary" not in repr(settings)
    assert dataclasses.asdict(settings)["tenure_token"] == "canary-1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "") for name in ENVIRONMENT),
        ("EXCHANGE_KEY_SECONDS", "3601"),
        ("EXCHANGE_KEY_SECONDS", "0"),
        ("EXCHANGE_KEY_SECONDS", "-5"),
        ("EXCHANGE_PORT", "x"),
        ("EXCHANGE_JWKS_URL", "http://token.example/jwks"),
        ("EXCHANGE_TENURE_URL", "http://tenure.example"),
        ("EXCHANGE_REDIS_URL", "redis://127.0.0.1:6480/0"),
        ("EXCHANGE_REDIS_URL", "redis://:12#canary@127.0.0.1:6480/1"),
        ("EXCHANGE_REDIS_URL", "redis://:canary/x@127.0.0.1:6480/1"),
        ("EXCHANGE_TENURE_REDIS_URL", "redis://:12/canary@127.0.0.1:6480/0"),
        ("EXCHANGE_TENURE_TOKEN_FILE", "/nowhere/at/all"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ExchangeSettingsError, match=rf"^{name}: ") as raised:
        ExchangeSettings.load({**ENVIRONMENT, name: value})
    assert "canary" not in str(raised.value)
