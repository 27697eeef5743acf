"""Policies in the store: observe, load, commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import orjson

from worker.lifecycle import scopes
from worker.lifecycle.decide import State, index_scopes
from worker.lifecycle.facts import Micros, Observation, Source, subject
from worker.lifecycle.policy import Policy, Step
from worker.lifecycle.views import View, rfc3339
from worker.store.client import Argument, Call, Client, Command, Reply
from worker.store.codec import decode_fact, decode_policy, encode_fact, encode_policy, stamp
from worker.store.keys import Keyspace, Partition, locator

OBSERVED_MS = 90 * 24 * 3600 * 1000
"""How long observations are remembered for policies that are registered or bound later."""
SCRIPT_ITEMS = 100
"""What one script loads or commits at most. Each call costs as much as several of its steps; a long one keeps others
waiting."""
MAX_MOVES = 5
"""How often a policy is looked for while it moves between partitions."""
HISTORY = 200
"""How many changes of one policy are kept in its history; the feed has all of the last 30 days."""
REFUSED = "login.refused"
"""What the history calls a login that contradicts an id that is bound."""
START = "0:"
"""The cursor at which an event begins."""


class UnreadableError(Exception):
    """The store holds something for a policy that is not a record of ours."""

    def __init__(self, policy_id: str) -> None:
        super().__init__(
            f"the record of policy {policy_id} cannot be read: restore it from a backup, or delete its key"
        )


class Located(NamedTuple):
    """Where a policy was found, or would be: `found` is False if nothing is there and `home` is only a guess."""

    home: Partition
    found: bool
    policy: Policy | None
    broken: bool = False
    """There should be a record, but it is not there or cannot be read."""

    def read(self, policy_id: str) -> Policy | None:
        """The policy, or None if nobody registered it.

        Raises:
            UnreadableError: it was registered, but cannot be read.
        """
        if self.broken:
            raise UnreadableError(policy_id)
        return self.policy


class Page(NamedTuple):
    """Some of the policies that an event touches in one partition; `cursor` is None at the end."""

    loaded: dict[str, Located]
    cursor: str | None


class Touch(NamedTuple):
    """What an event means to one partition: what to remember there, and whose policies to load."""

    partition: Partition
    remember: tuple[Observation, ...]
    indexes: tuple[str, ...]
    cursor: str = START


class Commit(NamedTuple):
    """One step of one policy, ready to be written."""

    located: Located
    step: Step
    cause: Source
    received_at: Micros | None
    """For the latency from hint to publication; None for the clock's own steps."""


class HistoryEntry(NamedTuple):
    revision: int
    at: str
    type: str
    state: str
    reasons: list[str]
    cause: dict[str, str]


