"""The same answers from a cluster as from one server."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

import pytest
from redis import Redis, RedisCluster
from redis.asyncio import RedisCluster as AsyncRedisCluster

from examples.exchange.revoking import Revoker
from examples.exchange.vault import key_name, record_of, revoked_name
from tenure_reader import (
    AsyncReader,
    BehindError,
    Memory,
    Mirror,
    Reader,
    RepositoryRef,
    UnavailableError,
)
from tenure_reader.keys import PartitionKeys
from tenure_reader.nodes import Nodes
from tenure_reader.routing import BELIEVED
from tenure_reader.topology import Address
from tests.conftest import wait_until
from tests.docs.markdown import blocks, text
from tests.engines import Cluster, make_certificates
from tests.reader.published import COUNT, Published, claims_of, home, owner_in
from tests.reader.world import CLAIMS, OWNER, REPOSITORY, World
from worker.local.valkey import EmbeddedStore
from worker.store.client import Client, connect
from worker.store.switches import Scope

SECONDS = 30.0
HERE = RepositoryRef(OWNER, REPOSITORY, "widgets")


def test_a_cluster_answers_as_one_server_does(cluster: Cluster, published: Published) -> None:
    """Given policies on every node, when each form of the reader asks, by an address or with a client, then all agree."""
    owners = [owner_in(number) for number in range(COUNT)]
    for owner in owners:
        published.publish(f"p-{owner}", 3, owner)
    published.publish("moved", 4, owners[5])
    asyncio.run(_asks(cluster, owners))
    by_client = Reader(cast("RedisCluster", published.redis))
    with Mirror(cluster.url) as mirror:
        reader = Reader.connect(cluster.url)
        assert mirror.wait(SECONDS), mirror.status()
        for owner in owners:
            asked = {f"p-{owner}": 3, "moved": 4}
            now = reader.evaluate(claims_of(owner), at_least=asked).at
            decision = reader.evaluate(claims_of(owner), now=now)
            assert decision.allowed
            for other in (by_client, mirror, Reader.connect(f"redis://{cluster.servers[-1].name}")):
                assert other.evaluate(claims_of(owner), now=now) == decision
            assert reader.standing(f"p-{owner}", HERE._replace(owner_id=owner)).grant == decision.granted[-1]
        assert not reader.evaluate(claims_of(9_999_999)).allowed
        with pytest.raises(BehindError):
            reader.evaluate(CLAIMS, at_least={f"p-{owners[0]}": 4}, wait=0)
        reader.close()
    by_client.close()


async def _asks(cluster: Cluster, owners: list[int]) -> None:
    client = AsyncRedisCluster.from_url(f"redis://{cluster.servers[0].name}")
    await client.initialize()
    for reader in (AsyncReader.connect(cluster.url), AsyncReader(client)):
        for owner in owners:
            assert (await reader.evaluate(claims_of(owner), at_least={"moved": 4})).allowed
        await reader.close()
    await client.aclose()


def test_a_question_is_one_round_trip_to_the_node_that_has_the_partition(
    cluster: Cluster, published: Published
) -> None:
    published.publish("pol-1", 1)
    reader = Reader.connect(cluster.url)
    reader.evaluate(CLAIMS)
    place = home(cluster)
    for server in cluster.primaries:
        with server.redis() as redis:
            redis.config_resetstat()
    begun = time.monotonic()
    for _ in range(20):
        assert reader.evaluate(CLAIMS, at_least={"pol-1": 1}).allowed
    taken = time.monotonic() - begun
    for at, server in enumerate(cluster.primaries):
        with server.redis() as redis:
            stats = cast("dict[str, dict[str, int]]", redis.info("commandstats"))
        calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
        assert calls.get("exec", 0) == (20 if at == place else 0)
        assert calls.get("get", 0) == 0
        assert calls.get("cluster|slots", 0) <= 1 + taken / BELIEVED
    reader.close()


def test_an_exchange_that_begins_hears_what_was_closed_on_any_node(
    cluster: Cluster, published: Published, server: EmbeddedStore
) -> None:
    """Given keys that were minted before their policies closed and came back, then each is marked, wherever its policy is."""
    owners = [owner_in(number) for number in range(0, COUNT, 5)]
    memory = Memory()
    nodes = Nodes.at(cluster.url)
    with Redis(port=server.port) as marks:
        for owner in owners:
            policy_id = f"p-{owner}"
            for revision in (1, 2, 3):
                published.publish(policy_id, revision, owner, usable=revision != 2)
            grant = Reader.connect(cluster.url).standing(policy_id, HERE._replace(owner_id=owner)).grant
            assert grant is not None
            memory.take(grant)
            record = record_of({**grant, "revision": 1}, REPOSITORY, 1, 2)
            marks.set(key_name(policy_id), json.dumps(asdict(record)))
        Revoker(marks, nodes).reloaded(memory)
        assert [marks.zscore(revoked_name(f"p-{owner}"), "revision") for owner in owners] == [2.0] * len(owners)
    nodes.close()


def test_a_policy_that_goes_to_another_owner_is_nowhere_twice(cluster: Cluster, published: Published) -> None:
    """Given owners on several nodes, when a policy goes from one to the next, then nobody who asks for the revision that opened it
    there gets an older answer anywhere, and the mirror misses nothing, in whatever order it reads the nodes.
    """
    owners = [owner_in(number) for number in range(0, COUNT, 3)]
    published.publish("pol-1", 1, owners[0])
    with Mirror(cluster.url) as mirror:
        reader = Reader.connect(cluster.url)
        assert mirror.wait(SECONDS)
        for revision in range(2, 40):
            before, after = owners[(revision - 2) % len(owners)], owners[(revision - 1) % len(owners)]
            published.leave("pol-1", before)
            assert not reader.evaluate(claims_of(before)).allowed
            published.publish("pol-1", revision, after)
            asked = {"pol-1": revision}
            assert reader.evaluate(claims_of(after), at_least=asked).allowed
            assert not reader.evaluate(claims_of(before), at_least=asked).allowed
            for owner in (before, after):
                with suppress(UnavailableError):
                    assert mirror.evaluate(claims_of(owner), at_least=asked).allowed == (owner == after)
        wait_until(lambda: _revision_of(mirror, "pol-1") == 39, "it has caught up", SECONDS)
        assert (mirror.status().loads, mirror.status().gaps) == (1, 0)
        assert mirror.status().policies == 1
        reader.close()


def _revision_of(mirror: Mirror, policy_id: str) -> int:
    grant = mirror.standing(policy_id).grant
    return 0 if grant is None else grant["revision"]


def test_what_was_written_on_one_server_is_answered_the_same_on_a_cluster(
    world: World, reader: Reader, cluster: Cluster, published: Published
) -> None:
    """Given policies of all kinds, some under switches, when their keys are carried over to a cluster, then reader and mirror say
    there what they say here.
    """
    world.register()
    world.register("staged", environment="prod")
    world.register("named", repository="gadgets", repository_id=None)
    world.register("limited", repository_id=8, refs=["refs/tags/*"])
    world.register("elsewhere", repository_owner_id=43, repository_id=77)
    world.register("held", repository_owner_id=44, repository_id=78)
    world.register("gone", repository_id=9)
    world.tell("policy.removed", {"policy_id": "gone"})
    world.webhook("repository.renamed", repository_name="tools", changes={"repository": {"name": {"from": "widgets"}}})
    now = world.app.status.now()
    world.app.switches.close(Scope("owner", "44"), reason="a stolen key", by="maria", at=now, request_id="r-1")
    redis = world.app.client.redis
    for key in redis.scan_iter("tenure:{p*}:*"):
        written = redis.dump(key)
        if written is not None:
            published.redis.restore(key, 0, written, replace=True)
    for number in range(COUNT):
        published.redis.hset(PartitionKeys(number).settings, "partitions", COUNT)
    asked = [
        {
            **CLAIMS,
            "repository_owner_id": str(owner),
            "repository_id": str(repository),
            "repository": f"octo/{name}",
            **more,
        }
        for owner in (OWNER, 43, 44, 45)
        for repository in (REPOSITORY, 8, 9, 77, 78, 99)
        for name in ("widgets", "gadgets", "tools", "none")
        for more in ({}, {"environment": "prod"}, {"ref": "refs/tags/v1"})
    ]
    there = Reader.connect(cluster.url)
    with Mirror(cluster.url) as mirror:
        assert mirror.wait(SECONDS), mirror.status()
        now = world.app.status.now()
        allowed = 0
        for claims in asked:
            decision = reader.evaluate(claims, now=now)
            assert there.evaluate(claims, now=now) == decision, claims
            assert mirror.evaluate(claims, now=now) == decision, claims
            allowed += decision.allowed
    assert 0 < allowed < len(asked)
    there.close()


# Users


def test_a_user_who_may_only_read_what_the_contract_names_will_do_on_a_cluster_too(
    cluster: Cluster, published: Published
) -> None:
    published.publish("pol-1", 1)
    command = next(block.code for block in blocks(text("reader/README.md")) if block.code.startswith("ACL"))
    for server in cluster.servers:
        with server.redis() as redis:
            redis.execute_command(*command.replace("PASSWORD", "word").split())
    url = cluster.url.replace("redis://", "redis://exchange:word@")
    reader = Reader.connect(url)
    assert reader.evaluate(CLAIMS, at_least={"pol-1": 1}).allowed
    with Mirror(url) as mirror:
        assert mirror.wait(SECONDS), mirror.status()
        assert mirror.evaluate(CLAIMS).allowed
    reader.close()
    stranger = Reader.connect(url.replace("word", "wrong"))
    with pytest.raises(UnavailableError, match=r"^AuthenticationError: ") as error:
        stranger.evaluate(CLAIMS)
    assert "wrong" not in str(error.value)
    stranger.close()


def test_certificates_are_given_in_the_address(tmp_path: Path) -> None:
    """Given a cluster that is spoken to over TLS with a client's certificate, then it is enough that the address names that."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on the PATH: the embedded Valkey is built without TLS")
    made = make_certificates(tmp_path)
    with Cluster(tmp_path / "cluster", replicas=0, program=program, certificates=made) as cluster:
        url = f"rediss://{cluster.servers[1].name}/0?{urlencode(made.options())}"
        with closing(Client(connect(url))) as client:
            store = Published(client.redis)
            store.begin()
            store.publish("pol-1", 1)
        reader, stranger = Reader.connect(url), Reader.connect(url.partition("?")[0])
        assert reader.evaluate(CLAIMS, at_least={"pol-1": 1}).allowed
        with Mirror(url) as mirror:
            assert mirror.wait(SECONDS), mirror.status()
        with pytest.raises(UnavailableError):
            stranger.evaluate(CLAIMS)
        reader.close()
        stranger.close()


def test_clients_of_nodes_that_are_gone_are_let_go(store: EmbeddedStore) -> None:
    """Given addresses that come and go, as those of containers do, then only those are kept that somebody still names."""
    nodes = Nodes.at(store.url)
    gone = [nodes.at_address(Address("127.0.0.1", port)) for port in (1, 2)]
    there = nodes.at_address(Address("127.0.0.1", store.port))
    assert nodes.at_address(Address("127.0.0.1", store.port)) is there
    assert nodes.at_address(Address("127.0.0.1", 1)) not in gone
    nodes.close()
