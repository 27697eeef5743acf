"""Replays of dead letters: which letters, how far, and why. So one can be watched, stopped and gone on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import orjson

from worker.lifecycle.facts import DAY, Micros
from worker.store.audit import DONE, Action, act, record_call
from worker.store.client import Argument, Client, Command, ScriptCall
from worker.store.dead import DeadLetter
from worker.store.inbox import Receipt, put_call
from worker.store.keys import REPLAYS, Keyspace, Partition, replay
from worker.store.replies import fields

KEPT: Micros = 90 * DAY
"""How long a replay that is over can be looked at. The audit trail keeps what it was for ever."""
MEMBERS = 10_000
"""Words of one command."""
RUNNING, STOPPED, ENDED = "running", "stopped", "ended"


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay as the store keeps it."""

    batch: str
    state: str
    """`running` (or interrupted, if nobody is at it), `stopped`, `ended`."""
    by: str
    reason: str
    rate: float | None
    """Letters a second; None: as fast as it goes."""
    selection: Mapping[str, object]
    """What was asked for: filters or ids."""
    started_at: Micros
    total: int
    done: int
    """Letters that were put back."""


@dataclass(frozen=True, slots=True)
class Member:
    """One letter of a replay."""

    partition: Partition
    event_id: str
    delivery: str

    @classmethod
    def read(cls, written: bytes) -> Member:
        number, event_id, delivery = written.decode().split(":", 2)
        return cls(Partition(int(number)), event_id, delivery)

    def __str__(self) -> str:
        return f"{self.partition.number}:{self.event_id}:{self.delivery}"


class ReplayStore:
    """Keeps replays, and puts their letters back."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self._keyspace = keyspace

    def begin(self, new: Replay, letters: Sequence[DeadLetter], details: Mapping[str, object]) -> None:
        """Keep a new replay with all its letters, in their order, and enter it in the audit trail: all or nothing."""
        members: list[Argument] = []
        for place, x in enumerate(letters):
            members += [place, str(Member(x.partition, x.event_id, x.delivery))]
        pending = replay(new.batch, "pending")
        written = act("replay.started", new.by, new.reason, (new.batch,), details)
        state: dict[str, Argument] = {
            "state": RUNNING, "by": new.by, "reason": new.reason, "selection": orjson.dumps(new.selection),
            "started_at": new.started_at, "rate": "" if new.rate is None else repr(new.rate),
        }  # fmt: skip
        flat: list[Argument] = [part for pair in state.items() for part in pair]
        self._client.run(
            [
                Command(("HSET", replay(new.batch, "state"), *flat)),
                *(Command(("ZADD", pending, *members[i : i + MEMBERS])) for i in range(0, len(members), MEMBERS)),
                Command(("ZADD", REPLAYS, new.started_at, new.batch)),
                record_call(written, once=f"{new.batch}:started"),
            ],
            atomic=True,
        )

    def get(self, batch: str) -> Replay | None:
        """The replay with this id; None if there is none, or it ended long ago."""
        state, pending, done = self._client.run([
            Command(("HGETALL", replay(batch, "state"))),
            Command(("ZCARD", replay(batch, "pending"))),
            Command(("ZCARD", replay(batch, "done"))),
        ])  # fmt: skip
        values = fields(state)
        if not values:
            return None
        left, gone = cast("int", pending), cast("int", done)
        return Replay(
            batch=batch,
            state=values["state"].decode(),
            by=values["by"].decode(),
            reason=values["reason"].decode(),
            rate=float(values["rate"]) if values["rate"] else None,
            selection=orjson.loads(values["selection"]),
            started_at=int(values["started_at"]),
            total=left + gone,
            done=gone,
        )

    def newest(self, limit: int) -> list[str]:
        """Ids of the last replays, newest first."""
        reply = self._client.one(Command(("ZREVRANGE", REPLAYS, 0, limit - 1)))
        return [raw.decode() for raw in cast("list[bytes]", reply)]

    def mark(self, record: Replay, state: str, *, by: str, reason: str | None, action: Action) -> None:
        """Stop it or let it go on, and enter that in the audit trail."""
        written = act(action, by, reason, (record.batch,), {"done": record.done, "total": record.total})
        self._client.run(
            [Command(("HSET", replay(record.batch, "state"), "state", state)), record_call(written)], atomic=True
        )

    def pending(self, batch: str, limit: int) -> list[Member]:
        """The next letters to be put back."""
        reply = self._client.one(Command(("ZRANGE", replay(batch, "pending"), 0, limit - 1)))
        return [Member.read(raw) for raw in cast("list[bytes]", reply)]

    def put_back(self, batch: str, members: Sequence[Member]) -> tuple[list[Receipt], str]:
        """Put letters back into the inbox, and then note it: whoever goes on after a crash in between repeats some.

        One that is no dead letter any more is left as it is. Returns a receipt for each, and the replay's state: if that is not
        `running`, these are the last that were put back.
        """
        parts = [replay(batch, part) for part in ("state", "pending", "done")]
        now = self.state(batch)
        if now != RUNNING:
            return [Receipt(duplicate=True, wake="") for _ in members], now
        replies = self._client.run([put_call(self._keyspace, m.partition, m.event_id) for m in members])
        state = self._client.one(ScriptCall("put_back", parts, [str(member) for member in members]))
        receipts = [
            Receipt(status != b"queued", ring.decode()) for status, ring in cast("list[tuple[bytes, bytes]]", replies)
        ]
        return receipts, cast("bytes", state or b"").decode()

    def done(self, batch: str) -> list[Member]:
        """The letters that were put back."""
        reply = self._client.one(Command(("ZRANGE", replay(batch, "done"), 0, -1)))
        return [Member.read(raw) for raw in cast("list[bytes]", reply)]

    def state(self, batch: str) -> str:
        """`running`, `stopped` or `ended`; empty if there is no such replay."""
        reply = self._client.one(Command(("HGET", replay(batch, "state"), "state")))
        return cast("bytes", reply or b"").decode()

    def end(self, record: Replay, details: Mapping[str, object], *, by: str) -> None:
        """It is over: enter what came of it, and who saw to it last, and forget it after `KEPT`."""
        written = act("replay.ended", by, record.reason, (record.batch,), details)
        parts = [replay(record.batch, part) for part in ("state", "pending", "done")]
        self._client.run(
            [
                Command(("HSET", parts[0], "state", ENDED)),
                *(Command(("PEXPIRE", part, KEPT // 1000)) for part in parts),
                Command(("ZREMRANGEBYSCORE", REPLAYS, "-inf", record.started_at - KEPT)),
                record_call(written, DONE, once=f"{record.batch}:ended"),
            ],
            atomic=True,
        )
