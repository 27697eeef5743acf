"""The queue: dramatiq, carrying wake-ups. Every option that matters is set here, and why.

A wake-up says that a lane of a partition has something due. It may be lost, delayed or repeated without harm: the
inbox is the truth, and the scheduler rings again for what stays due. While the server is away, workers look by themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, cast

import redis
from dramatiq import Message, MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import current_millis
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.middleware import Middleware

from worker.logs import Outage, logger, scrubbed
from worker.store.client import StoreError
from worker.store.topology import Servers, slot_of

IDLE_MS = 1_000
"""How long an idle consumer waits for the bell before it looks by itself."""
TIMEOUT_SECONDS = 1.5
"""How long a server that hangs is waited for: longer than the bell. A wake-up is worth no more, since workers look by
themselves once they know."""
BELL_MAX = 64
"""Rings that are kept for consumers that are all busy."""
QUEUE_MAX = 500
"""Wake-ups that a queue keeps. While nobody consumes, the oldest go: whoever comes back needs one for each lane."""
ENDED_MS = 3600 * 1000
"""After this long without a sign of life a consumer has ended, whatever the clocks of hosts say: what it had fetched and
not answered is dropped. A wake-up that is lost was rung again long before."""
NAMESPACE = "{tenure}"
"""What all of its keys begin with: they are in one slot of a cluster, and scripts of dramatiq's, which build keys, run on the
node that owns it."""
MAINTENANCE_CHANCE = 0
"""dramatiq's own cleaning lists all keys of the database, in which the store may live too. `forget_ended` needs none."""
DEAD_MESSAGE_TTL_MS = 24 * 3600 * 1000
"""A wake-up that failed is of no value: the event's own record is in the inbox."""


class BlockingConsumer(_RedisConsumer):
    """Waits for a bell instead of polling, and puts aside what it cannot decode.

    The stock consumer sleeps between looks: slow when it sleeps long, busy when it sleeps short. A blocking pop on a
    list that every enqueue pushes to is both fast and idle.
    """

    broker: BlockingBroker

    def __init__(self, broker: BlockingBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]
        self._room = threading.Event()
        self._back = threading.Event()
        """Never set: waiting for it is waiting for a while."""

    def __next__(self) -> MessageProxy | None:
        try:
            while True:
                if not self.message_cache:
                    room = self.prefetch - self.outstanding_message_count
                    if room <= 0:
                        self._room.clear()
                        self._room.wait(IDLE_MS / 1000)
                        return None
                    self.message_cache = self.broker.do_fetch(self.queue_name, room)
                    self.broker.answered()
                if not self.message_cache:
                    self.broker.await_wake_up(self.queue_name)
                    return None
                data = self.message_cache.pop(0)
                if data is None:
                    continue
                try:
                    message: Message[Any] = Message.decode(data)
                except DecodeError:
                    self._put_aside(data)
                    continue
                self.queued_message_ids.add(message.message_id)
                return MessageProxy(message)
        except redis.RedisError as error:
            # The server is away, or a replica, or its disk is full: the connection is made anew by itself.
            self.broker.failed("wake-ups cannot be fetched", error)
            self._back.wait(IDLE_MS / 1000)
            return None

    def ack(self, message: MessageProxy) -> None:
        self._answer(super().ack, message)

    def nack(self, message: MessageProxy) -> None:
        self._answer(super().nack, message)

    def _answer(self, answer: Callable[[MessageProxy], None], message: MessageProxy) -> None:
        """Tell the broker what became of a wake-up. If it cannot be told, the wake-up is dropped some time later."""
        try:
            answer(message)
        except (redis.RedisError, ConnectionClosed) as error:
            self.broker.failed("wake-ups cannot be answered", error)
        self._room.set()

    def _put_aside(self, data: bytes) -> None:
        """Reject a message that cannot be decoded. Fetching returns no ids, so it is looked for among what we hold."""
        held = self.broker.held(self.queue_name)
        for message_id, stored in held.items():
            if stored == data:
                self.broker.do_nack(self.queue_name, message_id)
        logger("broker").error("wake-up cannot be decoded, put aside", queue=self.queue_name, bytes=len(data))


