"""A store in this process that runs the product's Lua scripts: one server, or a cluster, whose clocks are told what time it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, cast

from lupa.luajit21 import LuaError, LuaRuntime, lua_type
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError, NoScriptError, ResponseError

from tenure_reader.topology import Address
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


class MisusedError(BaseException):
    """What a cluster would refuse, or the simulated store cannot do: nothing of the product catches it."""


class SimulatedStore:
    """What `Client` asks of its connections. `fate` is asked at every round trip: there others go first."""

    reached: ClassVar[dict[str, set[int]] | None] = None
    """Where stores note which lines of which scripts run, if anybody wants to know."""

    def __init__(self, fate: Callable[[], Fate], nodes: int = 1) -> None:
        self._fate = fate
        self._lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._store = self._lua.execute(Path(__file__).with_name("store.lua").read_bytes())
        self.addresses = [Address(f"node-{number}", 7000) for number in range(nodes)]
        self._clocks = [0] * nodes
        self.behind = False
        """Whether the replica of one server lacks what was written since it fell behind."""
        for address in self.addresses:
            self._store[b"add"](address.host.encode(), address.port)
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

    @property
    def apart(self) -> bool:
        """Whether it is a cluster."""
        return len(self.addresses) > 1

    def connection(self) -> Redis:
        """Its first node, as the product's types have a connection."""
        return cast("Redis", _Connection(self))

    def topology(self) -> SimulatedTopology:
        """The same as all there is to connect to."""
        return SimulatedTopology(self)

    # Who has what, and what time it is there

    def owner(self, key: str) -> int:
        """The node that has a key."""
        return int(self._store[b"owner"](key.encode())) - 1

    def move(self, key: str, node: int) -> None:
        """The slot of a key is another node's from now on, with all that is in it."""
        self._store[b"move"](key.encode(), node + 1)

    def clock(self, node: int) -> Micros:
        return self._clocks[node]

    @property
    def now(self) -> Micros:
        """What the first node's clock shows."""
        return self._clocks[0]

    def set_clock(self, now: Micros, node: int = 0) -> None:
        self._clocks[node] = now
        self._store[b"set_clock"](node + 1, now)

    def restart(self, node: int = 0) -> None:
        """It ends and comes back with all that it was told; who is connected is not told so."""
        self._store[b"restart"](node + 1)

    def fall_behind(self) -> None:
        """The replica hears of nothing from now on."""
        self.behind = True
        self._store[b"fall_behind"](1)

    def catch_up(self) -> None:
        """The replica has everything again."""
        self.behind = False
        self._store[b"catch_up"](1)

    def fail_over(self) -> None:
        """The replica takes the server's place, with what it has."""
        self.behind = False
        self._store[b"fail_over"](1)

    def script_load(self, node: int, source: bytes) -> None:
        self._store[b"load"](node + 1, hashlib.sha1(source).hexdigest().encode(), source)

    # Commands

    def look(self, *words: Argument, node: int | None = None) -> Reply:
        """Ask for something without a round trip: nobody goes first. `node`: instead of whichever has the key."""
        self._store[b"begin"](1 + (self.owner(str(words[1])) if node is None else node))
        reply = self._run(words)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def round_trip(self, transactions: Sequence[Sequence[Sequence[Argument]]], node: int = 0) -> list[list[Reply]]:
        """What a node answers to transactions, in each of which a cluster allows keys of one slot only."""
        fate = self._fate()
        if fate is Fate.ENDS_BEFORE:
            raise EndedError
        if fate is Fate.AWAY:
            raise RedisConnectionError("the store is away")
        replies = [self._transaction(commands, node) for commands in transactions]
        if fate is Fate.TWICE:
            replies = [self._transaction(commands, node) for commands in transactions]
        if fate is Fate.ENDS_AFTER:
            raise EndedError
        if fate is Fate.LOST:
            raise RedisConnectionError("the reply is lost")
        return replies

    def _transaction(self, commands: Sequence[Sequence[Argument]], node: int) -> list[Reply]:
        self._store[b"begin"](node + 1)
        return [self._run(words) for words in commands]

    def _run(self, words: Sequence[Argument]) -> Reply:
        told = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        try:
            return _plain(self._store[b"run"](self._lua.table_from(told)))
        except LuaError as error:
            (message,) = error.args
            text, _, _ = (message.decode() if isinstance(message, bytes) else str(message)).partition(
                "\nstack traceback"
            )
            if "MISUSED " in text:
                raise MisusedError(text.partition("MISUSED ")[2]) from error
            if text.startswith("MOVED "):
                return MovedError(text.removeprefix("MOVED "))
            return NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)


