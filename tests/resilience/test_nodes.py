"""Nodes of a cluster, and a primary with Sentinels, are killed and hang while the store is used."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from threading import Event, Thread

import pytest
from dramatiq import Message
from redis.exceptions import RedisError

from tests.conftest import wait_until
from tests.engines import KEYS, Cluster, Sentinels, owner, paused, place_of, put_everywhere
from worker.queue.broker import make_broker
from worker.store.client import Client, Command, Replicas, Reply, ScriptCall, StoreError, connect
from worker.store.inbox import Envelope, Inbox, identity
from worker.store.keys import Keyspace
from worker.store.topology import SILENT_SECONDS


def eventually(client: Client, calls: list[Command]) -> list[Reply]:
    """The replies, once there are some."""
    found: list[list[Reply]] = []

    def tried() -> bool:
        try:
            found.append(client.run(calls))
        except StoreError:
            return False
        return True

    wait_until(tried, "the store answers again")
    return found[0]


def test_another_node_takes_over_from_one_that_was_killed(tmp_path: Path) -> None:
    """Given a cluster, when a primary is killed, then the other nodes' keys are served meanwhile, and soon all are."""
    with Cluster(tmp_path / "cluster") as cluster, closing(Client(connect(cluster.url))) as client:
        client.write([Command(("SET", key, 1)) for key in KEYS], Replicas(1))
        victim = place_of(client, cluster, KEYS[0])
        spared = [key for key in KEYS if place_of(client, cluster, key) != victim]
        cluster.servers[victim].kill()
        assert client.run([Command(("GET", key)) for key in spared]) == [b"1"] * len(spared)
        gets = [Command(("GET", key)) for key in KEYS]
        assert client.reached(gets) == [b"1" if key in spared else None for key in KEYS]
        assert eventually(client, [Command(("GET", key)) for key in KEYS]) == [b"1"] * len(KEYS)
        assert client.run([Command(("INCR", key)) for key in KEYS]) == [2] * len(KEYS)
        # Whoever took over knows no scripts.
        assert client.run([ScriptCall("release", (key,), ("2",)) for key in KEYS]) == [1] * len(KEYS)


