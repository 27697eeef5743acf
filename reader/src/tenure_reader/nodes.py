"""Sends what a router says to whom it says: one pool of connections for each node."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self, TypeVar

from redis import Redis, RedisCluster
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import RedisCluster as AsyncRedisCluster
from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import SSLConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from tenure_reader.routing import FailureKind, NodeError, Pause, Router, Send, Steps
from tenure_reader.topology import Address, StoreUrl

ResultT = TypeVar("ResultT")

TIMEOUT = 2.0
"""Seconds. A token's bearer waits; whoever cannot be answered soon had better try again."""
BRIEF = 0.5
"""Seconds for who is asked about others."""
NOWHERE = Address("", 0)
"""Of a server that is reached by a given client, or by a socket."""
CREDENTIALS = frozenset({"username", "password", "credential_provider", "client_name", "socket_keepalive"})
"""Of a given cluster's client, what its nodes are reached by, too; beside what begins with `ssl_`."""


FAILURES: tuple[tuple[type[RedisError], FailureKind], ...] = (
    (AuthenticationError, "login"), (NoPermissionError, "forbidden"), (RedisTimeoutError, "silent"), (MovedError, "moved"),
    (RedisConnectionError, "away"), (AskError, "moving"), (TryAgainError, "moving"), (ClusterDownError, "passing"),
    (MasterDownError, "passing"), (ReadOnlyError, "passing"), (ClusterError, "passing"),
)  # fmt: skip
"""The first that fits; a wrong password is a lost connection, too."""


def failure_of(error: RedisError) -> NodeError:
    refused: FailureKind = "refused"
    kind = next((kind for of, kind in FAILURES if isinstance(error, of)), refused)
    to = Address(error.host, error.port) if isinstance(error, AskError) else None
    return NodeError(kind, f"{type(error).__name__}: {error}", to)


def _replies(replies: Iterable[object]) -> list[object]:
    return [failure_of(reply) if isinstance(reply, RedisError) else reply for reply in replies]


class _Use(NamedTuple):
    """What a client is for."""

    to: Address
    brief: bool
    as_sentinel: bool

    @classmethod
    def of(cls, send: Send) -> Self:
        return cls(send.to, send.brief, send.as_sentinel)

    @property
    def timeouts(self) -> dict[str, Any]:
        seconds = BRIEF if self.brief else TIMEOUT
        return {"socket_timeout": seconds, "socket_connect_timeout": seconds, "protocol": 2}


GIVEN = _Use(NOWHERE, brief=False, as_sentinel=False)


class _Store(NamedTuple):
    """A store by its address."""

    url: StoreUrl

    @property
    def router(self) -> Router:
        if self.url.addresses:
            return Router(self.url.addresses, self.url.primary)
        return Router([NOWHERE], discovered=False)

    def at(self, use: _Use) -> str:
        if use.as_sentinel:
            return self.url.at_sentinel(use.to)
        return self.url.at(None if use.to == NOWHERE else use.to)


def _cluster_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """How a given cluster's client reaches its nodes."""
    options = {name: value for name, value in given.items() if name in CREDENTIALS or name.startswith("ssl_")}
    kind = given.get("connection_class")
    ssl = bool(given.get("ssl")) or (isinstance(kind, type) and issubclass(kind, (SSLConnection, AsyncSSLConnection)))
    return {**options, "ssl": True} if ssl else {name: options[name] for name in options.keys() & CREDENTIALS}


