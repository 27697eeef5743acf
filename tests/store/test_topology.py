"""One server, a primary behind Sentinels, and a cluster are found at their address, and used alike."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import cast
from urllib.parse import quote, urlencode

import pytest
from redis import Redis

from tests.engines import KEYS, Cluster, Sentinels, make_certificates, place_of, put_everywhere, replication
from worker.local.valkey import EmbeddedStore
from worker.queue.broker import make_broker
from worker.store.client import Client, Command, Replicas, ScriptCall, StoreError, connect
from worker.store.keys import Keyspace
from worker.store.nodes import NodeReport, reports
from worker.store.status import Status
from worker.store.topology import Engine, slot_of

KEYSPACE = Keyspace(16)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that no test breaks."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    """A primary with Sentinels that no test breaks."""
    with Sentinels(tmp_path_factory.mktemp("sentinels")) as made:
        yield made


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster to break."""
    with Cluster(tmp_path / "cluster") as made:
        yield made


# What answers is found


def test_one_server_is_found(store: EmbeddedStore) -> None:
    """Given one server, when it is connected to, then it is all there is."""
    with closing(Client(connect(store.url))) as client:
        assert put_everywhere(client, 1) == [b"OK"] * len(KEYS)
        assert client.topology.engine is Engine.SERVER
        assert [node.name for node in client.topology.primaries()] == [f"127.0.0.1:{store.port}"]


def test_a_cluster_is_found_at_any_of_its_nodes(cluster: Cluster) -> None:
    """Given a cluster, when one of its nodes is named, be it a replica, then all primaries are known."""
    for server in (cluster.servers[0], cluster.servers[-1]):
        with closing(Client(connect(f"redis://127.0.0.1:1,{server.name}/0"))) as client:
            assert put_everywhere(client, 1) == [b"OK"] * len(KEYS)
            assert client.topology.engine is Engine.CLUSTER
            assert {node.name for node in client.topology.primaries()} == {each.name for each in cluster.primaries}


def test_a_primary_is_found_by_its_sentinels(sentinels: Sentinels) -> None:
    """Given Sentinels, one of which is not there, when they are named, then their primary is used."""
    with closing(Client(connect(f"redis://127.0.0.1:1,{sentinels.sentinels[1].name}"))) as client:
        assert put_everywhere(client, 1) == [b"OK"] * len(KEYS)
        assert client.topology.engine is Engine.SENTINEL
        assert [node.name for node in client.topology.primaries()] == [sentinels.primary.name]


def test_the_primary_is_found_among_servers_that_are_named(sentinels: Sentinels) -> None:
    """Given a primary and its replicas, when all are named, then the primary is used."""
    hosts = ",".join(server.name for server in (*sentinels.replicas, sentinels.primary))
    with closing(Client(connect(f"redis://{hosts}"))) as client:
        client.one(Command(("SET", "a", 1)))
        assert [node.name for node in client.topology.primaries()] == [sentinels.primary.name]


def test_sentinels_of_several_primaries_are_told_which(tmp_path: Path, sentinels: Sentinels) -> None:
    """Given Sentinels that watch over two primaries, when none is named, then the error says how; when one is, it is used."""
    with Sentinels(tmp_path / "second", replicas=0, sentinels=1) as second:
        (sentinel,) = second.sentinels
        with sentinel.redis() as redis:
            redis.sentinel_monitor("other", "127.0.0.1", sentinels.primary.port, 1)
        with pytest.raises(
            StoreError, match=r"watches over other, tenure-store: name one in the URL, as \?primary=other"
        ):
            Client(connect(f"redis://{sentinel.name}")).one(Command(("PING",)))
        with pytest.raises(StoreError, match="knows no primary of the name"):
            Client(connect(f"redis://{sentinel.name}?primary=third")).one(Command(("PING",)))
        for name, port in (("other", sentinels.primary.port), ("tenure-store", second.primary.port)):
            with closing(Client(connect(f"redis://{sentinel.name}?primary={name}"))) as client:
                client.one(Command(("PING",)))
                assert [node.name for node in client.topology.primaries()] == [f"127.0.0.1:{port}"]


