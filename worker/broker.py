"""The queue: dramatiq, carrying wake-ups. Every option that matters is set here, and why.

A wake-up says that a lane of a partition has something due. It may be lost, delayed or repeated without harm: the
inbox is the truth, and the scheduler rings again for what stays due.
"""

from __future__ import annotations

import threading
from typing import Any

import redis
from dramatiq import Broker, Message, MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.middleware import Middleware

from worker.logs import logger
from worker.settings import SettingsError
from worker.store.client import connect

IDLE_MS = 1_000
"""How long an idle consumer waits for the bell before it looks by itself."""
BELL_MAX = 64
"""Rings that are kept for consumers that are all busy."""
HEARTBEAT_TIMEOUT_MS = 10_000
"""After this long without a sign of life a worker's messages go back to the queue. The default is a minute."""
MAINTENANCE_CHANCE = 10_000
"""Of a million commands, how many clean up after dead workers. It lists all keys of the broker's database, which holds
little else than wake-ups; a lost wake-up is rung again within two seconds anyway."""
DEAD_MESSAGE_TTL_MS = 24 * 3600 * 1000
"""A wake-up that failed is of no value: the event's own record is in the inbox."""


class BellConsumer(_RedisConsumer):
    """Waits for a bell instead of polling, and puts aside what it cannot decode.

    The stock consumer sleeps between looks: slow when it sleeps long, busy when it sleeps short. A blocking pop on a
    list that every enqueue pushes to is both fast and idle.
    """

    broker: BellBroker

    def __init__(self, broker: BellBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]
        self._room = threading.Event()

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
                if not self.message_cache:
                    self.broker.await_bell(self.queue_name)
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
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def ack(self, message: MessageProxy) -> None:
        super().ack(message)  # type: ignore[no-untyped-call]
        self._room.set()

    def nack(self, message: MessageProxy) -> None:
        super().nack(message)  # type: ignore[no-untyped-call]
        self._room.set()

    def _put_aside(self, data: bytes) -> None:
        """Reject a message that cannot be decoded. Fetching returns no ids, so it is looked for among what we hold."""
        held = self.broker.held(self.queue_name)
        for message_id, stored in held.items():
            if stored == data:
                self.broker.do_nack(self.queue_name, message_id)
        logger("broker").error("wake-up cannot be decoded, put aside", queue=self.queue_name, bytes=len(data))


class BellBroker(RedisBroker):
    """A Redis broker that rings, and that has no delay queues: waiting is the inbox's business."""

    client: redis.Redis

    @property
    def consumer_class(self) -> type[BellConsumer]:
        return BellConsumer

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
        pipeline = self.client.pipeline(transaction=False)
        pipeline.rpush(self._bell(message.queue_name), "")
        pipeline.ltrim(self._bell(message.queue_name), -BELL_MAX, -1)
        pipeline.execute()
        return sent

    def await_bell(self, queue_name: str) -> None:
        """Return when something was enqueued, or after `IDLE_MS`."""
        self.client.blpop([self._bell(queue_name)], timeout=IDLE_MS / 1000)

    def held(self, queue_name: str) -> dict[str, bytes]:
        """The messages that this process has fetched and not answered for: id → data."""
        acks = f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"
        ids = [raw.decode() for raw in self.client.smembers(acks)]  # type: ignore[union-attr]
        stored = self.client.hmget(f"{self.namespace}:{queue_name}.msgs", ids) if ids else []
        return {message_id: data for message_id, data in zip(ids, stored, strict=True) if isinstance(data, bytes)}

    def _bell(self, queue_name: str) -> str:
        return f"{self.namespace}:{queue_name}.bell"


def make_broker(url: str, middleware: list[Middleware]) -> Broker:
    """The broker for a URL. `middleware` is all there is: none of dramatiq's own is added.

    Retries is left out because attempts are counted on the event, TimeLimit because every wait has a timeout of its
    own, Prometheus because it opens a port on all interfaces.
    """
    if url.startswith("amqp"):
        try:
            from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise SettingsError("TENURE_BROKER_URL: amqp needs the extra: pip install 'tenure[amqp]'") from None
        return RabbitmqBroker(url=url, middleware=middleware, confirm_delivery=True)
    return BellBroker(  # type: ignore[no-untyped-call]
        client=connect(url),
        middleware=middleware,
        namespace="{tenure}",
        heartbeat_timeout=HEARTBEAT_TIMEOUT_MS,
        maintenance_chance=MAINTENANCE_CHANCE,
        dead_message_ttl=DEAD_MESSAGE_TTL_MS,
    )
