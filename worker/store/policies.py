"""Policies in the store: observe, load, commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from heapq import nlargest
from typing import NamedTuple, TypeAlias, cast

import orjson

from tenure_reader.keys import conditional
from tenure_reader.switches import scopes_of
from worker.lifecycle import scopes
from worker.lifecycle.decide import State, index_scopes
from worker.lifecycle.facts import Micros, Observation, ObservationSource, subject, worth
from worker.lifecycle.owners import DEFAULT, id_of, issuer_of
from worker.lifecycle.policy import Policy, Step
from worker.lifecycle.reasons import REASONS, telling
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import View, owner_of, rfc3339
from worker.store.client import Argument, Client, Command, Reply, ScriptCall
from worker.store.codec import (
    UNREADABLE,
    decode_fact,
    decode_policy,
    decode_view,
    encode_fact,
    encode_policy,
    fits,
    stamp,
)
from worker.store.due import due_in, waiting_in
from worker.store.event_ledger import came_line
from worker.store.keys import Keyspace, Partition
from worker.store.replies import pairs
from worker.store.topology import text_of

OBSERVED_MS = 90 * 24 * 3600 * 1000
"""How long observations are remembered for policies that are registered or bound later."""
DAY_MS = 24 * 3600 * 1000
SCRIPT_ITEMS = 100
"""What one script loads or commits at most. Each call costs as much as several of its steps; a long one keeps others
waiting."""
SCRIPT_PARTS = 500
"""The same in observations and indexes, of which an event may have many."""
READ_AT_ONCE = 500
"""Records that one command reads."""
REMEMBERED = 1000
"""Subjects that are remembered of a GitHub owner, or of any scope that has none."""
WORTH = 2**51
"""Above every date until 2041, µs: a worth and a date make one number, which a sorted set keeps exactly."""
MAX_MOVES = 5
"""How often a policy is looked for while it moves between partitions."""
HISTORY = 200
"""How many changes of one policy are kept in its history; the feed has all of the last 30 days."""
CONTRADICTED = "login.contradicted"
"""What the history calls a login that contradicts an id that is bound."""
FORMERLY = {"login.refused": CONTRADICTED}
"""What a release before this one called an entry, and what it is called now."""
CLOSING = 11
"""The place of the number of scopes among what a commit is told of a step; before it is that of operations."""
START = "0:"
"""The cursor at which an event begins."""


class UnreadableError(Exception):
    """The store holds something for a policy that is not a record of ours."""

    def __init__(self, policy_id: str) -> None:
        super().__init__(
            f"the record of policy {policy_id} cannot be read: restore it from a backup, or delete its key"
        )


class SpoiltKeyError(Exception):
    """A key of ours holds something of another type."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the key {key} is of another type than Tenure writes: restore it from a backup, or delete it, and replay this"
        )


class Located(NamedTuple):
    """Where a policy was found, or would be: `exists` is False if nothing is there, and `home` says nothing then."""

    home: Partition
    exists: bool
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


class PolicyPage(NamedTuple):
    """Some of the policies that an event touches in one partition; `cursor` is None at the end."""

    loaded: dict[str, Located]
    cursor: str | None
    spoilt: str | None = None
    """A key of another type, because of which they cannot be found."""


class Touch(NamedTuple):
    """What an event means to one partition: what to remember there, and whose policies to load."""

    partition: Partition
    remember: tuple[Observation, ...]
    indexes: tuple[str, ...]
    cursor: str = START


_Remembered: TypeAlias = tuple[str, int, bytes, int]
"""An observation to be remembered: subject, date, as JSON, and worth and date as one number."""


class Kept(NamedTuple):
    """What is remembered of one keeper; what is advice only if one of the scopes in `watched` is watched."""

    keeper: str
    watched: Sequence[str]
    facts: Sequence[_Remembered]


SPOILT = -2
"""Where a place should be: there is none, for a key is of another type."""


class Piece(NamedTuple):
    """A part of a touch, small enough for one run of a script."""

    partition: Partition
    kept: Sequence[Kept]
    indexes: tuple[str, ...]
    cursor: str

    @property
    def parts(self) -> int:
        """What it has: observations and indexes."""
        return len(self.indexes) + sum(len(kept.facts) for kept in self.kept)


class Commit(NamedTuple):
    """One step of one policy, ready to be written."""

    located: Located
    step: Step
    cause: ObservationSource
    received_at: Micros | None
    """For the latency from hint to publication; None for the clock's own steps."""
    follows: bool = False
    """It stands on another step of the same policy that is committed just before, and is written only if that is."""
    event: str | None = None
    """The key of the event of the inbox that it comes of."""


