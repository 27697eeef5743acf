"""The App's webhook: signs and sends as GitHub does, and keeps the log of deliveries."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

from worker.demo.fakegithub.payloads import WebhookPayload, encode
from worker.demo.fakegithub.records import DeliveryRecord, NotPossibleError, NotThereError

FIRST_DELIVERY = 2**62 + 1
KEPT_SECONDS = 3 * 86_400
"""GitHub shows a delivery, and repeats it on demand, for three days."""
TIMEOUT_SECONDS = 10.0
NOT_CONNECTED, TIMED_OUT = 502, 504

Redelivered: TypeAlias = Callable[[DeliveryRecord], int]
"""Gets the delivery that is to be repeated; gives the status code that its repetition met with."""


class WebhookTarget(NamedTuple):
    host: str
    port: int
    path: str
    secret: bytes


class Hooks:
    """What was sent, newest last, and where to. Sending waits for the receiver's answer and holds no lock."""

    def __init__(self, clock: Callable[[], float], lock: threading.RLock) -> None:
        self.kept_seconds = KEPT_SECONDS
        self.on_redelivery: Redelivered | None = None
        self._clock = clock
        self._lock = lock
        self._target: WebhookTarget | None = None
        self._deliveries: dict[int, DeliveryRecord] = {}
        self._last_id = FIRST_DELIVERY - 1

    def aim(self, url: str, secret: str) -> None:
        """Raises NotPossibleError: the receiver is not on loopback, or not http."""
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost", "::1") or parts.port is None:
            raise NotPossibleError("url: webhooks go to loopback only; give http://127.0.0.1:<port>/<path>")
        with self._lock:
            self._target = WebhookTarget(parts.hostname, parts.port, parts.path or "/", secret.encode())

    def send(self, webhook: WebhookPayload, installation_id: int) -> DeliveryRecord:
        """Sign, send, log. Raises NotPossibleError: nobody said where to."""
        action = webhook.payload.get("action")
        draft = DeliveryRecord(
            id=0,
            guid=str(uuid.uuid4()),
            delivered_at=0,
            status_code=0,
            event=webhook.event,
            action=action if isinstance(action, str) else None,
            installation_id=installation_id,
            repository_id=webhook.repository_id,
            redelivery=False,
            body=encode(webhook.payload),
        )
        return self.record(replace(draft, delivered_at=self._clock(), status_code=self._post(draft)))

    def record(self, draft: DeliveryRecord) -> DeliveryRecord:
        """Log it under an id of its own."""
        with self._lock:
            self._last_id += 1
            made = replace(draft, id=self._last_id)
            self._deliveries[made.id] = made
            return made

    def deliveries(self) -> list[DeliveryRecord]:
        """Newest first, without those that GitHub would have forgotten."""
        oldest = self._clock() - self.kept_seconds
        with self._lock:
            kept = [item for item in self._deliveries.values() if item.delivered_at >= oldest]
        return sorted(kept, key=_age, reverse=True)

    def delivery(self, delivery_id: int) -> DeliveryRecord:
        """Any that ever was. Raises NotThereError."""
        with self._lock:
            record = self._deliveries.get(delivery_id)
        if record is None:
            raise NotThereError(f"there is no delivery {delivery_id}")
        return record

    def is_kept(self, delivery: DeliveryRecord) -> bool:
        return delivery.delivered_at >= self._clock() - self.kept_seconds

    def redeliver(self, delivery: DeliveryRecord) -> DeliveryRecord | None:
        """Repeat it, with the same guid; None where nobody wants it."""
        again = replace(delivery, redelivery=True, delivered_at=self._clock())
        if self.on_redelivery is not None:
            return self.record(replace(again, status_code=self.on_redelivery(delivery)))
        if self._target is None:
            return None
        return self.record(replace(again, status_code=self._post(again)))

    def _post(self, draft: DeliveryRecord) -> int:
        target = self._target
        if target is None:
            raise NotPossibleError("nobody is told of it: call webhook_target first, or leave tell out")
        connection = http.client.HTTPConnection(target.host, target.port, timeout=TIMEOUT_SECONDS)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/fake",
            "X-GitHub-Event": draft.event,
            "X-GitHub-Delivery": draft.guid,
            "X-Hub-Signature-256": "sha256=" + hmac.new(target.secret, draft.body, hashlib.sha256).hexdigest(),
        }
        try:
            connection.request("POST", target.path, draft.body, headers)
            return connection.getresponse().status
        except TimeoutError:
            return TIMED_OUT
        except (OSError, http.client.HTTPException):
            return NOT_CONNECTED
        finally:
            connection.close()


def _age(delivery: DeliveryRecord) -> tuple[float, int]:
    return delivery.delivered_at, delivery.id
