"""The connection, and the one way in which scripts are run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from typing import NamedTuple, TypeAlias, cast

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from worker.store.urls import ENCODE

Argument: TypeAlias = str | bytes | int
Reply: TypeAlias = object

SOCKET_TIMEOUT = 20.0
"""Seconds. A store that saves, rewrites its log or swaps can stall for some; giving up early only adds to its load."""
CONNECT_TIMEOUT = 5.0
GROUP = 64
"""Commands sent in one transaction. A server that syncs before it answers does so after every 16 KiB that it reads, but
once for a transaction: that halves the time of a batch. A long one would keep others waiting."""
GROUP_WORDS = 12_000
"""Keys and arguments of one transaction, unless one call has more: what a script does grows with them. A full batch of the
first lane fits."""


class ScriptCall(NamedTuple):
    """One script to run."""

    script: str
    keys: Sequence[str]
    args: Sequence[Argument]


class Command(NamedTuple):
    """One plain command to run."""

    words: Sequence[Argument]


class StoreError(Exception):
    """The store cannot be reached, or will not write. Nothing was acknowledged; try again later."""


def connect(url: str, *, retries: int = 3, timeout: float | None = None) -> Redis:
    """A client with every timeout explicit. A command may run twice when a reply is lost; all our scripts allow that.

    `timeout`: seconds, for who would rather do without an answer than wait; what timed out is not tried again.
    """
    broken = (RedisConnectionError,) if timeout else (RedisConnectionError, RedisTimeoutError)
    return Redis.from_url(
        url,
        socket_timeout=timeout or SOCKET_TIMEOUT,
        socket_connect_timeout=timeout or CONNECT_TIMEOUT,
        health_check_interval=0,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries, supported_errors=broken),
        retry_on_error=list(broken),
        decode_responses=False,
    )


def _hint(error: RedisError) -> str:
    """A `%` before two digits is read as an escape, as it should be: only the server sees that it was not meant."""
    return (
        f" Is the password right, and percent-encoded? In a URL, {ENCODE}"
        if isinstance(error, AuthenticationError)
        else ""
    )


def _scripts() -> dict[str, bytes]:
    """The source of every script; what several share goes before those that call it."""
    folder = files("worker.store").joinpath("lua")
    written = {
        path.name.removesuffix(".lua"): path.read_bytes() for path in folder.iterdir() if path.name.endswith(".lua")
    }
    shared = {f"{name[1:]}(".encode(): written.pop(name) for name in sorted(written) if name.startswith("_")}
    return {
        name: b"".join(part for call, part in shared.items() if call in source) + source
        for name, source in written.items()
    }


def _groups(calls: Sequence[ScriptCall | Command]) -> Iterator[list[ScriptCall | Command]]:
    """The calls, in order, as many together as one transaction may have."""
    group: list[ScriptCall | Command] = []
    words = 0
    for call in calls:
        size = len(call.keys) + len(call.args) if isinstance(call, ScriptCall) else len(call.words)
        if group and (len(group) == GROUP or words + size > GROUP_WORDS):
            yield group
            group, words = [], 0
        group.append(call)
        words += size
    if group:
        yield group


class Client:
    """Runs scripts and commands in groups: one round trip and one sync for each group."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._sources = _scripts()
        self._shas = {name: hashlib.sha1(source).hexdigest() for name, source in self._sources.items()}  # noqa: S324 - the protocol's choice

    def run(self, calls: Sequence[ScriptCall | Command], *, atomic: bool = False) -> list[Reply]:
        """Run all of them in order and return a reply for each.

        `atomic`: all or none, with nobody's commands in between.

        Raises:
            StoreError: the store could not be reached, or refused one of them. With `atomic` none was done; without,
                some may have been.

        """
        if not calls:
            return []
        try:
            replies = [reply for group in ([calls] if atomic else _groups(calls)) for reply in self._group(group)]
        except RedisError as error:
            raise StoreError(f"{type(error).__name__}: {error}{_hint(error)}") from error
        for reply in replies:
            if isinstance(reply, RedisError):
                raise StoreError(f"{type(reply).__name__}: {reply}") from reply
        return replies

    def answered(self, calls: Sequence[ScriptCall | Command]) -> list[Reply]:
        """Run all of them with nobody's commands in between; one that was refused has its error in place of a reply.

        Raises:
            StoreError: the store could not be reached.
        """
        try:
            return self._group(calls)
        except RedisError as error:
            raise StoreError(f"{type(error).__name__}: {error}{_hint(error)}") from error

    def _group(self, calls: Sequence[ScriptCall | Command]) -> list[Reply]:
        replies = self._transaction(calls)
        if any(isinstance(reply, NoScriptError) for reply in replies):
            # The server was restarted or its script cache flushed. Scripts allow a second run, so all run again.
            for source in self._sources.values():
                self.redis.script_load(source)
            replies = self._transaction(calls)
        return replies

    def _transaction(self, calls: Sequence[ScriptCall | Command]) -> list[Reply]:
        pipeline = self.redis.pipeline(transaction=len(calls) > 1)
        for call in calls:
            if isinstance(call, ScriptCall):
                pipeline.execute_command(  # type: ignore[no-untyped-call]
                    "EVALSHA", self._shas[call.script], len(call.keys), *call.keys, *call.args
                )
            else:
                pipeline.execute_command(*call.words)  # type: ignore[no-untyped-call]
        try:
            return list(pipeline.execute(raise_on_error=False))
        except ResponseError as error:
            return [error]

    def one(self, call: ScriptCall | Command) -> Reply:
        """Run one of them."""
        return self.run([call])[0]

    def keys(self, pattern: str, page: int) -> Iterator[list[bytes]]:
        """All keys that fit, about so many at a time. One may come twice, and one that is made meanwhile not at all."""
        cursor: int | bytes = 0
        while True:
            reply = self.one(Command(("SCAN", cursor, "MATCH", pattern, "COUNT", page)))
            cursor, names = cast("tuple[int | bytes, list[bytes]]", reply)
            yield names
            if int(cursor) == 0:
                return
