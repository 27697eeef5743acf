"""Switches in the store: what is intended, and that every partition follows it.

A switch is noted once, as what is intended. Each partition then follows in a step of its own, which reads what is intended at
that moment: whoever does it, twice or late, does what is right then. Until all have followed it is kept that they have not, so
that a scheduler finishes what a process that died has begun.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, cast

import orjson

from tenure_reader.switches import scopes_of
from worker.lifecycle import scopes
from worker.lifecycle.facts import Micros
from worker.lifecycle.owners import OwnerRef, issuer_of, owner_from
from worker.lifecycle.views import View, owner_of, rfc3339
from worker.store.audit import DONE, Action, act
from worker.store.client import Client, Command, ScriptCall
from worker.store.codec import UNREADABLE
from worker.store.keys import AUDIT, SWITCHES, SWITCHES_NUMBER, SWITCHES_UNFINISHED, Keyspace, Partition
from worker.store.replies import fields

MOST = 1000
"""Switches of one store. A reader is sent all of a partition's with each answer."""
Kind: TypeAlias = Literal["all", "issuer", "owner", "creator", "repository", "package_owner"]
_CLOSED, _OPENED = "closed", "opened"


class Scope(NamedTuple):
    """What a switch closes: every policy, or those of one issuer, owner, creator, repository or package owner."""

    kind: Kind
    name: str = ""
    """An alias, an owner as scopes have it, an account, or `<owner>:<repository id>`."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def owner_id(self) -> OwnerRef | None:
        """The one GitHub owner whose policies it closes; None where they may be of many."""
        return owner_from(self.name.partition(":")[0]) if self.kind in ("owner", "repository") else None

    @property
    def issuer(self) -> str | None:
        """The alias of the one instance of GitHub whose policies it closes; None where they may be of any."""
        return self.name if self.kind == "issuer" else None if self.owner_id is None else issuer_of(self.owner_id)

    def index_in(self, partition: Partition, keyspace: Keyspace) -> str | None:
        """The index of a partition that has all of its policies, among others; None where there can be none."""
        if self.owner_id is not None and keyspace.of(self.owner_id) != partition:
            return None
        match self.kind:
            case "owner" | "repository":
                return partition.scope_index(str(self))
            case "creator" | "package_owner":
                return partition.scope_index(scopes.account(self.name))
            case _:
                return partition.all


def scope_of(written: str) -> Scope:
    """The reverse of `str`."""
    kind, _, name = written.partition(":")
    return Scope(cast("Kind", kind), name)


class Switch(NamedTuple):
    """A switch that is closed."""

    scope: str
    switch_id: str
    reason: str
    by: str
    at: str
    """RFC 3339."""

    def shown(self) -> dict[str, str]:
        """As programs are shown it."""
        return {"scope": self.scope, "id": self.switch_id, "reason": self.reason, "by": self.by, "at": self.at}


class TooManyError(Exception):
    """A store has so many switches that no more may be closed."""

    def __init__(self) -> None:
        super().__init__(f"there are {MOST} switches already; open some, or close a wider one")


class StandsError(Exception):
    """A switch is closed, or open, already."""

    def __init__(self, scope: Scope, there: Switch | None) -> None:
        held = "" if there is None else f" by {there.by} since {there.at}: {there.reason}"
        super().__init__(f"{scope} is held already{held}" if there else f"{scope} is not held")
        self.there = there


class Switches:
    """Closes, opens and shows switches."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self._keyspace = keyspace

    def close(self, scope: Scope, *, reason: str, by: str, at: Micros, request_id: str) -> Switch:
        """Close a switch in every partition, and enter it in the audit trail. `request_id` makes it idempotent.

        Raises:
            StandsError: it is closed by another request.
            TooManyError: there are too many.
            StoreError: it may be closed or not; if it was noted, a scheduler closes it everywhere.
        """
        switch = Switch(str(scope), request_id, reason, by, rfc3339(at))
        self._turn(scope, _CLOSED, switch)
        return switch

    def open(self, scope: Scope, *, reason: str, by: str, at: Micros, request_id: str) -> None:
        """Open a switch in every partition, and enter it in the audit trail.

        Raises:
            StandsError: it is not closed.
            StoreError: as `close`.
        """
        self._turn(scope, _OPENED, Switch(str(scope), request_id, reason, by, rfc3339(at)))

    def _turn(self, scope: Scope, word: str, switch: Switch) -> None:
        said = switch.shown()
        said.pop("scope")
        event = {
            "specversion": "1.0", "id": f"{switch.switch_id}:{word}", "source": "tenure", "type": f"switch.{word}",
            "subject": switch.scope, "time": switch.at, "datacontenttype": "application/json",
            "data": {"switch": said},
        }  # fmt: skip
        intent = b"\n".join((word.encode(), orjson.dumps(said), orjson.dumps(event)))
        action: Action = "switch.closed" if word == _CLOSED else "switch.opened"
        entry = act(action, switch.by, switch.reason, (switch.scope,), {"request": switch.switch_id})
        keys = (SWITCHES, SWITCHES_UNFINISHED, AUDIT, SWITCHES_NUMBER)
        # There is always room for the one that closes everything.
        most = MOST + (scope.kind == "all")
        # What was noted may be lost, as with a part of a backup; readers are closed all the same, and must be opened.
        told = int(switch.scope in self._followed_in())
        reply = self._client.one(ScriptCall("intend", keys, (switch.scope, intent, most, entry, DONE, told)))
        if reply == 0:
            raise TooManyError
        if isinstance(reply, bytes):
            raise StandsError(scope, _closed(switch.scope, reply))
        self.finish([scope])

    def finish(self, wanted: Sequence[Scope] | None = None) -> int:
        """Let every partition follow what is intended of these switches, or of all that are unfinished. Returns how many
        were.
        """
        if wanted is None:
            unfinished = cast("list[bytes]", self._client.one(Command(("ZRANGE", SWITCHES_UNFINISHED, 0, MOST))))
            wanted = [scope_of(raw.decode()) for raw in unfinished]
        if not wanted:
            return 0
        names = [str(scope) for scope in wanted]
        left, intended = self._keyspace.all(), cast("list[bytes | None]", [])
        while left:
            number, reply = self._client.run(
                [Command(("GET", SWITCHES_NUMBER)), Command(("HMGET", SWITCHES, *names))], atomic=True
            )
            intended = cast("list[bytes | None]", reply)
            newest = int(cast("bytes | None", number) or b"0")
            told = [(scope, intent or b"") for scope, intent in zip(wanted, intended, strict=True)]
            replies = self._client.run([self._followed(partition, newest, told) for partition in left])
            followed = cast("list[int]", replies)
            # Somebody had it follow something newer, which may be about others.
            left = [partition for partition, done in zip(left, followed, strict=True) if done < 0]
            ahead = -min(followed) - newest
            if (
                ahead > 0
                and int(cast("bytes | None", self._client.one(Command(("GET", SWITCHES_NUMBER)))) or b"0") == newest
            ):
                # What was intended was lost in part, with a server that was restored: what is intended now is newer.
                self._client.one(Command(("INCRBY", SWITCHES_NUMBER, ahead)))
        done = [
            word for name, intent in zip(names, intended, strict=True) if intent is not None for word in (name, intent)
        ]
        return cast("int", self._client.one(ScriptCall("switched", (SWITCHES, SWITCHES_UNFINISHED), done)))

    def _followed(self, partition: Partition, newest: int, told: Sequence[tuple[Scope, bytes]]) -> ScriptCall:
        keys = (partition.followed, partition.switches, partition.changes, partition.placing)
        words = ((str(scope), intent, scope.index_in(partition, self._keyspace) or "") for scope, intent in told)
        return ScriptCall("switch", keys, [newest, *(word for three in words for word in three)])

    def all(self) -> list[Switch]:
        """Those that are closed, or are in some partition, in the order of their scopes."""
        intended = fields(self._client.one(Command(("HGETALL", SWITCHES))))
        noted = {scope: switch for scope, intent in intended.items() if (switch := _closed(scope, intent)) is not None}
        found = self._followed_in() | noted
        return [found[scope] for scope in sorted(found)]

    def _followed_in(self) -> dict[str, Switch]:
        """Those that some partition has."""
        replies = self._client.run([Command(("HGETALL", p.switches)) for p in self._keyspace.all()])
        return {scope: _switch(scope, raw) for reply in replies for scope, raw in fields(reply).items()}

    def count(self) -> int:
        """How many there are; one that is being opened counts until it is open everywhere."""
        return cast("int", self._client.one(Command(("HLEN", SWITCHES))))

    def over(self, view: View) -> list[Switch]:
        """Those that close the policy of a view."""
        closing = scopes_of(cast("Mapping[str, object]", view))
        partition = self._keyspace.of(owner_of(view))
        found = cast("list[bytes | None]", self._client.one(Command(("HMGET", partition.switches, *closing))))
        return [_switch(scope, raw) for scope, raw in zip(closing, found, strict=True) if raw is not None]


def new_id() -> str:
    """An id for a switch that nobody asks for twice."""
    return uuid.uuid4().hex


def _closed(scope: str, intent: bytes) -> Switch | None:
    word, _, rest = intent.partition(b"\n")
    return _switch(scope, rest.partition(b"\n")[0]) if word == _CLOSED.encode() else None


def _switch(scope: str, raw: bytes) -> Switch:
    """One that cannot be read is one all the same."""
    try:
        said = orjson.loads(raw)
        return Switch(scope, str(said["id"]), str(said["reason"]), str(said["by"]), str(said["at"]))
    except UNREADABLE:
        return Switch(scope, "", "cannot be read", "somebody", "")