class Nodes:
    """The synchronous form. Threads may share it."""

    def __init__(self, router: Router, connect: Callable[[_Use], Redis]) -> None:
        self.router = router
        self._connect = connect
        self._clients: dict[_Use, Redis] = {}

    @classmethod
    def at(cls, address: str) -> Self:
        """
        Raises:
            ValueError: it is no address of a store.
        """
        store = _Store(StoreUrl.read(address))
        once = Retry(NoBackoff(), 0)
        return cls(store.router, lambda use: Redis.from_url(store.at(use), retry=once, **use.timeouts))

    @classmethod
    def of(cls, redis: Redis | RedisCluster) -> Self:
        """Those of a client that somebody made."""
        if not isinstance(redis, RedisCluster):
            nodes = cls(Router([NOWHERE], discovered=False), lambda _: redis)
            nodes.client(GIVEN)
            return nodes
        options = _cluster_options(redis.get_connection_kwargs())  # type: ignore[no-untyped-call]
        once = Retry(NoBackoff(), 0)
        seeds = [Address(node.host, node.port) for node in redis.get_nodes()]  # type: ignore[no-untyped-call]
        return cls(
            Router(seeds), lambda use: Redis(host=use.to.host, port=use.to.port, retry=once, **use.timeouts, **options)
        )

    def run(self, steps: Steps[ResultT]) -> ResultT:
        """
        Raises:
            UnavailableError: nobody answers in time who may.
        """
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = steps.send([])
                    continue
                try:
                    replies = self._send(step)
                except RedisError as error:
                    step = steps.throw(failure_of(error))
                else:
                    step = steps.send(replies)
        except StopIteration as end:
            result: ResultT = end.value
            return result

    def _send(self, send: Send) -> list[object]:
        pipeline = self.client(_Use.of(send)).pipeline(transaction=send.atomic)
        for words in send.commands:
            pipeline.execute_command(*words)  # type: ignore[no-untyped-call]
        return _replies(pipeline.execute(raise_on_error=not send.lenient))

    def client(self, use: _Use) -> Redis:
        client = self._clients.get(use)
        if client is None:
            # Two threads may make one each; the one that is not kept ends with its connections.
            client = self._clients.setdefault(use, self._connect(use))
            for gone in self._unused(use):
                gone.close()
        return client

    def _unused(self, use: _Use) -> list[Redis]:
        """Clients of nodes that are gone; they are not kept any more."""
        known = self.router.known
        gone = [each for each in list(self._clients) if each.to not in known and each != use]
        return [client for client in (self._clients.pop(each, None) for each in gone) if client is not None]

    def at_address(self, address: Address) -> Redis:
        """The client of one node, for what is asked there whatever its place is."""
        return self.client(_Use(address, brief=False, as_sentinel=False))

    def close(self) -> None:
        for client in list(self._clients.values()):
            client.close()


class AsyncNodes:
    """The same for asyncio."""

    def __init__(self, router: Router, connect: Callable[[_Use], AsyncRedis]) -> None:
        self.router = router
        self._connect = connect
        self._clients: dict[_Use, AsyncRedis] = {}

    @classmethod
    def at(cls, address: str) -> Self:
        """
        Raises:
            ValueError: it is no address of a store.
        """
        store = _Store(StoreUrl.read(address))
        once = AsyncRetry(NoBackoff(), 0)
        return cls(store.router, lambda use: AsyncRedis.from_url(store.at(use), retry=once, **use.timeouts))

    @classmethod
    def of(cls, redis: AsyncRedis | AsyncRedisCluster) -> Self:
        """Those of a client that somebody made."""
        if not isinstance(redis, AsyncRedisCluster):
            nodes = cls(Router([NOWHERE], discovered=False), lambda _: redis)
            nodes._clients[GIVEN] = redis
            return nodes
        options = _cluster_options(redis.get_connection_kwargs())
        once = AsyncRetry(NoBackoff(), 0)
        manager = redis.nodes_manager
        seeds = [
            Address(node.host, int(node.port))
            for node in (*manager.startup_nodes.values(), *manager.nodes_cache.values())
        ]
        return cls(
            Router(tuple(dict.fromkeys(seeds))),
            lambda use: AsyncRedis(host=use.to.host, port=use.to.port, retry=once, **use.timeouts, **options),
        )

    async def run(self, steps: Steps[ResultT]) -> ResultT:
        """
        Raises:
            UnavailableError: nobody answers in time who may.
        """
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = steps.send([])
                    continue
                try:
                    replies = await self._send(step)
                except RedisError as error:
                    step = steps.throw(failure_of(error))
                else:
                    step = steps.send(replies)
        except StopIteration as end:
            result: ResultT = end.value
            return result

    async def _send(self, send: Send) -> list[object]:
        cancelled = _cancellations()
        pipeline = (await self.client(_Use.of(send))).pipeline(transaction=send.atomic)
        for words in send.commands:
            pipeline.execute_command(*words)
        replies = _replies(await pipeline.execute(raise_on_error=not send.lenient))
        if _cancellations() > cancelled:
            # redis-py sends with `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes in the same
            # moment in which the sending ends: https://github.com/python/cpython/issues/86296
            raise asyncio.CancelledError
        return replies

    async def client(self, use: _Use) -> AsyncRedis:
        client = self._clients.get(use)
        if client is None:
            client = self._clients[use] = self._connect(use)
            known = self.router.known
            gone = [self._clients.pop(each) for each in list(self._clients) if each.to not in known and each != use]
            for each in gone:
                await each.aclose()
        return client

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()


def _cancellations() -> int:
    """How often the running task was cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