FOLLOWS = "follows"
"""In place of a stamp that was read. What the step before leaves has the stamp that anybody else's step would leave."""
Operation: TypeAlias = tuple[str, str, bytes | str]
"""Key, code and text of what a commit does to a key that depends on the policy (`commit.lua`)."""
MOVED = b"moved "
"""How what stands in place of the record of a policy begins that has left (`leave.lua`)."""


class _Ready(NamedTuple):
    """A commit with what follows from it."""

    commit: Commit
    view: bytes
    """The view to be published, as JSON."""
    operations: list[Operation]


class HistoryEntry(NamedTuple):
    revision: int
    at: str
    type: str
    state: str
    reasons: list[str]
    cause: dict[str, str]
    sources: dict[str, dict[str, str]]
    """Of each reason that is new: who said so. One that the clock brought about has none."""
    login: dict[str, object] | None = None
    """Of a login, which is no step of the policy: how often there was one, and what is known of the last."""

    def as_json(self) -> dict[str, object]:
        """Without what is not said."""
        return {name: value for name, value in self._asdict().items() if name != "login" or value is not None}


class ListedPolicy(NamedTuple):
    policy_id: str
    policy: Policy | None
    """None if its record cannot be read, or is not there."""


class DuePolicy(NamedTuple):
    """A policy that the clock should look at."""

    policy_id: str
    partition: Partition
    """Where it is."""
    now: Micros
    """What time it is there."""


