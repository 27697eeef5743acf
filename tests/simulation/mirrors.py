"""The reader's side on the simulated store; and the product's mirror: its own thread's work, step by step, in simulated time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError

from tenure_reader.mirror import Mirror
from tenure_reader.nodes import Nodes
from tenure_reader.routing import Router
from tenure_reader.source import Source
from tests.simulation.store import SimulatedStore
from worker.store.client import Argument, Reply

Waits = Callable[[float], None]
"""So many seconds pass, while others go first."""


class Wire(Redis):
    """redis-py's own commands and its own reading of replies, with a node of the simulated store at the other end."""

    def __init__(self, store: SimulatedStore, waits: Waits, node: int = 0) -> None:
        super().__init__(protocol=2)
        self._store = store
        self._waits = waits
        self._node = node

    def execute_command(self, *words: Any, **options: Any) -> Any:
        (reply,) = self.exchanged([words], together=True)
        if reply is None and b"BLOCK" in words:
            self._waits(int(words[words.index(b"BLOCK") + 1]) / 1000)
        return self.understood(words, reply, options, raises=True)

    def exchanged(self, commands: Sequence[Sequence[Argument]], *, together: bool) -> list[Reply]:
        """`together`: in one transaction."""
        # "XINFO STREAM" and the like are one word here and two on the wire.
        asked = [[*str(words[0]).split(), *words[1:]] for words in commands]
        transactions = [asked] if together else [[words] for words in asked]
        return [reply for replies in self._store.round_trip(transactions, self._node) for reply in replies]

    def understood(self, words: Sequence[Any], reply: Any, options: dict[str, Any], *, raises: bool) -> Any:
        if isinstance(reply, RedisError):
            if raises:
                raise reply
            return reply
        callbacks: dict[Any, Any] = self.response_callbacks
        # Of a key's name redis-py keeps account for its own cache, and does not tell who reads the reply.
        told = {name: value for name, value in options.items() if name != "keys"}
        return callbacks[words[0]](reply, **told) if words[0] in callbacks else reply

    def pipeline(self, transaction: Any = True, shard_hint: Any = None) -> Pipeline:  # noqa: ARG002 - as redis-py has it
        return Wires(self, together=bool(transaction))


class Wires(Pipeline):
    """Several commands in one round trip."""

    def __init__(self, wire: Wire, *, together: bool) -> None:
        super().__init__(wire.connection_pool, wire.response_callbacks, transaction=together, shard_hint=None)
        self._wire = wire
        self._together = together

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        asked, self.command_stack = self.command_stack, []
        replies = self._wire.exchanged([words for words, _ in asked], together=self._together) if asked else []
        return [
            self._wire.understood(words, reply, options, raises=raise_on_error)
            for (words, options), reply in zip(asked, replies, strict=True)
        ]


def nodes_of(store: SimulatedStore, waits: Waits) -> Nodes:
    """The reader's way to the simulated store. A cluster is known by one of its nodes."""
    if not store.apart:
        return Nodes.of(Wire(store, waits))
    return Nodes(Router(store.addresses[:1]), lambda use: Wire(store, waits, store.addresses.index(use.to)))


class SimulatedSource(Source):
    """A mirror's source with its connections to the simulated store."""

    def __init__(self, store: SimulatedStore, waits: Waits) -> None:
        super().__init__("redis://simulated")
        self._nodes = nodes_of(store, waits)


class Never(threading.Event):
    """What nobody sets: a process is never stopped, only ended. To wait for it takes simulated time."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self._waits = waits

    def wait(self, timeout: float | None = None) -> bool:
        self._waits(timeout or 0.0)
        return False


class SimulatedMirror(Mirror):
    """A mirror whose thread is a process of the simulated world."""

    def __init__(self, store: SimulatedStore, waits: Waits) -> None:
        super().__init__("redis://simulated")
        self._source = SimulatedSource(store, waits)
        self._stopped = Never(waits)

    def follow(self) -> None:
        """What its thread does."""
        self._run()

    def _distrust(self, reason: str) -> None:
        # There is no listener here: the error is the mirror's own, or this world's.
        assert "listener" not in reason, reason
        super()._distrust(reason)