class BlockingBroker(RedisBroker):
    """A Redis broker that rings, and that has no delay queues: waiting is the inbox's business."""

    client: redis.Redis

    def __init__(self, client: redis.Redis, middleware: list[Middleware]) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            client=client,
            middleware=middleware,
            namespace=NAMESPACE,
            maintenance_chance=MAINTENANCE_CHANCE,
            dead_message_ttl=DEAD_MESSAGE_TTL_MS,
        )
        self.away = threading.Event()
        """Set while the server cannot be used."""
        self._outage = Outage(logger("broker"))

    def failed(self, what: str, error: Exception) -> None:
        """Say that something cannot be done on the server."""
        self.away.set()
        self._outage.failed(what, error=scrubbed(f"{type(error).__name__}: {error}"))

    def answered(self) -> None:
        """The server can be used."""
        self.away.clear()
        self._outage.over("wake-ups are fetched again")

    @property
    def consumer_class(self) -> type[BlockingConsumer]:
        return BlockingConsumer

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        if delay is not None:
            msg = "this broker does not delay; let the inbox wait"
            raise ValueError(msg)
        sent = super().enqueue(message)
        queue = f"{self.namespace}:{message.queue_name}"
        pipeline = self.client.pipeline(transaction=False)
        pipeline.rpush(self._wake_list(message.queue_name), "")
        pipeline.ltrim(self._wake_list(message.queue_name), -BELL_MAX, -1)
        pipeline.llen(queue)
        surplus = pipeline.execute()[-1] - QUEUE_MAX
        if surplus > 0:
            dropped = cast("list[bytes] | None", self.client.lpop(queue, surplus))
            if dropped:
                self.client.hdel(f"{queue}.msgs", *[raw.decode() for raw in dropped])
        return sent

    def forget_ended(self, queues: Iterable[str]) -> int:
        """Drop what consumers of these queues had fetched when they ended; returns how many consumers had."""
        heartbeats = f"{self.namespace}:__heartbeats__"
        ended = self.client.zrangebyscore(heartbeats, "-inf", current_millis() - ENDED_MS)
        for consumer in (raw.decode() for raw in cast("list[bytes]", ended)):
            for queue in queues:
                acks = f"{self.namespace}:__acks__.{consumer}.{queue}"
                ids = [raw.decode() for raw in cast("set[bytes]", self.client.smembers(acks))]
                if ids:
                    self.client.hdel(f"{self.namespace}:{queue}.msgs", *ids)
                    self.client.delete(acks)
            self.client.zrem(heartbeats, consumer)
        return len(cast("list[bytes]", ended))

    def await_wake_up(self, queue_name: str) -> None:
        """Return when something was enqueued, or after `IDLE_MS`."""
        self.client.blpop([self._wake_list(queue_name)], timeout=IDLE_MS / 1000)

    def held(self, queue_name: str) -> dict[str, bytes]:
        """The messages that this process has fetched and not answered for: id → data."""
        acks = f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"
        ids = [raw.decode() for raw in self.client.smembers(acks)]  # type: ignore[union-attr]
        stored = self.client.hmget(f"{self.namespace}:{queue_name}.msgs", ids) if ids else []
        return {message_id: data for message_id, data in zip(ids, stored, strict=True) if isinstance(data, bytes)}

    def _wake_list(self, queue_name: str) -> str:
        return f"{self.namespace}:{queue_name}.wakeups"


def make_broker(url: str, middleware: list[Middleware], *, otherwise: str | None = None) -> BlockingBroker:
    """The broker for a URL; for `otherwise`, where the server has no such database, as managed ones may not.
    `middleware` is all there is: none of dramatiq's own is added.

    Raises:
        StoreError: a Redis server that is to be asked for its databases cannot be reached.

    Retries is left out because attempts are counted on the event, TimeLimit because every wait has a timeout of its
    own, Prometheus because it opens a port on all interfaces.
    """
    where = url if otherwise is None or _has_database(url) else otherwise
    return BlockingBroker(_following(Servers(where, timeout=TIMEOUT_SECONDS)), middleware)


def _following(servers: Servers) -> redis.Redis:
    """A client of the node that has the queues, wherever they go."""
    return servers.following(slot_of(NAMESPACE))


def _has_database(url: str) -> bool:
    """Whether the server has the database that a URL names, and lets us use it."""
    client = _following(Servers(url))
    try:
        client.ping()
    except redis.ResponseError:
        return False
    except redis.RedisError as error:
        raise StoreError(f"{type(error).__name__}: {error}") from error
    finally:
        client.close()
    return True