def test_sentinels_may_have_another_password_than_the_server_or_none(tmp_path: Path) -> None:
    """Given a server with a password, when its Sentinel has none, the same, or another one that is given, then the server is
    found; when a password is wrong, then it is said whose server it is that refuses, and not what it is.
    """
    with Sentinels(tmp_path / "sentinels", replicas=0, sentinels=1) as made:
        (sentinel,) = made.sentinels
        with made.primary.redis() as redis:
            redis.execute_command("ACL SETUSER", "default", "resetpass", ">canary-server")

        def asked(password: str, options: str = "") -> object:
            with closing(Client(connect(f"redis://:{password}@{sentinel.name}{options}"))) as client:
                return client.one(Command(("PING",)))

        assert asked("canary-server") == b"PONG"
        with sentinel.redis() as redis:
            redis.execute_command("ACL SETUSER", "default", "resetpass", ">canary-server")
            assert asked("canary-server") == b"PONG"
            redis.execute_command("ACL SETUSER", "default", "resetpass", ">canary-sentinel")
        assert asked("canary-server", "?sentinel_password=canary-sentinel") == b"PONG"
        for password, options in (
            ("canary-server", ""), ("canary-wrong", "?sentinel_password=canary-sentinel"),
            ("canary-server", "?sentinel_password=canary-wrong"),
        ):  # fmt: skip
            with pytest.raises(StoreError, match="Is the password right") as refused:
                asked(password, options)
            assert "canary" not in str(refused.value)


def test_nobody_who_answers_is_an_error() -> None:
    """Given hosts at which nothing listens, when something is run, then it is said that the store cannot be reached."""
    with pytest.raises(StoreError, match="Connection refused"):
        Client(connect("redis://127.0.0.1:1,127.0.0.1:2/0")).one(Command(("PING",)))


def test_certificates_and_users_are_given_in_the_address(tmp_path: Path) -> None:
    """Given a cluster that takes TLS alone, asks for a certificate and has a user of its own for us, when the address says
    who we are, then it is used; else it is not.
    """
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on the PATH: the embedded server knows no TLS")
    made, user = make_certificates(tmp_path), ("--user", "tenure", "on", ">p@ss", "~tenure:*", "+@all", "-@dangerous")
    with Cluster(tmp_path / "c", replicas=0, program=program, certificates=made, arguments=user) as cluster:
        host, options = cluster.servers[1].name, urlencode(made.options())
        with closing(Client(connect(f"rediss://tenure:p%40ss@{host}/0?{options}"))) as client:
            assert put_everywhere(client, 1) == [b"OK"] * len(KEYS)
            # It may not ask for INFO, and it is a cluster nevertheless.
            assert (client.topology.engine, client.one(Command(("ACL", "WHOAMI")))) == (Engine.CLUSTER, b"tenure")
            with pytest.raises(StoreError, match="has no permissions to access"):
                client.one(Command(("SET", "another's", 1)))
            assert client.topology.redis().get(KEYS[0]) == b"1"
        broker = make_broker(f"rediss://{host}/0?{options}", [])
        assert broker.client.ping()
        broker.close()
        for url in (
            f"redis://tenure:p%40ss@{host}/0", f"rediss://tenure:p%40ss@{host}/0",
            f"rediss://tenure:p%40ss@{host}/0?ssl_ca_certs={quote(str(made.authority), safe='')}",
            f"rediss://tenure:wrong@{host}/0?{options}",
        ):  # fmt: skip
            with pytest.raises(StoreError) as refused:
                Client(connect(url)).one(Command(("GET", KEYS[0])))
            assert "ss@" not in str(refused.value)


# What is run


def test_replies_come_in_the_order_of_the_calls(cluster: Cluster) -> None:
    """Given calls to every node, when they are run, then each has its own reply, and those of a slot ran in order."""
    with closing(Client(connect(cluster.url))) as client:
        put_everywhere(client, 0)
        counted = client.run([Command(("INCRBY", key, n)) for _ in range(3) for n, key in enumerate(KEYS)])
        assert counted == [turn * n for turn in (1, 2, 3) for n in range(len(KEYS))]
        assert {key for keys in client.keys("tenure:{p*}:counters", 10) for key in keys} == {x.encode() for x in KEYS}
        assert set(client.each("DBSIZE")) == {node.name for node in cluster.primaries}


def test_what_has_no_key_goes_where_the_rest_goes(cluster: Cluster) -> None:
    """Given the time and a key, when both are asked for at once, then the node of the key says what time it is."""
    with closing(Client(connect(cluster.url))) as client:
        at, replied = client.run([Command(("TIME",)), Command(("SET", KEYS[7], 1))], atomic=True)
        assert (len(cast("list[bytes]", at)), replied) == (2, b"OK")


