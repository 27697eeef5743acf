"""`tenure up`: one program that looks after its parts, ends as a whole, and finds its data again."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import Process, Processes, wait_until
from tests.store.making import (
    about_repository,
    assert_consistent,
    idle,
    login,
    put_and_ring,
    registration,
    state,
    types,
)
from worker.app import App, build
from worker.settings import load

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

SECRETS = {
    "TENURE_WEBHOOK_SECRETS": "webhook-secret",
    "TENURE_REGISTRY_TOKENS": "registry-token",
    "TENURE_OPERATOR_TOKENS": "operator-token",
}


WEB, SCHEDULER, WORKER, SERVER = "web", "scheduler", "--single", "server"
"""The parts; all but the server have theirs among their arguments."""


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes that bring a store of their own."""
    started = Processes({**SECRETS, "TENURE_DATA_DIR": str(tmp_path / "data"), "TENURE_HTTP_PORT": "0"}, tmp_path)
    yield started
    for pid in everybody_in(tmp_path):
        os.kill(pid, signal.SIGKILL)
    started.kill()


def everybody_in(directory: Path) -> dict[int, str]:
    """Every process that works in a directory: its id → which part it is."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            where = (folder / "cwd").readlink()
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue  # Ended meanwhile, or not ours.
        if where.is_relative_to(directory) and int(folder.name) != os.getpid():
            named = [part for part in (WEB, SCHEDULER, WORKER) if part in words]
            found[int(folder.name)] = SERVER if where.name == "store" else (*named, "up")[0]
    return found


def parts(directory: Path, part: str) -> set[int]:
    return {pid for pid, name in everybody_in(directory).items() if name == part}


def url_of(up: Process) -> str:
    """Where it says that it can be reached."""
    line = next(line for line in up.log.splitlines() if line.split()[:1] == ["ready"])
    return line.split()[1]


def ready(up: Process) -> None:
    def said_so() -> bool:
        assert up.running, up.log
        return "Tenure is ready" in up.log

    wait_until(said_so, "tenure up is ready", 60)


@contextmanager
def app_of(directory: Path) -> Iterator[App]:
    """The parts of one process, connected to the store that `tenure up` has started."""
    app = build(load({"TENURE_DATA_DIR": str(directory / "data")}))
    try:
        yield app
    finally:
        app.broker.close()
        app.client.redis.close()


def test_killed_parts_are_started_again_and_nothing_is_lost(programs: Processes, tmp_path: Path) -> None:
    """Given a running stack, when each of its parts is killed, then it is replaced, and events are settled."""
    up = programs.start("-m", "worker", "up")
    ready(up)
    with app_of(tmp_path) as app:
        for word in (WEB, SCHEDULER, WORKER, SERVER):
            before = parts(tmp_path, word)
            assert before
            put_and_ring(app, registration(app, f"pol{word}"))
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda b=before, w=word: len(parts(tmp_path, w) - b) == len(b), f"{word} is back", 40)  # type: ignore[misc]
            wait_until(lambda: ready_again(up), "everything is ready", 40)
            put_and_ring(app, login(app, f"pol{word}"))
            wait_until(lambda: idle(app), "everything settled", 30)
            assert state(app, f"pol{word}") == "active"
        assert up.running
        assert_consistent(app)
    up.send_to_group(signal.SIGINT)
    up.send(signal.SIGTERM)
    assert up.wait() == 0, up.log
    assert everybody_in(tmp_path) == {}
    assert "Traceback" not in up.log.partition("Tenure is stopping")[2]
    # No terminal, so no link that logs in.
    assert f"Log in at {url_of(up).removesuffix('/readyz')}/console/login with an operator token" in up.log
    assert "login#" not in up.log


def ready_again(up: Process) -> bool:
    try:
        return httpx.get(f"{url_of(up)}", timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_a_busy_port_stops_the_start_with_one_line(programs: Processes, tmp_path: Path) -> None:
    """Given a port on which somebody listens, when the stack starts, then it ends with one line and leaves nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        up = programs.start("-m", "worker", "up", TENURE_HTTP_PORT=port)
        assert up.wait() == 2, up.log
    (line,) = up.log.splitlines()
    assert f"TENURE_HTTP_PORT: cannot listen on 127.0.0.1:{port}" in line
    wait_until(lambda: not everybody_in(tmp_path), "nothing of it is left")


def test_a_killed_stack_leaves_no_orphan_and_the_next_one_has_its_data(programs: Processes, tmp_path: Path) -> None:
    """Given a stack with policies, when it is killed, then all of it ends, and the next start serves the same."""
    up = programs.start("-m", "worker", "up")
    ready(up)
    with app_of(tmp_path) as app:
        put_and_ring(app, registration(app, "pol-1"), login(app, "pol-1"))
        wait_until(lambda: idle(app), "settled")
        for worker in parts(tmp_path, WORKER):
            os.kill(worker, signal.SIGSTOP)
        put_and_ring(app, about_repository(app, "archived", "d-1"))
        for worker in parts(tmp_path, WORKER):
            os.kill(worker, signal.SIGCONT)
    assert len(everybody_in(tmp_path)) == 7
    assert "TENURE_WEBHOOK_SECRETS: 1, TENURE_REGISTRY_TOKENS: 1" in up.log
    up.kill()
    wait_until(lambda: not everybody_in(tmp_path), "its parts end by themselves", 45)
    again = programs.start("-m", "worker", "up")
    ready(again)
    with app_of(tmp_path) as app:
        wait_until(lambda: idle(app), "what was in flight is settled by the next start")
        assert state(app, "pol-1") == "disabled"
        assert types(app, "pol-1")[-1] == "policy.disabled"
        assert_consistent(app)
    assert again.end() == 0, again.log
    assert everybody_in(tmp_path) == {}
