"""What GitHub says it does not know: suspected first, believed at a second look, unless half of all owners lose something."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self, cast

from worker.lifecycle.facts import HOUR, Micros
from worker.lifecycle.owners import DEFAULT, OwnerRef
from worker.store.client import Client, Command
from worker.store.keys import GitHubKeys
from worker.store.replies import fields

WINDOW: Micros = HOUR
"""Owners that lost something within this time are compared with those that were asked about within it."""
KEPT = 100_000
"""Of so many scopes it is known since when they are missing; of more, the newest."""


class LossTally(NamedTuple):
    """What was asked about lately, and how much of it GitHub said not to know."""

    owners_asked: int
    """Owners, of those that had been verified for a day."""
    losing: int
    """Those of them that lost something unexplained."""
    pending: int
    """Suspected and not believed yet."""
    lost: int
    """Believed to be gone, lately."""


class Breaker(NamedTuple):
    """Whether losses are believed. Open: too many of them came at once to be true."""

    open_since: Micros | None
    passing_until: Micros
    """An operator lets losses through until then, 0 if nobody does."""


class MissingScopes:
    """Remembers what GitHub did not know, and since when."""

    def __init__(self, client: Client, issuer: str = DEFAULT) -> None:
        self._client = client
        self._keys = GitHubKeys(issuer)

    def at(self, issuer: str) -> Self:
        """The same of another instance of GitHub."""
        return type(self)(self._client, issuer)

    def note_missing(self, scope: str, at: Micros, *, expected: bool, losing: OwnerRef | None = None) -> Micros:
        """It was found missing at `at`; returns when it first was. `expected`: nobody is surprised, so it is no suspect.
        `losing`: the owner whose loss it is, if that counts.
        """
        command = ("ZREM", self._keys.suspects, scope) if expected else ("ZADD", self._keys.suspects, at, scope)
        calls = [
            Command(("ZADD", self._keys.missing, "NX", at, scope)),
            Command(command),
            Command(("ZSCORE", self._keys.missing, scope)),
            Command(("ZREMRANGEBYRANK", self._keys.missing, 0, -KEPT - 1)),
        ]
        if losing is not None and not expected:
            calls.append(Command(("ZADD", self._keys.losing, at, losing)))
        return int(float(cast("bytes", self._client.run(calls)[2])))

    def unanswered(self, scope: str, at: Micros) -> Micros:
        """GitHub would not say at `at`; returns since when it would not."""
        return self.note_missing(f"{scope} ?", at, expected=True)

    def believe(self, scope: str, at: Micros) -> None:
        """It is taken for lost. Since when it has been missing stays known."""
        self._client.run([
            Command(("ZREM", self._keys.suspects, scope)),
            Command(("ZADD", self._keys.lost, at, scope)),
            Command(("ZREMRANGEBYSCORE", self._keys.lost, "-inf", at - 2 * WINDOW)),
        ])  # fmt: skip

    def note_seen(self, scopes: Iterable[str], owner_id: OwnerRef) -> None:
        """These of an owner are there: whatever was suspected of them is over."""
        gone = tuple(scopes)
        if not gone:
            return
        unanswered = [f"{scope} ?" for scope in gone]
        _, suspected, lost = self._client.run([
            Command(("ZREM", self._keys.missing, *gone, *unanswered)),
            Command(("ZREM", self._keys.suspects, *gone)),
            Command(("ZREM", self._keys.lost, *gone)),
        ])  # fmt: skip
        if suspected or lost:
            # If more of this owner's is missing still, the next look says so again.
            self._client.one(Command(("ZREM", self._keys.losing, owner_id)))

    def note_asked(self, owner_id: OwnerRef, now: Micros) -> None:
        """Count an owner that was asked about."""
        self._client.run([
            Command(("ZADD", self._keys.asked, now, owner_id)),
            Command(("ZREMRANGEBYSCORE", self._keys.asked, "-inf", now - 2 * WINDOW)),
            Command(("ZREMRANGEBYSCORE", self._keys.losing, "-inf", now - 2 * WINDOW)),
        ])  # fmt: skip

    def tally(self, now: Micros) -> LossTally:
        """How many owners lose something, beside how many were asked about; and what is missing in all."""
        # Suspects that nobody has looked for lately are nobody's any more: their policies were removed.
        _, *counts = cast(
            "list[int]",
            self._client.run(
                [
                    Command(("ZREMRANGEBYSCORE", self._keys.suspects, "-inf", now - 2 * WINDOW)),
                    Command(("ZCOUNT", self._keys.asked, now - WINDOW, "+inf")),
                    Command(("ZCOUNT", self._keys.losing, now - WINDOW, "+inf")),
                    Command(("ZCOUNT", self._keys.suspects, now - WINDOW, "+inf")),
                    Command(("ZCOUNT", self._keys.lost, now - WINDOW, "+inf")),
                ]
            ),
        )
        return LossTally(*counts)

    # The breaker

    def breaker(self) -> Breaker:
        values = fields(self._client.one(Command(("HGETALL", self._keys.breaker))))
        since = values.get("open_since")
        return Breaker(None if since is None else int(since), int(values.get("passing_until", b"0")))

    def open_breaker(self, at: Micros) -> None:
        """Believe no loss any more, until they are plausible again or an operator lets them through."""
        self._client.one(Command(("HSETNX", self._keys.breaker, "open_since", at)))

    def close_breaker(self) -> None:
        self._client.one(Command(("HDEL", self._keys.breaker, "open_since")))

    def let_through(self, until: Micros) -> None:
        """Believe losses until then, however many."""
        self._client.run([
            Command(("HSET", self._keys.breaker, "passing_until", until)), Command(("HDEL", self._keys.breaker, "open_since")),
        ])  # fmt: skip

    def suspected(self, limit: int = 1000) -> list[str]:
        """Scopes that are suspected, those first that nobody has looked for longest."""
        reply = cast("list[bytes]", self._client.one(Command(("ZRANGE", self._keys.suspects, 0, limit - 1))))
        return [raw.decode() for raw in reply]
