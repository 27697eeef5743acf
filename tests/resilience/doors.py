"""A real web process, and GitHub's side of it."""

from __future__ import annotations

import time

import httpx

from tests.conftest import Processes, wait_until
from tests.support import NO_TLS
from tests.web.site import sign
from worker.local.valkey import free_port
from worker.store.inbox import Envelope


class Doors:
    """A real web process, and GitHub's side of it."""

    def __init__(self, processes: Processes) -> None:
        port = free_port()
        processes.start("-m", "worker", "web", TENURE_HTTP_PORT=str(port))
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, timeout=30)
        wait_until(self._open, "the doors are open", 40)

    def _open(self) -> bool:
        try:
            return self.http.get("/livez").status_code == 200
        except httpx.TransportError:
            return False

    def deliver(self, letter: Envelope) -> float:
        """Deliver a webhook, which is taken; returns how long the answer took, in seconds."""
        begun = time.monotonic()
        response = self.send(letter)
        assert response.status_code == 202, response.text
        return time.monotonic() - begun

    def send(self, letter: Envelope) -> httpx.Response:
        """Deliver a webhook.

        Raises:
            httpx.TransportError: nobody answers in time.
        """
        signature = sign(letter.body, "webhook-secret")
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": letter.name.partition(".")[0],
            "X-GitHub-Delivery": letter.delivery,
            "X-Hub-Signature-256": signature,
        }
        return self.http.post("/webhooks/github", content=letter.body, headers=headers)
