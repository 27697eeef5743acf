"""All policies in memory, under the keys of the store. No I/O and no clock.

A policy is plain tuples of texts and numbers, at which Python's collector of cycles does not look again. What many policies of
an owner say alike they share.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

from tenure_reader.decision import Nearby
from tenure_reader.grants import Conditions, Grant
from tenure_reader.keys import ISSUER, OwnerRef, owner_at, owner_of, partition_number
from tenure_reader.lookup import RepositoryRef
from tenure_reader.matching import CONTRACT, Matching
from tenure_reader.switches import Switches, SwitchEvent, under

KeyT = TypeVar("KeyT")

OPEN: Final = ("active", True, None, ())
"""How most stand."""
REMOVED = "removed"
"""The state of a policy that its owner withdrew."""
NEIGHBOURS = 1000
"""How many policies of an owner are looked through to say who has a token's name."""
MOST_MISSING = 100
"""Revisions of one policy that may be outstanding: streams are read one after the other, and a policy may move."""

FEW = 128
"""Policies of one key that are kept in a list, which is small; leaving it takes the longer, the more there are."""

Standing: TypeAlias = tuple[str, bool, str | None, tuple[str, ...]]
"""State, whether usable, until when, reasons."""
Terms: TypeAlias = tuple[str, str, str, int | None, int, str, str | None, tuple[tuple[str, object], ...]]
"""Account and kind of the package owner, account and GitHub user id of the creator, id of the GitHub owner, workflow file,
environment, conditions."""
Record: TypeAlias = tuple[str, int, Standing, Terms, str, int | None]
"""Policy id, revision, how it stands, for whom it is, name and id of the repository."""


class ChangeEvent(NamedTuple):
    """One entry of the change feed."""

    policy_id: str
    revision: int
    type: str
    previous_state: str | None
    grant: Grant
    published_at: int
    """When, by the store's clock: milliseconds since 1970."""


class Groups(Generic[KeyT]):
    """Key → policy ids. Nearly every key has one, which then takes no collection of its own."""

    def __init__(self) -> None:
        self._ids: dict[KeyT, str | list[str] | dict[str, None]] = {}

    def add(self, key: KeyT, policy_id: str) -> None:
        """Add one that is not there."""
        group = self._ids.setdefault(key, policy_id)
        if isinstance(group, list) and len(group) < FEW:
            group.append(policy_id)
        elif isinstance(group, list):
            self._ids[key] = dict.fromkeys([*group, policy_id])
        elif isinstance(group, dict):
            group[policy_id] = None
        elif group is not policy_id:
            self._ids[key] = [group, policy_id]

    def discard(self, key: KeyT, policy_id: str) -> None:
        """Take one away that is there."""
        group = self._ids[key]
        if isinstance(group, list):
            group.remove(policy_id)
        elif isinstance(group, dict):
            del group[policy_id]
        if isinstance(group, str) or not group:
            del self._ids[key]

    def get(self, key: KeyT) -> Collection[str]:
        group = self._ids.get(key, ())
        return (group,) if isinstance(group, str) else group


