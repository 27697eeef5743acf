"""A store with policies in it, told and settled as the doors and workers would, in this process."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from tenure_reader.grants import Grant
from tests.support import JSON, account, person, registration_data, repository
from worker.app import App
from worker.lifecycle.facts import Micros
from worker.store.inbox import EVENTS, Envelope, identity

OWNER = 41
REPOSITORY = 9_007_199_254_740_993
"""An id that a float cannot hold."""

CLAIMS: dict[str, object] = {
    "iss": "https://token.actions.githubusercontent.com",
    "sub": "repo:octo/widgets:ref:refs/heads/main",
    "repository_owner": "octo",
    "repository_owner_id": str(OWNER),
    "repository": "octo/widgets",
    "repository_id": str(REPOSITORY),
    "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main",
    "event_name": "push",
    "a_claim_of_next_year": {"nested": [1, 2]},
}

GRANT: Grant = {
    "policy_id": "p", "revision": 1, "state": "active", "usable": True, "usable_until": None, "reasons": [],
    "package_owner": {"account": "acme", "kind": "user"}, "created_by": {"account": "maria", "github_user_id": None},
    "repository_owner_id": 41, "repository": "Widgets", "repository_id": 7, "workflow_file": "release.yml",
    "environment": None,
}  # fmt: skip
"""A policy of the same kind, as a reader has it."""


@dataclass
class World:
    app: App
    _count: Iterator[int] = field(default_factory=itertools.count)

    def tell(self, name: str, body: object, *, kind: str = "registry", at: Micros | None = None) -> None:
        """An event that is taken and settled."""
        number = next(self._count)
        partition = self.app.keyspace.of(OWNER)
        letter = Envelope(
            partition=partition,
            event_id=identity(kind, str(number)),
            kind=kind,
            name=name,
            delivery=f"d-{number}",
            body=json.dumps(body).encode(),
            occurred_at=None if kind == "github" else at or self.app.status.now(),
        )
        self.app.inbox.put([[letter]])
        self.app.processor("test").drain(partition, EVENTS)

    def register(self, policy_id: str = "pol-1", *, at: Micros | None = None, **github: JSON) -> None:
        data = {**registration_data(**{"repository_id": REPOSITORY, **github}), "policy_id": policy_id}
        self.tell("policy.registered", data, at=at)

    def login(self, policy_id: str = "pol-1", repository_id: int = REPOSITORY) -> None:
        ids = {"repository_id": repository_id, "repository_owner_id": OWNER}
        self.tell("login.succeeded", {"policy_id": policy_id, "jti": policy_id, **ids}, kind="exchange")

    def webhook(
        self, name: str, repository_id: int = REPOSITORY, repository_name: str = "widgets", **more: JSON
    ) -> None:
        body = {"action": name.partition(".")[2], "repository": repository(repository_id, repository_name), **more}
        self.tell(name, body, kind="github")

    def member(self, name: str) -> None:
        body = {"membership": {"user": person(), "state": "active"}, "organization": account()}
        self.tell(f"organization.{name}", body, kind="github")
