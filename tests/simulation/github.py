"""The small GitHub in this process: its API as a transport at which others go first, its webhooks as letters that wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from random import Random
from typing import Any

import httpx

from tests.simulation.store import EndedError, Fate
from worker.demo.fakegithub import FakeGitHub
from worker.demo.fakegithub.answers import Request
from worker.demo.fakegithub.hooks import Hooks
from worker.demo.fakegithub.payloads import WebhookPayload, encode
from worker.demo.fakegithub.records import DeliveryRecord
from worker.lifecycle.facts import SECOND, Micros

URL = "http://github.simulated"
LAG: Micros = 9 * SECOND // 2
"""By so much a replica may be behind."""
NOT_REACHED, REACHED = 502, 202
SPOILT = ("stall", "slow", "truncated", "reset")
"""Faults after which no whole answer has come."""


class Mailbox(Hooks):
    """Webhooks that were sent and wait here for somebody to bring them."""

    def __init__(self, clock: Callable[[], float], lock: Any) -> None:
        # GitHub's clock does not go back with the store's: what is looked for is what was delivered since the last look.
        shown = 0.0

        def forwards() -> float:
            nonlocal shown
            shown = max(shown, clock())
            return shown

        super().__init__(forwards, lock)
        self.sent: list[DeliveryRecord] = []

    def send(self, letter: WebhookPayload, installation_id: int) -> DeliveryRecord:
        action = letter.payload.get("action")
        made = self.record(
            DeliveryRecord(
                id=0, guid=f"guid-{len(self._deliveries)}", delivered_at=self._clock(), status_code=NOT_REACHED,
                event=letter.event, action=action if isinstance(action, str) else None, installation_id=installation_id,
                repository_id=letter.repository_id, redelivery=False, body=encode(letter.payload),
            )
        )  # fmt: skip
        self.sent.append(made)
        return made

    def redeliver(self, delivery: DeliveryRecord) -> DeliveryRecord:
        made = self.record(replace(delivery, redelivery=True, delivered_at=self._clock(), status_code=NOT_REACHED))
        self.sent.append(made)
        return made

    def arrived(self, guid: str) -> None:
        """Somebody has answered for it: so did its newest attempt end."""
        newest = max((item for item in self._deliveries.values() if item.guid == guid), key=lambda item: item.id)
        self._deliveries[newest.id] = replace(newest, status_code=REACHED)

    def missed(self, since: float) -> set[str]:
        """Whatever was sent since then and never arrived."""
        lately = [item for item in self._deliveries.values() if item.delivered_at >= since]
        return {item.guid for item in lately} - {item.guid for item in lately if item.status_code == REACHED}


class Replicas(httpx.BaseTransport):
    """Answers of GitHub's, of which some come from a replica that has not heard yet of what happened lately."""

    def __init__(self, github: FakeGitHub, fate: Callable[[], Fate], random: Random, now: Callable[[], Micros]) -> None:
        self._github = github
        self._fate = fate
        self._random = random
        self._now = now
        self._past: list[tuple[Micros, dict[str, object]]] = []
        self._behind = False
        self.lagging = True

    def remember(self) -> None:
        """Something is about to happen: as it is now, a replica may show it for a while."""
        state: dict[str, object] = {
            name: _copied(value) for name, value in vars(self._github.world).items() if isinstance(value, dict)
        }
        self._past = [(at, seen) for at, seen in self._past if 0 <= self._now() - at < LAG] + [(self._now(), state)]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fate = self._fate()
        if fate is Fate.ENDS_BEFORE:
            raise EndedError
        path, _, query = request.url.raw_path.decode().partition("?")
        asked = Request(
            request.method, path, dict(httpx.QueryParams(query)), request.headers.get("authorization", ""),
            request.read(), URL,
        )  # fmt: skip
        with self._as_some_replica_has_it():
            outcome = self._github._answer(asked)
        if fate is Fate.ENDS_AFTER:
            raise EndedError
        if fate is Fate.LOST or (outcome.fault is not None and outcome.fault.kind in SPOILT):
            raise httpx.ReadError("the answer is lost")
        return httpx.Response(
            outcome.answer.status,
            headers={"content-type": "application/json; charset=utf-8", **outcome.answer.headers},
            stream=httpx.ByteStream(encode(outcome.answer.body)),
        )

    @contextmanager
    def _as_some_replica_has_it(self) -> Iterator[None]:
        late = [seen for at, seen in self._past if 0 <= self._now() - at < LAG] if self.lagging else []
        if self._random.random() < 0.2:
            # Mostly one and the same replica answers.
            self._behind = self._random.random() < 0.7
        if not late or not self._behind:
            yield
            return
        shown = late[0]
        world = self._github.world
        present = {name: getattr(world, name) for name in shown}
        vars(world).update(shown)
        try:
            yield
        finally:
            vars(world).update(present)


def _copied(value: dict[Any, Any]) -> dict[Any, Any]:
    return {key: copy(each) if isinstance(each, dict | set) else each for key, each in value.items()}
