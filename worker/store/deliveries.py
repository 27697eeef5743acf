"""Webhooks that did not reach us, and what is done about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import orjson

from worker.lifecycle.facts import Micros
from worker.lifecycle.owners import DEFAULT
from worker.store.client import Client, Command
from worker.store.keys import GitHubKeys
from worker.store.replies import fields


class Missed(NamedTuple):
    """A webhook that failed to be delivered; all its attempts share the guid."""

    guid: str
    delivery_id: int
    """The newest attempt's: the one that is asked for again."""
    first_failed_at: Micros
    failed_at: Micros
    asked_at: Micros | None
    """When GitHub was last asked to deliver it again, and nothing was heard of it since."""
    attempts: int
    installation_id: int | None
    given_up: bool
    """GitHub cannot deliver it any more."""


class Deliveries:
    def __init__(self, client: Client, issuer: str = DEFAULT) -> None:
        self._client = client
        self._keys = GitHubKeys(issuer)

    def at(self, issuer: str) -> Self:
        """The same of another instance of GitHub."""
        return type(self)(self._client, issuer)

    def seen_until(self) -> Micros | None:
        """Up to when failed deliveries were looked for; None if nobody ever looked."""
        reply = self._client.one(Command(("GET", self._keys.deliveries_seen)))
        return int(reply) if isinstance(reply, bytes) else None

    def note_seen_until(self, at: Micros) -> None:
        self._client.one(Command(("SET", self._keys.deliveries_seen, at)))

    def pending(self) -> dict[str, Missed]:
        """Those that are pursued, and those that were given up on lately, by guid."""
        values = fields(self._client.one(Command(("HGETALL", self._keys.deliveries))))
        return {guid: Missed(*orjson.loads(written)) for guid, written in values.items()}

    def replace(self, missed: Sequence[Missed]) -> None:
        entries = [part for one in missed for part in (one.guid, orjson.dumps([*one]))]
        calls = [Command(("DEL", self._keys.deliveries))]
        if entries:
            calls.append(Command(("HSET", self._keys.deliveries, *entries)))
        self._client.run(calls, atomic=True)
