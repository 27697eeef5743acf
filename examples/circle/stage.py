"""Starts everything that the circle takes, in a directory of its own, and ends it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx

from examples.circle.issuer import AUDIENCE, Issuer
from tenure_reader import Reader
from worker.demo.client import Sender
from worker.local.stack import Stack, running_stack, wait_until_ready
from worker.local.valkey import die_with_parent, free_port
from worker.settings import load

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30.0
PACKAGE = "widgets-client"
OTHER_PACKAGE = "gauges"
"""Of the same owner."""
PACKAGE_OWNER = "analytical"


class StageError(Exception):
    """A part does not start; the message quotes its log."""


class Upload(NamedTuple):
    """What the upload client came to."""

    done: bool
    output: str


@dataclass(frozen=True, slots=True)
class Circle:
    """Everything, running."""

    issuer: Issuer
    tenure: Sender
    reader: Reader
    exchange: httpx.Client
    index: httpx.Client
    index_token: str
    directory: Path

    def login(self, user: str, token: str) -> httpx.Response:
        """As the published login action for NuGet asks."""
        body = {"username": user, "tokenType": "ApiKey"}
        return self.exchange.post("/api/v2/token", json=body, headers={"Authorization": f"Bearer {token}"})

    def good(self, key: str) -> bool:
        """Whether the exchange tells the index that a key is good."""
        headers = {"Authorization": f"Bearer {self.index_token}"}
        return bool(self.exchange.post("/keys/check", json={"apiKey": key}, headers=headers).json()["good"])

    def upload(self, version: str, key: str, *, package: str = PACKAGE) -> Upload:
        """Publish a wheel with twine."""
        wheel = _wheel(self.directory / "dist", package, version)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "twine", "--no-color", "upload", "--non-interactive", "--disable-progress-bar"),
                *("--config-file", os.devnull, "--repository-url", str(self.index.base_url), str(wheel)),
            ],
            env={**_inherited(), "TWINE_USERNAME": PACKAGE_OWNER, "TWINE_PASSWORD": key, "HOME": str(self.directory)},
            capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        return Upload(done.returncode == 0, done.stdout + done.stderr)

    def published(self) -> list[str]:
        """The versions that the index offers, as it lists them."""
        page = self.index.get(f"/simple/{PACKAGE}/").text
        versions = {part.partition("-py3-none-any")[0] for part in page.split(f"{PACKAGE.replace('-', '_')}-")[1:]}
        return sorted(versions)


@contextlib.contextmanager
def circle(directory: Path) -> Iterator[Circle]:
    """
    Raises:
        StageError: a part does not start.
    """
    environment = {**_inherited(), "TENURE_DATA_DIR": str(directory / "tenure"), "TENURE_HTTP_PORT": "0"}
    environment |= {"TENURE_LOG_LEVEL": "warning", "TENURE_PROCESSES": "1"}
    with contextlib.ExitStack() as exits:
        issuer = exits.enter_context(Issuer())
        stack = exits.enter_context(running_stack(load(environment), environment=environment))
        if not wait_until_ready(stack.http_url):
            raise StageError("Tenure does not become ready; see its log lines above")
        index_token = secrets.token_urlsafe(16)
        exchange = exits.enter_context(_client(free_port()))
        exits.enter_context(
            _process(
                "exchange", ["-m", "examples.exchange"], directory, _settings(stack, issuer, exchange, index_token)
            )
        )
        _wait(exchange, "/readyz", directory / "exchange.log")
        index = exits.enter_context(_client(free_port()))
        exits.enter_context(_index(index, exchange, index_token, directory))
        _wait(index, "/simple/", directory / "index.log")
        reader = Reader.connect(stack.redis_url)
        exits.callback(reader.close)
        secret, token = (_read(stack, name) for name in ("webhook_secrets", "registry_tokens"))
        tenure = Sender(stack.http_url, secret, token)
        exits.callback(tenure.close)
        yield Circle(issuer, tenure, reader, exchange, index, index_token, directory)


def _settings(stack: Stack, issuer: Issuer, exchange: httpx.Client, index_token: str) -> dict[str, str]:
    return {
        "EXCHANGE_AUDIENCE": AUDIENCE,
        "EXCHANGE_ISSUER": issuer.url,
        "EXCHANGE_TENURE_REDIS_URL": stack.redis_url,
        "EXCHANGE_REDIS_URL": stack.redis_url.rpartition("/")[0] + "/5",
        "EXCHANGE_TENURE_URL": stack.http_url,
        "EXCHANGE_TENURE_TOKEN": _read(stack, "exchange_tokens"),
        "EXCHANGE_INDEX_TOKEN": index_token,
        "EXCHANGE_PORT": str(exchange.base_url.port),
    }


@contextlib.contextmanager
def _index(index: httpx.Client, exchange: httpx.Client, token: str, directory: Path) -> Iterator[None]:
    packages, owners = directory / "packages", directory / "owners.json"
    packages.mkdir()
    owners.write_text(
        json.dumps({PACKAGE: PACKAGE_OWNER, OTHER_PACKAGE: PACKAGE_OWNER, "of-somebody-else": "somebody-else"}),
        encoding="utf-8",
    )
    arguments = ["-m", "examples.circle.index", "--port", str(index.base_url.port), "--packages", str(packages)]
    arguments += ["--owners", str(owners), "--exchange", str(exchange.base_url)]
    with _process("index", arguments, directory, {"INDEX_TOKEN": token}):
        yield


def _client(port: int) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS, trust_env=False)


@contextlib.contextmanager
def _process(name: str, arguments: list[str], directory: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A program of ours with a log in the directory, which ends with this block."""
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], env={**_inherited(), **environment}, cwd=ROOT,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call, before any thread of the child
        )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(client: httpx.Client, path: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if client.get(path).status_code == httpx.codes.OK:
                return
        time.sleep(0.02)
    raise StageError(f"{log.stem} does not become ready: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def _inherited() -> dict[str, str]:
    """Our environment without anybody's settings of Tenure, the exchange or the upload client."""
    ours = ("TENURE_", "EXCHANGE_", "TWINE_", "INDEX_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _read(stack: Stack, name: str) -> str:
    path = stack.secrets[name]
    return path.read_text(encoding="ascii").strip() if path else ""


def _wheel(directory: Path, package: str, version: str) -> Path:
    """A package that could be installed, and does nothing."""
    directory.mkdir(exist_ok=True)
    name = package.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\nSummary: Nothing\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tenure\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return path
