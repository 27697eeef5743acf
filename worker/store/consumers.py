"""Named consumers of the feed: each has a position, which it moves on itself once it has done what it was told."""

from __future__ import annotations

import re
from typing import NamedTuple, cast

import orjson

from worker.lifecycle.facts import Micros
from worker.store.audit import act, record_call
from worker.store.client import Client, Command
from worker.store.codec import UNREADABLE
from worker.store.cursors import Cursor, cursor_of
from worker.store.feed import Behind, Feed
from worker.store.keys import CONSUMERS
from worker.store.replies import fields
from worker.store.sessions import TokenRole

MOST = 64
MOST_EACH = 16
"""Consumers in all, and of one token's name: each is looked at for every scrape."""
is_name = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}").fullmatch


class ForeignConsumerError(Exception):
    """Another token made it."""


class TooManyConsumersError(Exception):
    """There are as many as may be, in all or of this token."""


class Consumer(NamedTuple):
    name: str
    role: str
    by: str
    """Role and name of the token that made it."""
    made_at: Micros
    acknowledged_at: Micros
    cursor: Cursor | None
    """Up to where it acknowledged; None if that cannot be read."""


class Lag(NamedTuple):
    """How far a consumer is behind."""

    consumer: Consumer
    changes: int
    """Changes that it has not acknowledged, wanted or not."""
    seconds: float
    """How long ago the first of them was published; 0 if there is none."""
    gone: bool
    """The feed does not go on from its position."""


class Consumers:
    def __init__(self, client: Client, feed: Feed) -> None:
        self._client = client
        self._feed = feed

    def find(self, name: str, role: TokenRole, by: str) -> Consumer | None:
        """
        Raises:
            ForeignConsumerError: another token made it.
        """
        written = cast("bytes | None", self._client.one(Command(("HGET", CONSUMERS, name))))
        found = None if written is None else _consumer(name, written)
        if found is not None and (found.role, found.by) != (role, by):
            raise ForeignConsumerError
        return found

    def acknowledge(self, name: str, role: TokenRole, by: str, *, cursor: Cursor, now: Micros) -> None:
        """Move its position to the cursor, wherever that is. One that is not there yet is made.

        Raises:
            ForeignConsumerError: another token made it.
            TooManyConsumersError: it is not there yet, and there is no room.
        """
        found = self.find(name, role, by)
        made = now if found is None else found.made_at
        written = orjson.dumps([role, by, made, now, cursor.text()])
        if found is not None:
            self._client.one(Command(("HSET", CONSUMERS, name, written)))
            return
        if self._client.one(Command(("HSETNX", CONSUMERS, name, written))) == 0:
            # Somebody has made it meanwhile: look whose it is.
            self.acknowledge(name, role, by, cursor=cursor, now=now)
            return
        there = self.all()
        if len(there) > MOST or sum((one.role, one.by) == (role, by) for one in there) > MOST_EACH:
            self._client.one(Command(("HDEL", CONSUMERS, name)))
            raise TooManyConsumersError

    def all(self) -> list[Consumer]:
        """Every consumer, by name."""
        found = fields(self._client.one(Command(("HGETALL", CONSUMERS))))
        return [_consumer(name, written) for name, written in sorted(found.items())]

    def lags(self) -> list[Lag]:
        """How far each is behind now."""
        consumers = self.all()
        if not consumers:
            return []
        now, found = self._feed.behind([consumer.cursor for consumer in consumers])
        return [_lag(consumer, behind, now) for consumer, behind in zip(consumers, found, strict=True)]

    def forget(self, name: str, *, by: str, reason: str) -> None:
        """It has no position any more; in the same step, that goes into the audit trail."""
        forgotten = Command(("HDEL", CONSUMERS, name))
        self._client.run([forgotten, record_call(act("consumer.forgotten", by, reason, (name,)))], atomic=True)


def _lag(consumer: Consumer, behind: Behind | None, now: Micros) -> Lag:
    if behind is None:
        return Lag(consumer, 0, 0.0, gone=True)
    since = now if behind.since is None else behind.since
    return Lag(consumer, behind.changes, max(0, now - since) / 1_000_000, gone=False)


def _consumer(name: str, written: bytes) -> Consumer:
    try:
        role, by, made, acknowledged, cursor = orjson.loads(written)
        return Consumer(name, str(role), str(by), int(made), int(acknowledged), cursor_of(cursor))
    except UNREADABLE:
        return Consumer(name, "", "", 0, 0, None)