def test_slots_that_move_while_they_are_used_lose_nothing(tmp_path: Path) -> None:
    """Given counters on every node, when all slots of a node move to another while they are counted up, and back, then every
    count that was answered was made, once.
    """
    with (
        Cluster(tmp_path / "cluster", replicas=0) as cluster,
        closing(Client(connect(cluster.url))) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        put_everywhere(client, 0)
        stopped = Event()

        def count_up() -> int:
            rounds = 0
            while not stopped.is_set():
                rounds += 1
                assert client.run([Command(("INCR", key)) for key in KEYS]) == [rounds] * len(KEYS)
            return rounds

        counted = pool.submit(count_up)
        first, last = cluster.slots(0)
        try:
            for source, target in ((0, 1), (1, 0)):
                cluster.migrate(first, last, source, target)
                assert not counted.done()
        finally:
            stopped.set()
        rounds = counted.result()
        assert client.run([Command(("GET", key)) for key in KEYS]) == [str(rounds).encode()] * len(KEYS)


def test_a_node_that_hangs_holds_nobody_up_for_long(tmp_path: Path) -> None:
    """Given a node that hangs, and nobody to take over, when all are asked, then the others are soon served without it; when
    it goes on, then it is asked again.
    """
    patient = ("--cluster-node-timeout", "60000")
    with (
        Cluster(tmp_path / "cluster", replicas=0, arguments=patient) as cluster,
        closing(Client(connect(cluster.url))) as client,
    ):
        put_everywhere(client, 1)
        hanging = owner(client, cluster, KEYS[0])
        spared = [key for key in KEYS if owner(client, cluster, key) is not hanging]
        with paused(hanging):
            assert refused_within(client, KEYS) < SILENT_SECONDS + 2
            assert client.run([Command(("INCR", key)) for key in spared]) == [3] * len(spared)
            assert refused_within(client, KEYS[:1]) < 1
        # What it was sent it did when it went on.
        assert set(eventually(client, [Command(("GET", key)) for key in KEYS])) == {b"2", b"3"}


def refused_within(client: Client, keys: list[str]) -> float:
    """How long it took until it was said that it could not be done, in seconds."""
    begun = time.monotonic()
    with pytest.raises(StoreError, match="does not answer"):
        client.run([Command(("INCR", key)) for key in keys])
    return time.monotonic() - begun


def test_subscribers_and_wake_ups_go_where_their_node_is(tmp_path: Path) -> None:
    """Given a cluster, when a node publishes, then it is heard at another; when that is killed, then it is heard again; and
    wake-ups are carried again once another has taken over from the node that had the queues.
    """
    with Cluster(tmp_path / "cluster") as cluster, closing(Client(connect(cluster.url))) as client:
        put_everywhere(client, 1)
        broker = make_broker(cluster.url, [])
        broker.declare_queue("events")
        listener = client.following("channel").pubsub()  # type: ignore[no-untyped-call]
        with closing(listener):
            listener.subscribe("channel")
            victims = {place_of(client, cluster, key) for key in ("channel", "{tenure}")}
            publisher = next(place for place in range(3) if place not in victims)

            def heard() -> bool:
                with cluster.servers[publisher].redis() as redis:
                    redis.publish("channel", "word")
                with suppress(RedisError):
                    told = listener.get_message(timeout=0.2, ignore_subscribe_messages=True)
                    return told is not None and told["data"] == b"word"
                return False

            wait_until(heard, "it is heard")
            for victim in victims:
                cluster.servers[victim].kill()
                cluster.await_failover(cluster.replicas_of(victim)[0])
            wait_until(heard, "it is heard again")

        def carried() -> bool:
            message: Message[object] = Message("events", "settle_events", (), {}, {})
            with suppress(RedisError):
                broker.enqueue(message)
                return True
            return False

        wait_until(carried, "wake-ups are carried")
        broker.close()


def test_sentinels_say_who_took_over(tmp_path: Path) -> None:
    """Given Sentinels, when their primary is killed, then another is used; when it hangs, then that is noticed, too."""
    with Sentinels(tmp_path / "sentinels") as made, closing(Client(connect(made.url))) as client:
        client.write([Command(("SET", "a", 1))], Replicas(2))
        made.primary.kill()
        assert eventually(client, [Command(("INCR", "a"))]) == [2]
        taken = client.topology.primaries()[0].name
        assert taken != made.primary.name
        made.primary.start()
        made.primary.wait(lambda redis: redis.role()[0] in (b"slave", "slave"), "it follows")
        assert client.one(Command(("INCR", "a"))) == 3


def test_a_primary_that_comes_back_after_another_took_over_is_not_believed(tmp_path: Path) -> None:
    """Given Sentinels and a client that did nothing while another took over, when the old primary is there again and takes
    itself for one, then the client writes to the other.
    """
    with Sentinels(tmp_path / "sentinels") as made, closing(Client(connect(made.url))) as client:
        client.write([Command(("SET", "a", 1))], Replicas(2))
        made.primary.kill()
        made.await_failover(made.primary)
        made.primary.start()
        made.primary.wait(lambda redis: redis.ping(), "it is there again")
        assert eventually(client, [Command(("INCR", "a"))]) == [2]
        assert client.topology.primaries()[0].name != made.primary.name


def test_what_replicas_had_to_have_is_not_lost_with_the_primary(tmp_path: Path) -> None:
    """Given events that both replicas had to have before they were acknowledged, when the primary is killed while they are
    put, then whichever replica takes over has all of them, and with one replica less nothing more is acknowledged until the
    old primary follows.
    """
    acknowledged: list[Envelope] = []
    with Sentinels(tmp_path / "sentinels") as made, closing(Client(connect(made.url))) as client:
        keyspace = Keyspace(4)
        inbox = Inbox(client, keyspace, replicas=2)

        def put(sender: int, number: int) -> bool:
            envelope = Envelope(
                keyspace.of(number), identity(str(sender), str(number)), "github", "ping", f"d-{number}", b"{}"
            )
            try:
                inbox.put([[envelope]])
            except StoreError:
                return False
            acknowledged.append(envelope)
            return True

        def send(sender: int) -> None:
            for number in count():
                if not put(sender, number) or number > 100_000:
                    return

        senders = [Thread(target=send, args=(n,)) for n in range(4)]
        for sender in senders:
            sender.start()
        wait_until(lambda: len(acknowledged) > 400, "some are acknowledged")
        made.primary.kill()
        for sender in senders:
            sender.join()
        made.await_failover(made.primary)
        wait_until(lambda: _answers(client), "the store answers again")
        assert all(inbox.get(each.partition, each.event_id) for each in acknowledged)
        assert not put(9, 1)
        made.primary.start()
        wait_until(lambda: put(9, 2), "the old primary follows")


def _answers(client: Client) -> bool:
    with suppress(StoreError):
        return client.one(Command(("PING",))) == b"PONG"
    return False
