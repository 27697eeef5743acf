"""The composition root: what one process of Tenure is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dramatiq import Broker, Message
from dramatiq.middleware import Middleware

from worker.broker import make_broker
from worker.logs import Outage, logger, scrubbed
from worker.reader import Reader
from worker.settings import Settings, SettingsError
from worker.settle import Settler
from worker.store import keys
from worker.store.audit import Audit
from worker.store.checks import Checks
from worker.store.client import Client, Command, StoreError, connect
from worker.store.dead import DeadLetters
from worker.store.deliveries import Deliveries
from worker.store.feed import Feed
from worker.store.github import Directory, Ledger
from worker.store.inbox import LANES, Inbox
from worker.store.keys import Keyspace, Partition
from worker.store.policies import Policies
from worker.store.replays import Replays
from worker.store.status import Status
from worker.store.suspects import Suspects

CLOCK = "clock"
QUEUES = (*LANES, CLOCK)
"""The queues of settling: one for each of the inbox's lanes, so that large or suspect events never delay others, and the
clock's."""
CHECKS = "checks"
SWEEPS = "sweeps"
ASKING = (CHECKS, SWEEPS)
"""The queues of asking GitHub. They have processes of their own, so that a slow GitHub never delays a disable."""


class Bell:
    """Wakes workers. Never raises: a wake-up that cannot be sent is sent again by the scheduler."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._outage = Outage(logger("bell"))

    def ring(self, partition: Partition, lane: str, event_id: str) -> None:
        """Something is due in a lane; `event_id` says which event rang, for whoever reads the queue."""
        self._send(lane, f"settle_{lane}", {"partition": partition.number, "event_id": event_id})

    def tick(self, queue: str, job: str, planned: int, sent: int) -> None:
        """A job of the schedule is due; `planned` names the tick, `sent` is now (seconds since 1970, the store's time)."""
        self._send(queue, f"tick_{queue}", {"job": job, "planned": planned, "sent": sent})

    def check(self) -> None:
        """A check is due."""
        self._send(CHECKS, "check", {})

    def _send(self, queue: str, actor: str, kwargs: dict[str, int | str]) -> None:
        message: Message[Any] = Message(queue_name=queue, actor_name=actor, args=(), kwargs=dict(kwargs), options={})
        try:
            self._broker.enqueue(message)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises
            told = scrubbed(f"{type(error).__name__}: {error}")
            self._outage.failed("wake-ups cannot be sent; the scheduler repeats them", queue=queue, error=told)
        else:
            self._outage.over("wake-ups are sent again")


@dataclass(frozen=True, slots=True)
class App:
    """One process's parts, connected."""

    settings: Settings
    client: Client
    keyspace: Keyspace
    inbox: Inbox
    policies: Policies
    settler: Settler
    feed: Feed
    reader: Reader
    status: Status
    checks: Checks
    suspects: Suspects
    directory: Directory
    ledger: Ledger
    deliveries: Deliveries
    dead: DeadLetters
    replays: Replays
    audit: Audit
    broker: Broker
    bell: Bell


def build(settings: Settings, middleware: list[Middleware] | None = None) -> App:
    """Connect the parts.

    Raises:
        SettingsError: the store has another number of partitions than the settings.
        StoreError: the store cannot be reached.
    """
    client = Client(connect(settings.store_url()))
    keyspace = _keyspace(client, settings.partitions)
    policies = Policies(client, keyspace)
    alone = settings.store_url() if settings.broker_url is None else None
    broker = make_broker(settings.queue_url(), middleware or [], otherwise=alone)
    return App(
        settings=settings,
        client=client,
        keyspace=keyspace,
        inbox=Inbox(client, keyspace),
        policies=policies,
        settler=Settler(policies, settings.rules),
        feed=Feed(client, keyspace),
        reader=Reader(client.redis),
        status=Status(client, keyspace),
        checks=Checks(client, keyspace),
        suspects=Suspects(client),
        directory=Directory(client),
        ledger=Ledger(client),
        deliveries=Deliveries(client),
        dead=DeadLetters(client, keyspace),
        replays=Replays(client, keyspace),
        audit=Audit(client),
        broker=broker,
        bell=Bell(broker),
    )


def _keyspace(client: Client, wanted: int) -> Keyspace:
    """The number of partitions is fixed at first start: other programs compute keys from it."""
    client.one(Command(("SET", keys.PARTITIONS, wanted, "NX")))
    stored = client.one(Command(("GET", keys.PARTITIONS)))
    found = int(stored) if isinstance(stored, bytes) else 0
    if found != wanted:
        raise SettingsError(
            f"TENURE_PARTITIONS: is {wanted}, but this store was made with {found}; set it to {found}, "
            "or export the policies and import them into an empty store"
        )
    return Keyspace(found)


__all__ = ["CLOCK", "QUEUES", "App", "Bell", "StoreError", "build"]
