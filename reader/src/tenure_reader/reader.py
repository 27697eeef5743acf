"""Asks the store: one round trip for each question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Self

from redis import Redis, RedisCluster
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import RedisCluster as AsyncRedisCluster

from tenure_reader.claims import Claims
from tenure_reader.decision import Decision
from tenure_reader.freshness import LONGEST_WAIT_SECONDS, LOOK_SECONDS, WAIT_SECONDS, AtLeast, wrong
from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.lookup import NOTHING, BehindError, GrantStatus, Known, RepositoryRef, evaluation, standing
from tenure_reader.nodes import AsyncNodes, Nodes
from tenure_reader.rules import Wanted
from tenure_reader.times import Micros
from tenure_reader.unknown import UnknownClaims


class Reader:
    """The synchronous form. Threads may share it."""

    def __init__(self, redis: Redis | RedisCluster | Nodes, *, unknown_claims: UnknownClaims | None = None) -> None:
        """`redis`: a client that somebody made, of one server or of a cluster. `connect` makes them itself."""
        self._nodes = redis if isinstance(redis, Nodes) else Nodes.of(redis)
        self.unknown_claims = UnknownClaims() if unknown_claims is None else unknown_claims
        self._known: Known | None = None

    @classmethod
    def connect(cls, url: str, *, unknown_claims: UnknownClaims | None = None) -> Self:
        """The store at `redis://host:port`, `rediss://` or `unix://`: one server, a cluster or Sentinels; what answers there is
        seen with the first question. Of a cluster or of Sentinels, name several hosts, with commas between them.

        Raises:
            ValueError: it is no address of a store.
        """
        return cls(Nodes.at(url), unknown_claims=unknown_claims)

    def evaluate(
        self,
        claims: Claims,
        *,
        package: str | None = None,
        action: str | None = None,
        at_least: AtLeast | None = None,
        wait: float = WAIT_SECONDS,
        now: Micros | None = None,
    ) -> Decision:
        """May a token with these claims publish? Its signature, issuer, audience and times were checked by the caller.

        `package`, `action`: which package, and what is to be done with it, in the registry's words. Where they are left out,
        what the policies that let the token may be used for is in their `packages` and `actions`, and has to be kept.
        `at_least`: policy id → revision. The answer is made of these revisions, or of later ones. Until the store knows of
        them it is asked again, for `wait` seconds, of which 30 count at most.
        `now`: for another moment than the store's clock says.

        Raises:
            BehindError: the store does not know of such a revision yet. It is an UnavailableError.
            UnavailableError: nothing can be decided now.
            ValueError: `at_least` names no revisions, or too many.
        """
        job, wanted, asked = GITHUB_ACTIONS.job(claims), Wanted(package, action), _asked(at_least)
        pauses = _pauses(wait)
        while True:
            try:
                decision, self._known = self._nodes.run(
                    evaluation(self._nodes.router, job, now, self._known, wanted=wanted, at_least=asked)
                )
            except BehindError:
                pause = next(pauses, None)
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                self.unknown_claims.note(claims)
                return decision

    def standing(self, policy_id: str, repository: RepositoryRef) -> GrantStatus:
        """A policy as it stands now, by where it was when it let a token publish.

        Raises:
            UnavailableError: nothing can be decided now.
        """
        found, self._known = self._nodes.run(standing(self._nodes.router, policy_id, repository, self._known))
        return found

    def close(self) -> None:
        self._nodes.close()


class AsyncReader:
    """The same for asyncio."""

    def __init__(
        self, redis: AsyncRedis | AsyncRedisCluster | AsyncNodes, *, unknown_claims: UnknownClaims | None = None
    ) -> None:
        """`redis`: a client that somebody made, of one server or of a cluster. `connect` makes them itself."""
        self._nodes = redis if isinstance(redis, AsyncNodes) else AsyncNodes.of(redis)
        self.unknown_claims = UnknownClaims() if unknown_claims is None else unknown_claims
        self._known: Known | None = None

    @classmethod
    def connect(cls, url: str, *, unknown_claims: UnknownClaims | None = None) -> Self:
        """See `Reader.connect`.

        Raises:
            ValueError: it is no address of a store.
        """
        return cls(AsyncNodes.at(url), unknown_claims=unknown_claims)

    async def evaluate(
        self,
        claims: Claims,
        *,
        package: str | None = None,
        action: str | None = None,
        at_least: AtLeast | None = None,
        wait: float = WAIT_SECONDS,
        now: Micros | None = None,
    ) -> Decision:
        """See `Reader.evaluate`.

        Raises:
            BehindError: the store does not know of such a revision yet. It is an UnavailableError.
            UnavailableError: nothing can be decided now.
            ValueError: `at_least` names no revisions, or too many.
        """
        job, wanted, asked = GITHUB_ACTIONS.job(claims), Wanted(package, action), _asked(at_least)
        pauses = _pauses(wait)
        while True:
            try:
                decision, self._known = await self._nodes.run(
                    evaluation(self._nodes.router, job, now, self._known, wanted=wanted, at_least=asked)
                )
            except BehindError:
                pause = next(pauses, None)
                if pause is None:
                    raise
                await asyncio.sleep(pause)
            else:
                self.unknown_claims.note(claims)
                return decision

    async def standing(self, policy_id: str, repository: RepositoryRef) -> GrantStatus:
        """See `Reader.standing`.

        Raises:
            UnavailableError: nothing can be decided now.
        """
        found, self._known = await self._nodes.run(standing(self._nodes.router, policy_id, repository, self._known))
        return found

    async def close(self) -> None:
        await self._nodes.close()


def _asked(at_least: AtLeast | None) -> AtLeast:
    """
    Raises:
        ValueError: it names no revisions, or too many.
    """
    problem = None if at_least is None else wrong(at_least)
    if problem is not None:
        raise ValueError(f"at_least {problem}")
    return NOTHING if at_least is None else at_least


def _pauses(seconds: float) -> Iterator[float]:
    """Between looks at the store, for so long."""
    pause, longest = LOOK_SECONDS
    end = time.monotonic() + min(seconds, LONGEST_WAIT_SECONDS)
    while (left := end - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 2, longest)
