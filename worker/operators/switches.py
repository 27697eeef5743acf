"""What an operator does to many policies at once: a switch is closed or opened, after a look at whom that concerns."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast, get_args

from tenure_reader.lookup import MAX_ID
from tenure_reader.switches import scopes_of
from worker.app import App
from worker.lifecycle import scopes
from worker.lifecycle.criteria import owner_given
from worker.lifecycle.owners import id_of, is_alias, owner_from
from worker.lifecycle.views import View
from worker.store.client import Command
from worker.store.keys import Partition
from worker.store.switches import Kind, Scope, Switch

PAGE = 500
"""Policies that are read at once."""
LONGEST_NAME = 200
LONGEST_REASON = 500
"""Characters. Readers are sent the reason with each answer."""


class ScopeError(ValueError):
    """A scope that is none; its text says what it should be."""


@dataclass(frozen=True, slots=True)
class Affected:
    """The policies that a switch is over."""

    count: int
    """How many; without those that were removed."""
    whole: bool
    """Whether all were counted; if not, there may be more."""
    first: list[View]
    """Some of them."""


def scope(kind: str, name: str) -> Scope:
    """What is to be held, as an operator gives it.

    Raises:
        ScopeError: there is no such kind, or the name is none of its.
    """
    if kind not in get_args(Kind):
        raise ScopeError(f"say what: {', '.join(get_args(Kind))}")
    name = name.strip()
    if (kind == "all") != (not name):
        raise ScopeError("everything has no name" if kind == "all" else "say which one")
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ScopeError(f"is not a name of at most {LONGEST_NAME} printable characters")
    if kind == "issuer" and not is_alias(name):
        raise ScopeError("is no alias of an instance of GitHub, such as github")
    if kind in ("owner", "repository"):
        name = _by_ids(kind, name)
    return Scope(cast("Kind", kind), name)


def check_issuer(wanted: Scope, issuers: Collection[str]) -> None:
    """See that there is the instance of GitHub that is to be held. One that is configured no more may be released.

    Raises:
        ScopeError: it is none of these.
    """
    if wanted.issuer is not None and wanted.issuer not in issuers:
        raise ScopeError(f"no such issuer is configured; there is {', '.join(issuers)}")


def _by_ids(kind: str, name: str) -> str:
    """The name of an owner, or of a repository, as scopes have it.

    Raises:
        ScopeError: it is none.
    """
    given, colon, repository = name.partition(":")
    owner = owner_given(given)
    known = owner is not None and id_of(owner) <= MAX_ID
    if kind == "owner" and (colon or not known):
        raise ScopeError("is not the id of a GitHub owner: digits, such as 600613, or ghes/600613 of another instance")
    if kind == "repository" and not (known and _is_id(repository)):
        raise ScopeError("is not OWNER_ID:REPOSITORY_ID, such as 600613:9007199254740993")
    return f"{owner}:{int(repository)}" if kind == "repository" else str(owner)


def told_of(switch: Switch) -> str:
    """`owner:600613 is held by maria since …: a stolen token`"""
    return f"{switch.scope} is held by {switch.by}{f' since {switch.at}' if switch.at else ''}: {switch.reason}"


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_ID


def affected(app: App, wanted: Scope, shown: int, most: int | None = None) -> Affected:
    """The policies that a switch is over, of which `shown` are named; of many, `most` are looked through."""
    partitions = [(p, index) for p in app.keyspace.all() if (index := wanted.index_in(p, app.keyspace)) is not None]
    if wanted.kind in ("all", "issuer"):
        counts = app.client.run([Command(("ZCARD", index)) for index in _whole(app, wanted, partitions)])
        views = islice(filter(None, _under(app, wanted, partitions, max(shown, 1))), shown)
        return Affected(sum(cast("list[int]", counts)), whole=True, first=list(views))
    count = 0
    first: list[View] = []
    for number, view in enumerate(_under(app, wanted, partitions, PAGE), start=1):
        if most is not None and number > most:
            return Affected(count, whole=False, first=first)
        if view is not None:
            count += 1
            if count <= shown:
                first.append(view)
    return Affected(count, whole=True, first=first)


def _whole(app: App, wanted: Scope, partitions: list[tuple[Partition, str]]) -> Iterator[str]:
    """Indexes that have, together, just the policies of everything, or of one instance of GitHub."""
    for partition, index in partitions:
        if wanted.kind == "all":
            yield index
            continue
        owners = cast("list[bytes]", app.client.one(Command(("ZRANGE", partition.owners(wanted.name), 0, -1))))
        yield from (partition.scope_index(scopes.owner(owner_from(raw.decode()))) for raw in owners)


def _under(app: App, wanted: Scope, partitions: list[tuple[Partition, str]], page: int) -> Iterator[View | None]:
    """Each policy of these indexes that can be read; None for one that the switch is not over."""
    name = str(wanted)
    for partition, index in partitions:
        after = "-"
        while True:
            command = Command(("ZRANGEBYLEX", index, after, "+", "LIMIT", 0, page))
            found = cast("list[bytes]", app.client.one(command))
            ids = [raw.decode(errors="surrogateescape") for raw in found]
            for _, _, view in app.policies.standing_in(partition, ids):
                yield view if name in scopes_of(cast("dict[str, object]", view)) else None
            if len(found) < page:
                break
            after = f"({ids[-1]}"