class Memory:
    """What views and feed have published so far.

    Of each policy the highest revision counts, in whatever order they come. `complete` says whether one is missing.
    """

    def __init__(self, matching: Matching = CONTRACT, switches: Sequence[Switches] = ()) -> None:
        """`switches`: those that are closed, by partition."""
        self.matching = matching
        self._switches = [dict(closed) for closed in switches]
        self._any_closed = any(self._switches)
        self._records: dict[str, Record] = {}
        self._by_repository: Groups[int | None] = Groups()
        self._by_name: Groups[str] = Groups()
        self._by_owner: Groups[OwnerRef] = Groups()
        self._removed: dict[str, int] = {}
        self._removed_before: dict[str, int] = {}
        """By the end of the reading before. What is read of one node may be older than what was read of another."""
        self._missing: dict[str, set[int]] = {}
        self._overdue: dict[str, set[int]] = {}
        """Those that have been missing for a whole reading."""
        self._torn = False
        self._whole = False
        """Whether everything up to some moment has been taken in, so that from now on a revision that is skipped
        is one that was lost."""

    def __len__(self) -> int:
        return len(self._records)

    def take(self, grant: Grant) -> None:
        """A view of a snapshot or of a change."""
        policy_id, revision = grant["policy_id"], grant["revision"]
        old = self._records.get(policy_id)
        last_revision = (
            old[1] if old is not None else max(self._removed.get(policy_id, 0), self._removed_before.get(policy_id, 0))
        )
        if revision <= last_revision:
            for missing in (self._missing, self._overdue):
                missing.get(policy_id, set()).discard(revision)
            return
        skipped = range(last_revision + 1, revision)
        if self._whole and skipped:
            self._note_missing(policy_id, skipped)
        if grant["state"] == REMOVED:
            self._removed[policy_id] = revision
            if old is not None:
                self._forget(old)
            return
        owner = owner_of(grant)
        record = _record(grant, old or self._neighbour(owner))
        if old is None:
            self._keep(record, owner)
        elif (old[4:], _owner(old)) == (record[4:], owner):
            self._records[policy_id] = record
        else:
            self._forget(old)
            self._keep(record, owner)

    def switch(self, partition: int, event: SwitchEvent) -> None:
        """What a partition says of a switch. It counts there only."""
        if event.type == "switch.closed":
            self._switches[partition][event.scope] = event.switch
        else:
            self._switches[partition].pop(event.scope, None)
        self._any_closed = any(self._switches)

    def closed(self) -> Switches:
        """The switches that are closed in any partition."""
        return {scope: switch for switches in self._switches for scope, switch in switches.items()}

    def complete(self) -> bool:
        """All that was published up to some moment has been read. Returns False if something of it is missing: of a policy that
        moves to another partition, a revision may come with the reading after.
        """
        whole = not self._torn and not any(self._overdue.values())
        self._whole = True
        self._overdue, self._missing = self._missing, {}
        self._removed_before, self._removed = self._removed, {}
        return whole

    def waits(self) -> bool:
        """Whether a revision is still to come, after `complete`."""
        return any(self._overdue.values())

    def find(self, repository: RepositoryRef) -> tuple[list[Grant], Nearby]:
        """What is known under a token's repository id, and under its name."""
        ids = list(self._by_repository.get(repository.repository_id))
        if repository.name is not None:
            ids += self._by_name.get(_name_key(repository.owner, repository.name))
        grants = [grant for grant in map(self.get, ids) if grant and owner_of(grant) == repository.owner]
        return grants, self._nearby(repository, grants)

    def get(self, policy_id: str) -> Grant | None:
        record = self._records.get(policy_id)
        if record is None:
            return None
        grant = _grant(record)
        if not self._any_closed:
            return grant
        return under([grant], self._switches[partition_number(owner_of(grant), len(self._switches))])[0]

    def revision(self, policy_id: str) -> int:
        """The last that is known of a policy; 0 if it is not there, or not any more."""
        record = self._records.get(policy_id)
        return 0 if record is None else record[1]

    def _nearby(self, repository: RepositoryRef, grants: list[Grant]) -> Nearby:
        if grants:
            return Nearby(owner_known=True, named=None)
        # What waits for the name would have been found by it: whoever has it here has another id.
        name = (repository.name or "").lower()
        owned = self._by_owner.get(repository.owner)
        bearers = (policy_id for policy_id in islice(owned, NEIGHBOURS) if self._records[policy_id][4].lower() == name)
        return Nearby(bool(owned), min(bearers, default=None))

    def _neighbour(self, owner: OwnerRef) -> Record | None:
        """A policy of the same owner, which has most in common with another one."""
        return next((self._records[policy_id] for policy_id in self._by_owner.get(owner)), None)

    def _keep(self, record: Record, owner: OwnerRef) -> None:
        policy_id, _, _, _, name, repository_id = record
        self._records[policy_id] = record
        self._by_owner.add(owner, policy_id)
        if repository_id is None:
            self._by_name.add(_name_key(owner, name), policy_id)
        else:
            self._by_repository.add(repository_id, policy_id)

    def _forget(self, record: Record) -> None:
        policy_id, _, _, _, name, repository_id = record
        owner = _owner(record)
        del self._records[policy_id]
        self._by_owner.discard(owner, policy_id)
        if repository_id is None:
            self._by_name.discard(_name_key(owner, name), policy_id)
        else:
            self._by_repository.discard(repository_id, policy_id)

    def _note_missing(self, policy_id: str, skipped: range) -> None:
        if len(skipped) > MOST_MISSING:
            self._torn = True
        else:
            self._missing.setdefault(policy_id, set()).update(skipped)


def _name_key(owner: OwnerRef, name: str) -> str:
    return f"{owner}:{name.lower()}"


def _owner(record: Record) -> OwnerRef:
    terms = record[3]
    issuer = next((str(asked) for name, asked in terms[7] if name == "issuer"), ISSUER)
    return owner_at(issuer, terms[4])


def _record(grant: Grant, like: Record | None) -> Record:
    """`like`: another with which it may have something in common."""
    owner, creator = grant["package_owner"], grant["created_by"]
    # 1 is equal to true, and lets nobody publish.
    standing: Standing = (grant["state"], grant["usable"] is True, grant["usable_until"], tuple(grant["reasons"]))
    terms: Terms = (
        owner["account"],
        owner["kind"],
        creator["account"],
        creator["github_user_id"],
        grant["repository_owner_id"],
        grant["workflow_file"],
        grant["environment"],
        # Nearly every policy makes none.
        () if grant.keys().isdisjoint(Conditions.__optional_keys__) else _conditions(grant),
    )
    standing = OPEN if standing == OPEN else standing
    if like is not None:
        standing = like[2] if standing == like[2] else standing
        terms = like[3] if terms == like[3] else terms
    return (grant["policy_id"], grant["revision"], standing, terms, grant["repository"], grant["repository_id"])


def _conditions(grant: Grant) -> tuple[tuple[str, object], ...]:
    return tuple(
        (sys.intern(name), tuple(map(sys.intern, asked)) if isinstance(asked, list) else asked)
        for name, asked in grant.items()
        if name in Conditions.__optional_keys__
    )


def _grant(record: Record) -> Grant:
    policy_id, revision, (state, usable, usable_until, reasons), terms, repository, repository_id = record
    account, kind, creator, github_user_id, owner_id, workflow_file, environment, conditions = terms
    grant: Grant = {
        "policy_id": policy_id,
        "revision": revision,
        "state": state,
        "usable": usable,
        "usable_until": usable_until,
        "reasons": list(reasons),
        "package_owner": {"account": account, "kind": kind},
        "created_by": {"account": creator, "github_user_id": github_user_id},
        "repository_owner_id": owner_id,
        "repository": repository,
        "repository_id": repository_id,
        "workflow_file": workflow_file,
        "environment": environment,
    }
    if not conditions:
        return grant
    asked = {name: list(value) if isinstance(value, tuple) else value for name, value in conditions}
    return cast("Grant", {**grant, **asked})
