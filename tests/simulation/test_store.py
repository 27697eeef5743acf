"""The simulated store answers as a real one does: whatever the product writes, both hold the same afterwards."""

from __future__ import annotations

import hashlib
from random import Random
from typing import cast

import pytest
from redis import Redis
from redis.exceptions import MovedError

from tests.simulation.product import Bell
from tests.simulation.scheduler import START
from tests.simulation.seeds import silence
from tests.simulation.store import Fate, MisusedError, SimulatedStore
from tests.simulation.variants import replace
from tests.simulation.world import World
from worker.lifecycle.facts import DAY, SECOND
from worker.lifecycle.rules import Rules
from worker.local.valkey import EmbeddedStore
from worker.settling.processor import Processor
from worker.settling.settler import Settler
from worker.store.checks import Checks
from worker.store.client import Argument, Client, Command, Reply, connect
from worker.store.inbox import SUSPECT, WORKER, Inbox, put_call
from worker.store.keys import Keyspace
from worker.store.policies import Policies
from worker.store.status import Status

KEYSPACE = Keyspace(2)
EVENTS = 240
PROGRAM = 4000
"""Commands of a random program."""


class Side:
    """The product on one store, in which it is always the same time."""

    def __init__(self, client: Client) -> None:
        for script in client._sources:
            if b"redis.call('TIME')" in client._sources[script]:
                replace(client, script, "redis.call('TIME')", f"{{'{START // SECOND}', '0'}}")
        self.client = client
        self.inbox = Inbox(client, KEYSPACE)
        self.status = Status(client, KEYSPACE)
        self.settler = Settler(Policies(client, KEYSPACE), Rules(window=7 * DAY))

    def drain(self) -> None:
        processor = Processor(
            name="w:0", keyspace=KEYSPACE, inbox=self.inbox, settler=self.settler,
            checks=Checks(self.client, KEYSPACE), status=self.status, wakeups=Bell(), asked=("github",),
        )  # fmt: skip
        for partition, lane in self.inbox.overdue():
            if lane == SUSPECT:
                processor.drain_quarantine()
            else:
                processor.drain(partition, lane)


def _raw(url: str) -> Redis:
    client = Redis.from_url(url, protocol=2)
    client.response_callbacks.clear()
    return client


def _content(ask: object, key: bytes, kind: bytes) -> object:
    assert callable(ask)
    if kind == b"string":
        return ask("GET", key)
    if kind == b"hash":
        flat = ask("HGETALL", key)
        return dict(zip(flat[::2], flat[1::2], strict=True))
    if kind == b"list":
        return ask("LRANGE", key, 0, -1)
    if kind == b"zset":
        return ask("ZRANGE", key, 0, -1, "WITHSCORES")
    return [entry for _, entry in ask("XRANGE", key, "-", "+")]


def test_after_the_same_events_both_hold_the_same(store: EmbeddedStore) -> None:
    simulated = SimulatedStore(lambda: Fate.DONE)
    simulated.set_clock(START)
    here, there = Side(Client(simulated.topology())), Side(Client(connect(store.url)))
    world = World(7)
    with silence():
        for n in range(EVENTS):
            envelope = world._delivery(f"d-{n % (EVENTS * 9 // 10)}").envelope
            if n % 30 == 0:
                envelope = envelope._replace(notice=b'{"n":%d}' % n, refused="unknown_owner")
            for side in (here, there):
                side.inbox.put([[envelope]])
                side.status.beat(WORKER, "w:0")
                if n % 20 == 19:
                    side.drain()
        dead = [
            put_call(KEYSPACE, partition, event_id.decode())
            for partition in KEYSPACE.all()
            for event_id in cast("list[bytes]", simulated.look("ZRANGE", partition.dead, 0, -1))
        ]
        for side in (here, there):
            side.client.run(dead)
            later = f"{START + 30 * DAY} {START}"
            side.client.run([Command(("SET", partition.clock, later)) for partition in KEYSPACE.all()])
            side.settler.settle_due(100)

    with _raw(store.url) as real:

        def ask(*words: Argument) -> Reply:
            return real.execute_command(*words)

        keys = sorted(cast("list[bytes]", ask("KEYS", "*")))
        assert len(keys) > 100
        for key in keys:
            kind = cast("bytes", ask("TYPE", key))
            assert _content(simulated.look, key, kind) == _content(ask, key, kind), key
        assert simulated.look("DBSIZE", node=0) == len(keys)


