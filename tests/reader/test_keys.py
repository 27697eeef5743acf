"""The keys that an exchange reads are those that the store writes and the contract names."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tenure_reader.keys import (
    PARTITIONS,
    PartitionKeys,
    directory_of,
    is_views,
    partition_keys,
    partition_number,
)
from tests.docs.markdown import table, text
from worker.lifecycle import scopes
from worker.store.keys import Partition

IDS = st.integers(0, 2**63 - 1)


def test_partitions_are_those_of_a_redis_cluster_of_that_size() -> None:
    """CRC16/XMODEM; its check value is that of the text `123456789`."""
    assert partition_number(123456789, 2**16) == 0x31C3
    assert partition_number("123456789", 16) == 0x31C3 % 16


@given(IDS, st.text(max_size=120), st.integers(0, 15))
def test_the_indexes_that_are_read_are_those_that_the_store_writes(owner_id: int, name: str, number: int) -> None:
    read, written = PartitionKeys(number), Partition(number)
    if "\ud800" <= max(name, default="") <= "\udfff":
        return
    assert read.owner_index(owner_id) == written.scope_index(scopes.owner(owner_id))
    assert read.name_index(owner_id, name) == written.scope_index(scopes.name(owner_id, name))
    assert read.former_name_index(owner_id, name) == written.former_names(scopes.name(owner_id, name))


def test_the_contract_names_every_key_that_is_read() -> None:
    named = {re.sub(r"<[^>]*>", "…", row[0].strip("`")) for row in table(text("docs/contract.md"), "keys")}
    of = partition_keys(600613, 16)
    read = {
        of.repository(600613, 1),
        of.repository_name(600613, "n"),
        of.repository_v2(600613, 1),
        of.repository_name_v2(600613, "n"),
        of.settings,
        of.switches,
        of.changes,
        of.owner_index(600613),
        of.name_index(600613, "n"),
        of.former_name_index(600613, "n"),
        of.revisions,
        directory_of("pol-1", 16).directory.replace("p08", "pQ"),
        PARTITIONS,
    }
    assert named == {re.sub(r":(600613|1|n)(?=:|$)", ":…", key.replace("{p11}", "{pP}")) for key in read}


def test_views_are_under_the_ids_and_the_names_of_repositories() -> None:
    of = partition_keys(600613, 16)
    assert is_views(of.repository(600613, 1).encode())
    assert is_views(of.repository_name(600613, "a:b").encode())
    assert is_views(of.repository_v2(600613, 1).encode())
    assert is_views(of.repository_name_v2(600613, "a:b").encode())
    assert not is_views(of.changes.encode())
    assert not is_views(b"tenure:{p11}:repositories:600613:1")


def test_a_name_is_one_part_of_a_key_whatever_it_holds() -> None:
    assert PartitionKeys(3).name_index(41, "A/b:c") == "tenure:{p03}:index:name:41:a%2Fb%3Ac"
