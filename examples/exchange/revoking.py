"""Keys die when their policy is disabled, and stay dead when it comes back.

The mirror tells of each change. One that closes a policy leaves a mark with its revision, and a key that was minted at an
earlier revision is good no more. A mark also kills a key that is written after it by a request that decided before it.

A switch closes many policies, and changes none: it leaves one mark, with its time, for all keys under it that were decided about
before. Its end leaves another, for what a reader let through before it had heard of the switch.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

from redis import Redis

from examples.exchange.settings import LONGEST_LIFE
from examples.exchange.vault import PREFIX, REVOKED_SECONDS, Record, read_record, revoked_name, switched_name
from tenure_reader import ChangeEvent, Memory
from tenure_reader.keys import PartitionKeys
from tenure_reader.lookup import stored_partitions
from tenure_reader.nodes import Nodes
from tenure_reader.switches import SwitchEvent
from tenure_reader.times import micros

PAGE = 1_000


class Revoker:
    """Listens to a mirror, in its thread. What it raises makes the mirror untrusted until it works again."""

    def __init__(self, redis: Redis, tenure: Nodes) -> None:
        self._redis = redis
        self._tenure = tenure

    def changed(self, change: ChangeEvent) -> None:
        if not change.grant["usable"]:
            self._mark(change.policy_id, change.revision)

    def switched(self, event: SwitchEvent) -> None:
        self._set(switched_name(event.scope), "at", micros(datetime.fromisoformat(event.at)))

    def reloaded(self, memory: Memory) -> None:
        """Changes before this may not have been told. No key is older than the feed's last hour, so that tells."""
        for event in self._entries(PartitionKeys(0)):
            # Every partition tells of every switch.
            if event["type"] in ("switch.closed", "switch.opened"):
                self._set(switched_name(event["subject"]), "at", micros(datetime.fromisoformat(event["time"])))
        old = [record for record in self._records() if self._behind(record, memory)]
        recent = self._closings() if old else {}
        for record in old:
            now = memory.get(record.policy_id)
            since = recent.get(record.policy_id, {})
            last = now["revision"] if now else record.revision
            # Nobody can tell any more of a revision that is not there, so it counts as one that closed the policy.
            closings = [r for r in range(record.revision + 1, last + 1) if since.get(r) is not True]
            if closings or now is None:
                self._mark(record.policy_id, max([record.revision, *closings]))

    @staticmethod
    def _behind(record: Record, memory: Memory) -> bool:
        now = memory.get(record.policy_id)
        return now is None or now["revision"] > record.revision

    def _mark(self, policy_id: str, revision: int) -> None:
        self._set(revoked_name(policy_id), "revision", revision)

    def _set(self, name: str, member: str, number: int) -> None:
        """Leave a mark, if it is higher than the one that is there."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(name, {member: number}, gt=True)
        pipeline.expire(name, REVOKED_SECONDS)
        pipeline.execute()

    def _records(self) -> list[Record]:
        names = self._redis.scan_iter(f"{PREFIX}key:*", count=PAGE)
        records = (read_record(cast("bytes | None", self._redis.get(name))) for name in names)
        return [record for record in records if record is not None]

    def _closings(self) -> dict[str, dict[int, bool]]:
        """Of each policy that changed within the life of a key: revision → whether it was usable."""
        closings: dict[str, dict[int, bool]] = defaultdict(dict)
        for number in range(self._tenure.run(stored_partitions(self._tenure.router))):
            for event in self._entries(PartitionKeys(number)):
                view = event["data"].get("view")
                if view is not None:
                    closings[view["policy_id"]][view["revision"]] = view.get("usable_v2", view["usable"])
        return closings

    def _entries(self, partition: PartitionKeys) -> Iterator[dict[str, Any]]:
        """What was published there within the life of a key."""
        stream, router = partition.changes, self._tenure.router
        after = f"{self._tenure.run(router.transaction(stream, ())).at // 1000 - (LONGEST_LIFE + 60) * 1000}-0"
        while True:
            asked = router.transaction(stream, [("XRANGE", stream, after, "+", "COUNT", PAGE)])
            entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", self._tenure.run(asked).replies[0])
            if not entries:
                return
            after = f"({entries[-1][0].decode()}"
            yield from (json.loads(fields[b"event"]) for _, fields in entries)