class Policies:
    """Loads policies by what they watch, and commits their steps."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self.keyspace = keyspace
        self._epoch = 1

    def in_epoch(self, rules: Rules) -> Rules:
        """The rules of the epoch that the store is in, as far as is known: who learns late commits nothing."""
        return rules if rules.epoch == self._epoch else replace(rules, epoch=self._epoch)

    # Loading

    def _places(self, policy_ids: Sequence[str]) -> dict[str, Partition]:
        """What the directory says of policies; it may be behind, and knows those, too, that are about to be registered."""
        by_partition: dict[Partition, list[str]] = {}
        for policy_id in policy_ids:
            by_partition.setdefault(self.keyspace.directory(policy_id), []).append(policy_id)
        replies = self._client.run([Command(("HMGET", p.directory, *ids)) for p, ids in by_partition.items()])
        return {
            policy_id: home
            for ids, reply in zip(by_partition.values(), cast("list[list[bytes | None]]", replies), strict=True)
            for policy_id, written in zip(ids, reply, strict=True)
            if (home := self._home(written)) is not None
        }

    def _home(self, written: bytes | None) -> Partition | None:
        number = (written or b"").partition(b"@")[0]
        homes = number.isdigit() and len(number) < 6 and int(number) < self.keyspace.partitions
        return Partition(int(number)) if homes else None

    def load(self, policy_ids: Sequence[str]) -> dict[str, Located]:
        """Policies by id. One that nobody registered has no home yet: partition 0 stands in. One that is about to move is moved."""
        loaded = {policy_id: Located(Partition(0), False, None) for policy_id in policy_ids}
        ids = list(policy_ids)
        for _ in range(MAX_MOVES):
            loaded |= self._load(self._places(ids))
            # These have moved since the directory was read, or right now; or else their records are lost.
            ids = [policy_id for policy_id in ids if loaded[policy_id].broken]
            if not ids:
                break
        return loaded

    def load_due(self, due: Mapping[str, Partition]) -> dict[str, Located]:
        """Policies that are due, where they are: no other part of the store is asked, unless one has moved."""
        loaded = self._load(due)
        moved = [policy_id for policy_id in due if policy_id not in loaded or loaded[policy_id].broken]
        return loaded | self.load(moved)

    def _load(self, places: Mapping[str, Partition]) -> dict[str, Located]:
        """Policies where they should be; without those that nobody registered. One that was about to leave has left."""
        loaded: dict[str, Located] = {}
        known = list(places.items())
        records = self._records(known)
        gone = [where for where, record in zip(known, records, strict=True) if record is None]
        left = self._registered(gone)
        for (policy_id, home), record in zip(known, records, strict=True):
            if record is None and policy_id not in left:
                continue
            if record is None or record.startswith(MOVED):
                if record is not None:
                    self._arrive(policy_id, home, record)
                loaded[policy_id] = Located(home, True, None, broken=True)
            else:
                loaded[policy_id] = _located(home, policy_id, record)
        return loaded

    def _registered(self, known: Sequence[tuple[str, Partition]]) -> set[str]:
        """Of policies that have no record or none that can be read where they should be: those that had one there."""
        spoilt = self._client.run([Command(("EXISTS", home.policy(policy_id))) for policy_id, home in known])
        told = self._client.run([Command(("HEXISTS", home.revisions, policy_id)) for policy_id, home in known])
        return {policy_id for (policy_id, _), *signs in zip(known, spoilt, told, strict=True) if any(signs)}

    def home_of(self, policy: Policy) -> Partition:
        """Where a policy is that was published."""
        assert policy.view is not None
        return self.keyspace.of(owner_of(policy.view))

    def located(self, step: Step) -> Located:
        """Where a policy is after its step was committed."""
        return Located(self.keyspace.of(step.standing.tenure.owner_id), True, step.policy)

    def observe(self, touches: Sequence[Touch], limit: int) -> list[PolicyPage]:
        """Remember, then load a page of at most `limit` policies for each touch."""
        pages = [PolicyPage({}, None) for _ in touches]
        pieces = [(n, piece) for n, touch in enumerate(touches) for piece in _pieces(touch)]
        replies = self._by_partition(
            [piece.partition for _, piece in pieces],
            [piece.parts for _, piece in pieces],
            lambda partition, numbers: self._observe(partition, [pieces[n][1] for n in numbers], limit),
        )
        found: list[tuple[int, Partition, str]] = []
        for (n, piece), (position, after, *ids) in zip(pieces, cast("list[list[bytes]]", replies), strict=True):
            if int(position) == SPOILT:
                pages[n] = pages[n]._replace(spoilt=after.decode(errors="backslashreplace"))
                continue
            found += [(n, piece.partition, policy_id.decode()) for policy_id in ids]
            if int(position) >= 0:
                pages[n] = pages[n]._replace(cursor=f"{int(position)}:{after.decode()}")
        read = self._found(dict.fromkeys((policy_id, home) for _, home, policy_id in found))
        for n, home, policy_id in found:
            if (policy_id, home) in read:
                pages[n].loaded[policy_id] = read[policy_id, home]
        return pages

    def _found(self, known: Iterable[tuple[str, Partition]]) -> dict[tuple[str, Partition], Located]:
        """Policies that were found by what they watch; without those that are not there any more."""
        places = list(known)
        records = dict(zip(places, self._records(places), strict=True))
        unread = [place for place in places if records[place] is None]
        there = self._client.run([Command(("EXISTS", home.policy(policy_id))) for policy_id, home in unread])
        gone = {place for place, exists in zip(unread, there, strict=True) if not exists}
        return {
            (policy_id, home): _located(home, policy_id, records[policy_id, home])
            for policy_id, home in places
            if (policy_id, home) not in gone
        }

    def _by_partition(
        self,
        partitions: Sequence[Partition],
        parts: Sequence[int],
        make: Callable[[Partition, Sequence[int]], ScriptCall],
    ) -> list[Reply]:
        """Run one script for the items of each partition, `SCRIPT_ITEMS` at most, and `SCRIPT_PARTS` of what they have;
        one reply for each item, in order.
        """
        groups: dict[Partition, list[int]] = {}
        for number, partition in enumerate(partitions):
            groups.setdefault(partition, []).append(number)
        runs = [(partition, numbers) for partition, all_ in groups.items() for numbers in _runs(all_, parts)]
        answers = self._client.run([make(partition, numbers) for partition, numbers in runs])
        replies: list[Reply] = [None] * len(partitions)
        for (_, numbers), answer in zip(runs, cast("list[list[Reply]]", answers), strict=True):
            for number, reply in zip(numbers, answer, strict=True):
                replies[number] = reply
        return replies

    @staticmethod
    def _observe(partition: Partition, pieces: Sequence[Piece], limit: int) -> ScriptCall:
        keys: list[str] = []
        args: list[Argument] = [OBSERVED_MS + DAY_MS, limit, REMEMBERED, WORTH]
        for _, kept, indexes, cursor in pieces:
            position, _, after = cursor.partition(":")
            args += [len(kept), len(indexes), position, after]
            for keeper, watched, facts in kept:
                keys += [partition.observed(keeper), partition.observed_by_worth(keeper)]
                keys += [partition.scope_index(scope) for scope in watched]
                args += [len(watched), len(facts)]
                for words in facts:
                    args += words
            keys += [partition.scope_index(scope) for scope in indexes]
        return ScriptCall("observe", keys, args)

    def remembered(self, scope_names: Iterable[str]) -> dict[str, list[Observation]]:
        """What is remembered of these scopes: all that was observed in the last 90 days, unless it was too much."""
        names = sorted(scope_names)
        home_of = self.keyspace.home_of_scope
        kept: dict[str, list[str]] = {}
        for scope in names:
            keeper = scopes.keeper_of(scope)
            kept.setdefault(home_of(keeper).observed(keeper), []).append(scope)
        # A release before this one kept each scope by itself.
        apart = [scope for scope in names if scopes.keeper_of(scope) != scope]
        replies = self._client.run([
            *(ScriptCall("recall", [observed], of) for observed, of in kept.items()),
            *(Command(("HVALS", home_of(scope).observed(scope))) for scope in apart),
        ])  # fmt: skip
        facts: dict[str, list[Observation]] = {scope: [] for scope in names}
        for reply in replies[: len(kept)]:
            for field, written in pairs(cast("list[bytes]", reply)).items():
                facts[field.partition(" ")[0]].append(decode_fact(written.partition(b" ")[2]))
        for scope, reply in zip(apart, replies[len(kept) :], strict=True):
            facts[scope] += [decode_fact(written.partition(b" ")[2]) for written in cast("list[bytes]", reply)]
        return facts

    def remember(self, observations: Sequence[Observation]) -> None:
        """Keep observations whose policies nobody registered yet."""
        self.observe([Touch(self.keyspace.home_of_scope(o.scope), (o,), ()) for o in observations], limit=0)

    # Committing

    def commit(self, commits: Sequence[Commit]) -> list[bool | str]:
        """Write each step, unless its policy was changed meanwhile: then False, and nothing of it is written. Of many steps
        of one policy, the later ones may be left for another time. Where a key is of another type than it should be, its
        name, and the policy's record is as it was. Where the store is in another epoch than was known, nothing is written.
        """
        homes = self._homes(commits)
        goals = [self._goal(commit) for commit in commits]
        ready = [self._ready(goal, commit) for goal, commit in zip(goals, commits, strict=True)]
        staying = [n for n in range(len(commits)) if homes[n] == goals[n]]
        replies: list[Reply] = [0] * len(commits)
        answers = self._by_partition(
            [goals[n] for n in staying],
            [len(ready[n].operations) for n in staying],
            lambda goal, numbers: self._commit(goal, [ready[staying[n]] for n in numbers]),
        )
        for n, answer in zip(staying, answers, strict=True):
            replies[n] = answer
        made = {ready[n].commit.step.policy.policy_id: replies[n] == 1 for n in staying}
        for n, (home, goal) in enumerate(zip(homes, goals, strict=True)):
            if home != goal and (not commits[n].follows or made.get(commits[n].step.policy.policy_id)):
                replies[n] = self._move(home, goal, ready[n])
        self._note([commit for commit, reply in zip(commits, replies, strict=True) if reply == 1])
        # Where it is another one, the store tells its epoch, as a negative number.
        self._epoch = max([self._epoch, *(-reply for reply in replies if isinstance(reply, int))])
        return [
            reply.decode(errors="backslashreplace") if isinstance(reply, bytes) else reply == 1 for reply in replies
        ]

    def _goal(self, commit: Commit) -> Partition:
        return self.keyspace.of(commit.step.standing.tenure.owner_id)

    def _homes(self, commits: Sequence[Commit]) -> list[Partition]:
        """Where each policy is. The directory is told of those that nobody registered before there is anything to be found."""
        homes = [commit.located.home for commit in commits]
        new = [n for n, commit in enumerate(commits) if not commit.located.exists]
        replies = self._client.run([
            Command(words)
            for n in new
            for policy_id, goal in ((commits[n].step.policy.policy_id, self._goal(commits[n])),)
            for directory in (self.keyspace.directory(policy_id).directory,)
            for words in (("HSETNX", directory, policy_id, goal.number), ("HGET", directory, policy_id))
        ])  # fmt: skip
        for n, written in zip(new, cast("list[bytes | None]", replies[1::2]), strict=True):
            # Somebody else is registering it, or was and ended, for another owner: then it moves.
            homes[n] = self._home(written) or self._goal(commits[n])
        return homes

    def _note(self, commits: Sequence[Commit]) -> None:
        """Note on events what came of them, where the script that committed it could not: they wait in other partitions."""
        by_partition: dict[str, list[tuple[str, str]]] = {}
        for commit in commits:
            if (
                commit.event is not None
                and commit.step.change
                and not commit.event.startswith(self._goal(commit).prefix)
            ):
                where = commit.event.partition("}")[0]
                by_partition.setdefault(where, []).append((commit.event, _came(commit)))
        self._client.run([
            ScriptCall("came", [event for event, _ in told], [line for _, line in told]) for told in by_partition.values()
        ])  # fmt: skip

    def recover(self, events: Mapping[str, bytes]) -> None:
        """Note on events what came of them in other partitions, of which whoever committed it has not said so: he may have ended.
        `events`: the key of an event → what is noted on it.
        """
        kept = [(event, p.came(event.rpartition(":")[2])) for event in events for p in self.keyspace.all()]
        replies = self._client.run([Command(("LRANGE", key, 0, -1)) for _, key in kept])
        for (event, _), reply in zip(kept, cast("list[list[bytes]]", replies), strict=True):
            lines = [line for line in dict.fromkeys(reply) if line not in events[event].splitlines(keepends=True)]
            if lines:
                self._client.one(ScriptCall("came", [event] * len(lines), lines))

    def forget(self, events: Mapping[str, Sequence[Partition]]) -> None:
        """Events are settled, and what came of them is noted: nothing of it is kept in these partitions any more. `events`: by
        their keys.
        """
        self._client.write([
            Command(("DEL", partition.came(event.rpartition(":")[2])))
            for event, partitions in events.items()
            for partition in partitions if not event.startswith(partition.prefix)
        ])  # fmt: skip

    def _ready(self, goal: Partition, commit: Commit) -> _Ready:
        (home, exists, before, _), step = commit.located, commit.step
        view = orjson.dumps(step.policy.view) if step.change else b""
        there = before if exists and home == goal else None
        operations = [*self._operations(there, goal, step, view), *self._contradictions(step, goal)]
        if commit.event is not None and commit.step.change:
            here = commit.event.startswith(goal.prefix)
            kept = commit.event if here else goal.came(commit.event.rpartition(":")[2])
            operations.append((kept, "came" if here else "trail", _came(commit)))
        return _Ready(commit, view, operations)

    def _commit(self, goal: Partition, commits: Sequence[_Ready]) -> ScriptCall:
        keys, args = self._beginning(goal)
        for ready in commits:
            step_keys, step_args = self._step(goal, ready)
            keys += step_keys
            args += step_args
        return ScriptCall("commit", keys, args)

    def _beginning(self, goal: Partition) -> tuple[list[str], list[Argument]]:
        keys = [goal.changes, goal.due, goal.counters, goal.revisions, goal.settings, goal.switches]
        return keys, [HISTORY, self._epoch]

    @staticmethod
    def _step(goal: Partition, ready: _Ready) -> tuple[list[str], list[Argument]]:
        """What a commit is told of one step."""
        (located, step, cause, received_at, follows, _), view, operations = ready
        policy_id, before = step.policy.policy_id, located.policy
        event, entry = _published(step, before, cause, view) if step.change else (b"", b"")
        closing = scopes_of(step.policy.view) if step.change and step.policy.view else ()
        stays = located.exists and located.home == goal
        keys = [goal.policy(policy_id), goal.history(policy_id), *(key for key, _, _ in operations)]
        args: list[Argument] = [
            "" if not stays else FOLLOWS if follows else stamp(before),
            encode_policy(step.policy),
            policy_id,
            "" if step.due is None else step.due,
            event,
            entry,
            step.change.value if step.change else "",
            step.previous_state or "",
            step.standing.state.value,
            "" if received_at is None else received_at,
            len(operations),
            len(closing),
            *closing,
            *(word for _, code, text in operations for word in (code, text)),
        ]
        return keys, args

    def _operations(self, before: Policy | None, goal: Partition, step: Step, view: bytes) -> Iterator[Operation]:
        """What the step does to keys that depend on the policy: indexes and views. `before`: the policy as it was in this
        partition; None if it was not there.
        """
        if before is None or before.watching != step.policy.watching:
            yield from self._index_operations(before, goal, step)
        old_names, new_names = (
            (former_name_keys(goal, before) if before else set()),
            former_name_keys(goal, step.policy),
        )
        yield from ((key, "remove", "") for key in old_names - new_names)
        yield from ((key, "add", "") for key in new_names - old_names)
        old_keys = view_keys(goal, before.view) if before and before.view else None
        new_keys = view_keys(goal, step.policy.view) if step.policy.view else None
        if old_keys is not None and old_keys != new_keys:
            yield from ((key, "unview", "") for key in old_keys)
        if new_keys is not None and step.policy.view and step.change:
            first, second = new_keys
            yield second, "beside", "conditional" if conditional(step.policy.view) else ""
            yield first, "view", view

    # Moving to another owner's partition

    def _move(self, home: Partition, goal: Partition, ready: _Ready) -> Reply:
        """Take a policy from one partition to another, with the step that is the reason. Whoever ends in between leaves it to
        others (`_arrive`). The reply is that of a commit.
        """
        before, step = ready.commit.located.policy, ready.commit.step
        policy_id, anew = step.policy.policy_id, stamp(step.policy)
        leaving = list(_leaving(home, before)) if before is not None else []
        keys, args = self._step(goal, ready)
        said = orjson.dumps([keys, [text_of(arg) for arg in args]])
        moved = b"%s%d %s %s" % (MOVED, goal.number, anew.encode(), said)
        reply = self._client.one(
            ScriptCall(
                "leave",
                (home.policy(policy_id), home.due, home.settings, home.revisions, *(key for key, _ in leaving)),
                (self._epoch, stamp(before), policy_id, moved, anew, *(code for _, code in leaving)),
            )
        )
        return self._arrive(policy_id, home, moved) if reply == 1 else reply

    def _arrive(self, policy_id: str, home: Partition, moved: bytes) -> Reply:
        """Finish what somebody has begun: the policy has left one partition, and arrives in another. Every part of it may be
        done by several, and more than once.
        """
        number, anew, said = moved.removeprefix(MOVED).split(b" ", 2)
        goal = Partition(int(number))
        keys, args = orjson.loads(said)
        entries = cast("list[bytes]", self._client.one(Command(("LRANGE", home.history(policy_id), 0, -1))))
        reply: Reply = 0
        for _ in range(2):
            first_keys, first_args = self._beginning(goal)
            history = keys[1]
            brought = [(history, "delete", b""), *((history, "tail", entry) for entry in entries)]
            call = ScriptCall(
                "commit",
                [*first_keys, *keys[:2], *(key for key, _, _ in brought), *keys[2:]],
                [*first_args, *_with_operations(args, brought)],
            )
            (reply,) = cast("list[Reply]", self._client.one(call))
            if not isinstance(reply, int) or reply >= 0:
                break
            # It was decided in the epoch before, and is nowhere unless it arrives.
            self._epoch = max(self._epoch, -reply)
        if isinstance(reply, bytes):
            return reply
        # If it was there already, somebody else has brought it.
        directory = self.keyspace.directory(policy_id).directory
        self._client.one(ScriptCall("redirect", (directory,), (policy_id, goal.number, anew)))
        self._client.one(
            ScriptCall("left", (home.policy(policy_id), home.due, home.history(policy_id)), (policy_id, moved))
        )
        return reply

    @staticmethod
    def _contradictions(step: Step, goal: Partition) -> Iterator[Operation]:
        """What is noted of logins that contradict the policy's ids: publishing nothing, they are no revision."""
        policy = step.policy
        for login in step.contrary:
            state, reasons = step.standing.state.value, list(step.standing.reasons)
            entry = [policy.revision, rfc3339(login.at), CONTRADICTED, state, reasons, login.source._asdict()]
            yield goal.history(policy.policy_id), "note", orjson.dumps(entry)
            yield goal.counters, "count", "logins:contradicted"

    @staticmethod
    def _index_operations(before: Policy | None, goal: Partition, step: Step) -> Iterator[Operation]:
        old = {goal.scope_index(scope) for scope in index_scopes(before.watching)} if before else set()
        new = {goal.scope_index(scope) for scope in index_scopes(step.policy.watching)}
        yield from ((key, "remove", "") for key in old - new)
        yield from ((key, "add", "") for key in new - old)
        owner = step.standing.tenure.owner_id
        if goal.scope_index(scopes.owner(owner)) in new - old:
            yield goal.owners(issuer_of(owner)), "own", str(owner)
        if not old and new:
            yield goal.all, "add", ""
        elif old and not new:
            yield goal.all, "remove", ""

    # The clock's side

    @property
    def apart(self) -> bool:
        """Whether some of the store may be reached while another part cannot be."""
        return self._client.apart

    def due(self, limit: int) -> list[DuePolicy]:
        """Policies that the clock of their partition says to look at, as far as they can be reached: at most `limit` of each
        partition, the longest due first.
        """
        partitions = self.keyspace.all()
        found = due_in(self._client, [(partition, [partition.due]) for partition in partitions], limit)
        return [
            DuePolicy(raw.decode(), partition, there.now)
            for partition, there in zip(partitions, found, strict=True)
            if there is not None
            for raw in there.members[0]
        ]

    def due_lag(self) -> Micros:
        """How long the longest-due policy has been waiting for the clock."""
        waiting = waiting_in(self._client, [(partition, [partition.due]) for partition in self.keyspace.all()])
        return max((now - due for now, due in waiting if due <= now), default=0)

    def postpone(self, until: Mapping[str, Micros]) -> None:
        """Look at each of these again only then: they cannot be settled now, and must not keep others from it."""
        self._client.run([
            Command(("ZADD", home.due, "XX", until[policy_id], policy_id))
            for policy_id, home in self._places(list(until)).items()
        ])  # fmt: skip

    # Reading

    def _records(self, known: Sequence[tuple[str, Partition]]) -> list[bytes | None]:
        """The records of policies; None where there is none, or a key of another type."""
        by_home: dict[Partition, list[int]] = {}
        for place, (_, home) in enumerate(known):
            by_home.setdefault(home, []).append(place)
        runs = [
            (home, places[first : first + READ_AT_ONCE])
            for home, places in by_home.items()
            for first in range(0, len(places), READ_AT_ONCE)
        ]
        # MGET takes a key of another type for none, where GET would fail for all that share the round trip.
        replies = self._client.run([
            Command(("MGET", *(home.policy(known[place][0]) for place in places))) for home, places in runs
        ])  # fmt: skip
        records: list[bytes | None] = [None] * len(known)
        for (_, places), reply in zip(runs, cast("list[list[bytes | None]]", replies), strict=True):
            for place, record in zip(places, reply, strict=True):
                records[place] = record
        return records

    def standing_in(self, home: Partition, policy_ids: Sequence[str]) -> list[tuple[str, str, View]]:
        """Of the policies of a partition that can be read: id, stamp and view."""
        records = self._records([(policy_id, home) for policy_id in policy_ids])
        found = (
            (policy_id, (record or b"").partition(b"\n")[0].decode("ascii", "replace"), decode_view(record))
            for policy_id, record in zip(policy_ids, records, strict=True)
        )
        return [(policy_id, stamped, view) for policy_id, stamped, view in found if view is not None]

    def history(self, policy_id: str, partition: Partition) -> list[HistoryEntry]:
        """What was published of a policy, newest first; an entry that cannot be read is one of revision 0."""
        entries = cast("list[bytes]", self._client.one(Command(("LRANGE", partition.history(policy_id), 0, -1))))
        return [_entry(entry) for entry in entries]

    def listed(self, page: int = 500) -> Iterator[ListedPolicy]:
        """Every policy that was not removed, a page at a time; None with the id of one that cannot be read."""
        for partition in self.keyspace.all():
            after: str | bytes = "-"
            while True:
                command = Command(("ZRANGEBYLEX", partition.all, after, "+", "LIMIT", 0, page))
                replies = cast("list[bytes]", self._client.one(command))
                if not replies:
                    break
                ids = [raw.decode(errors="backslashreplace") for raw in replies]
                records = self._records([(policy_id, partition) for policy_id in ids])
                for policy_id, record in zip(ids, records, strict=True):
                    policy = _located(partition, policy_id, record).policy
                    yield ListedPolicy(policy_id, policy if policy is not None and fits(policy.view) else None)
                after = b"(" + replies[-1]

    def ids(self, page: int) -> Iterator[list[str]]:
        """The ids of all policies, the removed ones too, about so many at a time. One may come twice, and one that is
        registered meanwhile not at all.
        """
        for partition in self.keyspace.all():
            cursor: int | bytes = 0
            while True:
                reply = self._client.one(Command(("HSCAN", partition.directory, cursor, "COUNT", page)))
                cursor, told = cast("tuple[int | bytes, Sequence[bytes] | dict[bytes, bytes]]", reply)
                names = list(told) if isinstance(told, dict) else told[::2]
                yield [raw.decode(errors="backslashreplace") for raw in names]
                if int(cursor) == 0:
                    break


