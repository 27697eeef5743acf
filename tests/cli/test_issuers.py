"""What operators see and do of a second GitHub: doctor, holds, sweeps, lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Tenure
from tests.conftest import settings_of
from tests.store.making import about_repository, registration, settle_all
from tests.support import OWNER
from worker.app import App, build
from worker.demo.fakegithub import FakeGitHub
from worker.doctor.diagnostics import diagnose
from worker.doctor.finding import OK, PROBLEM
from worker.lifecycle.owners import owner_at
from worker.local.valkey import EmbeddedStore
from worker.operators.switches import ScopeError, affected, check_issuer, scope
from worker.settings import load

GHES = "ghes"
URL = "https://ghes.example.org/_services/token"
ISSUERS: dict[str, dict[str, object]] = {GHES: {"issuers": [URL], "webhook_secrets": ["0123456789abcdef0123"]}}


@pytest.fixture
def environment(store: EmbeddedStore) -> dict[str, str]:
    return {**settings_of(store), "TENURE_ISSUERS": json.dumps(ISSUERS)}


@pytest.fixture
def both(app: App, environment: dict[str, str]) -> Iterator[App]:
    """On a store that `app` has emptied: a policy of the default instance, and two of the other with the same ids."""
    made = build(load(environment))
    settle_all(
        made, registration(app, "here"), registration(app, "there", issuer=GHES), registration(app, "more", issuer=GHES)
    )
    yield made
    made.broker.close()
    made.client.redis.close()


def test_a_switch_counts_the_policies_of_its_own_instance(both: App) -> None:
    counts = {
        f"{kind}:{name}": (affected(both, scope(kind, name), 9).count, [v["policy_id"] for v in affected(both, scope(kind, name), 9).first])
        for kind, name in (("issuer", "github"), ("issuer", GHES), ("owner", str(OWNER)), ("owner", f"{GHES}/{OWNER}"), ("all", ""))
    }  # fmt: skip
    assert {name: (count, sorted(first)) for name, (count, first) in counts.items()} == {
        "issuer:github": (1, ["here"]), f"issuer:{GHES}": (2, ["more", "there"]), f"owner:{OWNER}": (1, ["here"]),
        f"owner:{GHES}/{OWNER}": (2, ["more", "there"]), "all:": (3, ["here", "more", "there"]),
    }  # fmt: skip


def test_a_switch_of_one_closes_nothing_of_the_other(both: App) -> None:
    wanted = scope("owner", f" {GHES}/00{OWNER} ")
    assert str(wanted) == f"owner:{GHES}/{OWNER}"
    both.switches.close(wanted, reason="r", by="b", at=both.status.now(), request_id="s-1")
    views = {p: both.policies.load([p])[p].policy for p in ("here", "there")}
    over = {
        p: [s.scope for s in both.switches.over(policy.view)] for p, policy in views.items() if policy and policy.view
    }
    assert over == {"here": [], "there": [f"owner:{GHES}/{OWNER}"]}


@pytest.mark.parametrize(("kind", "name"), [
    ("issuer", "Other"), ("issuer", "a/b"), ("owner", "ghes/"), ("owner", "/1"), ("owner", "github/1"), ("owner", "ghes/1:2"),
    ("repository", "ghes/1"), ("repository", "ghes/1:x"), ("repository", "1:ghes/2"), ("owner", "ghes/99999999999999999999"),
])  # fmt: skip
def test_what_is_no_scope_is_refused(kind: str, name: str) -> None:
    with pytest.raises(ScopeError):
        scope(kind, name)


def test_only_what_is_configured_is_held(both: App) -> None:
    for kind, name in (("issuer", "other"), ("owner", "other/1"), ("repository", "other/1:2")):
        with pytest.raises(ScopeError, match="there is github, ghes"):
            check_issuer(scope(kind, name), both.settings.instances)
    for kind, name in (("issuer", GHES), ("owner", f"{GHES}/1"), ("creator", "x"), ("all", "")):
        check_issuer(scope(kind, name), both.settings.instances)


def test_the_command_line_names_owners_of_either(both: App, environment: dict[str, str], tenure: Tenure) -> None:
    def ids(*arguments: str) -> list[str]:
        answer = tenure("policy", "list", "--json", *arguments, **environment)
        return sorted(json.loads(line)["policy_id"] for line in answer.out.splitlines())

    assert (ids("--owner", str(OWNER)), ids("--owner", f"{GHES}/{OWNER}")) == (["here"], ["more", "there"])
    held = tenure("hold", "--owner", f"{GHES}/{OWNER}", **environment)
    assert "2" in held.out + held.err
    refused = tenure("hold", "--issuer", "other", **environment)
    assert refused.code == 2
    assert "there is github, ghes" in refused.err
    shown = tenure("policy", "show", "there", **environment)
    assert f"owner {GHES}/{OWNER}" in shown.out


def test_a_policy_is_registered_at_an_instance(both: App, environment: dict[str, str], tenure: Tenure) -> None:
    given = (
        "policy", "register", "--name", "n", "--package-owner", "acme", "--package-owner-kind", "user", "--created-by",
        "maria", "--owner", "octo", "--owner-id", str(OWNER), "--repository", "widgets", "--workflow", "release.yml",
    )  # fmt: skip
    assert tenure(*given, "--id", "new", "--issuer", GHES, **environment).code == 0
    policy = both.policies.load(["new"])["new"].policy
    assert policy is not None
    assert policy.view is not None
    assert policy.view["issuer"] == GHES
    refused = tenure(*given, "--id", "odd", "--issuer", "other", **environment)
    assert (refused.code, "--issuer: no such instance" in refused.err) == (2, True)
    assert both.policies.load(["odd"])["odd"].policy is None


def test_an_export_is_imported_as_it_was(
    both: App, environment: dict[str, str], tenure: Tenure, tmp_path: Path
) -> None:
    settle_all(both, about_repository(both, "archived", "h-1", issuer=GHES))
    exported = tenure("policy", "export", **environment)
    assert exported.code == 0
    before = {p: both.policies.load([p])[p].policy for p in ("here", "there")}
    file = tmp_path / "policies.jsonl"
    file.write_text(exported.out, encoding="utf-8")
    both.client.redis.flushall()
    both.client.redis.set("tenure:partitions", both.keyspace.partitions)
    assert tenure("policy", "import", str(file), **environment).code == 0
    for policy_id, was in before.items():
        now = both.policies.load([policy_id])[policy_id].policy
        assert was is not None
        assert now is not None
        assert was.view is not None
        assert now.view is not None
        assert (now.view["state"], now.view.get("issuer")) == (was.view["state"], was.view.get("issuer"))
        assert now.facts.keys() == was.facts.keys()


def test_the_doctor_looks_at_each_instance(store: EmbeddedStore) -> None:
    with FakeGitHub(12) as there:
        there.world.add_org("octo", account_id=OWNER)
        there.world.install(OWNER, installation_id=17)
        ghes = {"issuers": [URL], "api_url": there.url, "app_id": "12", "private_key": there.private_key_pem}
        app = build(load({**settings_of(store), "TENURE_ISSUERS": json.dumps({GHES: ghes})}))
        settle_all(
            app, registration(app, "there", issuer=GHES), registration(app, "other", issuer=GHES, owner=OWNER + 1)
        )
        found = {finding.check: finding for finding in diagnose(app)}
    assert found["github"].level == OK
    assert "no credentials" in found["github"].finding
    assert found["github ghes"].level == PROBLEM
    assert "no process that asks GitHub" in found["github ghes"].finding
    assert found["github ghes owners"].finding.endswith(str(owner_at(GHES, OWNER + 1)))
    assert "/webhooks/github/ghes" in found["github ghes webhook"].finding
    assert {"breaker ghes", "deliveries ghes", "github ghes app"} <= found.keys()
    assert "ghes, webhook_secrets: has none" in found["secrets"].finding
    assert found["github ghes"].runbook == "github"
    app.broker.close()


def test_nobody_answers_where_an_instance_should_be(store: EmbeddedStore) -> None:
    with FakeGitHub(12) as there:
        url, pem = there.url, there.private_key_pem
    app = build(load({
        **settings_of(store),
        "TENURE_ISSUERS": json.dumps({GHES: {"issuers": [URL], "api_url": url, "app_id": "12", "private_key": pem}}),
    }))  # fmt: skip
    found = {finding.check: finding for finding in diagnose(app)}
    assert found["github ghes"].level == PROBLEM
    app.broker.close()


def test_what_is_of_no_instance_is_not_imported(both: App, tenure: Tenure, environment: dict[str, str]) -> None:
    plain = {
        "policy_id": "odd", "name": "n", "package_owner": {"account": "acme", "kind": "user"}, "created_by": {"account": "m"},
        "github": {
            "issuer": "other", "repository_owner": "octo", "repository_owner_id": 1, "repository": "w", "workflow_file": "r.yml",
        },
    }  # fmt: skip
    exported = tenure("policy", "export", **environment).out.splitlines()
    there = next(line for line in exported if GHES in line)
    for line in (json.dumps(plain), there.replace(GHES, "other").replace('"there"', '"odd"').replace(":there", ":odd")):
        refused = tenure("policy", "import", "-", stdin=line + "\n", **environment)
        assert refused.code != 0
        assert "no such instance of GitHub" in refused.err
    assert both.policies.load(["odd"])["odd"].policy is None
