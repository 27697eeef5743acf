"""What redis-py makes of a reply depends on the protocol it speaks; here are the shapes that we rely on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from worker.lifecycle.facts import Micros
from worker.store.client import Reply


def pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Field → value, of a list in which they alternate. Of two of the same name the later one counts."""
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


def fields(reply: Reply) -> dict[str, bytes]:
    """Field → value, of a whole hash."""
    if isinstance(reply, dict):
        return {key.decode(): value for key, value in reply.items()}
    return pairs(cast("list[bytes]", reply))


def scored(reply: Reply) -> list[tuple[bytes, Micros]]:
    """Members of a sorted set with their scores."""
    rows = cast("list[object]", reply)
    if rows and isinstance(rows[0], list | tuple):
        return [(member, int(float(score))) for member, score in cast("list[tuple[bytes, float]]", rows)]
    flat = cast("list[bytes]", rows)
    return [(flat[i], int(float(flat[i + 1]))) for i in range(0, len(flat), 2)]


def first_score(reply: Reply) -> Micros:
    """The score of the first entry of a sorted set; there is one."""
    return scored(reply)[0][1]