def test_one_that_is_refused_does_not_keep_others_back(cluster: Cluster) -> None:
    """Given a call that is refused, when others are run with it, then they are done, and its error is in its place."""
    with closing(Client(connect(cluster.url))) as client:
        put_everywhere(client, 5)
        replies = client.answered([
            Command(("LPUSH", key, "x")) if n == 3 else Command(("GET", key)) for n, key in enumerate(KEYS)
        ])  # fmt: skip
        assert "WRONGTYPE" in str(replies[3])
        assert replies[:3] + replies[4:] == [b"5"] * (len(KEYS) - 1)
        with pytest.raises(StoreError, match="WRONGTYPE"):
            client.run([Command(("LPUSH", key, "x")) for key in KEYS])


def test_nodes_are_given_the_scripts_that_they_lack(cluster: Cluster) -> None:
    """Given nodes that know no scripts, when some are run on each, then they run, once."""
    with closing(Client(connect(cluster.url))) as client:
        client.run([Command(("SET", key, "me", "PX", 60_000)) for key in KEYS])
        client.each("SCRIPT", "FLUSH")
        assert client.run([ScriptCall("release", (key,), ("me",)) for key in KEYS]) == [1] * len(KEYS)


@pytest.mark.parametrize("engine", ["cluster", "sentinels"])
def test_streams_are_followed_on_every_node(request: pytest.FixtureRequest, engine: str) -> None:
    """Given streams on every node, when they are followed, then what is added comes, of each as much as was asked for; and
    where nothing is added, nothing comes within the time.
    """
    streams = [f"{key}:stream" for key in KEYS[:8]]
    with closing(Client(connect(request.getfixturevalue(engine).url))) as client:
        client.run([Command(("DEL", stream)) for stream in streams])
        assert client.follow(dict.fromkeys(streams, "0"), 10, 50) == []
        added = [Command(("XADD", stream, f"1-{n}", "n", n)) for stream in streams[2:] for n in (1, 2, 3)]
        with ThreadPoolExecutor(1) as pool:
            told = pool.submit(client.follow, dict.fromkeys(streams, "0"), 2, 10_000)
            client.run(added)
            assert told.result()
        entries = dict(client.follow(dict.fromkeys(streams, "0"), 2, 10))
        found = {
            stream: [entry_id for entry_id, _ in cast("list[tuple[bytes, object]]", page)]
            for stream, page in entries.items()
        }
        assert found == {stream.encode(): [b"1-1", b"1-2"] for stream in streams[2:]}


