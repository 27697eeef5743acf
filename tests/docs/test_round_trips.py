"""The round trips that docs/architecture.md tells of, counted."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.docs.markdown import table, text
from tests.store.making import settle_all
from tests.support import JSON, OWNER, POLICY, registration_data, repository
from worker.app import App
from worker.settling.processor import BATCH
from worker.store.client import Client, Command, Reply, ScriptCall
from worker.store.inbox import EVENTS, Envelope, identity

Said = tuple[str, str, dict[str, JSON]]
"""Kind, name and body of an event."""


def webhook(repository_id: int) -> Said:
    return "github", "repository.archived", {"repository": repository(repository_id)}


def registration(policy_id: str, repository_id: int) -> Said:
    return "registry", "policy.registered", {**registration_data(repository_id=repository_id), "policy_id": policy_id}


LOGIN: Said = (
    "exchange", "login.succeeded",
    {"policy_id": POLICY, "repository_id": 7, "repository_owner_id": OWNER, "jti": "run-1"},
)  # fmt: skip

FULL = BATCH[EVENTS]
POLICIES = [registration(f"pol-{number}", 1000 + number) for number in range(FULL)]
BATCHES: list[list[Said]] = [
    [webhook(1000 + number) for number in range(FULL)],
    [webhook(2000 + number) for number in range(FULL)],
    [LOGIN],
    [registration("pol-new", 99)],
    [webhook(99)],
]
"""In the order of the table."""


class Settled:
    """Settles events, a batch at a time, and counts the round trips of the last one."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        self._app = app
        self._number = 0
        self.trips = 0
        run = Client._run

        def counted(client: Client, calls: Sequence[ScriptCall | Command], **how: object) -> list[Reply]:
            self.trips += bool(calls)
            return run(client, calls, **how)  # type: ignore[arg-type]

        monkeypatch.setattr(Client, "_run", counted)

    def batch(self, events: Sequence[Said]) -> None:
        partition = self._app.keyspace.of(OWNER)
        for kind, name, body in events:
            self._number += 1
            at = None if kind == "github" else self._app.status.now()
            letter = Envelope(partition, identity(str(self._number)), kind, name, "d", json.dumps(body).encode(), at)
            self._app.inbox.put([[letter]])
        self.trips = 0
        self._app.processor("test").drain(partition, EVENTS)
        counted = self.trips
        # A turn ends after a second, whatever is left.
        settle_all(self._app)
        self.trips = counted


def test_round_trips_are_as_told(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = Settled(app, monkeypatch)
    settled.batch([registration(POLICY, 7), *POLICIES])
    # Each policy has read again what was remembered of it.
    settled.batch([webhook(7), *BATCHES[0]])
    for events, (what, told, _) in zip(BATCHES, table(text("docs/architecture.md"), "round trips"), strict=True):
        settled.batch(events)
        assert settled.trips == int(told), what


def test_what_further_events_make_of_a_policy_costs_no_more_writes(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = Settled(app, monkeypatch)
    settled.batch([registration(POLICY, 7)])
    settled.batch([webhook(7)])
    settled.batch([webhook(7)])
    once = settled.trips
    archived, (kind, _, body) = webhook(7), webhook(7)
    settled.batch([(kind, "repository.unarchived", body), archived, (kind, "repository.unarchived", body)])
    # What is remembered is read once, ahead.
    assert settled.trips == once + 1
