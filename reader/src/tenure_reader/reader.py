"""Asks the store: one round trip for each question."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Self, cast

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from tenure_reader.claims import Claims
from tenure_reader.decision import Decision
from tenure_reader.freshness import LONGEST_WAIT_SECONDS, LOOK_SECONDS, WAIT_SECONDS, AtLeast, wrong
from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.lookup import (
    NOTHING,
    AnswerT,
    BehindError,
    Command,
    Conversation,
    GrantStatus,
    RepositoryRef,
    UnavailableError,
    evaluation,
    standing,
)
from tenure_reader.rules import Wanted
from tenure_reader.times import Micros
from tenure_reader.unknown import UnknownClaims

TIMEOUT = 2.0
"""Seconds. A token's bearer waits; whoever cannot be answered soon had better try again."""

REPEATED = 1
"""Once, for a connection that the server closed while it was idle."""


class Reader:
    """The synchronous form. Threads may share it."""

    def __init__(self, redis: Redis, *, unknown_claims: UnknownClaims | None = None) -> None:
        self._redis = redis
        self.unknown_claims = UnknownClaims() if unknown_claims is None else unknown_claims
        self._partitions: int | None = None

    @classmethod
    def connect(cls, url: str, *, unknown_claims: UnknownClaims | None = None) -> Self:
        retry = Retry(NoBackoff(), REPEATED)
        redis = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=retry)
        return cls(redis, unknown_claims=unknown_claims)

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
                decision = self._converse(evaluation(job, now, self._partitions, wanted, asked))
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
        return self._converse(standing(policy_id, repository, self._partitions))

    def close(self) -> None:
        self._redis.close()

    def _converse(self, conversation: Conversation[AnswerT]) -> AnswerT:
        try:
            commands = next(conversation)
            while True:
                commands = conversation.send(self._send(commands))
        except StopIteration as end:
            answer, self._partitions = cast("tuple[AnswerT, int | None]", end.value)
            return answer

    def _send(self, commands: Sequence[Command]) -> list[object]:
        try:
            pipeline = self._redis.pipeline(transaction=True)
            for words in commands:
                pipeline.execute_command(*words)  # type: ignore[no-untyped-call]
            return list(pipeline.execute())
        except RedisError as error:
            raise UnavailableError(f"{type(error).__name__}: {error}") from error


class AsyncReader:
    """The same for asyncio."""

    def __init__(self, redis: AsyncRedis, *, unknown_claims: UnknownClaims | None = None) -> None:
        self._redis = redis
        self.unknown_claims = UnknownClaims() if unknown_claims is None else unknown_claims
        self._partitions: int | None = None

    @classmethod
    def connect(cls, url: str, *, unknown_claims: UnknownClaims | None = None) -> Self:
        retry = AsyncRetry(NoBackoff(), REPEATED)
        redis = AsyncRedis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=retry)
        return cls(redis, unknown_claims=unknown_claims)

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
                decision = await self._converse(evaluation(job, now, self._partitions, wanted, asked))
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
        return await self._converse(standing(policy_id, repository, self._partitions))

    async def close(self) -> None:
        await self._redis.aclose()

    async def _converse(self, conversation: Conversation[AnswerT]) -> AnswerT:
        try:
            commands = next(conversation)
            while True:
                commands = conversation.send(await self._send(commands))
        except StopIteration as end:
            answer, self._partitions = cast("tuple[AnswerT, int | None]", end.value)
            return answer

    async def _send(self, commands: Sequence[Command]) -> list[object]:
        cancelled = _cancellations()
        try:
            pipeline = self._redis.pipeline(transaction=True)
            for words in commands:
                pipeline.execute_command(*words)
            replies = list(await pipeline.execute())
        except RedisError as error:
            raise UnavailableError(f"{type(error).__name__}: {error}") from error
        if _cancellations() > cancelled:
            # redis-py sends with `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes in the same
            # moment in which the sending ends: https://github.com/python/cpython/issues/86296
            raise asyncio.CancelledError
        return replies


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


def _cancellations() -> int:
    """How often the running task was cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
