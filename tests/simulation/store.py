"""A store in this process that runs the product's Lua scripts, with a clock that is told what time it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, cast

from lupa.luajit21 import LuaError, LuaRuntime, lua_type
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from worker.lifecycle.facts import Micros
from worker.store.client import Argument, Reply, _scripts
from worker.store.topology import Engine, Transaction


class Fate(Enum):
    """What becomes of one round trip, and of whoever makes it."""

    DONE = "done"
    AWAY = "the store cannot be reached"
    TWICE = "sent again, since the reply was lost"
    LOST = "done, and the reply is lost"
    ENDS_BEFORE = "ends before it"
    ENDS_AFTER = "ends after it"


class EndedError(BaseException):
    """A process is no more: nothing of the product catches it."""


class SimulatedStore:
    """What `Client` asks of a connection. `fate` is asked at every round trip: there others go first."""

    reached: ClassVar[dict[str, set[int]] | None] = None
    """Where stores note which lines of which scripts run, if anybody wants to know."""

    def __init__(self, fate: Callable[[], Fate]) -> None:
        self._fate = fate
        self._lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._store = self._lua.execute(Path(__file__).with_name("store.lua").read_bytes())
        self.now: Micros = 0
        if self.reached is not None:
            self._store[b"watch"]()

    def note_reached(self) -> None:
        """Note what of the scripts has run here."""
        if self.reached is None:
            return
        names = {hashlib.sha1(source).hexdigest().encode(): name for name, source in _scripts().items()}
        for sha, lines in self._store[b"reached"]().items():
            if sha in names:
                self.reached.setdefault(names[sha], set()).update(map(int, lines.values()))

    @classmethod
    def scripts(cls) -> dict[str, tuple[str, set[int]]]:
        """Every script of the product: its source, with what goes before it, and the lines of it that can run."""
        store = cls(lambda: Fate.DONE)._store
        return {
            name: (source.decode(), set(map(int, store[b"lines"](source).values())))
            for name, source in _scripts().items()
        }

    def connection(self) -> Redis:
        """The same, as the product's types have it."""
        return cast("Redis", self)

    def topology(self) -> OneStore:
        """The same as all there is to connect to."""
        return OneStore(self)

    def set_clock(self, now: Micros) -> None:
        self.now = now
        self._store[b"set_clock"](now)

    def restart(self) -> None:
        """It ends and comes back with all that it was told; who is connected is not told so."""
        self._store[b"restart"]()

    def script_load(self, source: bytes) -> None:
        self._store[b"load"](hashlib.sha1(source).hexdigest().encode(), source)

    def pipeline(self, *, transaction: bool) -> _Pipeline:  # noqa: ARG002 - as redis-py has it
        return _Pipeline(self)

    def look(self, *words: Argument) -> Reply:
        """Ask for something without a round trip: nobody goes first."""
        reply = self._run(words)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def round_trip(self, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
        fate = self._fate()
        if fate is Fate.ENDS_BEFORE:
            raise EndedError
        if fate is Fate.AWAY:
            raise RedisConnectionError("the store is away")
        replies = [self._run(words) for words in commands]
        if fate is Fate.TWICE:
            replies = [self._run(words) for words in commands]
        if fate is Fate.ENDS_AFTER:
            raise EndedError
        if fate is Fate.LOST:
            raise RedisConnectionError("the reply is lost")
        return replies

    def _run(self, words: Sequence[Argument]) -> Reply:
        told = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        try:
            return _plain(self._store[b"run"](self._lua.table_from(told)))
        except LuaError as error:
            (message,) = error.args
            text = message.decode() if isinstance(message, bytes) else str(message)
            if "the simulated store has no " in text:
                raise NotImplementedError(text) from error
            return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)


class OneStore:
    """What `Client` asks where a store is: here, always. Whoever is not answered does not try again."""

    pauses: Sequence[float] = ()
    moves = 0
    version = 0
    engine = Engine.SERVER
    name = "simulated"

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store
        self._sent: Sequence[Transaction] = ()

    def owner(self, slot: int) -> OneStore:  # noqa: ARG002 - all are here
        return self

    def primaries(self) -> Sequence[OneStore]:
        return [self]

    def node(self, name: str) -> OneStore:
        raise NotImplementedError(name)

    def moved(self, slot: int, name: str) -> None:
        raise NotImplementedError(slot, name)

    def look(self, seen: int) -> None:
        """Nothing moves."""

    def lost(self, node: object) -> None:
        """It is asked again as ever."""

    def redis(self) -> Redis:
        return self._store.connection()

    def following(self, slot: int) -> Redis:
        raise NotImplementedError(slot)

    def close(self) -> None:
        """Nothing is open."""

    def exchange(self) -> OneStore:
        return OneStore(self._store)

    def send(self, transactions: Sequence[Transaction], replicas: int, replicas_ms: int) -> None:  # noqa: ARG002 - it has none
        self._sent = transactions

    def receive(self) -> tuple[list[list[Reply]], int]:
        loaded = [words[-1] for commands, _ in self._sent for words in commands if words[0] == "SCRIPT"]
        for source in loaded:
            self._store.script_load(cast("bytes", source))
        if loaded:
            return [[b""] for _ in loaded], 0
        return [self._store.round_trip(commands) for commands, _ in self._sent], 0


class _Pipeline:
    def __init__(self, store: SimulatedStore) -> None:
        self._store = store
        self._commands: list[Sequence[Argument]] = []

    def execute_command(self, *words: Argument) -> None:
        self._commands.append(words)

    def execute(self, *, raise_on_error: bool = True) -> list[Reply]:
        replies = self._store.round_trip(self._commands)
        if raise_on_error and (failed := next((reply for reply in replies if isinstance(reply, ResponseError)), None)):
            raise failed
        return replies


def _plain(reply: Any) -> Reply:
    """A reply as redis-py gives it where the protocol is the second: bytes, integers, None and lists."""
    if lua_type(reply) == "table":
        return reply[b"ok"] if reply[b"ok"] is not None else [_plain(part) for part in reply.values()]
    if reply is False:
        return None
    return int(reply) if isinstance(reply, float) else reply
