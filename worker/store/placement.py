"""Under which version's keys views stand: what settings and switches say is followed by a walk over the policies, a few at a time.

A commit places what it writes, by what holds in its own step. What nobody writes is placed by the walk; it reads what holds in
the step that moves a view, too, so that no race leaves one in the wrong place. It can be left off anywhere and gone on with.
"""

from __future__ import annotations

import time
import uuid
from typing import cast

import orjson

from tenure_reader.keys import conditional
from tenure_reader.matching import CONTRACT, FIELDS, Matching, matching_of
from tenure_reader.source import PLACED
from tenure_reader.switches import scopes_of
from worker.lifecycle.facts import Micros
from worker.lifecycle.views import rfc3339
from worker.store.client import Argument, Client, Command, ScriptCall
from worker.store.keys import Keyspace, Partition
from worker.store.policies import Policies, view_keys
from worker.store.replies import fields

STEP = 100
"""Policies of one step: a few milliseconds of the store's time."""


def _event(kind: str, subject: str, at: Micros, data: dict[str, object]) -> bytes:
    return orjson.dumps({
        "specversion": "1.0", "id": uuid.uuid4().hex, "source": "tenure", "type": kind, "subject": subject,
        "time": rfc3339(at), "datacontenttype": "application/json", "data": data,
    })  # fmt: skip


def publish(client: Client, keyspace: Keyspace, matching: Matching, now: Micros, *, only_new: bool) -> bool:
    """Publish the settings that decide matching in every partition; `only_new`: unless some are there. Returns whether
    something became different.

    Raises:
        StoreError: they may be published or not.
    """
    values = [word for pair in zip(FIELDS, matching.fields(), strict=True) for word in pair]
    values += ["views", "2" if matching.narrower else "1"]
    event = _event("matching.changed", "settings", now, {"settings": dict(zip(FIELDS, matching.fields(), strict=True))})
    replies = client.run(
        [
            ScriptCall(
                "matching",
                (partition.settings, partition.changes, partition.placing),
                (int(only_new), partition.all, event, int(matching == CONTRACT), *values),
            )
            for partition in keyspace.all()
        ]
    )
    return any(replies)


def published(client: Client, keyspace: Keyspace) -> Matching:
    """The settings as readers find them.

    Raises:
        ValueError: one of them cannot be read.
    """
    found = cast("list[bytes | None]", client.one(Command(("HMGET", keyspace.all()[0].settings, *FIELDS))))
    return matching_of([None if word is None else word.decode(errors="replace") for word in found])


class Placement:
    """Walks over policies whose views may have to stand elsewhere."""

    def __init__(self, client: Client, policies: Policies) -> None:
        self._client = client
        self._policies = policies
        self._keyspace = policies.keyspace

    def waiting(self) -> dict[Partition, dict[str, str]]:
        """What is to be placed: of each partition, index → where that has come to."""
        partitions = self._keyspace.all()
        replies = self._client.run([Command(("HGETALL", partition.placing)) for partition in partitions])
        return {
            partition: {index: after.decode(errors="surrogateescape") for index, after in fields(reply).items()}
            for partition, reply in zip(partitions, replies, strict=True)
            if reply
        }

    def run(self, seconds: float, now: Micros) -> int:
        """Place what waits, for so long at most. Returns how many views were moved."""
        deadline, moved = time.monotonic() + seconds, 0
        while waiting := self.waiting():
            for partition, indexes in waiting.items():
                for index, after in indexes.items():
                    moved += self.step(partition, index, after, now)
                    if time.monotonic() > deadline:
                        return moved
        return moved

    def step(self, partition: Partition, index: str, after: str, now: Micros) -> int:
        """Place the next policies of an index. Returns how many views were moved."""
        start = f"({after}" if after else "-"
        found = cast("list[bytes]", self._client.one(Command(("ZRANGEBYLEX", index, start, "+", "LIMIT", 0, STEP))))
        ids = [raw.decode(errors="surrogateescape") for raw in found]
        keys = [
            partition.placing, partition.changes, partition.settings, partition.switches,
        ]  # fmt: skip
        comes_to = ids[-1] if len(ids) == STEP else ""
        args: list[Argument] = [index, after, comes_to, _event(PLACED, f"p{partition.number:02d}", now, {})]
        for policy_id, stamp, view in self._policies.standing_in(partition, ids):
            places = view_keys(partition, view)
            if places is not None:
                seen = cast("dict[str, object]", view)
                closing = scopes_of(seen)
                keys += [partition.policy(policy_id), *places]
                args += [stamp, policy_id, int(conditional(seen)), len(closing), *closing]
        return cast("int", self._client.one(ScriptCall("place", keys, args)))
