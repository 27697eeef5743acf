"""What compose.yaml promises, read from the file; no container engine is needed."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import settings_of
from tests.deploy.compose import ROOT, Node, mapping, read, strings, text
from worker.app import App
from worker.local.valkey import EmbeddedStore
from worker.settings import FILES, PREFIX, Settings
from worker.settling.processor import worker_name
from worker.store.rights import PASSWORD, User, access_list

COMPOSE = read()
SERVICES = {name: mapping(service) for name, service in mapping(COMPOSE["services"]).items()}
SECONDS = re.compile(r"\d+s")

OBSERVABILITY = {"prometheus", "grafana"}
"""Only run if they are asked for, by their profile."""

COMMANDS = {"operator"}
"""The same, and ends by itself."""

every_service = pytest.mark.parametrize("name", SERVICES)
every_lasting = pytest.mark.parametrize("name", [name for name in SERVICES if name not in COMMANDS])
every_part = pytest.mark.parametrize("name", [name for name in SERVICES if name not in OBSERVABILITY])


def variables(name: str) -> dict[str, Node]:
    return mapping(SERVICES[name].get("environment", {}))


def test_the_parts_are_services_of_their_own() -> None:
    assert set(SERVICES) - OBSERVABILITY == {"valkey", "web", "worker", "scheduler", "operator"}
    assert {name for name in SERVICES if "profiles" in SERVICES[name]} == OBSERVABILITY | COMMANDS
    for name in ("web", "worker", "scheduler"):
        assert strings(SERVICES[name]["command"]) == ["tenure", name]


@every_service
def test_no_service_has_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert text(service["user"]).partition(":")[0] not in {"", "0", "root"}
    assert service["read_only"] == "true"
    assert strings(service["cap_drop"]) == ["ALL"]
    assert "no-new-privileges:true" in strings(service["security_opt"])
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc"} & set(service)


@every_service
def test_no_service_takes_the_whole_machine(name: str) -> None:
    assert re.fullmatch(r"(\$\{\w+:-)?\d+[mg]\}?", text(SERVICES[name]["mem_limit"]))


@every_lasting
def test_every_service_is_watched_restarted_and_given_time_to_end(name: str) -> None:
    service = SERVICES[name]
    health = mapping(service["healthcheck"])
    assert strings(health["test"])[0] in {"CMD", "CMD-SHELL"}
    assert all(SECONDS.fullmatch(text(health[field])) for field in ("interval", "timeout", "start_period"))
    assert service["restart"] == "unless-stopped"
    assert SECONDS.fullmatch(text(service["stop_grace_period"]))


@every_service
def test_logs_do_not_fill_the_disk(name: str) -> None:
    assert {"max-size", "max-file"} <= set(mapping(mapping(SERVICES[name]["logging"])["options"]))


@every_service
def test_images_are_pinned_by_a_tag(name: str) -> None:
    _, _, tag = text(SERVICES[name]["image"]).partition(":")
    assert tag not in {"", "latest"}


@pytest.mark.parametrize("name", ["web", "worker", "scheduler"])
def test_tenure_waits_for_a_healthy_store(name: str) -> None:
    waits_for = mapping(SERVICES[name]["depends_on"])
    assert mapping(waits_for["valkey"])["condition"] == "service_healthy"


def test_other_machines_reach_nothing() -> None:
    published = {name: strings(service["ports"]) for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"web"} | OBSERVABILITY
    assert all(port.startswith("127.0.0.1:") for port in published["web"])


def test_workers_can_be_scaled() -> None:
    assert not {"container_name", "hostname", "ports"} & set(SERVICES["worker"])


def test_what_is_acknowledged_is_on_disk_and_stays() -> None:
    command = strings(SERVICES["valkey"]["command"])
    for option, value in (("--appendonly", "yes"), ("--appendfsync", "always"), ("--maxmemory-policy", "noeviction")):
        assert command[command.index(option) + 1] == value
    volume, _, path = strings(SERVICES["valkey"]["volumes"])[0].partition(":")
    assert volume in mapping(COMPOSE["volumes"])
    assert command[command.index("--dir") + 1] == path


@every_service
def test_secrets_come_from_files_and_only_to_who_needs_them(name: str) -> None:
    mounted = set(strings(SERVICES[name].get("secrets", [])))
    declared = mapping(COMPOSE["secrets"])
    assert all(text(mapping(declared[secret])["file"]).startswith("./secrets/") for secret in mounted)
    named = {text(value) for variable, value in variables(name).items() if variable.endswith("_FILE")}
    if name == "valkey":
        named = {"/run/secrets/users_acl", *re.findall(r"/run/secrets/\w+", str(SERVICES[name]["healthcheck"]))}
        assert "/run/secrets/users_acl" in strings(SERVICES[name]["command"])
    assert named == {f"/run/secrets/{secret}" for secret in mounted}


@pytest.mark.parametrize("name", ["web", "worker", "scheduler", "operator"])
def test_each_is_a_user_of_its_own_of_the_store(name: str) -> None:
    assert variables(name)["TENURE_REDIS_URL_FILE"] == f"/run/secrets/redis_url_{name}"


def test_the_secrets_are_made_for_the_users_of_the_store(tmp_path: Path) -> None:
    """Given nothing, when secrets are made, then each URL's password is its user's; and made again, nothing is another."""
    (tmp_path / "deploy/acl").mkdir(parents=True)
    for path in ("Makefile", "deploy/acl/users.acl"):
        shutil.copy(ROOT / path, tmp_path / path)

    def made() -> dict[str, str]:
        subprocess.run(["make", "--silent", "secrets"], cwd=tmp_path, check=True)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    secrets = made()
    assert made() == secrets
    passwords: dict[User, str] = {
        user: urlsplit(secrets[f"redis-url-{user}"]).password or "" for user in User if user != User.HEALTH
    }
    passwords[User.HEALTH] = secrets["health-password"].strip()
    expected = access_list()
    for user, password in passwords.items():
        assert len(password) == 64
        expected = expected.replace(f"{PASSWORD}{user} ", f"#{hashlib.sha256(password.encode()).hexdigest()} ")
    assert secrets["users.acl"] == expected
    assert {urlsplit(secrets[f"redis-url-{user}"]).username for user in User if user != User.HEALTH} == set(User) - {
        User.HEALTH
    }
    assert {
        text(mapping(secret)["file"]).removeprefix("./secrets/") for secret in mapping(COMPOSE["secrets"]).values()
    } <= set(secrets)


@every_part
def test_every_variable_is_a_setting_and_no_secret_is_among_them(name: str) -> None:
    settings = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields}
    secret = {f"{PREFIX}{field}" for field in FILES}
    assert set(variables(name)) <= (settings - secret) | {f"{field}_FILE" for field in secret}


@pytest.mark.parametrize("name", sorted(OBSERVABILITY))
def test_what_observes_reads_files_that_are_here(name: str) -> None:
    mounted = [volume for volume in strings(SERVICES[name]["volumes"]) if volume.startswith("./")]
    assert mounted
    for volume in mounted:
        path, _, rest = volume.partition(":")
        assert rest.endswith(":ro")
        assert any((ROOT / path).iterdir())


@pytest.mark.parametrize("role", ["worker", "scheduler"])
def test_a_service_is_healthy_while_the_store_sees_it(role: str, store: EmbeddedStore, app: App) -> None:
    """Given its health check, when nothing beat, another host beat, and this host beat: only the last is healthy."""
    command = strings(mapping(SERVICES[role]["healthcheck"])["test"])
    assert command[:3] == ["CMD", "python", "-c"]

    def healthy() -> bool:
        ended = subprocess.run(
            [sys.executable, *command[2:]], env=settings_of(store), cwd=ROOT, check=False, capture_output=True
        )
        assert ended.stderr == b""
        return ended.returncode == 0

    assert not healthy()
    app.status.beat(role, f"another-{worker_name()}")
    assert not healthy()
    app.status.beat(role, worker_name())
    assert healthy()
