"""A store that a release before this one wrote is brought to this one's layout, at the first start.

Every part may be done twice, so a start that was interrupted goes on where the next one begins. Processes of the former release
must have ended: they would go on to write what nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, cast

from worker.lifecycle.facts import SECOND, Micros
from worker.store.client import Client, Command, ScriptCall
from worker.store.inbox import LANES
from worker.store.keys import CLOCK, LEDGER_SINCE, Keyspace, Partition, hold
from worker.store.replies import scored
from worker.store.status import seen_lately

LAYOUT: Final = 2
"""The layout of this release's keys."""
FORMER_LAYOUT: Final = 1
"""That of the release before: policies' places in keys of their own, `tenure:locator:…`. It noted no layout."""
LAYOUT_KEY = "tenure:{all}:layout"
PAGE = 500
HELD_MS = 30_000
"""How long a process that upgrades may be silent before another goes on."""
ALIVE_FOR: Micros = 10 * SECOND
ROLES = ("worker", "bulky", "scheduler", "asker")
FORMER = "tenure:"
STAYS = b"tenure:partitions"
GONE = (b"tenure:published", b"tenure:revisions:", b"tenure:refused:")
"""What this release has elsewhere, or not at all."""
PLACED = ("registry", "exchange")
"""Kinds of events that wait in the partition of their id, and waited in that of the owner that they named."""


class UpgradeError(Exception):
    """The store cannot be brought to this release's layout now, or is of a later one."""


def upgrade(client: Client, keyspace: Keyspace, who: str, pause: Callable[[], None]) -> bool:
    """Bring a store to this release's layout, if it is not yet; whether that was to be done. `who`: a name that nobody else has.
    `pause`: wait a while, for another process that is at it.

    Raises:
        UpgradeError: a process of the former release is alive, or the store is a later release's.
        StoreError: the store cannot be reached; called again, it goes on.
    """
    found = _layout(client)
    if found is None:
        # Of a former release's, nothing that tells it may be left before all is done.
        client.one(Command(("SET", LAYOUT_KEY, FORMER_LAYOUT if _is_former(client) else LAYOUT, "NX")))
        found = _layout(client)
    if found == LAYOUT:
        return False
    if found != FORMER_LAYOUT:
        raise UpgradeError("the store was written by a later release of Tenure: start that one")
    lock = hold("upgrade")
    while client.one(Command(("SET", lock, who, "NX", "PX", HELD_MS))) is None:
        pause()
        if _layout(client) == LAYOUT:
            return False
    alive = _alive(client)
    if alive:
        raise UpgradeError(
            f"processes of the release before this one are alive ({', '.join(alive)}): end them, and start this again"
        )
    for _ in _steps(client, keyspace):
        if client.one(ScriptCall("keep", (lock,), (who, HELD_MS))) == 0:
            raise UpgradeError("the upgrade of the store took too long between two steps, and another process is at it")
    client.run([Command(("SET", LAYOUT_KEY, LAYOUT)), Command(("DEL", lock))])
    return True


def _layout(client: Client) -> int | None:
    written = cast("bytes | None", client.one(Command(("GET", LAYOUT_KEY))))
    return None if written is None else int(written)


def _is_former(client: Client) -> bool:
    """Whether a release before this one has written anything: each wrote one of these with its first event."""
    names = ("tenure:clock", "tenure:ledger:since", "tenure:published")
    return any(client.run([Command(("EXISTS", name)) for name in names]))


def _alive(client: Client) -> list[str]:
    """Processes of the former release that were seen lately."""
    names = seen_lately(client, f"{FORMER}clock", [f"{FORMER}alive:{role}" for role in ROLES], ALIVE_FOR)
    return sorted({name.decode(errors="replace") for name in names})


