"""What processes share of GitHub: where the App is installed, what its limits are, and whether it answers at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Self, cast

import orjson

from worker.lifecycle.facts import Micros
from worker.lifecycle.owners import DEFAULT
from worker.store.client import Client, Command
from worker.store.keys import GitHubKeys
from worker.store.replies import fields


class Installed(NamedTuple):
    """The App in the hands of one GitHub account."""

    installation_id: int
    account_id: int
    login: str
    kind: str
    """`User` or `Organization`."""
    suspended: bool


class StoredBudget(NamedTuple):
    """What GitHub said of one installation's budget; times are unix seconds."""

    limit: int
    remaining: int
    reset_at: int
    blocked_until: int


class Trouble(NamedTuple):
    """Calls in a row to which GitHub gave no usable answer."""

    failures: int
    since: Micros | None
    last: str


class Directory:
    """Where the App is installed, as it was last read."""

    def __init__(self, client: Client, issuer: str = DEFAULT) -> None:
        self._client = client
        self._keys = GitHubKeys(issuer)

    def at(self, issuer: str) -> Self:
        """The same of another instance of GitHub."""
        return type(self)(self._client, issuer)

    def read_at(self) -> Micros:
        """When it was last read from GitHub; 0 for never."""
        reply = self._client.one(Command(("GET", self._keys.installations_at)))
        return int(reply) if isinstance(reply, bytes) else 0

    def of(self, account_id: int) -> Installed | None:
        reply = self._client.one(Command(("HGET", self._keys.installations, account_id)))
        return _installed(reply) if isinstance(reply, bytes) else None

    def count(self) -> int:
        return cast("int", self._client.one(Command(("HLEN", self._keys.installations))))

    def all(self) -> list[Installed]:
        return [
            _installed(written)
            for written in fields(self._client.one(Command(("HGETALL", self._keys.installations)))).values()
        ]

    def replace(self, installations: Iterable[Installed], at: Micros) -> None:
        """It is installed here as of `at`, and nowhere else."""
        entries = [part for entry in installations for part in (entry.account_id, orjson.dumps([*entry]))]
        if at < self.read_at():
            # Another process has read a newer list meanwhile.
            return
        calls = [
            Command(("DEL", self._keys.installations, self._keys.installations_doubted)),
            Command(("SET", self._keys.installations_at, at)),
        ]
        if entries:
            calls.insert(1, Command(("HSET", self._keys.installations, *entries)))
        self._client.run(calls, atomic=True)

    def note_deliveries_page(self, address: str) -> None:
        self._client.one(Command(("SET", self._keys.app_deliveries, address)))

    def deliveries_page(self) -> str | None:
        """The address of GitHub's page of the App's deliveries; None if it was never asked about the App."""
        found = self._client.one(Command(("GET", self._keys.app_deliveries)))
        return found.decode() if isinstance(found, bytes) else None

    def doubt(self, account_id: int, at: Micros) -> None:
        """At `at` it seemed not to be installed there any more: a list that is older tells nothing of it."""
        self._client.run([
            Command(("HDEL", self._keys.installations, account_id)),
            Command(("HSET", self._keys.installations_doubted, account_id, at)),
        ])  # fmt: skip

    def doubted_at(self, account_id: int) -> Micros:
        """When that was last doubted, since the list was read; 0 for never."""
        reply = self._client.one(Command(("HGET", self._keys.installations_doubted, account_id)))
        return int(reply) if isinstance(reply, bytes) else 0


class Ledger:
    """What is known of limits, and of calls that failed."""

    def __init__(self, client: Client, issuer: str = DEFAULT) -> None:
        self._client = client
        self._keys = GitHubKeys(issuer)

    def at(self, issuer: str) -> Self:
        """The same of another instance of GitHub."""
        return type(self)(self._client, issuer)

    def limits(self, installations: Iterable[int]) -> dict[int, StoredBudget]:
        ids = tuple(installations)
        replies = cast("list[bytes | None]", self._client.one(Command(("HMGET", self._keys.budgets, *ids))))
        return {
            installation: StoredBudget(*orjson.loads(written))
            for installation, written in zip(ids, replies, strict=True)
            if written is not None
        }

    def note(self, limits: Mapping[int, StoredBudget]) -> None:
        if limits:
            entries = [
                part for installation, budget in limits.items() for part in (installation, orjson.dumps([*budget]))
            ]
            self._client.one(Command(("HSET", self._keys.budgets, *entries)))

    def trouble(self) -> Trouble:
        values = fields(self._client.one(Command(("HGETALL", self._keys.trouble))))
        since = values.get("since")
        return Trouble(
            int(values.get("failures", b"0")), None if since is None else int(since), values.get("last", b"").decode()
        )

    def failed(self, what: str, at: Micros) -> None:
        self._client.run([
            Command(("HINCRBY", self._keys.trouble, "failures", 1)),
            Command(("HSETNX", self._keys.trouble, "since", at)),
            Command(("HSET", self._keys.trouble, "last", what)),
        ])  # fmt: skip

    def answered(self) -> None:
        """GitHub answers: earlier failures are over."""
        self._client.one(Command(("DEL", self._keys.trouble)))


def _installed(written: bytes) -> Installed:
    return Installed(*orjson.loads(written))