class Policies:
    """Loads policies by what they watch, and commits their steps."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self.keyspace = keyspace

    # Loading

    def locate(self, policy_ids: Sequence[str]) -> dict[str, Partition | None]:
        """The partition of each policy, None for those nobody registered."""
        if not policy_ids:
            return {}
        replies = cast(
            "list[bytes | None]", self._client.one(Command(("MGET", *(locator(policy_id) for policy_id in policy_ids))))
        )
        return {
            policy_id: None if reply is None else Partition(int(reply))
            for policy_id, reply in zip(policy_ids, replies, strict=True)
        }

    def load(self, policy_ids: Sequence[str]) -> dict[str, Located]:
        """Policies by id. One that nobody registered has no home yet: partition 0 stands in."""
        loaded = {policy_id: Located(Partition(0), False, None) for policy_id in policy_ids}
        wanted = list(policy_ids)
        for _ in range(MAX_MOVES):
            known = [(policy_id, home) for policy_id, home in self.locate(wanted).items() if home is not None]
            records = self._client.run([Command(("GET", home.policy(policy_id))) for policy_id, home in known])
            for (policy_id, home), record in zip(known, cast("list[bytes | None]", records), strict=True):
                loaded[policy_id] = _located(home, policy_id, record)
            # Where there was a locator and no record, the policy moved in between: look again.
            wanted = [policy_id for policy_id, _ in known if loaded[policy_id].broken]
            if not wanted:
                break
        return loaded

    def located(self, step: Step) -> Located:
        """Where a policy is after its step was committed."""
        return Located(self.keyspace.of(step.standing.tenure.owner_id), True, step.policy)

    def touch(self, touches: Sequence[Touch], limit: int) -> list[Page]:
        """Remember, then load a page of at most `limit` policies for each touch."""
        replies = self._by_partition(
            [touch.partition for touch in touches],
            lambda partition, numbers: self._observe(partition, [touches[n] for n in numbers], limit),
        )
        pages = []
        for touch, reply in zip(touches, cast("list[list[bytes]]", replies), strict=True):
            position, after, *found = reply
            loaded = {}
            for i in range(0, len(found), 2):
                policy_id, record = found[i].decode(), cast("bytes | None", found[i + 1])
                if record is not None:
                    loaded[policy_id] = _located(touch.partition, policy_id, record)
            cursor = None if int(position) < 0 else f"{int(position)}:{after.decode()}"
            pages.append(Page(loaded, cursor))
        return pages

    def _by_partition(
        self, partitions: Sequence[Partition], make: Callable[[Partition, Sequence[int]], Call]
    ) -> list[Reply]:
        """Run one script for the items of each partition, `SCRIPT_ITEMS` at most; one reply for each item, in order."""
        groups: dict[Partition, list[int]] = {}
        for number, partition in enumerate(partitions):
            groups.setdefault(partition, []).append(number)
        parts = [
            (partition, numbers[i : i + SCRIPT_ITEMS])
            for partition, numbers in groups.items()
            for i in range(0, len(numbers), SCRIPT_ITEMS)
        ]
        answers = self._client.run([make(partition, numbers) for partition, numbers in parts])
        replies: list[Reply] = [None] * len(partitions)
        for (_, numbers), answer in zip(parts, cast("list[list[Reply]]", answers), strict=True):
            for number, reply in zip(numbers, answer, strict=True):
                replies[number] = reply
        return replies

    def _observe(self, partition: Partition, touches: Sequence[Touch], limit: int) -> Call:
        keys: list[str] = []
        args: list[Argument] = [OBSERVED_MS, partition.policy(""), limit]
        for _, remember, indexes, cursor in touches:
            position, _, after = cursor.partition(":")
            keys += [partition.observed(observation.scope) for observation in remember]
            keys += [partition.scope_index(scope) for scope in indexes]
            args += [len(remember), len(indexes), position, after]
            for observation in remember:
                args += [subject(observation), observation.at, encode_fact(observation)]
        return Call("observe", keys, args)

    def remembered(self, wanted: Iterable[str]) -> dict[str, list[Observation]]:
        """What was observed of these scopes in the last 90 days."""
        names = sorted(wanted)
        replies = self._client.run([
            Command(("HVALS", self.keyspace.home_of_scope(scope).observed(scope))) for scope in names
        ])  # fmt: skip
        return {
            scope: [decode_fact(written.partition(b" ")[2]) for written in cast("list[bytes]", reply)]
            for scope, reply in zip(names, replies, strict=True)
        }

    def remember(self, observations: Sequence[Observation]) -> None:
        """Keep observations whose policies nobody registered yet."""
        self.touch([Touch(self.keyspace.home_of_scope(o.scope), (o,), ()) for o in observations], limit=0)

    # Committing

    def commit(self, commits: Sequence[Commit]) -> list[bool]:
        """Write each step, unless its policy was changed meanwhile: then False, and nothing of it is written."""
        replies = self._by_partition(
            [self.keyspace.of(commit.step.standing.tenure.owner_id) for commit in commits],
            lambda goal, numbers: self._commit(goal, [commits[n] for n in numbers]),
        )
        return [reply == 1 for reply in replies]

    def _commit(self, goal: Partition, commits: Sequence[Commit]) -> Call:
        keys = [goal.changes, goal.due, goal.counters]
        args: list[Argument] = [str(goal.number), HISTORY]
        for (home, found, before, _), step, cause, received_at in commits:
            policy_id, home = step.policy.policy_id, home if found else goal  # noqa: PLW2901 - unfound is at its goal
            view = orjson.dumps(step.policy.view) if step.change else b""
            event, entry = _published(step, cause, view) if step.change else (b"", b"")
            operations = [*self._operations(before, home, step, goal, view), *self._refusals(step, goal)]
            keys += [home.policy(policy_id), goal.policy(policy_id), locator(policy_id), goal.history(policy_id)]
            keys += [key for key, _, _ in operations]
            args += [
                stamp(before) if found else "",
                encode_policy(step.policy),
                policy_id,
                str(home.number) if found else "",
                "" if step.due is None else step.due,
                event,
                entry,
                step.change.value if step.change else "",
                step.previous_state or "",
                step.standing.state.value,
                "" if received_at is None else received_at,
                len(operations),
            ]
            for _, code, text in operations:
                args += [code, text]
        return Call("commit", keys, args)

    def _operations(
        self, before: Policy | None, home: Partition, step: Step, goal: Partition, view: bytes
    ) -> Iterator[tuple[str, str, bytes | str]]:
        """What the step does to keys that depend on the policy: indexes, views, and what moves between partitions."""
        policy_id = step.policy.policy_id
        if before is None or home != goal or before.watching != step.policy.watching:
            yield from self._index_operations(before, home, step, goal)
        old_names, new_names = (_former_names(home, before) if before else set()), _former_names(goal, step.policy)
        yield from ((key, "remove", "") for key in old_names - new_names)
        yield from ((key, "add", "") for key in new_names - old_names)
        old_view = self._view_key(home, before.view) if before and before.view else None
        new_view = self._view_key(goal, step.policy.view) if step.policy.view else None
        if old_view is not None and old_view != new_view:
            yield old_view, "unview", ""
        if new_view is not None and step.change:
            yield new_view, "view", view

        if before and home != goal:
            yield home.policy(policy_id), "delete", ""
            yield home.due, "remove", ""
            yield home.history(policy_id), "move", ""
            yield home.all, "remove", ""
            if index_scopes(step.policy.watching):
                yield goal.all, "add", ""
                yield goal.owners, "own", str(step.standing.tenure.owner_id)

    @staticmethod
    def _refusals(step: Step, goal: Partition) -> Iterator[tuple[str, str, bytes | str]]:
        """What is noted of logins that contradict the policy's ids: publishing nothing, they are no revision."""
        policy = step.policy
        for login in step.refused:
            state, reasons = step.standing.state.value, list(step.standing.reasons)
            entry = [policy.revision, rfc3339(login.at), REFUSED, state, reasons, login.source._asdict()]
            yield goal.history(policy.policy_id), "note", orjson.dumps(entry)
            yield goal.counters, "count", "logins:refused"

    @staticmethod
    def _index_operations(
        before: Policy | None, home: Partition, step: Step, goal: Partition
    ) -> Iterator[tuple[str, str, bytes | str]]:
        old = {home.scope_index(scope) for scope in index_scopes(before.watching)} if before else set()
        new = {goal.scope_index(scope) for scope in index_scopes(step.policy.watching)}
        yield from ((key, "remove", "") for key in old - new)
        yield from ((key, "add", "") for key in new - old)
        if not old and new:
            yield goal.all, "add", ""
            yield goal.owners, "own", str(step.standing.tenure.owner_id)
        elif old and not new:
            yield home.all, "remove", ""

    @staticmethod
    def _view_key(partition: Partition, view: View) -> str | None:
        """In which hash the exchange finds a view; a removed policy is in none."""
        if view["state"] == State.REMOVED:
            return None
        if view["repository_id"] is None:
            return partition.repository_name(view["repository_owner_id"], view["repository"])
        return partition.repository(view["repository_owner_id"], view["repository_id"])

    # The clock's side

    def due(self, now: Micros, limit: int) -> list[str]:
        """Policies that the clock should look at: at most `limit` of each partition, the longest due first."""
        replies = self._client.run([
            Command(("ZRANGEBYSCORE", p.due, "-inf", now, "LIMIT", 0, limit)) for p in self.keyspace.all()
        ])  # fmt: skip
        return [raw.decode() for reply in replies for raw in cast("list[bytes]", reply)]

    def postpone(self, policy_ids: Sequence[str], until: Micros) -> None:
        """Look at these again only then: they cannot be settled now, and must not keep others from it."""
        homes = self.locate(policy_ids)
        self._client.run([
            Command(("ZADD", home.due, "XX", until, policy_id)) for policy_id, home in homes.items() if home is not None
        ])  # fmt: skip

    # Reading

    def history(self, policy_id: str, partition: Partition) -> list[HistoryEntry]:
        """What was published of a policy, newest first."""
        entries = cast("list[bytes]", self._client.one(Command(("LRANGE", partition.history(policy_id), 0, -1))))
        return [HistoryEntry(*orjson.loads(entry)) for entry in entries]

    def listed(self, page: int = 500) -> Iterator[Policy]:
        """Every policy that was not removed, a page at a time.

        Raises:
            UnreadableError: one of them cannot be read.
        """
        for partition in self.keyspace.all():
            after = "-"
            while True:
                command = Command(("ZRANGEBYLEX", partition.all, after, "+", "LIMIT", 0, page))
                ids = [raw.decode() for raw in cast("list[bytes]", self._client.one(command))]
                if not ids:
                    break
                records = self._client.run([Command(("GET", partition.policy(policy_id))) for policy_id in ids])
                for policy_id, record in zip(ids, cast("list[bytes | None]", records), strict=True):
                    policy = None if record is None else _located(partition, policy_id, record).read(policy_id)
                    if policy is not None:
                        yield policy
                after = f"({ids[-1]}"


