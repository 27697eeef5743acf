"""The doctor asks GitHub whether the App is what Tenure needs, and certifies nothing that it has not seen."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from tests.cli.running import Tenure, alive
from tests.github.clients import serving
from worker.app import App
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.doctor.diagnostics import diagnose
from worker.doctor.finding import OK, PROBLEM, WARNING
from worker.doctor.github_app import NAMED, ask_app, subscribed
from worker.settings import Settings
from worker.store.client import Command

PUBLIC = "https://tenure.example.org"


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub() as github:
        yield github


@pytest.fixture
def ask(app: App, fake: FakeGitHub) -> Callable[..., dict[str, tuple[str, str]]]:
    """Check → level and finding, with these settings."""

    def asked(**changed: object) -> dict[str, tuple[str, str]]:
        settings = {
            "redis_url": app.settings.redis_url,
            "github_app_id": str(fake.app_id),
            "github_private_key": SecretStr(fake.private_key_pem),
            "github_api_url": fake.url,
            "public_url": PUBLIC,
            **changed,
        }
        there = replace(app, settings=Settings.model_validate(settings))
        return {finding.check: (finding.level, finding.finding) for finding in ask_app(there)}

    return asked


Ask = Callable[..., dict[str, tuple[str, str]]]


def test_an_app_that_has_everything_is_found_well_without_any_policy(ask: Ask) -> None:
    found = ask()
    assert {check: level for check, (level, _) in found.items()} == {
        "github app": OK, "github webhook": OK, "github owners": OK,
    }  # fmt: skip


def test_without_credentials_nothing_is_asked(app: App) -> None:
    assert ask_app(app) == []


def test_a_key_that_is_not_the_apps_and_an_id_that_is_nobodys(ask: Ask) -> None:
    made = rsa.generate_private_key(65537, 2048)
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for changed in ({"github_private_key": SecretStr(pem)}, {"github_app_id": "999"}):
        level, told = ask(**changed)["github"]
        assert level == PROBLEM
        assert "TENURE_GITHUB_APP_ID, the private key" in told
        assert "BEGIN" not in told


def test_the_id_of_no_app(ask: Ask, fake: FakeGitHub) -> None:
    fake.faults.add(Fault(kind="status", status=404, route="GET /app"))
    assert ask()["github"][0] == PROBLEM
    assert "GitHub knows no such App" in ask()["github"][1]


def test_where_nobody_listens(ask: Ask) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert ask(github_api_url=f"http://127.0.0.1:{unused.getsockname()[1]}") == {
            "github": (
                PROBLEM,
                "GET /app (the App): no whole answer (ConnectError: nothing listens there); ask again later",
            )
        }
    assert "the name is not known" in ask(github_api_url="http://github.invalid")["github"][1]


def test_where_something_else_answers(ask: Ask, fake: FakeGitHub) -> None:
    told = ask(github_api_url=fake.url.replace("http:", "https:"))["github"][1]
    assert "TLS cannot be spoken there" in told
    fake.faults.add(Fault(kind="wrong_type", route="GET /app"))
    assert ask()["github"] == (
        PROBLEM, "GET /app (the App): 200 that is not JSON; check TENURE_GITHUB_API_URL, or ask again later",
    )  # fmt: skip


def test_where_another_app_is_answered_for(ask: Ask, fake: FakeGitHub) -> None:
    """Whoever answers without looking at the signature is not GitHub."""
    fake.world.app_id += 1
    level, told = ask()["github"]
    assert (level, f"and not as {fake.app_id}" in told) == (PROBLEM, True)


@pytest.mark.parametrize("raw", [lambda handler: handler.stall(), lambda handler: handler.drip(b"HTTP/1.1 200 OK\r\n")])
def test_an_answer_that_does_not_come_ends_in_time(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, raw: Callable[..., None]
) -> None:
    from tests.github.clients import Reply
    from worker.doctor import github_app

    monkeypatch.setattr(github_app, "SECONDS", 0.3)
    with serving() as server:
        server.says(Reply(raw=raw))
        begun = time.monotonic()
        assert ask(github_api_url=server.url)["github"][0] == PROBLEM
        assert time.monotonic() - begun < 1.2


@pytest.mark.parametrize(
    ("missing", "level"),
    [("metadata", PROBLEM), ("members", PROBLEM), ("contents", WARNING), ("actions", WARNING)],
)
def test_a_missing_permission_is_named(ask: Ask, fake: FakeGitHub, missing: str, level: str) -> None:
    given = fake.world.registration
    fake.world.registration = replace(given, permissions=tuple(p for p in given.permissions if p != missing))
    found = ask()["github app"]
    assert found[0] == level
    assert f"permission {missing} is missing" in found[1]


def test_missing_events_are_named(ask: Ask, fake: FakeGitHub) -> None:
    given = fake.world.registration
    assert set(given.events) == subscribed()
    for event in ("repository", "member", "meta"):
        fake.world.registration = replace(given, events=tuple(e for e in given.events if e != event))
        level, told = ask()["github app"]
        assert level == (WARNING if event == "meta" else PROBLEM)
        assert told.endswith(f"not subscribed to: {event}")


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        ({"hook_url": "https://other.example.org/webhooks/github"}, PROBLEM, "and not to https://tenure.example.org/webhooks"),
        ({"hook_url": "https://tenure.example.org/hooks"}, PROBLEM, "webhooks go to https://tenure.example.org/hooks"),
        ({"hook_url": "http://tenure.example.org/webhooks/github"}, PROBLEM, "http://tenure.example.org/webhooks/github"),
        ({"hook_url": "https://[x/"}, PROBLEM, "an address that cannot be read"),
        ({"hook_url": ""}, PROBLEM, "no URL"),
        ({"hook_url": None}, PROBLEM, "no webhook"),
        ({"content_type": "form"}, PROBLEM, "come as form"),
        ({"insecure_ssl": "1"}, WARNING, "does not verify the certificate"),
        ({"hook_url": "https://TENURE.example.org:443/webhooks/github/"}, OK, "webhooks go to https://tenure"),
        ({"hook_url": "https://u:canary@other.example.org/x?token=canary"}, PROBLEM, "https://other.example.org/x,"),
    ],
)  # fmt: skip
def test_a_webhook_that_goes_elsewhere(
    ask: Ask, fake: FakeGitHub, changed: dict[str, str | None], level: str, words: str
) -> None:
    fake.world.registration = replace(fake.world.registration, **changed)  # type: ignore[arg-type]
    found = ask()["github webhook"]
    assert found[0] == level
    assert words in found[1]
    assert "canary" not in found[1]


def test_where_the_doors_are_has_to_be_known(ask: Ask) -> None:
    level, told = ask(public_url=None)["github webhook"]
    assert (level, "nobody can tell" in told) == (WARNING, True)


def test_owners_without_the_app_are_named_by_id(ask: Ask, app: App, fake: FakeGitHub) -> None:
    octo, acme = fake.world.add_org("octo", account_id=41), fake.world.add_org("acme", account_id=42)
    fake.world.install(octo.id)
    fake.world.suspend(fake.world.install(acme.id).id)
    owners = [octo.id, acme.id, *range(100, 115)]
    app.client.run([Command(("ZADD", app.keyspace.of(owner).owners("github"), 0, owner)) for owner in owners])
    level, told = ask()["github owners"]
    assert level == WARNING
    assert told.startswith("16 owners have policies")
    assert told.endswith(f"42, 100, 101, 102, 103, 104, 105, 106, 107, 108 and {16 - NAMED} more")


def test_the_command_says_so(tenure: Tenure, app: App, fake: FakeGitHub, tmp_path: Path) -> None:
    key = tmp_path / "app.pem"
    key.write_text(fake.private_key_pem)
    alive(app, "worker", "scheduler", "asker")
    credentials = {"TENURE_GITHUB_APP_ID": str(fake.app_id), "TENURE_GITHUB_PRIVATE_KEY_FILE": str(key)}
    ended = tenure("doctor", "--json", **credentials, TENURE_GITHUB_API_URL="http://127.0.0.1:1")
    assert ended.code == 1
    (github,) = [finding for finding in map(json.loads, ended.out.splitlines()) if "github" in finding["check"]]
    assert github["level"] == PROBLEM
    assert github["finding"].startswith("GET /app (the App): no whole answer (ConnectError")
    assert str(github["runbook"]).endswith("/console/runbooks/github")


def test_what_asks_may_be_well_and_the_app_not(ask: Ask, app: App) -> None:
    from worker.doctor.finding import Finding

    said = [Finding("github", PROBLEM, "refused", "correct it")]
    found = [finding for finding in diagnose(app, lambda _: said) if finding.check == "github"]
    assert [finding.finding for finding in found] == ["refused"]
