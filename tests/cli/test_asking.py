"""`tenure policy recheck` and `tenure sweep`: asking GitHub now, and what is shown of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import OWNER_ID, REPOSITORY_ID, Tenure, alive
from worker.app import App
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.local.valkey import EmbeddedStore

ALICE = 77


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub() as github:
        github.world.add_org("octo", account_id=OWNER_ID)
        github.world.add_user("alice", account_id=ALICE)
        github.world.add_member(OWNER_ID, ALICE)
        github.world.add_repository(OWNER_ID, "widgets", repository_id=REPOSITORY_ID)
        github.world.install(OWNER_ID)
        yield github


@pytest.fixture
def asking(app: App, store: EmbeddedStore, tmp_path: Path, fake: FakeGitHub) -> Tenure:
    """The command, with GitHub credentials."""
    key = tmp_path / "app.pem"
    key.write_text(fake.private_key_pem)
    (tmp_path / ".env").write_text(
        f"TENURE_GITHUB_APP_ID={fake.app_id}\nTENURE_GITHUB_PRIVATE_KEY_FILE={key}\nTENURE_GITHUB_API_URL={fake.url}\n"
    )
    return Tenure(tmp_path, store.url)


def test_recheck_shows_the_evidence(asking: Tenure, fake: FakeGitHub) -> None:
    asking.register("pol-1")
    fake.world.archive(REPOSITORY_ID)
    (told,) = asking.done("policy", "recheck", "pol-1", "--json").objects
    assert told["outcome"] == "done"
    assert told["view"]["reasons"] == ["repository_archived"]
    assert {line["about"].partition(":")[0] for line in told["evidence"]} == {"repository", "member"}
    assert "archived" in told["evidence"][0]["answer"]
    assert asking.done("audit", "--json").objects[-1]["action"] == "policy.rechecked"
    assert asking.done("audit", "--json").objects[-1]["reason"] is None
    ended = asking.done("policy", "recheck", "pol-1", "--reason", " asked for ")
    assert ended.err.endswith("pol-1: still disabled (repository_archived)\n")
    assert asking.done("audit", "--json").objects[-1]["reason"] == "asked for"


def test_recheck_waits_for_the_second_look(asking: Tenure, fake: FakeGitHub) -> None:
    asking.register("pol-1")
    fake.world.delete_repository(REPOSITORY_ID)
    ended = asking.done("policy", "recheck", "pol-1")
    assert "a second look in" in ended.err
    assert ended.err.endswith("pol-1: now disabled (repository_unreachable)\n")


def test_recheck_without_an_answer_changes_nothing(asking: Tenure, fake: FakeGitHub) -> None:
    asking.register("pol-1")
    fake.faults.add(Fault(kind="status", status=503))
    ended = asking("policy", "recheck", "pol-1")
    assert ended.code == 5
    assert "GitHub did not answer" in ended.err
    fake.faults.heal()
    fake.world.uninstall(fake.world.installations()[0].id)
    ended = asking("policy", "recheck", "pol-1")
    assert (ended.code, "the App is not installed there" in ended.err) == (1, True)


def test_without_credentials_nobody_can_be_asked(tenure: Tenure) -> None:
    tenure.register("pol-1")
    for command in (("policy", "recheck", "pol-1"), ("sweep",)):
        ended = tenure(*command)
        assert ended.code == 2
        assert "TENURE_GITHUB_APP_ID" in ended.err
    # Nothing was asked, so the audit trail has the registration only.
    assert [entry["action"] for entry in tenure("audit", "--json").objects] == ["policy.registered"]


def test_sweep_plans_counts_and_tells(asking: Tenure, fake: FakeGitHub) -> None:
    assert asking("sweep").code == 3
    asking.register("pol-1")
    asking.register("pol-2")
    fake.world.archive(REPOSITORY_ID)
    ended = asking.done("sweep", "--json")
    assert "planned: 1 owners, 4 calls, 1 of them for the first time" in ended.err
    assert f"used: {sum(fake.calls.values()) - fake.calls['GET /app/installations']} calls" in ended.err
    (told,) = ended.objects
    assert (told["owner_id"], told["outcome"], told["policies"]) == (OWNER_ID, "done", 2)
    assert told["changes"] == ["pol-1 policy.disabled", "pol-2 policy.disabled"]
    (status,) = asking.done("sweep", "--status", "--json").objects
    assert (status["owners"], status["breaker_open_since"]) == (1, None)
    assert asking("sweep", "--owner", "nobody").code == 3
    assert asking.done("sweep", "--owner", "OCTO").rows[0][0] == str(OWNER_ID)


def test_what_cannot_be_true_is_let_through_by_hand_only(asking: Tenure, app: App, fake: FakeGitHub) -> None:
    """Given that so many owners lose something that GitHub itself must be ill, then an operator may say that it is true."""
    asking.register("pol-1")
    now = app.status.now()
    for owner in range(1, 6):
        app.missing_scopes.note_asked(owner, now)
        app.missing_scopes.note_missing(f"repository:{owner}:1", now, expected=False, losing=owner)
    fake.world.delete_repository(REPOSITORY_ID)
    ended = asking("sweep")
    assert ended.code == 4
    assert "tenure sweep --let-through --reason" in ended.err
    asking.done("policy", "list", "--state", "provisional")
    assert asking("sweep", "--let-through").code == 2
    ended = asking.done("sweep", "--let-through", "--reason", "it is true")
    assert len(asking.done("policy", "list", "--reason", "repository_unreachable", "--json").objects) == 1
    acts = [(act["action"], act["reason"]) for act in asking.done("audit", "--json").objects]
    assert ("sweep.let_through", "it is true") in acts


def test_the_doctor_says_when_nobody_asks(asking: Tenure, app: App) -> None:
    alive(app, "worker", "scheduler")
    found = {row["check"]: row for row in asking("doctor", "--json").objects}
    assert found["github"]["level"] == "problem"
    alive(app, "asker")
    app.ledger.failed("GET /repositories/{repository}: 503", app.status.now())
    found = {row["check"]: row for row in asking.done("doctor", "--json").objects}
    assert (found["github"]["level"], found["job sweep"]["level"]) == ("warning", "ok")


REGISTERED = (
    "policy", "register", "--id=p1", "--name=releases", "--package-owner=acme", "--package-owner-kind=organization",
    "--created-by=maria", "--repository=widgets", "--workflow=release.yml",
)  # fmt: skip


def test_register_looks_up_the_id_of_an_owner(asking: Tenure, fake: FakeGitHub) -> None:
    """Given credentials, when no --owner-id is given, then who has the login is asked once all else is right."""
    wrong = asking(*REGISTERED[:-1], "--owner=octo")
    assert (wrong.code, fake.calls["GET /users/{login}"]) == (2, 0)
    assert "--workflow: Field required" in wrong.err
    (view,) = asking.done(*REGISTERED, "--owner=octo", "--json").objects
    assert view["repository_owner_id"] == OWNER_ID
    data = {
        "policy_id": "p2", "name": "r", "package_owner": {"account": "acme", "kind": "user"}, "created_by": {"account": "m"},
        "github": {"repository_owner": "alice", "repository": "w", "workflow_file": "w.yml"},
    }  # fmt: skip
    (view,) = asking.done("policy", "register", "--from=-", "--json", stdin=json.dumps(data)).objects
    assert view["repository_owner_id"] == ALICE


def test_register_says_why_an_owner_is_not_looked_up(asking: Tenure, tenure: Tenure, fake: FakeGitHub) -> None:
    nobody = asking(*REGISTERED, "--owner=nobody-has-it")
    assert (nobody.code, nobody.out) == (1, "")
    assert "--owner: nobody on GitHub" in nobody.err
    fake.faults.add(Fault(kind="reset", route="GET /users/{login}"))
    away = asking(*REGISTERED, "--owner=octo")
    assert away.code == 5
    assert "--owner-id" in away.err
    fake.faults.heal()
    fake.world.uninstall(fake.world.installations()[0].id)
    asking("sweep")
    assert "installation" in asking(*REGISTERED, "--owner=octo").err
    (asking.directory / ".env").unlink()
    without = tenure(*REGISTERED, "--owner=octo")
    assert (without.code, without.out) == (2, "")
    assert "--owner-id: Field required" in without.err
    assert tenure("policy", "list").code == 3
