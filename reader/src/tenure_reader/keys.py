"""The keys that a token exchange reads, as the contract names them (section 5). No other key is read.

The braces are literal: one owner's keys share a cluster slot.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias, cast
from urllib.parse import quote

from tenure_reader.grants import Conditions

PARTITIONS = "tenure:partitions"
"""String: how many partitions there are. `tenure partitions` alone changes it; each partition says it, too."""

VIEWS = "tenure:{p*}:repository*"
"""Matches every key that holds views."""

CONDITIONS = frozenset(Conditions.__annotations__)
"""The members of a view that only a reader of the second version knows. One that is not set is absent."""

ISSUER = "github"
"""The alias of the default instance of GitHub, which policies mean that name none."""

OwnerRef: TypeAlias = int | str
"""A GitHub owner: its id, and `alias/id` at another instance than the default one, since ids are unique within one only."""

MAX_PARTITIONS = 1000
"""A key of theirs has its number in two digits, or in three."""

_PREFIXES = tuple(f"tenure:{{p{number:02d}}}:" for number in range(MAX_PARTITIONS))


class PartitionKeys(NamedTuple):
    """The keys of one partition that an exchange reads."""

    number: int

    @property
    def prefix(self) -> str:
        return _PREFIXES[self.number]

    def repository(self, owner: OwnerRef, repository_id: int) -> str:
        """Hash: policy id → view."""
        return f"{self.prefix}repository:{owner}:{repository_id}"

    def repository_name(self, owner: OwnerRef, name: str) -> str:
        """Hash: policy id → view, while the repository's id is not known."""
        return f"{self.prefix}repository-name:{owner}:{name.lower()}"

    def repository_v2(self, owner: OwnerRef, repository_id: int) -> str:
        """Hash: policy id → view, for those that a reader of the first version must not see."""
        return f"{self.prefix}repository-v2:{owner}:{repository_id}"

    def repository_name_v2(self, owner: OwnerRef, name: str) -> str:
        """The same, while the repository's id is not known."""
        return f"{self.prefix}repository-name-v2:{owner}:{name.lower()}"

    @property
    def settings(self) -> str:
        """Hash: the installation's settings that decide about tokens."""
        return f"{self.prefix}settings"

    @property
    def switches(self) -> str:
        """Hash: scope → the switch that closes its policies."""
        return f"{self.prefix}switches"

    @property
    def changes(self) -> str:
        """Stream: one change event an entry."""
        return f"{self.prefix}changes"

    @property
    def directory(self) -> str:
        """Hash: policy id → the number of the partition that the policy is in, for the policies of which `directory_of` names
        this partition, whoever they belong to.
        """
        return f"{self.prefix}directory"

    @property
    def revisions(self) -> str:
        """Hash: policy id → the last revision that was published of it, for the policies that are in this partition, removed
        ones too.
        """
        return f"{self.prefix}revisions"

    def owner_index(self, owner: OwnerRef) -> str:
        """Sorted set: the policies of an owner. For diagnostics; nothing is decided by it."""
        return f"{self.prefix}index:owner:{owner}"

    def name_index(self, owner: OwnerRef, name: str) -> str:
        """Sorted set: the policies of repositories that have, or had, a name. For diagnostics."""
        return f"{self.prefix}index:name:{owner}:{_quoted(name)}"

    def former_name_index(self, owner: OwnerRef, name: str) -> str:
        """Sorted set: those of them whose repository has another name now. For diagnostics."""
        return f"{self.prefix}index:former:name:{owner}:{_quoted(name)}"


def owner_at(issuer: str, owner_id: int) -> OwnerRef:
    """The owner of this id at the instance of this alias, as keys have it."""
    return owner_id if issuer == ISSUER else f"{issuer}/{owner_id}"


def owner_of(view: Mapping[str, object]) -> OwnerRef:
    """The owner of a view's policy."""
    return owner_at(str(view.get("issuer", ISSUER)), cast("int", view["repository_owner_id"]))


def partition_keys(owner: OwnerRef, partitions: int) -> PartitionKeys:
    """The keys of a GitHub owner's partition."""
    return PartitionKeys(partition_number(owner, partitions))


def partition_number(key: OwnerRef, partitions: int) -> int:
    """The partition of a GitHub owner: the CRC16 (XMODEM) of its id in decimal digits, or of `alias/id`."""
    return binascii.crc_hqx(str(key).encode(), 0) % partitions


def directory_of(policy_id: str, partitions: int) -> PartitionKeys:
    """The partition whose directory says where a policy is."""
    return PartitionKeys(partition_number(policy_id, partitions))


def is_views(key: bytes) -> bool:
    """Whether a key that matches `VIEWS` holds views."""
    return key.split(b":")[2] in (b"repository", b"repository-name", b"repository-v2", b"repository-name-v2")


def conditional(view: Mapping[str, object]) -> bool:
    """Whether a reader of the first version would ignore a condition of this view. Such a view is never under the keys that
    it reads.
    """
    return not CONDITIONS.isdisjoint(view)


def _quoted(name: str) -> str:
    return quote(name.lower(), safe="")
