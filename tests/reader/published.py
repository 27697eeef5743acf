"""A store as readers find it, written through any client: on engines on which nothing else of the product has to run."""

from __future__ import annotations

import json
from dataclasses import dataclass

from redis import Redis, RedisCluster

from tenure_reader.keys import PARTITIONS, directory_of, partition_keys, partition_number
from tenure_reader.topology import slot_of
from tests.engines import Cluster
from tests.reader.world import CLAIMS, GRANT, OWNER, REPOSITORY

COUNT = 16
"""Partitions."""


@dataclass
class Published:
    """A store as others would have it, written through a client that finds the nodes by itself."""

    redis: Redis | RedisCluster

    def begin(self) -> None:
        self.redis.set(PARTITIONS, COUNT)
        for number in range(COUNT):
            self.redis.hset(partition_keys(owner_in(number), COUNT).settings, "partitions", COUNT)

    def publish(self, policy_id: str, revision: int, owner_id: int = OWNER, *, usable: bool = True) -> None:
        self.write(policy_id, revision, owner_id, usable=usable)
        self.redis.hset(directory_of(policy_id, COUNT).directory, policy_id, partition_keys(owner_id, COUNT).number)

    def write(self, policy_id: str, revision: int, owner_id: int = OWNER, *, usable: bool = True) -> None:
        """View, revision and event in one transaction."""
        partition = partition_keys(owner_id, COUNT)
        view = {
            **GRANT, "policy_id": policy_id, "revision": revision, "repository_owner_id": owner_id,
            "repository_id": REPOSITORY, "repository": "widgets", "usable": usable,
        }  # fmt: skip
        event = {"type": "policy.updated", "data": {"view": view, "previous_state": "active"}}
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.hset(partition.repository(owner_id, REPOSITORY), policy_id, json.dumps(view))
        pipeline.hset(partition.revisions, policy_id, revision)
        pipeline.xadd(partition.changes, {"event": json.dumps(event)})
        pipeline.execute()

    def leave(self, policy_id: str, owner_id: int) -> None:
        """What the old partition does where a policy goes to another owner."""
        partition = partition_keys(owner_id, COUNT)
        self.redis.hdel(partition.repository(owner_id, REPOSITORY), policy_id)
        self.redis.hdel(partition.revisions, policy_id)


def owner_in(number: int) -> int:
    """An owner of that partition."""
    return next(owner for owner in range(1, 100_000) if partition_number(owner, COUNT) == number)


def claims_of(owner_id: int) -> dict[str, object]:
    return {**CLAIMS, "repository_owner_id": str(owner_id)}


def home(cluster: Cluster, owner_id: int = OWNER) -> int:
    """The place of the node that has an owner's partition, as the cluster begins."""
    slot = slot_of(partition_keys(owner_id, COUNT).settings)
    return next(place for place in range(3) if cluster.slots(place)[0] <= slot <= cluster.slots(place)[1])


def elsewhere(cluster: Cluster) -> int:
    """An owner whose partition is on another node."""
    return next(owner for owner in range(1, 1000) if home(cluster, owner) != home(cluster))
