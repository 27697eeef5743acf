"""The composition root: what one process of Tenure is made of."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from dramatiq.middleware import Middleware

from tenure_reader import Reader
from tenure_reader.keys import PARTITIONS
from tenure_reader.lookup import PARTITIONS_FIELD
from worker.queue.broker import BlockingBroker, make_broker
from worker.queue.wakeups import WakeUps
from worker.settings import Settings, SettingsError
from worker.settling.processor import Processor
from worker.settling.settler import Settler
from worker.store.audit import Audit
from worker.store.checks import Checks
from worker.store.client import Client, Command, StoreError, connect
from worker.store.consumers import Consumers
from worker.store.dead import DeadLetters
from worker.store.deliveries import Deliveries
from worker.store.epoch import Epochs, StoreWitness
from worker.store.event_ledger import KEPT, KEPT_LONG, EventLedger
from worker.store.feed import Feed
from worker.store.inbox import Inbox
from worker.store.installations import Directory, Ledger
from worker.store.keys import Keyspace
from worker.store.logins import LoginCounts
from worker.store.losses import MissingScopes
from worker.store.partitioning import change_of
from worker.store.placement import Placement, publish
from worker.store.policies import Policies
from worker.store.recovery import Recoveries
from worker.store.replays import ReplayStore
from worker.store.status import Status
from worker.store.switches import Switches
from worker.store.upgrade import UpgradeError, upgrade

UPGRADE_LOOK_SECONDS = 0.2
"""How often a process looks whether another has upgraded the store."""


@dataclass(frozen=True, slots=True)
class App:
    """One process's parts, connected."""

    settings: Settings
    client: Client
    keyspace: Keyspace
    inbox: Inbox
    event_ledger: EventLedger
    policies: Policies
    logins: LoginCounts
    settler: Settler
    feed: Feed
    consumers: Consumers
    reader: Reader
    status: Status
    checks: Checks
    missing_scopes: MissingScopes
    directory: Directory
    ledger: Ledger
    deliveries: Deliveries
    dead: DeadLetters
    replays: ReplayStore
    switches: Switches
    placement: Placement
    audit: Audit
    broker: BlockingBroker
    wakeups: WakeUps
    epochs: Epochs
    recoveries: Recoveries

    def publish_settings(self) -> None:
        """Publish the settings that decide matching, as this process has them: what a service does at its start.

        Raises:
            StoreError: the store cannot be reached.
        """
        publish(self.client, self.keyspace, self.settings.matching, self.status.now(), only_new=False)

    def processor(self, name: str) -> Processor:
        """What settles events under the name of one worker."""
        return Processor(
            name=name,
            keyspace=self.keyspace,
            inbox=self.inbox,
            settler=self.settler,
            checks=self.checks,
            status=self.status,
            wakeups=self.wakeups,
            asked=self.settings.asked,
        )


def build(settings: Settings, middleware: list[Middleware] | None = None) -> App:
    """Connect the parts. A store that went back in time since it was last seen is closed before anything else.

    Raises:
        SettingsError: the store has another number of partitions than the settings, or is of another release and cannot be upgraded
            now.
        StoreError: the store cannot be reached.
    """
    client = Client(connect(settings.store_url()))
    keyspace = _keyspace(client, settings.partitions)
    try:
        upgrade(client, keyspace, uuid.uuid4().hex, lambda: time.sleep(UPGRADE_LOOK_SECONDS))
    except UpgradeError as error:
        raise SettingsError(f"TENURE_REDIS_URL: {error}") from None
    alone = settings.store_url() if settings.broker_url is None else None
    app = assemble(settings, client, keyspace, make_broker(settings.queue_url(), middleware or [], otherwise=alone))
    now = app.status.now()
    app.event_ledger.begin(now)
    # A command of somebody whose environment says something else must not decide for the services.
    publish(client, keyspace, settings.matching, now, only_new=True)
    _tell_partitions(client, keyspace)
    app.epochs.check()
    _refuse_change(client)
    return app


def assemble(settings: Settings, client: Client, keyspace: Keyspace, broker: BlockingBroker) -> App:
    """The parts around a store and a queue."""
    policies, feed = Policies(client, keyspace), Feed(client, keyspace)
    switches = Switches(client, keyspace)
    kept = KEPT_LONG if settings.redelivers_long else KEPT
    recoveries = Recoveries(client, keyspace, switches)
    return App(
        settings=settings,
        client=client,
        keyspace=keyspace,
        inbox=Inbox(client, keyspace, replicas=settings.wait_replicas, kept=kept),
        event_ledger=EventLedger(client, keyspace),
        policies=policies,
        logins=LoginCounts(client, keyspace),
        settler=Settler(policies, settings.rules),
        feed=feed,
        consumers=Consumers(client, feed),
        reader=Reader(client.redis),
        status=Status(client, keyspace),
        checks=Checks(client, keyspace),
        missing_scopes=MissingScopes(client),
        directory=Directory(client),
        ledger=Ledger(client),
        deliveries=Deliveries(client),
        dead=DeadLetters(client, keyspace, kept),
        replays=ReplayStore(client, keyspace),
        switches=switches,
        placement=Placement(client, policies),
        audit=Audit(client, keyspace),
        broker=broker,
        wakeups=WakeUps(broker),
        epochs=Epochs(
            client,
            keyspace,
            StoreWitness(settings.witness_folder()),
            new_id=lambda: uuid.uuid4().hex,
            close=recoveries.close,
            replicas=settings.wait_replicas,
        ),
        recoveries=recoveries,
    )


def _tell_partitions(client: Client, keyspace: Keyspace) -> None:
    """Each partition says how many there are, so that a question about its owners needs no other."""
    count = keyspace.partitions
    client.run([Command(("HSETNX", partition.settings, PARTITIONS_FIELD, count)) for partition in keyspace.all()])


def _refuse_change(client: Client) -> None:
    """Looked at first, and again last: whoever begins to change the number waits for a sign of life of those that began before."""
    change = change_of(client)
    if change is not None:
        raise SettingsError(f"TENURE_PARTITIONS: {change.advice}")


def _keyspace(client: Client, configured: int) -> Keyspace:
    """The number of partitions is fixed at first start: other programs compute keys from it."""
    _refuse_change(client)
    client.one(Command(("SET", PARTITIONS, configured, "NX")))
    stored = client.one(Command(("GET", PARTITIONS)))
    stored_count = int(stored) if isinstance(stored, bytes) else 0
    if stored_count != configured:
        raise SettingsError(
            f"TENURE_PARTITIONS: is {configured}, but this store has {stored_count}; set it to {stored_count}, "
            f"or end all processes and run `tenure partitions {configured}`"
        )
    return Keyspace(stored_count)


__all__ = ["App", "StoreError", "build"]
