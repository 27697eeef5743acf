"""The demo's two hands: a plain HTTP client that sends, and a plain Redis client that reads."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias, cast

import httpx
from redis import Redis

from worker.demo.fakegithub.payloads import Json
from worker.demo.payloads import Repo


class PublishedChange(NamedTuple):
    """One entry of the change feed."""

    policy_id: str
    type: str
    state: str
    reasons: tuple[str, ...]
    cause: str
    view: Json


class Sender:
    """Signs webhooks as GitHub does, and sends and asks what a registry would."""

    def __init__(self, url: str, webhook_secret: str, registry_token: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._secret = webhook_secret.encode()
        self._token = registry_token
        self._count = 0

    def webhook(self, event: str, payload: Json, *, delivery: str | None = None, secret: bytes | None = None) -> int:
        """Send a signed webhook; returns the HTTP status."""
        self._count += 1
        body = json.dumps(payload).encode()
        signature = hmac.new(secret or self._secret, body, hashlib.sha256).hexdigest()
        response = self._http.post(
            "/webhooks/github",
            content=body,
            headers={
                "Content-Type": "application/json",
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": delivery or f"demo-{self._count:04d}",
                "X-Hub-Signature-256": f"sha256={signature}",
            },
        )
        return response.status_code

    def event(self, kind: str, data: Json) -> int:
        """Send a registry event; returns the HTTP status."""
        self._count += 1
        event = {
            "specversion": "1.0",
            "id": f"demo-event-{self._count:04d}",
            "source": "urn:example:registry",
            "type": kind,
            "time": datetime.now(UTC).isoformat(),
            "data": data,
        }
        response = self._http.post(
            "/events",
            content=json.dumps(event),
            headers={"Content-Type": "application/cloudevents+json", "Authorization": f"Bearer {self._token}"},
        )
        return response.status_code

    def refusals(self, policy_id: str) -> dict[str, int]:
        """How often tokens were refused under a policy, by code."""
        response = self._http.get(f"/policies/{policy_id}", headers={"Authorization": f"Bearer {self._token}"})
        refused = response.raise_for_status().json()["logins"]["refused"]
        return {code["code"]: code["count"] for code in refused["codes"]} if refused else {}

    def close(self) -> None:
        self._http.close()


Positions: TypeAlias = "dict[bytes | str | memoryview[int], int | bytes | str | memoryview[int]]"
"""Stream → the entry that was read last, as redis-py has them."""


class ContractReader:
    """Reads what the exchange would read. Knows nothing but the contract."""

    def __init__(self, url: str) -> None:
        self._read_from(Redis.from_url(url, decode_responses=True, socket_timeout=60))

    def _read_from(self, redis: Redis) -> None:
        self._redis = redis
        self._partitions = int(cast("str", self._redis.get("tenure:partitions")))
        self._after: Positions = {f"tenure:{{p{n:02d}}}:changes": "0" for n in range(self._partitions)}

    def changes(self, seconds: float) -> Iterator[PublishedChange]:
        """What is published, as it is published, for at most this long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            yield from self._next(self._after, max(1, int(left * 1000)))

    def _next(self, after: Positions, block_ms: int | None) -> Iterator[PublishedChange]:
        """What comes after these entries of streams; None: what is there."""
        reply = self._redis.xread(after, block=block_ms)
        pages = cast("list[tuple[str, list[tuple[str, dict[str, str]]]]]", _listed(reply))
        for stream, entries in pages:
            for entry_id, fields in entries:
                self._after[stream] = entry_id
                yield _change(json.loads(fields["event"]))

    def view(self, policy_id: str, repo: Repo) -> Json | None:
        """The view of a policy, from the hash of its repository."""
        partition = binascii.crc_hqx(str(repo.owner.id).encode(), 0) % self._partitions
        key = f"tenure:{{p{partition:02d}}}:repository:{repo.owner.id}:{repo.id}"
        text = cast("str | None", self._redis.hget(key, policy_id))
        return None if text is None else cast("Json", json.loads(text))

    def close(self) -> None:
        self._redis.close()


def _listed(reply: object) -> object:
    """Newer servers' protocol gives a map of pages where the older gives a list."""
    if isinstance(reply, dict):
        return [(stream, [entry for page in pages for entry in page]) for stream, pages in reply.items()]
    return reply or []


def _change(event: Json) -> PublishedChange:
    data = cast("Json", event["data"])
    view = cast("Json", data["view"])
    cause = cast("dict[str, str]", data["cause"])
    return PublishedChange(
        policy_id=str(event["subject"]),
        type=str(event["type"]),
        state=str(view["state"]),
        reasons=tuple(cast("list[str]", view["reasons"])),
        cause=cause["event"],
        view=view,
    )
