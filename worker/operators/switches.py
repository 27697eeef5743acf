"""What an operator does to many policies at once: a switch is closed or opened, after a look at whom that concerns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import cast, get_args

from tenure_reader.lookup import MAX_ID
from tenure_reader.switches import ISSUER, scopes_of
from worker.app import App
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
    if kind == "issuer" and name != ISSUER:
        raise ScopeError(f"no such issuer is configured; there is {ISSUER}")
    ids = name.split(":") if kind in ("owner", "repository") else []
    if kind == "owner" and not (len(ids) == 1 and _is_id(ids[0])):
        raise ScopeError("is not the id of a GitHub owner: digits, such as 600613")
    if kind == "repository" and not (len(ids) == 2 and all(map(_is_id, ids))):
        raise ScopeError("is not OWNER_ID:REPOSITORY_ID, such as 600613:9007199254740993")
    return Scope(cast("Kind", kind), ":".join(str(int(digits)) for digits in ids) or name)


def told_of(switch: Switch) -> str:
    """`owner:600613 is held by maria since …: a stolen token`"""
    return f"{switch.scope} is held by {switch.by}{f' since {switch.at}' if switch.at else ''}: {switch.reason}"


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MAX_ID


def affected(app: App, wanted: Scope, shown: int, most: int | None = None) -> Affected:
    """The policies that a switch is over, of which `shown` are named; of many, `most` are looked through."""
    partitions = [(p, index) for p in app.keyspace.all() if (index := wanted.index_in(p, app.keyspace)) is not None]
    if wanted.kind in ("all", "issuer"):
        counts = app.client.run([Command(("ZCARD", index)) for _, index in partitions])
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