def _steps(client: Client, keyspace: Keyspace) -> Iterator[None]:
    """Each part of it, a page at a time."""
    # What time it was shown is the same in every partition.
    mark = cast("bytes | None", client.one(Command(("GET", f"{FORMER}clock"))))
    if mark is not None:
        client.run([Command(("SET", partition.clock, mark, "NX")) for partition in keyspace.all()])
    yield
    for keys in client.keys(f"{FORMER}*", PAGE):
        former = [key for key in keys if key.startswith(FORMER.encode()) and b"{" not in key and key != STAYS]
        _place(client, keyspace, [key for key in former if key.startswith(b"tenure:locator:")])
        _count(client, keyspace, [key for key in former if key.startswith(b"tenure:logins:")])
        client.run([Command(("UNLINK", key)) for key in former if key.startswith(GONE)])
        others = [key for key in former if not key.startswith((b"tenure:locator:", b"tenure:logins:", *GONE))]
        client.run([Command(("RENAME", key, _own(key))) for key in others])
        yield
    for partition in keyspace.all():
        for calls in _waiting(client, keyspace, partition):
            for moved in calls:
                client.run(moved, atomic=True)
            yield


def _own(key: bytes) -> str:
    """What one of the installation's keys is called now."""
    name = key.decode(errors="surrogateescape").removeprefix(FORMER)
    return {"clock": CLOCK, "ledger:since": LEDGER_SINCE}.get(name, f"tenure:{{all}}:{name}")


def _place(client: Client, keyspace: Keyspace, keys: Sequence[bytes]) -> None:
    """Enter policies in the directory, and their revisions beside them."""
    places = cast("list[bytes | None]", client.run([Command(("GET", key)) for key in keys]))
    known = [
        (key, key.removeprefix(b"tenure:locator:").decode(errors="surrogateescape"), Partition(int(place)))
        for key, place in zip(keys, places, strict=True)
        if place is not None and place.isdigit() and int(place) < keyspace.partitions
    ]
    records = client.run([Command(("MGET", home.policy(policy_id))) for _, policy_id, home in known])
    calls: list[Command] = []
    for (key, policy_id, home), reply in zip(known, cast("list[list[bytes | None]]", records), strict=True):
        revision = (reply[0] or b"0").partition(b".")[0]
        calls += [
            Command(("HSET", home.revisions, policy_id, revision)),
            Command(("HSET", keyspace.directory(policy_id).directory, policy_id, home.number)),
            Command(("UNLINK", key)),
        ]
    client.run(calls)


def _count(client: Client, keyspace: Keyspace, keys: Sequence[bytes]) -> None:
    calls: list[Command] = []
    for key in keys:
        outcome, _, policy_id = key.removeprefix(b"tenure:logins:").decode(errors="surrogateescape").partition(":")
        goal = f"{keyspace.directory(policy_id).prefix}logins:{outcome}:{policy_id}"
        calls.append(Command(("RENAME", key, goal)))
    client.run(calls)


def _waiting(client: Client, keyspace: Keyspace, partition: Partition) -> Iterator[list[list[Command]]]:
    """What moves events to where they wait now, those of a page; each in one transaction."""
    for lane in (*LANES, None):
        after = 0
        while True:
            key = _queue(partition, lane)
            words = ("ZRANGE", key, after, after + PAGE - 1, "WITHSCORES")
            page = [(raw.decode(), score) for raw, score in scored(client.one(Command(words)))]
            asked = [Command(("HMGET", partition.event(event_id), "kind", "bulk")) for event_id, _ in page]
            replies = cast("list[list[bytes | None]]", client.run(asked))
            moves = []
            for (event_id, score), reply in zip(page, replies, strict=True):
                goal = keyspace.of(event_id)
                moved = _moved(partition, goal, event_id, *reply)
                queued = [Command(("ZADD", _queue(goal, lane), score, event_id)), Command(("ZREM", key, event_id))]
                moves.append([*moved, *queued] if moved else [])
            yield [move for move in moves if move]
            if len(page) < PAGE:
                break
            after += sum(not move for move in moves)


def _queue(partition: Partition, lane: str | None) -> str:
    return partition.dead if lane is None else partition.waiting(lane)


def _moved(here: Partition, goal: Partition, event_id: str, kind: bytes | None, bulk: bytes | None) -> list[Command]:
    """What takes an event to another partition; nothing if it is where it waits."""
    if goal == here or (kind or b"").decode() not in PLACED:
        return []
    calls = [Command(("RENAME", here.event(event_id), goal.event(event_id)))]
    if bulk is not None:
        body = goal.body(event_id, bulk.decode().rpartition(":")[2])
        calls += [Command(("RENAME", bulk, body)), Command(("HSET", goal.event(event_id), "bulk", body))]
    return calls
