"""Keys die when their policy is disabled, and stay dead when it comes back.

The mirror tells of each change. One that closes a policy leaves a mark with its revision, and a key that was minted at an
earlier revision is good no more. A mark also kills a key that is written after it by a request that decided before it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import cast

from redis import Redis

from examples.exchange.settings import LONGEST_LIFE
from examples.exchange.vault import PREFIX, REVOKED_SECONDS, Record, read_record, revoked_name
from tenure_reader import ChangeEvent, Memory

PAGE = 1_000


class Revoker:
    """Listens to a mirror, in its thread. What it raises makes the mirror untrusted until it works again."""

    def __init__(self, redis: Redis, tenure: Redis) -> None:
        self._redis = redis
        self._tenure = tenure

    def changed(self, change: ChangeEvent) -> None:
        if not change.grant["usable"]:
            self._mark(change.policy_id, change.revision)

    def reloaded(self, memory: Memory) -> None:
        """Changes before this may not have been told. No key is older than the feed's last hour, so that tells."""
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
        name = revoked_name(policy_id)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(name, {"revision": revision}, gt=True)
        pipeline.expire(name, REVOKED_SECONDS)
        pipeline.execute()

    def _records(self) -> list[Record]:
        names = self._redis.scan_iter(f"{PREFIX}key:*", count=PAGE)
        found = (read_record(cast("bytes | None", self._redis.get(name))) for name in names)
        return [record for record in found if record is not None]

    def _closings(self) -> dict[str, dict[int, bool]]:
        """Of each policy that changed within the life of a key: revision → whether it was usable."""
        found: dict[str, dict[int, bool]] = defaultdict(dict)
        seconds, _ = self._tenure.time()
        partitions = int(self._tenure.get("tenure:partitions") or 0)
        for stream in (f"tenure:{{p{number:02d}}}:changes" for number in range(partitions)):
            after = f"{(int(seconds) - LONGEST_LIFE - 60) * 1000}-0"
            while entries := cast(
                "list[tuple[bytes, dict[bytes, bytes]]]", self._tenure.xrange(stream, after, "+", PAGE)
            ):
                after = f"({entries[-1][0].decode()}"
                for _, fields in entries:
                    view = json.loads(fields[b"event"])["data"].get("view")
                    if view is not None:
                        found[view["policy_id"]][view["revision"]] = view.get("usable_v2", view["usable"])
        return found