def view_keys(partition: Partition, view: View) -> tuple[str, str] | None:
    """The hashes in one of which the exchange finds a view: the first version's and the second's. A removed policy is in none."""
    owner, name, repository_id = owner_of(view), view["repository"], view["repository_id"]
    if view["state"] == State.REMOVED:
        return None
    if repository_id is None:
        return partition.repository_name(owner, name), partition.repository_name_v2(owner, name)
    return partition.repository(owner, repository_id), partition.repository_v2(owner, repository_id)


def _pieces(touch: Touch) -> Iterator[Piece]:
    """A touch in parts, each with as much as one run of a script may have; what is remembered comes first."""
    partition, observed, indexes, cursor = touch
    by_keeper: dict[str, list[Observation]] = {}
    for observation in observed:
        by_keeper.setdefault(scopes.keeper_of(observation.scope), []).append(observation)
    if len(observed) + len(indexes) <= SCRIPT_PARTS:
        kept = [_kept(keeper, observations) for keeper, observations in by_keeper.items()]
        yield Piece(partition, kept, indexes, cursor)
        return
    for keeper, observations in by_keeper.items():
        dearest = nlargest(REMEMBERED, observations, key=remembered_rank)
        for start in range(0, len(dearest), SCRIPT_PARTS):
            yield Piece(partition, (_kept(keeper, dearest[start : start + SCRIPT_PARTS]),), (), START)
    yield Piece(partition, (), indexes, cursor)


