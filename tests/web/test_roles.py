"""What each token may say, by whose name it is known, and that it rotates while the doors are open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from tests.support import NO_TLS
from tests.web.site import OPERATOR, PATIENCE, READER, REGISTRY, Site, serve, settings_for, sign, until
from tests.web.test_events import cloud_event
from worker.http.app import create_app
from worker.settings import load

EXCHANGE = "canary-exchange-token"
NAMED = "canary-named-registry-token"
SINGLE = {"Content-Type": "application/cloudevents+json"}


@pytest.fixture(scope="module")
def roles(running: Site) -> Iterator[httpx.Client]:
    settings = running.app.settings.model_copy(
        update={
            "registry_tokens": (SecretStr(f"npm:{NAMED}"), SecretStr(REGISTRY), SecretStr("nobody:")),
            "exchange_tokens": (SecretStr(f"tex:{EXCHANGE}"),),
        }
    )
    with (
        serve(create_app(replace(running.app, settings=settings))) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, timeout=PATIENCE) as http,
    ):
        yield http


def send(http: httpx.Client, content: object, token: str) -> httpx.Response:
    batched = "-batch" if isinstance(content, list) else ""
    headers = {"Content-Type": f"application/cloudevents{batched}+json", "Authorization": f"Bearer {token}"}
    return http.post("/events", json=content, headers=headers)


@pytest.mark.parametrize("kind", ["login.succeeded", "login.refused"])
def test_an_exchange_tells_of_logins(roles: httpx.Client, site: Site, kind: str) -> None:
    assert send(roles, cloud_event(kind), EXCHANGE).status_code == 202
    (held,) = site.held()
    assert held["by"] == b"tex"


@pytest.mark.parametrize(
    "kind", ["policy.registered", "policy.removed", "account.locked", "package_owner.member_added"]
)
def test_an_exchange_tells_of_nothing_else(roles: httpx.Client, site: Site, kind: str) -> None:
    answer = send(roles, cloud_event(kind), EXCHANGE)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:tenure:problem:role")
    assert [error["field"] for error in answer.json()["errors"]] == ["type"]
    assert site.held() == []


def test_a_batch_that_an_exchange_may_not_send_names_what(roles: httpx.Client, site: Site) -> None:
    batch = [cloud_event("login.succeeded"), cloud_event("policy.removed"), {"type": 7}, cloud_event("account.locked")]
    answer = send(roles, batch, EXCHANGE)
    assert answer.status_code == 403
    assert [error["field"] for error in answer.json()["errors"]] == ["events[1].type", "events[3].type"]
    assert site.held() == []


def test_an_unknown_type_is_a_wrong_field_whoever_sends_it(roles: httpx.Client) -> None:
    kinds: list[object] = ["login.", "login.failed", "policies.removed", [], {}, ["login.succeeded"], None, 7]
    for kind in kinds:
        assert send(roles, {**cloud_event("login.succeeded"), "type": kind}, EXCHANGE).status_code == 422


@pytest.mark.parametrize(("token", "name"), [(NAMED, b"npm"), (f"npm:{NAMED}", b"npm"), (REGISTRY, b"registry")])
def test_a_registry_tells_everything_under_its_name(roles: httpx.Client, site: Site, token: str, name: bytes) -> None:
    for kind in ("policy.registered", "login.succeeded"):
        assert send(roles, cloud_event(kind, id=kind), token).status_code == 202
    assert [held["by"] for held in site.held()] == [name, name]


@pytest.mark.parametrize("token", ["nobody:", "nobody", "npm", f"tex:{EXCHANGE}", OPERATOR, READER])
def test_what_is_no_sender_s_token_sends_nothing(roles: httpx.Client, token: str) -> None:
    assert send(roles, cloud_event(), token).status_code == 401


@pytest.mark.parametrize("token", [EXCHANGE, NAMED, REGISTRY, OPERATOR, READER])
def test_everybody_reads(roles: httpx.Client, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert roles.get("/policies/nobody", headers=headers).status_code == 404
    assert roles.post("/evaluate", json={"claims": {}}, headers=headers).status_code == 200


@pytest.mark.parametrize("written", ["canary,secret", '["canary,secret", "another"]'])
def test_a_secret_may_have_a_comma(site: Site, tmp_path: Path, written: str) -> None:
    held = tmp_path / "held"
    held.write_text(f"{written}\n", encoding="utf-8")
    settings = load({
        "TENURE_REDIS_URL": settings_for(site.store, tmp_path).store_url(),
        "TENURE_REGISTRY_TOKENS": written,
        "TENURE_WEBHOOK_SECRETS_FILE": str(held),
    })  # fmt: skip
    body = b'{"zen": "canary"}'
    with (
        serve(create_app(replace(site.app, settings=settings))) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, timeout=PATIENCE) as http,
    ):
        assert send(http, [], "canary,secret").status_code == 202
        for number, (secret, status) in enumerate([("canary,secret", 202), ("canary,", 401), (f"{written}\n", 401)]):
            headers = {"X-Hub-Signature-256": sign(body, secret), "Content-Type": "application/json"}
            headers |= {"X-GitHub-Event": "ping", "X-GitHub-Delivery": f"comma-{number}"}
            assert http.post("/webhooks/github", content=body, headers=headers).status_code == status


def test_tokens_and_secrets_rotate_while_the_doors_are_open(site: Site, tmp_path: Path) -> None:
    tokens, secrets = tmp_path / "tokens", tmp_path / "secrets"
    tokens.write_text("canary-first-token", encoding="utf-8")
    secrets.write_text("canary-first-secret", encoding="utf-8")
    rotating = load({
        "TENURE_REDIS_URL": settings_for(site.store, tmp_path).store_url(),
        "TENURE_REGISTRY_TOKENS_FILE": str(tokens),
        "TENURE_WEBHOOK_SECRETS_FILE": str(secrets),
    })  # fmt: skip
    body = b'{"zen": "canary"}'

    def answers(http: httpx.Client, number: str) -> tuple[int, int]:
        signed = {"X-Hub-Signature-256": sign(body, f"canary-{number}-secret"), "Content-Type": "application/json"}
        delivered = http.post(
            "/webhooks/github", content=body, headers={**signed, "X-GitHub-Event": "ping", "X-GitHub-Delivery": number}
        )
        return send(http, [], f"canary-{number}-token").status_code, delivered.status_code

    with (
        serve(create_app(replace(site.app, settings=rotating))) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, timeout=PATIENCE) as http,
    ):
        assert answers(http, "first") == (202, 202)
        assert answers(http, "second") == (401, 401)
        tokens.write_text("canary-second-token", encoding="utf-8")
        secrets.write_text("canary-second-secret", encoding="utf-8")
        until(lambda: answers(http, "second") == (202, 202) or answers(http, "second") == (202, 200))
        assert answers(http, "first") == (401, 401)
