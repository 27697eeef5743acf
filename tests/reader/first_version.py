"""A reader of the contract's first version, frozen: what exchanges in other languages do that were written for it.

It knows two kinds of keys, the members of a view that there were, and what an entry of the feed held. It is not to be brought
up to date: what it lets through must stay right without.
"""

from __future__ import annotations

import binascii
import json
from datetime import datetime
from typing import Any, cast

from redis import Redis

from worker.lifecycle.facts import Micros
from worker.lifecycle.views import micros


def open_to(view: dict[str, Any], now: Micros) -> bool:
    until = view["usable_until"]
    return view["usable"] is True and (until is None or now < micros(datetime.fromisoformat(until)))


def found(redis: Redis, owner_id: int, repository_id: int, name: str) -> list[dict[str, Any]]:
    """The views under the two keys that it reads."""
    count = int(cast("bytes", redis.get("tenure:partitions")))
    prefix = f"tenure:{{p{binascii.crc_hqx(str(owner_id).encode(), 0) % count:02d}}}:"
    by_id = redis.hvals(f"{prefix}repository:{owner_id}:{repository_id}")
    by_name = redis.hvals(f"{prefix}repository-name:{owner_id}:{name.lower()}")
    return [json.loads(raw) for raw in cast("list[bytes]", by_id) + cast("list[bytes]", by_name)]


class FirstMirror:
    """Policies in memory: a snapshot of the views, then every event of the feed, of each policy the highest revision."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.views: dict[str, dict[str, Any]] = {}
        self._read: dict[bytes, bytes] = {}
        self.load()

    def load(self) -> None:
        self.views.clear()
        for stream in self._redis.scan_iter("tenure:{p*}:changes"):
            self._read[stream] = cast(
                "bytes", cast("dict[str, object]", self._redis.xinfo_stream(stream))["last-generated-id"]
            )
        for key in self._redis.scan_iter("tenure:{p*}:repository*"):
            if key.split(b":")[2] in (b"repository", b"repository-name"):
                for raw in cast("list[bytes]", self._redis.hvals(key)):
                    self._take(json.loads(raw))

    def follow(self) -> None:
        """What was published since; after an entry that it cannot read it loads everything again."""
        for stream in self._redis.scan_iter("tenure:{p*}:changes"):
            entries = cast(
                "list[tuple[bytes, dict[bytes, bytes]]]",
                self._redis.xrange(stream, b"(" + self._read.get(stream, b"0-0"), "+"),
            )
            for entry_id, fields in entries:
                self._read[stream] = entry_id
                try:
                    self._take(json.loads(fields[b"event"])["data"]["view"])
                except KeyError:
                    self.load()
                    return self.follow()
        return None

    def lets(self, policy_id: str, now: Micros) -> bool:
        return policy_id in self.views and open_to(self.views[policy_id], now)

    def _take(self, view: dict[str, Any]) -> None:
        known = self.views.get(view["policy_id"])
        if known is None or known["revision"] < view["revision"]:
            self.views[view["policy_id"]] = view
