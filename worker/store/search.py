"""Finding policies among many: by an index where there is one, else by looking through a bounded number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from worker.lifecycle import scopes
from worker.lifecycle.criteria import PolicyCriteria
from worker.lifecycle.views import View
from worker.store.client import Client, Command
from worker.store.codec import decode_view
from worker.store.keys import Keyspace, Partition

CHUNK = 250
"""Policies read by one pair of commands."""
SCANNED_AT_ONCE = 4_000
"""Policies that one search reads at most. More are looked through when somebody asks to look further."""


class Shelf(NamedTuple):
    """Ids of policies in one partition, sorted."""

    partition: Partition
    key: str


class SearchResult(NamedTuple):
    views: list[View]
    unreadable: list[str]
    """Policies whose record cannot be read."""
    scanned: int
    """Policies that were read."""
    total: int
    """Policies on all shelves: those that could be read."""
    cursor: str | None
    """Where to go on; None at the end."""


class Search:
    """Searches cost a bounded number of commands, however many policies there are."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self._keyspace = keyspace

    def find(
        self, criteria: PolicyCriteria, cursor: str | None, *, limit: int, look: int = SCANNED_AT_ONCE
    ) -> SearchResult:
        """At most `limit` policies that are wanted, from `cursor` on; `look` policies are read at most."""
        shelves = self._shelves(criteria)
        sizes = cast("list[int]", self._client.run([Command(("ZCARD", shelf.key)) for shelf in shelves]))
        number, after = _begin(cursor, len(shelves))
        views: list[View] = []
        unreadable: list[str] = []
        scanned = 0
        while number < len(shelves) and len(views) < limit and scanned < look:
            room = min(CHUNK, look - scanned)
            # One more than is read tells whether the shelf ends here.
            ids = self._ids(shelves[number], after, room + 1) if sizes[number] else []
            ended = len(ids) <= room
            for policy_id, view in zip(ids[:room], self._views(shelves[number].partition, ids[:room]), strict=True):
                if len(views) == limit:
                    ended = False
                    break
                scanned += 1
                after = policy_id
                if view is None:
                    unreadable.append(policy_id)
                elif criteria.admits(view):
                    views.append(view)
            if ended:
                number, after = number + 1, ""
        while number < len(shelves) and not sizes[number]:
            number, after = number + 1, ""
        cursor = f"{number}:{after}" if number < len(shelves) else None
        return SearchResult(views, unreadable, scanned, sum(sizes), cursor)

    def _shelves(self, criteria: PolicyCriteria) -> list[Shelf]:
        owner_id, repository_id = criteria.owner_id, criteria.repository_id
        if owner_id is not None:
            partition = self._keyspace.of(owner_id)
            scope = scopes.owner(owner_id) if repository_id is None else scopes.repository(owner_id, repository_id)
            return [Shelf(partition, partition.scope_index(scope))]
        if criteria.package_owner is not None:
            scope = scopes.account(criteria.package_owner)
            return [Shelf(partition, partition.scope_index(scope)) for partition in self._keyspace.all()]
        return [Shelf(partition, partition.all) for partition in self._keyspace.all()]

    def _ids(self, shelf: Shelf, after: str, count: int) -> list[str]:
        start = f"({after}" if after else "-"
        command = Command(("ZRANGEBYLEX", shelf.key, start, "+", "LIMIT", 0, count))
        return [raw.decode(errors="backslashreplace") for raw in cast("list[bytes]", self._client.one(command))]

    def _views(self, partition: Partition, ids: Sequence[str]) -> list[View | None]:
        if not ids:
            return []
        command = Command(("MGET", *(partition.policy(policy_id) for policy_id in ids)))
        return [decode_view(record) for record in cast("list[bytes | None]", self._client.one(command))]


def _begin(cursor: str | None, shelves: int) -> tuple[int, str]:
    """Shelf and id to begin after. Anything but a cursor of ours begins anew."""
    number, _, after = (cursor or "0:").partition(":")
    place = int(number) if number.isascii() and number.isdigit() and len(number) < 4 else 0
    return (place, after) if place < shelves else (0, "")
