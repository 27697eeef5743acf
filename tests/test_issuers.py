"""`TENURE_ISSUERS`: what is bad stops the start with one line that names alias and field, and never says what it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tenure_reader.matching import CONTRACT, FIELDS, matching_of
from worker.settings import Settings, SettingsError, load
from worker.settings.issuers import COMMON_ISSUER, MOST
from worker.settings.rotation import Rotation

CANARY = "canary-5f0c"
URL = "https://ghes.example.org/_services/token"
GHES: dict[str, object] = {"issuers": [URL]}


@pytest.fixture(scope="module")
def pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def loaded(instances: object, **more: str) -> Settings:
    text = instances if isinstance(instances, str) else json.dumps(instances)
    return load({"TENURE_ISSUERS": text, **{f"TENURE_{name}": value for name, value in more.items()}})


def test_without_any_there_is_the_default_one_and_nobody_looks_at_iss() -> None:
    settings = load({"TENURE_WEBHOOK_SECRETS": "a"})
    assert list(settings.instances) == ["github"]
    assert settings.instances["github"].webhook_secrets == settings.webhook_secrets
    assert settings.matching == CONTRACT
    assert settings.rules.asked is None
    assert not settings.asks_github


def test_instances_stand_beside_the_default_one(pem: str) -> None:
    whole = {
        **GHES, "api_url": "https://ghes.example.org/api/v3/", "app_id": "7", "private_key": pem, "webhook_secrets": ["b"],
        "redelivery_days": 7,
    }  # fmt: skip
    settings = loaded({"ghes": whole}, WEBHOOK_SECRETS="a")
    assert list(settings.instances) == ["github", "ghes"]
    ghes, github = settings.instances["ghes"], settings.instances["github"]
    assert (ghes.api_url, ghes.redelivery_days, ghes.can_be_asked) == ("https://ghes.example.org/api/v3", 7, True)
    assert (github.api_url, github.redelivery_days, github.can_be_asked) == ("https://api.github.com", 3, False)
    assert settings.asked == {"ghes"}
    assert settings.asks_github
    rules = settings.rules
    assert (rules.at("github").proof_required, rules.at("ghes").proof_required) == (False, True)
    assert dict(settings.matching.issuers) == {URL: "ghes", COMMON_ISSUER: "github"}
    assert settings.matching.narrower


def test_what_is_published_is_read_as_it_was() -> None:
    matching = loaded({"ghes": GHES, "github": {"issuers": [f"{COMMON_ISSUER}/octo"]}}).matching
    published = dict(zip(FIELDS, matching.fields(), strict=True))
    assert json.loads(published["issuers"]) == {URL: "ghes", f"{COMMON_ISSUER}/octo": "github"}
    assert matching_of(list(published.values())) == matching
    assert matching_of([None, None, None, None]) == CONTRACT


@pytest.mark.parametrize(
    "text", ["[]", "x", "1", '{"a": 1}', '{"a": ""}', '{"": "a"}', "{", "[" * 10_000 + "]" * 10_000]
)
def test_what_is_published_in_another_form_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match=r"issuers|Expecting"):
        matching_of([None, None, None, text])


BAD: list[tuple[object, str]] = [
    ("{", "is no JSON"),
    (f'{{"{CANARY}', "is no JSON"),
    ("[]", "is a JSON object"),
    ("7", "is a JSON object"),
    ("[" * 100_000, "is nested too deep|is no JSON"),
    ('{"ghes": {}, "ghes": {}}', "has a name twice"),
    ('{"ghes": {"issuers": [], "issuers": []}}', "has a name twice"),
    ({"ghes": {}}, "ghes.issuers: names none"),
    ({"ghes": CANARY}, "ghes: "),
    ({"Ghes": GHES}, "an alias is like"),
    ({"a/b": GHES}, "an alias is like"),
    ({"": GHES}, "an alias is like"),
    ({"ghes": {"issuers": [f"{URL}/"]}}, "ghes.issuers: is the claim iss"),
    ({"ghes": {"issuers": [CANARY]}}, "ghes.issuers: is the claim iss"),
    ({"ghes": {"issuers": CANARY}}, "ghes.issuers: "),
    ({"ghes": {**GHES, "url": CANARY}}, "ghes.url: Extra inputs"),
    ({"ghes": {**GHES, "api_url": f"https://u:{CANARY}@h"}}, "ghes.api_url: is like"),
    ({"ghes": {**GHES, "app_id": "7"}}, "ghes: app_id: is set together"),
    ({"ghes": {**GHES, "app_id": "7", "private_key": CANARY}}, "ghes.private_key: is not an RSA"),
    ({"ghes": {**GHES, "redelivery_days": 5}}, "ghes.redelivery_days: "),
    ({"ghes": {**GHES, "webhook_secrets": [f"{CANARY}\u00e9"]}}, "ghes.webhook_secrets: has characters outside ASCII"),
    ({"ghes": {**GHES, "webhook_secrets": [""]}}, "ghes.webhook_secrets: has an empty one"),
    ({"ghes": {**GHES, "webhook_secrets": [CANARY, " \n"]}}, "ghes.webhook_secrets: has an empty one"),
    ({"ghes": GHES, "tenant": GHES}, "tenant.issuers: one of them is ghes's"),
    ({"ghes": GHES, "github": GHES}, "github.issuers: one of them is ghes's"),
    ({"ghes": {"issuers": [COMMON_ISSUER]}}, "another instance than github has github.com's issuer"),
    ({"github": {"issuers": [URL], "app_id": "7", "private_key": CANARY}}, "github.private_key"),
    ({"github": {"issuers": [URL], "webhook_secrets": [CANARY]}}, "github.webhook_secrets: .*TENURE_WEBHOOK_SECRETS"),
    ({"github": {"issuers": [URL], "api_url": "https://h"}}, "github.api_url: .*TENURE_GITHUB_API_URL"),
    ({f"i-{number}": {"issuers": [f"{URL}/{number}"]} for number in range(MOST + 1)}, f"more than {MOST}"),
]


@pytest.mark.parametrize(("instances", "message"), BAD)
def test_what_is_bad_is_named_and_not_quoted(instances: object, message: str) -> None:
    with pytest.raises(SettingsError, match=f"^TENURE_ISSUERS: .*(?:{message})") as caught:
        loaded(instances)
    assert CANARY not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_app_needs_to_know_where_to_ask(pem: str) -> None:
    with pytest.raises(SettingsError, match=r"^TENURE_ISSUERS: ghes\.api_url: not set"):
        loaded({"ghes": {**GHES, "app_id": "7", "private_key": pem}})


def test_a_default_instance_that_is_not_github_com_says_who_issues_its_tokens() -> None:
    with pytest.raises(SettingsError, match=r"^TENURE_ISSUERS: does not name github, and TENURE_GITHUB_API_URL"):
        loaded({"ghes": GHES}, GITHUB_API_URL="https://octo.ghe.com/api/v3")
    named = loaded(
        {"github": {"issuers": ["https://token.actions.octo.ghe.com"]}}, GITHUB_API_URL="https://octo.ghe.com/api/v3"
    )
    assert dict(named.matching.issuers) == {"https://token.actions.octo.ghe.com": "github"}


@pytest.mark.parametrize(("instances", "more"), [
    ({"ghes": {**GHES, "webhook_secrets": [CANARY]}}, {"WEBHOOK_SECRETS": f"new,{CANARY}"}),
    ({"ghes": {**GHES, "webhook_secrets": [CANARY]}, "tenant": {"issuers": [f"{URL}2"], "webhook_secrets": ["b", CANARY]}}, {}),
])  # fmt: skip
def test_no_secret_is_good_for_two(instances: object, more: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"^TENURE_ISSUERS: .* has a webhook secret of another instance") as caught:
        loaded(instances, **more)
    assert CANARY not in str(caught.value)


def test_secrets_in_its_file_rotate_and_nothing_else_does(tmp_path: Path) -> None:
    path, now = tmp_path / "issuers.json", [1000.0]

    def write(instances: object) -> None:
        path.write_text(json.dumps(instances))
        os.utime(path, (now[0], now[0]))
        now[0] += 10

    write({"ghes": {**GHES, "webhook_secrets": ["first"]}})
    rotation = Rotation(load({"TENURE_ISSUERS_FILE": str(path)}), lambda: now[0], wall=lambda: now[0])

    def secrets() -> list[str]:
        return [secret.get_secret_value() for secret in rotation.settings().instances["ghes"].webhook_secrets]

    write({"ghes": {**GHES, "webhook_secrets": ["second", "first"]}})
    assert secrets() == ["second", "first"]
    for other in (
        {},
        {"ghes": {"issuers": [f"{URL}2"]}},
        {"ghes": GHES, "tenant": {"issuers": [f"{URL}2"]}},
        {"ghes": 7},
    ):
        write(other)
        assert secrets() == ["second", "first"]
        assert list(rotation.settings().instances) == ["github", "ghes"]
    write({"ghes": {**GHES, "webhook_secrets": ["second"]}})
    assert secrets() == ["second"]
