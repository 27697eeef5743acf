"""Everything on one machine: the embedded store, the API, workers and the scheduler, under one supervisor."""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import httpx

from worker.lifecycle.owners import DEFAULT
from worker.local.supervisor import Child, Supervisor, workers
from worker.local.valkey import EmbeddedStore, free_port, write_secret
from worker.settings import Settings, SettingsError, check_port, made_secret
from worker.settings.issuers import webhooks_path
from worker.store.client import Client, connect
from worker.store.sessions import Sessions

READY_SECONDS = 60.0

SECRETS = {
    "webhook_secrets": "webhook-secret",
    "registry_tokens": "registry-token",
    "exchange_tokens": "exchange-token",
    "operator_tokens": "operator-token",
}
"""Setting → the file of the data directory in which `tenure up` makes it if it is not set."""


class Stack(NamedTuple):
    """A running stack, and how to reach it."""

    supervisor: Supervisor
    http_url: str
    redis_url: str
    store: EmbeddedStore | None
    secrets: Mapping[str, Path | None]
    """Setting → the file that holds it; None where it was set by hand."""
    redis_file: Path | None = None
    """The file that holds the address of the embedded store, password and all."""


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Only one stack may use a data directory. Gives the lock's descriptor, for the server to hold too.

    Raises:
        SettingsError: another one does.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Secrets and operators' sessions are below.
        directory.chmod(0o700)
    except OSError as error:
        raise SettingsError(
            f"TENURE_DATA_DIR: {directory}: {error.strerror}; name a directory that is yours to write"
        ) from None
    with (directory / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SettingsError(
                f"TENURE_DATA_DIR: another `tenure up` uses {directory}; stop it, or name another directory"
            ) from None
        yield file.fileno()


@contextmanager
def running_stack(settings: Settings, *, environment: Mapping[str, str]) -> Iterator[Stack]:
    """Start everything; end everything in the reverse order.

    Raises:
        SettingsError: the data directory is in use.
        EmbeddedError: the embedded store does not start.
    """
    check_port(settings)
    with locked(settings.data_dir) as lock:
        store, address = None, None
        if settings.redis_url is None:
            password = made_secret(settings.data_dir / "store-password")
            port = _last_port(settings.data_dir)
            store = EmbeddedStore(settings.data_dir / "store", port, lock=lock, password=password)
            store.start()
            address = (settings.data_dir / "redis-url").resolve()
            write_secret(address, store.url + "\n")
        port = settings.http_port or free_port()
        secrets = {name: _secret_file(settings, name, file) for name, file in SECRETS.items()}
        supervisor = Supervisor(_children(settings, environment, store, port, secrets), store)
        try:
            supervisor.start()
            url = f"http://{settings.http_host}:{port}"
            yield Stack(supervisor, url, store.url if store else settings.store_url(), store, secrets, address)
        finally:
            supervisor.end()
            if store is not None:
                store.stop()


def _last_port(directory: Path) -> int | None:
    """The port that this directory's store had before, if it is free: other programs were told of it."""
    try:
        last = int((directory / "redis-url").read_text(encoding="utf-8").strip().rsplit("/", 1)[0].rsplit(":", 1)[1])
    except (OSError, ValueError, IndexError):
        return None
    return last if free_port(last) == last else None


def _secret_file(settings: Settings, name: str, file: str) -> Path | None:
    if getattr(settings, name):
        return None
    path = settings.data_dir / file
    made_secret(path)
    return path.resolve()


def _children(
    settings: Settings,
    environment: Mapping[str, str],
    store: EmbeddedStore | None,
    port: int,
    secrets: Mapping[str, Path | None],
) -> list[Child]:
    shared = {**environment, "TENURE_HTTP_PORT": str(port), "TENURE_DATA_DIR": str(settings.data_dir)}
    if store is not None:
        shared["TENURE_REDIS_URL"] = store.url
    for name, path in secrets.items():
        if path is not None:
            shared[f"TENURE_{name.upper()}_FILE"] = str(path)
    return [
        Child("web", ["web"], shared),
        *workers(settings.processes, shared, asks=settings.asks_github),
        Child("scheduler", ["scheduler"], shared),
    ]


def wait_until_ready(url: str, stopped: Callable[[], bool] = lambda: False) -> bool:
    """Wait until `/readyz` says that API, workers, scheduler and store are there."""
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client(timeout=5, trust_env=False) as client:
        while time.monotonic() < deadline and not stopped():
            try:
                if client.get(f"{url}/readyz").status_code == httpx.codes.OK:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    return False


def announce(stack: Stack, issuers: Iterable[str]) -> None:
    """Say where everything is, for people. `issuers`: aliases of the instances of GitHub."""
    lines = {
        "console": f"{stack.http_url}/",
        **{
            "webhooks" if issuer == DEFAULT else f"webhooks {issuer}": f"{stack.http_url}{webhooks_path(issuer)}"
            for issuer in issuers
        },
        "events": f"{stack.http_url}/events",
        "metrics": f"{stack.http_url}/metrics",
        "ready": f"{stack.http_url}/readyz",
        "store": f"127.0.0.1:{stack.store.port}, as in {stack.redis_file}"
        if stack.store
        else "as set in TENURE_REDIS_URL",
    }
    for name, path in stack.secrets.items():
        lines[name.removesuffix("s").replace("_", " ")] = str(path) if path else f"as set in TENURE_{name.upper()}"
    for name, value in lines.items():
        sys.stderr.write(f"  {name:<15} {value}\n")
    sys.stderr.flush()


def login_link(settings: Settings, stack: Stack) -> str | None:
    """A link that logs in at the console, once, within some minutes; None unless the API is on loopback.

    The code is after the #: browsers send it to nobody, so it is in no log of a request.
    """
    try:
        local = settings.http_host == "localhost" or ip_address(settings.http_host).is_loopback
    except ValueError:
        local = False
    if not local:
        return None
    client = Client(connect(stack.redis_url))
    try:
        code = Sessions(client).make_code()
    finally:
        client.close()
    return f"{stack.http_url}/console/login#{code}"