def test_too_few_replicas_are_an_error(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a replica for each node, when one must have what is put, then it has; when two must, then it is an error."""
    with closing(Client(connect(cluster.url))) as client:
        calls = [Command(("SET", key, 9)) for key in KEYS]
        assert client.write(calls, Replicas(1)) == [b"OK"] * len(KEYS)
        refused = client.write(calls, Replicas(2, 100))
        assert all("has it, and 1 of its replicas, of 2" in str(each) for each in refused)


def test_every_node_says_how_it_is(cluster: Cluster) -> None:
    """Given a cluster, when its nodes are asked how they are, then each primary tells of itself and of its replicas."""
    with closing(Client(connect(cluster.url))) as client:
        assert Status(client, KEYSPACE).durability().durable
        found = [report for report in reports(client).values() if isinstance(report, NodeReport)]
        assert {report.name for report in found} == {node.name for node in cluster.primaries}
        assert {(report.config["maxmemory-policy"], report.replicas, report.stops_with_others) for report in found} == {
            ("noeviction", 1, False)
        }
        node = cluster.primaries[1]
        with node.redis() as redis:
            redis.config_set("appendfsync", "everysec")
            redis.config_set("cluster-require-full-coverage", "yes")
            assert "appendfsync is everysec" in Status(client, KEYSPACE).durability().problem
            stopping = reports(client)[node.name]
            assert isinstance(stopping, NodeReport)
            assert stopping.stops_with_others
            redis.config_set("cluster-require-full-coverage", "no")
            redis.config_set("appendfsync", "always")


def test_what_is_done_all_or_none_is_in_one_slot(cluster: Cluster) -> None:
    """Given keys of two slots, when they are to be written all or none, then none is."""
    with closing(Client(connect(cluster.url))) as client:
        with pytest.raises(ValueError, match="in one slot"):
            client.run([Command(("SET", "{a}", 1)), Command(("SET", "{b}", 1))], atomic=True)
        assert client.run([Command(("EXISTS", "{a}")), Command(("EXISTS", "{b}"))]) == [0, 0]


def test_a_connection_that_broke_while_nobody_used_it_is_made_anew(store: EmbeddedStore) -> None:
    """Given connections that the server has closed, when something is run, then it is run at once."""
    with closing(Client(connect(store.url))) as client, Redis(port=store.port) as redis:
        client.topology.pauses = ()
        client.one(Command(("SET", "a", 1)))
        redis.client_kill_filter(_type="normal", skipme=True)
        assert client.one(Command(("GET", "a"))) == b"1"


# What moves


def moved(cluster: Cluster, slot: int, source: int, target: int) -> None:
    """Let a slot be another node's, with what is in it, as an operator's tool does."""
    begin_moving(cluster, slot, source, target)
    with cluster.servers[source].redis() as here:
        keys = cast("list[bytes]", here.execute_command("CLUSTER GETKEYSINSLOT", slot, 1000))
        here.migrate("127.0.0.1", cluster.servers[target].port, keys, 0, 5000)
    end_moving(cluster, slot, target)


def begin_moving(cluster: Cluster, slot: int, source: int, target: int) -> None:
    with cluster.servers[source].redis() as here, cluster.servers[target].redis() as there:
        there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", cluster.ids[source])
        here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", cluster.ids[target])


def end_moving(cluster: Cluster, slot: int, target: int) -> None:
    for server in (cluster.servers[target], *cluster.primaries):
        with server.redis() as redis:
            redis.execute_command("CLUSTER SETSLOT", slot, "NODE", cluster.ids[target])


def test_a_slot_that_moves_is_followed(own_cluster: Cluster) -> None:
    """Given keys, when a slot moves, then while it does and afterwards nobody notices, and each key is where it should be."""
    key, more = KEYS[0], f"{KEYS[0]}:more"
    with closing(Client(connect(own_cluster.url))) as client:
        put_everywhere(client, 1)
        source = place_of(client, own_cluster, key)
        target, slot = (source + 1) % 3, slot_of(key)
        moved(own_cluster, slot, source, target)
        assert client.run([Command(("INCR", each)) for each in KEYS]) == [2] * len(KEYS)
        assert place_of(client, own_cluster, key) == target
        # Half of it is on its way back: what is there is served, and what is not there yet is made at the other end.
        begin_moving(own_cluster, slot, target, source)
        assert client.run([Command(("INCR", key)), Command(("INCR", key))], atomic=True) == [3, 4]
        assert client.run([Command(("INCR", more)), Command(("INCR", more))], atomic=True) == [1, 2]
        client.topology.pauses = (0.01,)
        with pytest.raises(StoreError, match="TryAgain"):
            client.one(Command(("MGET", key, more)))
        with own_cluster.servers[target].redis() as there:
            there.migrate("127.0.0.1", own_cluster.servers[source].port, key, 0, 5000)
        end_moving(own_cluster, slot, source)
        assert client.one(Command(("MGET", key, more))) == [b"4", b"2"]
        assert sum(len(keys) for keys in client.keys("tenure:{p*}:counters*", 1000)) == len(KEYS) + 1


# The broker


@pytest.mark.parametrize("engine", ["cluster", "sentinels"])
def test_wake_ups_go_where_the_store_is(request: pytest.FixtureRequest, engine: str) -> None:
    """Given a cluster or Sentinels, when nothing is said of a broker, then wake-ups are carried there."""
    from dramatiq import Message

    url = request.getfixturevalue(engine).url
    broker = make_broker(url, [])
    try:
        broker.declare_queue("events")
        message: Message[object] = Message("events", "settle_events", (), {"partition": 1}, {})
        broker.enqueue(message)
        consumer = broker.consume("events", prefetch=2)
        taken = next(consumer)
        assert taken is not None
        assert taken.kwargs == {"partition": 1}
        consumer.ack(taken)
        consumer.close()
        assert not broker.away.is_set()
    finally:
        broker.close()


def test_who_waits_for_replicas_follows_a_primary_that_has_become_one(tmp_path: Path) -> None:
    """Given a client that waits for replicas, when a primary hands over to its replica, then what is written goes there."""
    calls = [Command(("SET", key, 1)) for key in KEYS]
    with Cluster(tmp_path / "cluster") as made, closing(Client(connect(made.url))) as client:
        assert client.write(calls, Replicas(1)) == [b"OK"] * len(KEYS)
        former, (successor,) = made.primaries[0], made.replicas_of(0)
        with successor.redis() as redis:
            redis.execute_command("CLUSTER FAILOVER")
        successor.wait(lambda redis: replication(redis)["role"] == "master", "it took over")
        former.wait(lambda redis: replication(redis).get("master_link_status") == "up", "it follows")
        assert client.write(calls, Replicas(1)) == [b"OK"] * len(KEYS)
