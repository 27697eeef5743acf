"""Whoever attacks the doors without credentials, or with a hostile App's signed payloads, does not fill the machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import Process, Processes, settings_of, wait_until
from tests.resilience.conftest import Stack
from tests.support import NO_TLS
from tests.web.site import sign
from worker.http.protocol import HEAD_BYTES
from worker.local.valkey import free_port

MIB = 1024 * 1024
MOST = 128 * MIB
"""By so much the process may grow at its highest, whatever is sent to it: the rooms for bodies and a little more."""
HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-GitHub-Event: push\r\n"


class Door:
    """A web process, and how much memory it has had at most."""

    def __init__(self, processes: Processes) -> None:
        self.port = free_port()
        self._process: Process = processes.start("-m", "worker", "web", TENURE_HTTP_PORT=str(self.port))
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", verify=NO_TLS, timeout=20)
        wait_until(self.serves, "the doors are open", 40)

    def serves(self) -> bool:
        try:
            return self.http.get("/livez").status_code == 200
        except httpx.TransportError:
            return False

    def memory(self, name: str = "VmHWM") -> int:
        """Bytes; `VmHWM` is the most that it had, `VmRSS` what it has."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.partition(f"{name}:")[2].split()[0]) * 1024

    def send(self, *parts: bytes, times: int = 1, together: threading.Barrier | None = None) -> int:
        """As much as is taken, the last part so often, without reading an answer; the connection stays until `together`.

        Returns how many bytes were taken, at least.
        """
        sent = 0
        with contextlib.ExitStack() as open_connection:
            connection = open_connection.enter_context(socket.create_connection(("127.0.0.1", self.port), 5))
            with contextlib.suppress(OSError):
                connection.settimeout(0.3)
                for part in (*parts[:-1], *(parts[-1:] * times)):
                    connection.sendall(part)
                    sent += len(part)
            if together is not None:
                together.wait(30)
        return sent

    def deliver(self, body: bytes, event: str, delivery: str) -> httpx.Response:
        signature = sign(body, "webhook-secret")
        headers = {"X-GitHub-Event": event, "X-GitHub-Delivery": delivery, "X-Hub-Signature-256": signature}
        return self.http.post("/webhooks/github", content=body, headers={"Content-Type": "application/json", **headers})


@pytest.fixture(scope="module")
def door(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    if not Path("/proc/self/status").exists():
        pytest.skip("left out: this system does not tell what memory a process has")
    processes = Processes(settings_of(stack.store), tmp_path_factory.mktemp("door"))
    try:
        opened = Door(processes)
        yield opened
        opened.http.close()
    finally:
        processes.kill()


def pipelined(door: Door) -> None:
    assert door.send((HEAD + b"\r\n") * 1000, times=300) > 0


def lines_without_end(door: Door) -> None:
    assert door.send(HEAD, b"X-Line: y\r\n" * 6000, times=760) > HEAD_BYTES


def trailers_without_end(door: Door) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    assert door.send(head, b"X-Line: y\r\n" * 6000, times=760) > HEAD_BYTES


def one_long_value(door: Door) -> None:
    assert door.send(HEAD + b"X-Long: ", b"x" * 65536, times=68 * 16) > HEAD_BYTES


def silent_connections(door: Door) -> None:
    """1,300 that say nothing, and one more that does."""
    with contextlib.ExitStack() as held:
        for _ in range(1300):
            held.enter_context(socket.create_connection(("127.0.0.1", door.port), 5))
        assert httpx.get(f"http://127.0.0.1:{door.port}/livez", verify=NO_TLS).status_code == 200


def unsigned_bodies(door: Door) -> None:
    """Five hundred at once, each as large as a small body may be and never quite whole."""
    head = POST + b"X-GitHub-Delivery: d\r\nX-Hub-Signature-256: sha256=%s\r\n" % (b"0" * 64)
    parts = (head + b"Content-Length: 250001\r\n\r\n", b"x" * 250_000)
    together = threading.Barrier(500)
    senders = [threading.Thread(target=door.send, args=parts, kwargs={"together": together}) for _ in range(500)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()


def signed_bodies_of_small_objects(door: Door) -> None:
    """Six of 24 MB, one after another."""
    body = b'{"commits":[' + b"{}," * (8 * MIB) + b"{}]}"
    for number in range(6):
        answer = door.deliver(body, "push", f"objects-{number}")
        assert answer.status_code == 400, answer.text


@pytest.mark.processes
@pytest.mark.parametrize(
    "attack",
    [
        pipelined, lines_without_end, trailers_without_end, one_long_value, silent_connections, unsigned_bodies,
        signed_bodies_of_small_objects,
    ],
)  # fmt: skip
def test_an_attack_costs_little_memory(
    door: Door, attack: Callable[[Door], None], measured: Callable[[str], None]
) -> None:
    """Given an attack under way, when others deliver, then they are answered, and the process grows by little."""
    before = door.memory("VmRSS")
    with ThreadPoolExecutor(1) as aside:
        under_way = aside.submit(attack, door)
        delivered = 0
        while delivered < 5 or not under_way.done():
            assert (
                door.deliver(b'{"zen": "Keep it simple."}', "ping", f"{attack.__name__}-{delivered}").status_code == 202
            )
            delivered += 1
        under_way.result()
    grown = door.memory() - before
    measured(
        f"{attack.__name__}: at most {grown / MIB:+.0f} MiB, {door.memory('VmRSS') / MIB - before / MIB:+.0f} stay"
    )
    assert grown < MOST
    assert door.serves()
