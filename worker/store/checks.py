"""What is to be asked of GitHub: checks that hints ask for, coalesced for each owner, and when all was last verified.

Nothing here is lost by a crash: an owner that is being checked is on a lease, and what was asked for stays wanted until
somebody says that it was answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self, cast

from worker.lifecycle import scopes
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.owners import DEFAULT, OwnerRef, issuer_of, owner_from
from worker.store.client import Argument, Client, Command, ScriptCall
from worker.store.inbox import SEEN_LATELY
from worker.store.keys import Keyspace, Partition, alive
from worker.store.replies import fields, first_score, scored

LEASE: Micros = 30 * SECOND
"""How long nothing may be heard of a check before another process begins it again."""


MANY = 100
"""Scopes of one owner that are asked for one by one; instead of more, all of the owner is."""

NOTED_MS = 30 * 24 * 3600 * 1000
"""How long something is known of an owner that is not asked about any more."""


class DueCheck(NamedTuple):
    """A check that is due: `scopes` → when each was last asked for."""

    owner_id: OwnerRef
    failures: int
    """Attempts in a row that could not be finished."""
    scopes: Mapping[str, Micros]
    slow: bool = False
    """Whether the last one took long."""


class Extent(NamedTuple):
    """How much there is to ask of an owner, as of its last sweep; None if it was never swept."""

    repositories: int | None
    members: int | None
    verified_since: Micros | None = None
    """When it was first verified whole."""


UNKNOWN = Extent(None, None)


class Checks:
    """The checks that wait, and the owners that are to be verified."""

    def __init__(self, client: Client, keyspace: Keyspace, issuer: str = DEFAULT) -> None:
        """`issuer`: the instance of GitHub whose checks and owners are given out; any may be asked for."""
        self._client = client
        self._keyspace = keyspace
        self._issuer = issuer

    def at(self, issuer: str) -> Self:
        """The same of another instance of GitHub."""
        return type(self)(self._client, self._keyspace, issuer)

    # Checks that hints ask for

    def ask(
        self,
        requested: Iterable[str],
        now: Micros,
        *,
        earliest: Micros = 0,
        entry: ScriptCall | None = None,
        of: OwnerRef | None = None,
    ) -> int:
        """Have these scopes checked, not before `earliest`; those that are no owner's, with the owner `of`. Those of an owner that waits already wait with it. What is to
        be entered of it in the audit trail is, before.

        Returns how many owners wait now that did not before.
        """
        owners: dict[OwnerRef, list[str]] = {}
        for scope in requested:
            own = scopes.owner_id_of(scope)
            owner_id = of if own is None else own
            if owner_id is not None:
                owners.setdefault(owner_id, []).append(scope)
        homes: dict[tuple[Partition, str], list[OwnerRef]] = {}
        for owner_id, moments in owners.items():
            if len(moments) > MANY:
                owners[owner_id] = [scopes.owner(owner_id)]
            homes.setdefault((self._keyspace.of(owner_id), issuer_of(owner_id)), []).append(owner_id)
        calls = []
        for (home, issuer), ids in homes.items():
            for start in range(0, len(ids), MANY):
                keys, args = [home.checks(issuer)], cast("list[Argument]", [now, MANY])
                for owner_id in ids[start : start + MANY]:
                    keys += [home.wanted(owner_id), home.owner(owner_id)]
                    args += [owner_id, scopes.owner(owner_id), earliest, len(owners[owner_id]), *owners[owner_id]]
                calls.append(ScriptCall("ask", keys, args))
        if entry is not None:
            self._client.one(entry)
        return sum(cast("list[int]", self._client.run(calls)))

    def due(self, now: Micros) -> list[Partition]:
        """Partitions that can be reached in which checks are due, or are under way: whoever makes them may be gone."""
        everywhere = self._keyspace.all()
        counts = self._client.reached([
            Command(words) for p in everywhere for words in (("ZCOUNT", p.checks(self._issuer), "-inf", now), ("ZCARD", p.checking(self._issuer)))
        ])  # fmt: skip
        return [p for i, p in enumerate(everywhere) if counts[2 * i] or counts[2 * i + 1]]

    def take(self, partition: Partition, worker: str, now: Micros, limit: int, slow: int = 0) -> list[DueCheck]:
        """Owners of a partition whose check is due, at most `limit`, and at most `slow` more whose last check took long;
        they are this worker's for `LEASE`.
        """
        p = partition
        silent = Command(("ZRANGEBYSCORE", alive("asker"), "-inf", f"({now - SEEN_LATELY}"))
        ended = cast("list[bytes]", self._client.one(silent))
        args: list[Argument] = [now, LEASE, limit, p.wanted(""), p.owner(""), worker, slow, *ended]
        reply = cast(
            "list[bytes]",
            self._client.one(ScriptCall("take", (p.checks(self._issuer), p.checking(self._issuer)), args)),
        )
        due = []
        for i in range(0, len(reply), 4):
            scopes = {scope: int(at) for scope, at in fields(reply[i + 3]).items()}
            due.append(DueCheck(owner_from(reply[i].decode()), int(reply[i + 1]), scopes, slow=reply[i + 2] == b"1"))
        return due

    def renew(self, owner_id: OwnerRef, now: Micros) -> None:
        """A check goes on: it is ours for another `LEASE`."""
        self._client.one(
            Command(("ZADD", self._keyspace.of(owner_id).checking(issuer_of(owner_id)), "XX", now + LEASE, owner_id))
        )

    def finish(
        self, check: DueCheck, *, answered: Iterable[str], earliest: Micros, failed: bool, slow: bool = False
    ) -> bool:
        """What came of a check: `answered` are the scopes that nobody has to ask about again, and the next check of
        this owner may not begin before `earliest`. `slow`: it took long. Returns whether something is wanted still.
        """
        home = self._keyspace.of(check.owner_id)
        arguments = [part for scope in answered for part in (scope, check.scopes[scope])]
        issuer = issuer_of(check.owner_id)
        keys = (home.checks(issuer), home.checking(issuer), home.wanted(check.owner_id), home.owner(check.owner_id))
        return bool(
            self._client.one(ScriptCall("done", keys, (check.owner_id, earliest, int(failed), int(slow), *arguments)))
        )

    def waiting(self) -> int:
        """Owners whose check waits or is under way."""
        replies = self._client.run([
            Command(("ZCARD", key)) for p in self._keyspace.all() for key in (p.checks(self._issuer), p.checking(self._issuer))
        ])  # fmt: skip
        return sum(cast("list[int]", replies))

    def oldest(self) -> Micros | None:
        """Since when the longest-waiting check is due; None if none waits."""
        replies = self._client.run([
            Command(("ZRANGE", p.checks(self._issuer), 0, 0, "WITHSCORES")) for p in self._keyspace.all()
        ])  # fmt: skip
        return min((first_score(reply) for reply in replies if reply), default=None)

    # Owners that are to be verified again and again

    def stalest(self, limit: int) -> list[tuple[OwnerRef, Micros]]:
        """Owners that have policies and can be reached, and when all of them were last verified (0: never), the longest ago
        first.
        """
        replies = self._client.reached([
            Command(("ZRANGE", p.owners(self._issuer), 0, limit - 1, "WITHSCORES")) for p in self._keyspace.all()
        ])  # fmt: skip
        owners = [(owner_from(m.decode()), score) for reply in replies if reply for m, score in scored(reply)]
        return sorted(owners, key=lambda entry: (entry[1], str(entry[0])))[:limit]

    def owners(self) -> int:
        """How many owners have policies."""
        replies = self._client.run([Command(("ZCARD", p.owners(self._issuer))) for p in self._keyspace.all()])
        return sum(cast("list[int]", replies))

    def swept(self, owner_id: OwnerRef, at: Micros, extent: Extent) -> None:
        """All policies of an owner were verified at `at`."""
        home = self._keyspace.of(owner_id)
        counted = {"repositories": extent.repositories, "members": extent.members}
        arguments = [part for name, count in counted.items() if count is not None for part in (name, count)]
        calls = [
            Command(("ZADD", home.owners(issuer_of(owner_id)), "XX", at, owner_id)),
            Command(("HSETNX", home.owner(owner_id), "verified_since", at)),
        ]
        if arguments:
            calls.append(Command(("HSET", home.owner(owner_id), *arguments)))
        calls.append(Command(("PEXPIRE", home.owner(owner_id), NOTED_MS)))
        self._client.run(calls)

    def bring_forward(self, owner_ids: Iterable[OwnerRef]) -> None:
        """Let these owners be swept first."""
        self._client.run([
            Command(("ZADD", self._keyspace.of(owner_id).owners(issuer_of(owner_id)), "XX", 0, owner_id)) for owner_id in owner_ids
        ])  # fmt: skip

    def bring_all_forward(self) -> None:
        """Let every owner be swept: something was missed, and nobody knows whose it was."""
        for partition in self._keyspace.all():
            members = cast("list[bytes]", self._client.one(Command(("ZRANGE", partition.owners(self._issuer), 0, -1))))
            self._client.run([Command(("ZADD", partition.owners(self._issuer), "XX", 0, owner)) for owner in members])

    def forget(self, owner_id: OwnerRef) -> None:
        """Note that an owner has no policies any more, unless it has again."""
        home = self._keyspace.of(owner_id)
        self._client.one(
            ScriptCall(
                "forget", (home.owners(issuer_of(owner_id)), home.scope_index(scopes.owner(owner_id))), (owner_id,)
            )
        )

    def extents(self, owner_ids: Sequence[OwnerRef]) -> dict[OwnerRef, Extent]:
        """How much there is to ask of each owner, as far as it is known."""
        replies = self._client.run([
            Command(("HMGET", self._keyspace.of(owner_id).owner(owner_id), "repositories", "members", "verified_since"))
            for owner_id in owner_ids
        ])  # fmt: skip
        return {
            owner_id: Extent(*(None if count is None else int(count) for count in reply))
            for owner_id, reply in zip(owner_ids, cast("list[list[bytes | None]]", replies), strict=True)
        }