def _kept(keeper: str, observations: Sequence[Observation]) -> Kept:
    """Of several that tell of the same, the newest; and beside it, where senders date them, the one dated last."""
    facts: dict[str, _Remembered] = {}
    advice: set[str] = set()
    for observation in observations:
        name, fact, score = subject(observation), encode_fact(observation), remembered_rank(observation)
        kept = [(name, observation.at)]
        if observation.dated is not None:
            kept.append((f"{name} dated", observation.dated))
        for field, at in kept:
            previous = facts.get(field)
            if previous is None or previous[1:3] < (at, fact):
                facts[field] = (field, at, fact, score)
        if score < WORTH:
            advice.add(scopes.index_of(observation.scope))
    return Kept(keeper, [keeper, *sorted(advice - {keeper})] if advice else (), list(facts.values()))


def _runs(numbers: Sequence[int], parts: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of items, in order, as many together as one run of a script may have; `parts` says how much each has."""
    run: list[int] = []
    room = SCRIPT_PARTS
    for number in numbers:
        if run and (len(run) == SCRIPT_ITEMS or parts[number] > room):
            yield run
            run, room = [], SCRIPT_PARTS
        run.append(number)
        room -= parts[number]
    if run:
        yield run


def remembered_rank(observation: Observation) -> int:
    """Worth and date as one number: the order in which a keeper's subjects are forgotten."""
    return worth(observation) * WORTH + min(max(observation.at, 0), WORTH - 1)


def _came(commit: Commit) -> str:
    """What is noted on the event of which a revision comes."""
    return came_line(commit.step.policy.policy_id, commit.step.policy.revision)


def _leaving(home: Partition, policy: Policy) -> Iterator[tuple[str, str]]:
    """Where a policy is in a partition beside its record, and how it leaves that."""
    yield from ((home.scope_index(scope), "remove") for scope in index_scopes(policy.watching))
    yield from ((key, "remove") for key in former_name_keys(home, policy))
    yield home.all, "remove"
    yield from ((key, "unview") for key in (view_keys(home, policy.view) or () if policy.view else ()))


def _with_operations(args: Sequence[str], first: Sequence[Operation]) -> list[Argument]:
    """What a commit is told of one step, with some operations more, before its own."""
    closing = int(args[CLOSING])
    begin = CLOSING + 1 + closing
    count = int(args[CLOSING - 1]) + len(first)
    return [
        *args[: CLOSING - 1], count, *args[CLOSING:begin], *(word for _, code, text in first for word in (code, text)),
        *args[begin:],
    ]  # fmt: skip


def former_name_keys(partition: Partition, policy: Policy) -> set[str]:
    """Where a policy is noted under names that its repository had and has no more. Few have any."""
    if policy.view is None:
        return set()
    present = scopes.name(owner_of(policy.view), policy.view["repository"])
    return {
        partition.former_names(scope) for scope in policy.watching if scope.startswith("name:") and scope != present
    }


def _entry(written: bytes) -> HistoryEntry:
    try:
        # Entries of a release before this one, and logins, have no sources.
        row = orjson.loads(written)
        revision, at, type_, state, reasons, cause, *sources = row
        entry = HistoryEntry(revision, at, FORMERLY.get(type_, type_), state, reasons, cause, *(sources or [{}]))
        _ = (
            datetime.fromisoformat(entry.at),
            ",".join(entry.reasons),
            entry.cause["kind"],
            entry.cause["event"],
            entry.cause["id"],
            *((source["kind"], source["event"], source["id"]) for source in entry.sources.values()),
        )
    except UNREADABLE:
        nobody = {"kind": "", "event": "", "id": ""}
        return HistoryEntry(0, rfc3339(0), "cannot be read", "", [], nobody, {})
    return entry


def _located(home: Partition, policy_id: str, record: bytes | None) -> Located:
    try:
        return Located(home, True, decode_policy(policy_id, record or b""))
    except UNREADABLE:
        return Located(home, True, None, broken=True)


def _sources(step: Step, known: Sequence[str]) -> dict[str, dict[str, str]]:
    """Who told of each reason that is not among the known ones."""
    facts, tenure, policy_id = step.policy.facts, step.standing.tenure, step.policy.policy_id
    new = ((x, telling(REASONS[x], facts, tenure, policy_id)) for x in step.standing.reasons if x not in known)
    return {name: fact.source._asdict() for name, fact in new if fact is not None}


def _published(step: Step, before: Policy | None, cause: ObservationSource, view: bytes) -> tuple[bytes, bytes]:
    """The change event and the entry in the policy's own history. `view` is the view as JSON."""
    published = step.policy.view
    assert published is not None
    assert step.change is not None
    source = cause._asdict()
    data: dict[str, object] = {"view": orjson.Fragment(view), "previous_state": step.previous_state, "cause": source}
    former = owner_of(before.view) if before and before.view else owner_of(published)
    if former != owner_of(published):
        # Whoever follows the policies of that owner hears that this one left.
        data["previous_owner_id"] = id_of(former)
        if issuer_of(former) != DEFAULT:
            data["previous_issuer"] = issuer_of(former)
    event = orjson.dumps({
        "specversion": "1.0",
        "id": f"{step.policy.policy_id}:{published['revision']}",
        "source": "tenure",
        "type": step.change.value,
        "subject": step.policy.policy_id,
        "time": published["updated_at"],
        "datacontenttype": "application/json",
        "data": data,
    })  # fmt: skip
    entry = orjson.dumps([
        published["revision"], published["updated_at"], step.change.value, published["state"], published["reasons"], source,
        _sources(step, before.view["reasons"] if before and before.view else []),
    ])  # fmt: skip
    return event, entry
