"""What GitHub says it does not know: suspected first, believed at a second look, and never in implausible numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from worker.lifecycle.facts import HOUR, Micros
from worker.store import keys
from worker.store.client import Client, Command
from worker.store.replies import fields

WINDOW: Micros = HOUR
"""Losses and questions of the last one to two of these are compared."""
KEPT = 100_000
"""Of so many scopes it is known since when they are missing; of more, the newest."""


class Tally(NamedTuple):
    """What was asked about lately, and how much of it GitHub said not to know."""

    asked: int
    """Distinct repositories and members, within a per cent."""
    pending: int
    """Suspected and not believed yet."""
    lost: int
    """Believed to be gone, lately."""


class Breaker(NamedTuple):
    """Whether losses are believed. Open: too many of them came at once to be true."""

    open_since: Micros | None
    passing_until: Micros
    """An operator lets losses through until then, 0 if nobody does."""


class Suspects:
    """Remembers what GitHub did not know, and since when."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def looked(self, scope: str, at: Micros, *, expected: bool) -> Micros:
        """It was found missing at `at`; returns when it first was. `expected`: nobody is surprised, so it is no suspect."""
        suspect = ("ZREM", keys.SUSPECTS, scope) if expected else ("ZADD", keys.SUSPECTS, at, scope)
        _, _, score, _ = self._client.run([
            Command(("ZADD", keys.MISSING, "NX", at, scope)),
            Command(suspect),
            Command(("ZSCORE", keys.MISSING, scope)),
            Command(("ZREMRANGEBYRANK", keys.MISSING, 0, -KEPT - 1)),
        ])  # fmt: skip
        return int(float(cast("bytes", score)))

    def unanswered(self, scope: str, at: Micros) -> Micros:
        """GitHub would not say at `at`; returns since when it would not."""
        return self.looked(f"{scope} ?", at, expected=True)

    def believe(self, scope: str, at: Micros) -> None:
        """It is taken for lost. Since when it has been missing stays known."""
        self._client.run([
            Command(("ZREM", keys.SUSPECTS, scope)),
            Command(("ZADD", keys.LOST, at, scope)),
            Command(("ZREMRANGEBYSCORE", keys.LOST, "-inf", at - 2 * WINDOW)),
        ])  # fmt: skip

    def seen(self, found: Iterable[str]) -> None:
        """These are there: whatever was suspected of them is over."""
        gone = tuple(found)
        if gone:
            unanswered = [f"{scope} ?" for scope in gone]
            self._client.run([
                Command(("ZREM", keys.MISSING, *gone, *unanswered)),
                Command(("ZREM", keys.SUSPECTS, *gone)),
                Command(("ZREM", keys.LOST, *gone)),
            ])  # fmt: skip

    def asked(self, about: Iterable[str], now: Micros) -> None:
        """Count what was asked about, each once."""
        subjects = tuple(about)
        if subjects:
            key = keys.asked(now // WINDOW)
            self._client.run([
                Command(("PFADD", key, *subjects)), Command(("PEXPIRE", key, 2 * WINDOW // 1000)),
            ])  # fmt: skip

    def tally(self, now: Micros) -> Tally:
        """How much is missing, beside how much was asked about."""
        hour = now // WINDOW
        # Suspects that nobody has looked for lately are nobody's any more: their policies were removed.
        _, asked, suspected, lost = cast(
            "list[int]",
            self._client.run(
                [
                    Command(("ZREMRANGEBYSCORE", keys.SUSPECTS, "-inf", now - 2 * WINDOW)),
                    Command(("PFCOUNT", keys.asked(hour - 1), keys.asked(hour))),
                    Command(("ZCOUNT", keys.SUSPECTS, now - WINDOW, "+inf")),
                    Command(("ZCOUNT", keys.LOST, now - WINDOW, "+inf")),
                ]
            ),
        )
        return Tally(asked, suspected, lost)

    # The breaker

    def breaker(self) -> Breaker:
        found = fields(self._client.one(Command(("HGETALL", keys.BREAKER))))
        since = found.get("open_since")
        return Breaker(None if since is None else int(since), int(found.get("passing_until", b"0")))

    def open_breaker(self, at: Micros) -> None:
        """Believe no loss any more, until they are plausible again or an operator lets them through."""
        self._client.one(Command(("HSETNX", keys.BREAKER, "open_since", at)))

    def close_breaker(self) -> None:
        self._client.one(Command(("HDEL", keys.BREAKER, "open_since")))

    def let_through(self, until: Micros) -> None:
        """Believe losses until then, however many."""
        self._client.run([
            Command(("HSET", keys.BREAKER, "passing_until", until)), Command(("HDEL", keys.BREAKER, "open_since")),
        ])  # fmt: skip

    def suspected(self, limit: int = 1000) -> list[str]:
        """Scopes that are suspected, those first that nobody has looked for longest."""
        reply = cast("list[bytes]", self._client.one(Command(("ZRANGE", keys.SUSPECTS, 0, limit - 1))))
        return [raw.decode() for raw in reply]
