"""What is due, by the clock of the node that dated it: those of a cluster differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple, TypeAlias, cast

from worker.lifecycle.facts import Micros
from worker.store.client import Call, Client, Command, ScriptCall
from worker.store.keys import Partition
from worker.store.replies import first_score
from worker.store.status import times_of

Sets: TypeAlias = tuple[Partition, Sequence[str]]
"""Sorted sets of a partition, whose scores are times."""


class DueThere(NamedTuple):
    """What is due in a partition."""

    now: Micros
    """What time it is there."""
    members: list[list[bytes]]
    """Of each set, the longest due first."""


def due_in(client: Client, sets: Sequence[Sets], limit: int) -> list[DueThere | None]:
    """What is due of these sets, at most `limit` members of each; None for a partition in which nothing waits, or
    that cannot be reached.

    Raises:
        StoreError: none can be.
    """
    replies = client.reached([ScriptCall("due", (partition.clock, *keys), (limit,)) for partition, keys in sets])
    return [_there(cast("list[bytes | list[bytes]]", reply)) if reply else None for reply in replies]


def _there(reply: Sequence[bytes | list[bytes]]) -> DueThere:
    now, *members = reply
    return DueThere(int(cast("bytes", now)), cast("list[list[bytes]]", members))


def waiting_in(client: Client, sets: Sequence[Sets]) -> list[tuple[Micros, Micros]]:
    """Of each set that is not empty: what time it is there, and its lowest score."""
    calls: list[Call] = []
    for partition, keys in sets:
        calls.append(ScriptCall("now", (partition.clock,), ()))
        calls += [Command(("ZRANGE", key, 0, 0, "WITHSCORES")) for key in keys]
    replies = iter(client.run(calls))
    found: list[tuple[Micros, Micros]] = []
    for _, keys in sets:
        now = times_of(next(replies)).now
        found += [(now, first_score(reply)) for reply in islice(replies, len(keys)) if reply]
    return found