def _program(random: Random) -> list[list[Argument]]:
    """Random commands on few keys, so that they meet; some on keys of another kind."""
    moment = 0
    keys, fields, scores = (
        ["{k}a", "{k}b", "{k}c", "{k}d"],
        ["x", "y", "z", "w"],
        ["-inf", "1", "(2", "3", "+inf", "(5"],
    )

    def key() -> str:
        return random.choice(keys)

    def field() -> str:
        return random.choice(fields)

    def number() -> int:
        return random.randint(-3, 6)

    def entry() -> str:
        return f"{random.randint(max(0, moment - 6), moment)}-{random.randint(0, 2)}"

    def one() -> list[Argument]:
        nonlocal moment
        moment += random.randint(0, 1)
        shapes: list[list[Argument]] = [
            ["GET", key()], ["MGET", key(), key()], ["MSET", key(), field(), key(), field()], ["SET", key(), field()], ["SET", key(), 5, "NX", "PX", 100_000],
            ["DEL", key()], ["UNLINK", key(), key()], ["EXISTS", key(), key()], ["STRLEN", key()], ["INCRBY", "n", number()],
            ["RENAME", key(), key()], ["PERSIST", key()], ["PEXPIRE", key(), 100_000],
            ["HSET", key(), field(), number(), field(), number()], ["HSETNX", key(), field(), 1], ["HGET", key(), field()],
            ["HMGET", key(), field(), field()], ["HDEL", key(), field(), field()], ["HEXISTS", key(), field()],
            ["HLEN", key()], ["HSTRLEN", key(), field()], ["HGETALL", key()], ["HVALS", key()], ["HINCRBY", key(), "i", number()],
            ["HSCAN", key(), 0, "MATCH", field() + "*", "COUNT", 1000],
            ["LPUSH", key(), field(), field()], ["RPUSH", key(), field(), field()], ["LRANGE", key(), number(), number()], ["LTRIM", key(), number(), number()],
            ["ZADD", key(), number(), field(), number(), field()], ["ZADD", key(), "NX", number(), field()],
            ["ZADD", key(), "XX", number(), field()], ["ZADD", key(), "GT", number(), field()],
            ["ZADD", key(), "LT", number(), field()], ["ZREM", key(), field()], ["ZSCORE", key(), field()],
            ["ZCARD", key()], ["ZCOUNT", key(), random.choice(scores), "+inf"],
            ["ZRANGEBYSCORE", key(), random.choice(scores), random.choice(scores), "WITHSCORES"],
            ["ZRANGEBYSCORE", key(), "-inf", random.choice(scores), "LIMIT", 1, 2],
            ["ZREMRANGEBYSCORE", key(), random.choice(scores), random.choice(scores)],
            ["ZREMRANGEBYRANK", key(), number(), number()],
            ["ZRANGE", key(), number(), number(), "WITHSCORES"], ["ZRANGEBYLEX", "l", "(" + field(), "+", "LIMIT", 0, 2],
            ["ZRANGEBYLEX", "l", "-", "[" + field()], ["ZADD", "l", 0, field()], ["DBSIZE"],
            ["ZDIFF", 2, key(), key()], ["PUBLISH", "c", field()], ["ZREVRANGE", key(), number(), number()], ["PTTL", key()],
            ["SET", key(), field(), "EX", 100], ["XADD", "s", entry(), field(), number()], ["XADD", "t", f"{moment}-0", field(), 1],
            ["XADD", "t", "MAXLEN", 3, f"{moment}-1", field(), 1], ["XADD", key(), entry(), field(), 1],
            ["XRANGE", "s", entry(), entry()], ["XRANGE", "s", f"({entry()}", "+", "COUNT", 2], ["XRANGE", "s", "-", moment - 1],
            ["XREVRANGE", "s", "+", "-", "COUNT", 2], ["XREAD", "COUNT", 2, "STREAMS", "s", "t", entry(), entry()],
            ["XREAD", "STREAMS", "s", "none", entry(), 0], ["XTRIM", "s", "MINID", "=", entry()], ["XTRIM", "s", "MAXLEN", "=", 3],
            ["XINFO", "STREAM", "s"], ["XINFO", "STREAM", key()], ["SCAN", 0, "MATCH", "*", "COUNT", 1000],
        ]  # fmt: skip
        return random.choice(shapes)

    return [one() for _ in range(PROGRAM)]


