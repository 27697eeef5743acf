"""Where a store is, and which node has a key: without a store."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from tenure_reader.keys import PartitionKeys
from tenure_reader.topology import (
    MOST_HOSTS,
    SLOTS,
    Address,
    StoreUrl,
    UncoveredError,
    cluster_of,
    kind_of,
    one_server,
    slot_of,
    watched_by,
)

A, B, C, D = (Address(f"10.0.0.{n}", 6379) for n in range(1, 5))

# Addresses


@pytest.mark.parametrize(("url", "addresses", "first"), [
    ("redis://db", [Address("db", 6379)], "redis://db:6379"),
    ("redis://db:7000/2", [Address("db", 7000)], "redis://db:7000/2"),
    ("redis://me:pa%40ss@db:1,other:2/0", [Address("db", 1), Address("other", 2)], "redis://me:pa%40ss@db:1/0"),
    ("rediss://db:1,db:1,db:2?ssl_ca_certs=/ca.pem", [Address("db", 1), Address("db", 2)], "rediss://db:1?ssl_ca_certs=%2Fca.pem"),
    ("redis://[::1]:7000,[fe80::2]", [Address("::1", 7000), Address("fe80::2", 6379)], "redis://[::1]:7000"),
    ("redis://:word@/0", [Address("localhost", 6379)], "redis://:word@localhost:6379/0"),
    ("redis://a:1/0?primary=tenure&client_name=x", [Address("a", 1)], "redis://a:1/0?client_name=x"),
])  # fmt: skip
def test_each_host_is_reached_as_the_address_says(url: str, addresses: list[Address], first: str) -> None:
    read = StoreUrl.read(url)
    assert list(read.addresses) == addresses
    assert read.at(read.addresses[0]) == first


def test_a_primary_is_named_for_sentinels_only() -> None:
    assert StoreUrl.read("redis://a/0?primary=tenure").primary == "tenure"
    assert StoreUrl.read("redis://a/0").primary is None


def test_a_socket_is_one_server() -> None:
    read = StoreUrl.read("unix:///run/valkey.sock?db=1")
    assert (read.addresses, read.at(None)) == ((), "unix:///run/valkey.sock?db=1")


def test_to_sentinels_the_reader_may_be_somebody_else_or_nobody() -> None:
    read = StoreUrl.read("rediss://me:word@a:1,b:2/0?ssl_ca_certs=ca.pem")
    assert read.at_sentinel(read.addresses[1]) == "rediss://b:2/0?ssl_ca_certs=ca.pem"
    read = StoreUrl.read("redis://me:word@a:1/3?sentinel_username=w%40x&sentinel_password=p/1")
    assert read.at(read.addresses[0]) == "redis://me:word@a:1/3"
    assert read.at_sentinel(read.addresses[0]) == "redis://w%40x:p%2F1@a:1/0"


@pytest.mark.parametrize("url", [
    "db:6379", "http://me:geheim@db", "redis://me:geheim@db:x", "redis://me:geheim@db:99999", "redis://me:geheim@[::1",
    "redis://me:geh#eim@db", "redis://:12/geheim@db",
    "redis://me:geheim@" + ",".join(f"h{n}" for n in range(MOST_HOSTS + 1)),
])  # fmt: skip
def test_what_is_no_address_is_said_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="the address of the store") as error:
        StoreUrl.read(url)
    assert "geheim" not in str(error.value)


# Slots


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_a_key_has_the_slot_that_redis_py_gives_it(key: str) -> None:
    assert slot_of(key) == key_slot(key.encode())


def test_all_keys_of_a_partition_are_in_one_slot() -> None:
    of = PartitionKeys(11)
    keys = {of.settings, of.switches, of.changes, of.revisions, of.directory, of.repository(1, 2), of.owner_index(1)}
    keys |= {
        of.repository_name(1, "{x}"),
        of.repository_v2(1, 2),
        of.name_index(1, "a{b}c"),
        of.former_name_index(1, "}{"),
    }
    assert len({slot_of(key) for key in keys}) == 1


RANGES = [
    [5461, 10922, [b"10.0.0.2", 6379, b"id-2", []], [b"10.0.0.4", 6379, b"id-4", []]],
    [0, 5460, [b"10.0.0.1", 6379, b"id-1", []]],
    [10923, 16383, ["10.0.0.3", 6379, "id-3"]],
]


def test_a_slot_is_where_its_range_is() -> None:
    topology = cluster_of(RANGES, A)
    assert topology.primaries == (A, B, C)
    assert topology.everybody == (A, B, C, D)
    for slot, there in ((0, A), (5460, A), (5461, B), (10922, B), (10923, C), (SLOTS - 1, C)):
        assert topology.primary(slot) == there


@pytest.mark.parametrize("slot", [0, 9, 21, 29, 41, SLOTS - 1])
def test_a_slot_that_nobody_has_is_nowhere(slot: int) -> None:
    topology = cluster_of([[10, 20, [b"10.0.0.1", 6379]], [30, 40, [b"10.0.0.2", 6379]]], A)
    assert (topology.primary(20), topology.primary(30)) == (A, B)
    with pytest.raises(UncoveredError, match=f"slot {slot}$"):
        topology.primary(slot)
    with pytest.raises(UncoveredError):
        cluster_of([], A).primary(slot)


@given(st.sets(st.integers(0, SLOTS - 1), max_size=20), st.data())
def test_ranges_in_any_order_cover_what_they_say(cuts: set[int], data: st.DataObject) -> None:
    firsts = sorted({0, *cuts})
    ends = [*(first - 1 for first in firsts[1:]), SLOTS - 1]
    owners = [data.draw(st.sampled_from([A, B, C])) for _ in firsts]
    ranges = [
        [first, last, [host.host.encode(), host.port]] for first, last, host in zip(firsts, ends, owners, strict=True)
    ]
    topology = cluster_of(data.draw(st.permutations(ranges)), D)
    for first, last, owner in zip(firsts, ends, owners, strict=True):
        assert topology.primary(first) == topology.primary(last) == owner


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_a_node_that_does_not_know_its_host_is_where_it_was_asked(host: bytes | None) -> None:
    assert cluster_of([[0, 16383, [host, 7001, b"id"]]], A).primaries == (Address("10.0.0.1", 7001),)


# Sentinels


def said(name: str = "tenure", flags: str = "master", ip: str = "10.0.0.1") -> list[bytes]:
    words = ["name", name, "ip", ip, "port", "6379", "runid", "x", "flags", flags, "num-other-sentinels", "2"]
    return [word.encode() for word in words]


@pytest.mark.parametrize(
    "reply", [[said()], [{b"name": b"tenure", b"ip": b"10.0.0.1", b"port": b"6379", b"flags": b"master"}]]
)
def test_the_primary_is_whom_the_sentinels_name(reply: object) -> None:
    topology = watched_by(reply, None, [C, D])
    assert (topology.kind, topology.primary(7), topology.everybody) == ("sentinel", A, (C, D))


def test_one_of_several_primaries_is_named_by_the_address() -> None:
    reply = [said("other", ip="10.0.0.2"), said()]
    assert watched_by(reply, "tenure", [C]).primaries == (A,)
    with pytest.raises(
        ValueError, match=re.escape("watch 2 primaries: name one, as in redis://host:port/0?primary=NAME")
    ):
        watched_by(reply, None, [C])
    with pytest.raises(ValueError, match="no primary that works"):
        watched_by(reply, "third", [C])


@pytest.mark.parametrize("flags", ["s_down,master", "master,o_down", "master,failover_in_progress", "slave", ""])
def test_a_primary_that_is_lost_is_none(flags: str) -> None:
    with pytest.raises(ValueError, match="no primary that works"):
        watched_by([said(flags=flags)], None, [C])


@pytest.mark.parametrize(("info", "kind"), [
    ({"redis_mode": "standalone"}, "server"), ({"redis_mode": "cluster"}, "cluster"), ({"server_mode": "sentinel"}, "sentinel"),
    ({"server_mode": "standalone"}, "server"), ({}, "server"), ({"redis_mode": "of next year"}, "server"),
])  # fmt: skip
def test_what_answers_says_what_it_is(info: object, kind: str) -> None:
    assert kind_of(info) == kind


def test_one_server_has_every_slot() -> None:
    assert one_server(A).primary(0) == one_server(A).primary(SLOTS - 1) == A