class SimulatedTopology:
    """What `Client` asks where a store is. Whoever is not answered does not try again; who is told that something has moved looks
    there.
    """

    pauses: Sequence[float] = ()

    def __init__(self, store: SimulatedStore) -> None:
        self._store = store
        self._nodes = [SimulatedNode(store, number) for number in range(len(store.addresses))]
        self._known: dict[int, SimulatedNode] = {}
        """Slot → the node that was found to have it; the first one has the others."""
        self.moves = 0
        self.version = 0
        self.engine = Engine.CLUSTER if store.apart else Engine.SERVER

    def owner(self, slot: int) -> SimulatedNode:
        return self._known.get(slot, self._nodes[0])

    def primaries(self) -> Sequence[SimulatedNode]:
        return self._nodes

    def node(self, name: str) -> SimulatedNode:
        return next(node for node in self._nodes if node.name == name)

    def moved(self, slot: int, name: str) -> None:
        self._known[slot] = self.node(name)
        self.version += 1
        self.moves += 1

    def look(self, seen: int) -> None:
        """Whoever comes to the wrong node is told so."""

    def lost(self, node: object) -> None:
        """It is asked again as ever."""

    def redis(self) -> Redis:
        return self._store.connection()

    def following(self, slot: int) -> Redis:
        raise NotImplementedError(slot)

    def close(self) -> None:
        """Nothing is open."""


class SimulatedNode:
    """One server."""

    def __init__(self, store: SimulatedStore, number: int) -> None:
        self._store = store
        self.number = number
        self.name = str(store.addresses[number])

    def admits(self) -> bool:
        raise NotImplementedError

    def exchange(self) -> SimulatedExchange:
        return SimulatedExchange(self._store, self.number)


class SimulatedExchange:
    """One round trip with it: each transaction is a point at which others go first, too."""

    def __init__(self, store: SimulatedStore, node: int) -> None:
        self._store = store
        self._node = node
        self._sent: Sequence[Transaction] = ()

    def send(self, transactions: Sequence[Transaction], replicas: int, replicas_ms: int) -> None:  # noqa: ARG002 - it has one, or none in time
        self._sent = transactions

    def receive(self) -> tuple[list[list[Reply]], int]:
        loaded = [words[-1] for commands, _ in self._sent for words in commands if words[0] == "SCRIPT"]
        for source in loaded:
            self._store.script_load(self._node, cast("bytes", source))
        if loaded:
            return [[b""] for _ in loaded], 0
        replies = [self._store.round_trip([commands], self._node)[0] for commands, _ in self._sent]
        return replies, int(not self._store.behind)


class _Connection:
    def __init__(self, store: SimulatedStore) -> None:
        self._store = store

    def pipeline(self, *, transaction: bool) -> _Pipeline:  # noqa: ARG002 - as redis-py has it
        return _Pipeline(self._store)


class _Pipeline:
    def __init__(self, store: SimulatedStore) -> None:
        self._store = store
        self._commands: list[Sequence[Argument]] = []

    def execute_command(self, *words: Argument) -> None:
        self._commands.append(words)

    def execute(self, *, raise_on_error: bool = True) -> list[Reply]:
        (replies,) = self._store.round_trip([self._commands])
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
