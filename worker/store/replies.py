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


def first_score(reply: Reply) -> Micros:
    """The score of the first entry of a sorted set; there is one."""
    entry = cast("list[object]", reply)[0]
    score = entry[1] if isinstance(entry, list | tuple) else cast("list[object]", reply)[1]
    return int(float(cast("float", score)))