def _former_names(partition: Partition, policy: Policy) -> set[str]:
    """Where a policy is noted under names that its repository had and has no more. Few have any."""
    if policy.view is None:
        return set()
    present = scopes.name(policy.view["repository_owner_id"], policy.view["repository"])
    return {
        partition.former_names(scope) for scope in policy.watching if scope.startswith("name:") and scope != present
    }


def _located(home: Partition, policy_id: str, record: bytes | None) -> Located:
    try:
        return Located(home, True, decode_policy(policy_id, record or b""))
    except (ValueError, KeyError, TypeError):
        return Located(home, True, None, broken=True)


def _published(step: Step, cause: Source, view: bytes) -> tuple[bytes, bytes]:
    """The change event and the entry in the policy's own history. `view` is the view as JSON."""
    published = step.policy.view
    assert published is not None
    assert step.change is not None
    said = {"kind": cause.kind, "id": cause.id, "event": cause.event}
    event = orjson.dumps({
        "specversion": "1.0",
        "id": f"{step.policy.policy_id}:{published['revision']}",
        "source": "tenure",
        "type": step.change.value,
        "subject": step.policy.policy_id,
        "time": published["updated_at"],
        "datacontenttype": "application/json",
        "data": {"view": orjson.Fragment(view), "previous_state": step.previous_state, "cause": said},
    })  # fmt: skip
    entry = orjson.dumps([
        published["revision"], published["updated_at"], step.change.value, published["state"], published["reasons"], said,
    ])  # fmt: skip
    return event, entry
