"""One reader's way through the feed: what it asked for, and up to where it was told."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import orjson

from handlers.table import REGISTRATION_REFUSED
from worker.lifecycle.owners import DEFAULT, OwnerRef, owner_at
from worker.lifecycle.views import owner_of
from worker.store.cursors import Cursor
from worker.store.feed import CursorGoneError, FeedEntry
from worker.web.hub import Batch

PLACED = "views.placed"


class FeedFilter(NamedTuple):
    """Which policies, and which changes of them; what is not said does not matter."""

    owner: OwnerRef | None = None
    policies: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()

    def admits(self, entry: FeedEntry) -> bool:
        """
        Raises:
            GoneError: the entry cannot be read; only a snapshot shows what came of it.
        """
        about = _about(entry)
        if about.policy_id is None and (entry.partition or about.type == PLACED):
            # Every partition says the same, but for where its views are now: that is for who reads them there.
            return False
        # What is about no single policy may concern any.
        named = about.policy_id is None or not self.policies or about.policy_id in self.policies
        everybody = not about.owners and about.policy_id is None
        owned = everybody or self.owner is None or self.owner in about.owners
        return named and owned and (not self.types or about.type in self.types)


class Told(NamedTuple):
    """A change that is wanted, and the cursor after it."""

    entry: FeedEntry
    cursor: Cursor


class _About(NamedTuple):
    type: str
    policy_id: str | None
    owners: frozenset[OwnerRef]
    """The GitHub owner that the policy has, and the one that it had before; empty where there is none."""


@lru_cache(1_000)
def _about(entry: FeedEntry) -> _About:
    """What many listen to is read once."""
    try:
        event = orjson.loads(entry.event)
        data = event["data"]
        view = data.get("view")
        if view is None:
            return _About(event["type"], _without_view(event), frozenset())
        owners = {owner_of(view)}
        if "previous_owner_id" in data:
            owners.add(owner_at(data.get("previous_issuer", DEFAULT), data["previous_owner_id"]))
        return _About(event["type"], view["policy_id"], frozenset(owners))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise CursorGoneError from None


def _without_view(event: dict[str, str]) -> str | None:
    """The policy that an entry without a view is about; None if it is about no single one."""
    return event["subject"] if event["type"] == REGISTRATION_REFUSED else None


class Course:
    """Moves a cursor over entries, each once and in its order, whoever tells of them."""

    def __init__(self, asked: FeedFilter, cursor: Cursor) -> None:
        self._asked = asked
        self.cursor = cursor

    def over(self, entry: FeedEntry) -> list[Told]:
        """Move over the entry that follows; returns it, if it is wanted.

        Raises:
            GoneError: it cannot be read.
        """
        admitted = self._asked.admits(entry)
        self.cursor = self.cursor.after(entry.partition, entry.position)
        return [Told(entry, self.cursor)] if admitted else []

    def take(self, batch: Batch) -> tuple[list[Told], bool]:
        """What is wanted of a batch, but for what is before the cursor; and whether all that was published up to the batch's
        end is before the cursor now. If not, something was not heard: it has to be read.

        Raises:
            GoneError: an entry cannot be read.
        """
        told: list[Told] = []
        for entry in batch.entries:
            reached = self.cursor.positions[entry.partition].added
            if entry.added > reached + 1:
                return told, False
            if entry.added == reached + 1:
                told += self.over(entry)
        ours = zip(self.cursor.positions, batch.cursor.positions, strict=True)
        return told, all(mine.added >= theirs.added for mine, theirs in ours)
