"""A whole `tenure up` of the benchmark's own, and a plain Redis client that listens to its change feed."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self, cast

from redis import Redis

from bench.frame import BenchError, child, environment, python, wait_until
from bench.payloads import SECRET, TOKEN, Subject, cloud_event
from worker.local.valkey import free_port
from worker.store.keys import Keyspace

PARTITIONS = 16
HOST = "127.0.0.1"


class Stack(NamedTuple):
    process: subprocess.Popen[bytes]
    directory: Path
    port: int

    @property
    def redis_url(self) -> str:
        return (self.directory / "data" / "redis-url").read_text().strip()

    def alive(self) -> bool:
        return self._answers("/livez")

    def ready(self) -> bool:
        return self._answers("/readyz")

    def _answers(self, path: str) -> bool:
        with contextlib.suppress(OSError):
            return _request(self.port, "GET", path, b"", {}) == http.client.OK
        return False

    def register(self, subjects: list[Subject]) -> None:
        """Through the door for the registry's events.

        Raises:
            BenchError: the door refused them.
        """
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        headers = {"Content-Type": "application/cloudevents-batch+json", "Authorization": f"Bearer {TOKEN}"}
        for start in range(0, len(subjects), 200):
            batch = b"[" + b",".join(cloud_event(of, now) for of in subjects[start : start + 200]) + b"]"
            status = _request(self.port, "POST", "/events", batch, headers)
            if status != http.client.ACCEPTED:
                raise BenchError(f"POST /events: {status}")


def _request(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def own_settings(port: int, data: Path) -> dict[str, str]:
    return environment(
        TENURE_HTTP_HOST=HOST,
        TENURE_HTTP_PORT=str(port),
        TENURE_DATA_DIR=str(data),
        TENURE_PARTITIONS=str(PARTITIONS),
        TENURE_WEBHOOK_SECRETS=SECRET,
        TENURE_REGISTRY_TOKENS=TOKEN,
        TENURE_LOG_FORMAT="json",
    )


@contextlib.contextmanager
def stack(directory: Path) -> Iterator[Stack]:
    """`tenure up`, ready: store, doors, two workers and the scheduler."""
    port = free_port()
    with child(python("-m", "worker", "up"), own_settings(port, directory / "data"), directory) as process:
        running = Stack(process, directory, port)
        wait_until(running.ready, "tenure up", process, directory)
        yield running


class Listener:
    """Notes when each change is heard by a client that does nothing but a blocking XREAD on the change streams."""

    def __init__(self, url: str) -> None:
        self.heard: dict[str, int] = {}
        """Delivery or event id of the cause → time of the monotonic clock, ns."""
        self._more = threading.Condition()
        self._stopped = False
        self._client = Redis.from_url(url, socket_timeout=30)
        self._latest: dict[str, str] = {partition.changes: "0-0" for partition in Keyspace(PARTITIONS).all()}
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.join()
        self._client.close()

    def _listen(self) -> None:
        while not self._stopped:
            reply = self._client.execute_command(  # type: ignore[no-untyped-call]
                "XREAD", "COUNT", 1000, "BLOCK", 200, "STREAMS", *self._latest, *self._latest.values()
            )
            now = time.monotonic_ns()
            pairs = reply.items() if isinstance(reply, dict) else reply or []
            groups = cast("list[tuple[bytes, object]]", list(pairs))
            with self._more:
                for key, found in groups:
                    self._note(key.decode(), found, now)
                self._more.notify_all()

    def _note(self, key: str, found: object, now: int) -> None:
        entries = cast("list[object]", found)
        if entries and isinstance(entries[0], list) and entries[0] and isinstance(entries[0][0], tuple):
            entries = entries[0]
        for entry_id, fields in cast("list[tuple[bytes, dict[bytes, bytes]]]", entries):
            self.heard.setdefault(json.loads(fields[b"event"])["data"]["cause"]["id"], now)
            self._latest[key] = entry_id.decode()

    def wait_for(self, wanted: set[str], seconds: float) -> None:
        """Until all of these were heard.

        Raises:
            BenchError: some were not, in time.
        """
        with self._more:
            if not self._more.wait_for(lambda: wanted <= self.heard.keys(), seconds):
                missing = len(wanted - self.heard.keys())
                raise BenchError(f"{missing} of {len(wanted)} events did not reach the change feed in {seconds:.0f} s")

    def wait_for_quiet(self, seconds: float) -> None:
        """Until nothing was heard for a second, or `seconds` are over."""
        deadline = time.monotonic() + seconds
        with self._more:
            while time.monotonic() < deadline:
                before = len(self.heard)
                self._more.wait_for(lambda known=before: len(self.heard) > known, 1.0)  # type: ignore[misc]
                if len(self.heard) == before:
                    return
