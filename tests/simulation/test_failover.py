"""What the simulation has found about a replica that takes over, as a test of its own."""

from __future__ import annotations

import pytest

from tests.simulation.product import Bell
from tests.simulation.scheduler import START
from tests.simulation.seeds import silence
from tests.simulation.store import Fate, SimulatedStore
from tests.simulation.world import World
from worker.lifecycle.facts import DAY, SECOND
from worker.lifecycle.rules import Rules
from worker.settling.processor import Processor
from worker.settling.settler import Settler
from worker.store.checks import Checks
from worker.store.client import Client, Command, StoreError
from worker.store.inbox import EVENTS, Inbox
from worker.store.keys import Keyspace
from worker.store.policies import Policies
from worker.store.status import Status

KEYSPACE = Keyspace(2)


def test_a_confirmed_client_says_nothing_is_done_that_a_replica_lacks() -> None:
    store = SimulatedStore(lambda: Fate.DONE)
    client = Client(store.topology())
    assert client.confirmed(0) is client
    assert client.confirmed(1).run([Command(("SET", "a", 1))]) == [b"OK"]
    store.fall_behind()
    assert client.run([Command(("SET", "a", 2))]) == [b"OK"]
    with pytest.raises(StoreError, match="0 of its replicas"):
        client.confirmed(1).run([Command(("SET", "a", 3))])


def test_an_event_is_not_settled_before_the_replica_has_what_came_of_it() -> None:
    """Given an event that the replica has, and a worker that settles it while the replica hears of nothing, when the replica takes
    over before the event would be acknowledged, then it waits, and what comes of it is there when it is settled again.
    """
    store = SimulatedStore(lambda: Fate.DONE)
    store.set_clock(START)
    client = Client(store.topology())
    policies = Policies(client, KEYSPACE, replicas=1)
    inbox = Inbox(client, KEYSPACE, replicas=1)
    processor = Processor(
        name="w:0", keyspace=KEYSPACE, inbox=inbox, settler=Settler(policies, Rules(window=7 * DAY)),
        checks=Checks(client, KEYSPACE), status=Status(client, KEYSPACE), wakeups=Bell(), asked=("github",),
    )  # fmt: skip
    world = World(7)
    event = next(
        found for n in range(1000) if (found := world._delivery(f"d-{n}").envelope).name == "policy.registered"
    )
    inbox.put([[event]])
    store.fall_behind()
    with silence(), pytest.raises(StoreError):
        processor.drain(event.partition, EVENTS)
    store.fail_over()
    assert inbox.depth()[EVENTS] == 1
    store.set_clock(START + 60 * SECOND)
    with silence():
        processor.drain(event.partition, EVENTS)
    assert inbox.depth()[EVENTS] == 0
    assert [listed.policy for listed in policies.listed()] != [None]