def test_commands_are_answered_as_a_real_store_answers_them(store: EmbeddedStore) -> None:
    simulated = SimulatedStore(lambda: Fate.DONE)
    program = _program(Random(11))
    with _raw(store.url) as real:
        pipeline = real.pipeline(transaction=False)
        pipeline.response_callbacks.clear()
        for words in program:
            pipeline.execute_command(*words)
        answers = pipeline.execute(raise_on_error=False)
    for number, (words, expected) in enumerate(zip(program, answers, strict=True)):
        ((found,),) = simulated.round_trip([[words]])
        assert _told(words, found) == _told(words, expected), (number, words)


def _told(words: list[Argument], reply: object) -> object:
    """A reply, as far as the simulated store promises it."""
    if isinstance(reply, Exception):
        return type(reply).__name__
    if words[0] == "XINFO":
        flat = cast("list[object]", reply)
        told = dict(zip(flat[::2], flat[1::2], strict=True))
        return {
            name: told[name]
            for name in (b"length", b"last-generated-id", b"entries-added", b"first-entry", b"last-entry")
        }
    if words[0] == "SCAN":
        return sorted(cast("list[list[bytes]]", reply)[1])
    if words[0] == "PTTL":
        # The real one goes on meanwhile.
        return min(1, cast("int", reply))
    return reply


def _cluster() -> SimulatedStore:
    """Two nodes, of which the second has partition 1."""
    cluster = SimulatedStore(lambda: Fate.DONE, 2)
    cluster.move("{p01}", 1)
    return cluster


def test_what_a_cluster_would_refuse_is_no_answer() -> None:
    cluster = _cluster()
    with pytest.raises(MisusedError, match=r"CROSSSLOT tenure:\{p01\}:b"):
        cluster.round_trip([[("SET", "tenure:{p00}:a", 1), ("GET", "tenure:{p01}:b")]])
    with pytest.raises(MisusedError, match="CROSSSLOT"):
        cluster.round_trip([[("MGET", "tenure:{p00}:a", "tenure:{p01}:b")]])
    # One after the other, it answers what it has, and says who has the other.
    here, there = cluster.round_trip([[("GET", "tenure:{p00}:a")], [("GET", "tenure:{p01}:b")]])
    assert here == [b"1"]
    assert isinstance(there[0], MovedError)
    assert there[0].args == MovedError(f"{there[0].slot_id} node-1:7000").args


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_script_has_declared_what_it_touches_and_all_of_it_is_in_one_slot(nodes: int) -> None:
    store = SimulatedStore(lambda: Fate.DONE, nodes)

    def run(source: str, *keys: str, told: str = "") -> Reply:
        store.script_load(0, source.encode())
        sha = hashlib.sha1(source.encode()).hexdigest()
        ((reply,),) = store.round_trip([[("EVALSHA", sha, len(keys), *keys, told)]])
        return reply

    assert run("return redis.call('GET', KEYS[1])", "tenure:{p00}:a") is None
    assert run("return redis.call('GET', ARGV[1] .. 'b')", "tenure:{p00}:a", told="tenure:{p00}:") is None
    for other in ("tenure:{p00}:b", "tenure:{p01}:a"):
        with pytest.raises(MisusedError, match=r"declared|CROSSSLOT"):
            run(f"return redis.call('GET', '{other}')", "tenure:{p00}:a")
        with pytest.raises(MisusedError, match=r"declared|CROSSSLOT"):
            run(f"return redis.pcall('GET', '{other}')", "tenure:{p00}:a")
    with pytest.raises(MisusedError, match="CROSSSLOT"):
        run("return 1", "tenure:{p00}:a", "tenure:{p01}:a")
    with pytest.raises(MisusedError, match="has no FLUSHALL"):
        run("return redis.pcall('FLUSHALL')", "tenure:{p00}:a")


def test_nodes_have_clocks_of_their_own_and_slots_that_move_are_followed() -> None:
    cluster = _cluster()
    cluster.set_clock(START)
    cluster.set_clock(START + 3 * SECOND, 1)
    client = Client(cluster.topology())
    status = Status(client, KEYSPACE)
    assert status.skews(lambda: START) == {"node-0:7000": 0, "node-1:7000": 3 * SECOND}
    client.run([Command(("SET", partition.clock, "x")) for partition in KEYSPACE.all()])
    cluster.move("{p01}", 0)
    cluster.move("{p00}", 1)
    assert client.run([Command(("GET", partition.clock)) for partition in KEYSPACE.all()]) == [b"x", b"x"]
    assert [cluster.look("DBSIZE", node=node) for node in (0, 1)] == [1, 1]
