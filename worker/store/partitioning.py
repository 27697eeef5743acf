"""Another number of partitions: a store that nobody uses is brought from one number to another, in place.

What is in a partition is copied to where it belongs with the other number, under names that nobody reads. Then what was there goes,
and then the copies take their names. Every part may be done twice, so whoever is interrupted goes on. Until the former keys go,
nothing has changed, and it can be given up; from then on to the end, readers find policies closed.

The history of the feed and the ledger of events are not brought along: a place in either tells nothing of another number. Whoever
follows the feed is told to load anew, and an event that was settled is handled again if it is sent again.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, cast

import orjson

from tenure_reader.keys import MAX_PARTITIONS, PARTITIONS
from tenure_reader.lookup import PARTITIONS_FIELD
from tenure_reader.matching import FIELDS
from worker.lifecycle.decide import index_scopes
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.logins import LoginOutcome
from worker.lifecycle.policy import Policy
from worker.lifecycle.views import owner_of, rfc3339
from worker.store.audit import act, record_call
from worker.store.client import GROUP, Argument, Client, Command, Reply, ScriptCall, StoreError
from worker.store.codec import UNREADABLE, decode_policy
from worker.store.inbox import LANES
from worker.store.keys import CLOCK, LEDGER_SINCE, PARTITIONS_CHANGE, Keyspace, Partition, alive, hold
from worker.store.policies import Policies, former_name_keys, view_keys
from worker.store.replies import fields, scored
from worker.store.status import ALIVE_FOR, seen_lately, times_of
from worker.store.topology import text_of
from worker.store.upgrade import PLACED

PAGE = 500
TOGETHER = GROUP // 3
"""Streams that are begun in one transaction, so that it may be repeated: of a stream that is there, the same entry is refused."""
HELD_MS = 30_000
"""How long whoever does this may be silent before another may go on."""
SETTLE: Micros = 4 * SECOND
"""How long a process that had begun just before needs to leave its first sign of life."""
ROLES = ("worker", "bulky", "scheduler", "asker", "web")
"""Processes that leave signs of life."""
LOCK = hold("partitions")
ASIDE = "next:"
"""How the names of copies begin."""
_KEY = re.compile(r"tenure:\{p(\d+)\}:(.*)", re.DOTALL)

WITH_POLICIES: Final = frozenset({
    "policy", "history", "revisions", "due", "policies", "index", "directory", "logins",
    "repository", "repository-name", "repository-v2", "repository-name-v2",
})  # fmt: skip
"""Families of keys that are copied policy by policy."""
WITH_EVENTS: Final = frozenset({"inbox:event", "inbox:body", "inbox:waiting", "inbox:dead", "counted"})
"""Those that are copied event by event."""
OF_OWNERS: Final = frozenset({"owner", "wanted"})
"""An owner's; the rest of the name is that."""
OF_KEEPERS: Final = frozenset({"observed", "observed-by-worth"})
LISTS_OF_OWNERS: Final = frozenset({"owners", "checks", "checking"})
OF_IDS: Final = frozenset({"inbox:settled", "inbox:said"})
"""What is known of a CloudEvent, which is in the partition of its id."""
EVERYWHERE: Final = frozenset(
    {"settings", "switches", "switches-followed", "clock", "beats", "inbox:stamp", "placing", "changes"}
)
"""The same in each partition."""
SUMMED: Final = frozenset({"counters"})
GATHERED: Final = frozenset({"audit", "came"})
LEFT: Final = frozenset({"ledger", "ledger-since", "inbox:rung", "inbox:reserved"})
"""Those that are not brought along: short-lived, or of no meaning with another number."""


class PartitionsError(Exception):
    """The number of partitions cannot be changed now; the message says why, and what to do."""


class Phase(StrEnum):
    """How far a change is. None is begun before all of the one before is done."""

    COPY = "copy"
    DROP = "drop"
    PLACE = "place"


class PartitionsChange(NamedTuple):
    """A change that is not finished."""

    former: int
    wanted: int
    phase: Phase
    begun: str
    """When, µs, as it was noted."""

    @property
    def advice(self) -> str:
        again = f"`tenure partitions {self.wanted} --apply` goes on with it"
        give_up = f", `tenure partitions {self.former} --apply` gives it up" if self.phase is Phase.COPY else ""
        return f"the store is being brought from {self.former} partitions to {self.wanted}: {again}{give_up}"


class _Aside(Partition):
    """The copies for a partition, in its slot."""

    __slots__ = ()

    @property
    def prefix(self) -> str:
        return f"{super().prefix}{ASIDE}"


def family_of(name: str) -> str:
    """What kind of key this is, by its name in its partition."""
    first, _, rest = name.partition(":")
    return f"inbox:{rest.partition(':')[0]}" if first == "inbox" else first


def change_of(client: Client) -> PartitionsChange | None:
    """The change that is not finished.

    Raises:
        StoreError: the store cannot be reached.
    """
    said = fields(client.one(Command(("HGETALL", PARTITIONS_CHANGE))))
    if not said:
        return None
    return PartitionsChange(
        int(said["former"]), int(said["wanted"]), Phase(said["phase"].decode()), said["begun"].decode()
    )


def living(client: Client) -> list[str]:
    """Processes that were seen in the last ten seconds.

    Raises:
        StoreError: the store cannot be reached.
    """
    names = seen_lately(client, CLOCK, [alive(role) for role in ROLES], ALIVE_FOR)
    return sorted({name.decode(errors="replace") for name in names})


class Repartitioning:
    """Changes the number of partitions. `who`: a name that nobody else has. `pause`: wait so long."""

    def __init__(self, client: Client, who: str, pause: Callable[[Micros], None]) -> None:
        self._client = client
        self._who = who
        self._pause = pause
        self.counts: Counter[str] = Counter()
        """What was copied by this process."""

    def run(self, wanted: int, *, by: str, reason: str) -> Generator[Phase, None, None]:
        """Do it, or go on with it, or give it up if `wanted` is the number as it was. Yields after each of very many steps.

        Raises:
            PartitionsError: it cannot be done now.
            StoreError: the store could not be reached; done again, it goes on.
        """
        if not 1 <= wanted <= MAX_PARTITIONS:
            raise PartitionsError(f"there may be 1 to {MAX_PARTITIONS} partitions")
        if self._client.one(Command(("SET", LOCK, self._who, "NX", "PX", HELD_MS))) is None:
            raise PartitionsError("another process is at it; if it was ended, try again in half a minute")
        try:
            for phase in self._run(self._begun(wanted), wanted, by, reason):
                if self._client.one(ScriptCall("keep", (LOCK,), (self._who, HELD_MS))) == 0:
                    raise PartitionsError("this took too long between two steps, and another process may be at it")
                yield phase
        finally:
            self._client.one(ScriptCall("release", (LOCK,), (self._who,)))

    def _begun(self, wanted: int) -> PartitionsChange | None:
        """The change to work on; None if there is nothing to do."""
        change = change_of(self._client)
        if (
            change is not None
            and wanted != change.wanted
            and (wanted != change.former or change.phase is not Phase.COPY)
        ):
            raise PartitionsError(change.advice)
        self._nobody_lives()
        if change is not None:
            return change
        former = int(cast("bytes | None", self._client.one(Command(("GET", PARTITIONS)))) or b"0")
        if former == 0:
            raise PartitionsError("this store has no partitions yet: set TENURE_PARTITIONS before the first start")
        if former == wanted:
            return None
        begun = times_of(self._client.one(ScriptCall("now", (CLOCK,), ()))).now
        noted = ("former", former, "wanted", wanted, "phase", Phase.COPY, "begun", begun)
        self._client.one(Command(("HSET", PARTITIONS_CHANGE, *noted)))
        try:
            # From here on, nobody starts.
            self._pause(SETTLE)
            self._nobody_lives()
        except PartitionsError:
            self._client.one(Command(("DEL", PARTITIONS_CHANGE)))
            raise
        return PartitionsChange(former, wanted, Phase.COPY, str(begun))

    def _nobody_lives(self) -> None:
        names = living(self._client)
        if names:
            raise PartitionsError(
                f"processes are alive ({', '.join(names)}): end all of them, and the API, and start this again"
            )

    def _run(self, change: PartitionsChange | None, wanted: int, by: str, reason: str) -> Iterator[Phase]:
        if change is None:
            return
        if wanted == change.former:
            yield from self._dropped(Phase.COPY, aside=True)
            self._client.one(Command(("DEL", PARTITIONS_CHANGE)))
            return
        if change.phase is Phase.COPY:
            # Whoever was interrupted may have copied what is not there any more.
            yield from self._dropped(Phase.COPY, aside=True)
            for _ in _Copying(self._client, Keyspace(change.former), Keyspace(wanted), self.counts).all():
                yield Phase.COPY
            # A former release's process does not see that it must not start.
            self._nobody_lives()
            self._note(Phase.DROP)
        if change.phase is not Phase.PLACE:
            yield from self._dropped(Phase.DROP, aside=False, audit=wanted < change.former)
            self._note(Phase.PLACE)
        yield from self._placed(wanted)
        self._client.one(Command(("SET", PARTITIONS, wanted)))
        written = act("partitions.changed", by, reason, (), {"former": change.former, "wanted": wanted})
        self._client.run([
            record_call(written, once=f"partitions:{change.begun}"), Command(("DEL", LEDGER_SINCE, PARTITIONS_CHANGE)),
        ])  # fmt: skip

    def _note(self, phase: Phase) -> None:
        self._client.one(Command(("HSET", PARTITIONS_CHANGE, "phase", phase)))

    def _dropped(self, phase: Phase, *, aside: bool, audit: bool = True) -> Iterator[Phase]:
        """Drop the copies, or what was copied. `audit`: also the trails, where they were gathered in fewer."""
        for keys in self._client.keys("tenure:{p*}:*", PAGE):
            names = [(key, match[2]) for key in keys if (match := _KEY.fullmatch(_text(key)))]
            gone = [
                key for key, name in names if name.startswith(ASIDE) is aside and (audit or name != "audit")
            ]  # fmt: skip
            _together(self._client, [Command(("UNLINK", key)) for key in gone])
            yield phase

    def _placed(self, wanted: int) -> Iterator[Phase]:
        """Give the copies their names: first to what closes policies, so that none is open without it."""
        first = [key for number in range(wanted) for key in (_Aside(number).settings, _Aside(number).switches)]
        there = _together(self._client, [Command(("EXISTS", key)) for key in first])
        _together(self._client, [_named(key) for key, found in zip(first, there, strict=True) if found])
        yield Phase.PLACE
        for keys in self._client.keys(f"tenure:{{p*}}:{ASIDE}*", PAGE):
            # A key may be told of twice.
            names = sorted({_text(key) for key in keys})
            there = _together(self._client, [Command(("EXISTS", key)) for key in names])
            _together(self._client, [_named(key) for key, found in zip(names, there, strict=True) if found])
            yield Phase.PLACE


def _together(client: Client, calls: Sequence[Command]) -> list[Reply]:
    """Run those of a slot in one transaction, however many: only readers wait for a store that is being changed, and each sync
    takes as long as hundreds of copies.

    Raises:
        StoreError: some may have been done or not.
    """
    replies = client.write(calls) if calls else []
    for reply in replies:
        if isinstance(reply, StoreError):
            raise reply
    return replies


def _named(copy: str) -> Command:
    return Command(("RENAME", copy, copy.replace(f"}}:{ASIDE}", "}:", 1)))


def _text(key: bytes) -> str:
    return key.decode(errors="surrogateescape")


class _Copying:
    """Copies what is in partitions to where it belongs with another number of them."""

    def __init__(self, client: Client, former: Keyspace, wanted: Keyspace, counts: Counter[str]) -> None:
        self._client = client
        self._former = former
        self._wanted = wanted
        self._counts = counts
        self._policies = Policies(client, former)

    def all(self) -> Iterator[None]:
        """All of it, a page at a time.

        Raises:
            PartitionsError: there is something that cannot be copied.
        """
        yield from self._moves_finished()
        for here in self._former.all():
            for page in self._page_of_policies(here):
                self._copy_policies(here, page)
                yield
        for keys in self._client.keys("tenure:{p*}:*", PAGE):
            self._copy_others(_text(key) for key in keys)
            yield
        yield from self._copy_audit()
        self._copy_everywhere()
        yield

    def _aside(self, partition: Partition) -> _Aside:
        return _Aside(partition.number)

    def _of(self, key: str) -> _Aside:
        return self._aside(self._wanted.of(key))

    # Policies

    def _moves_finished(self) -> Iterator[None]:
        """Policies that are between two partitions arrive. Each is due at once (`leave.lua`)."""
        for here in self._former.all():
            due = cast("list[bytes]", self._client.one(Command(("ZRANGEBYSCORE", here.due, "-inf", 0))))
            self._policies.load([_text(raw) for raw in due])
            yield

    def _page_of_policies(self, here: Partition) -> Iterator[dict[str, bytes]]:
        """The policies of a partition, the removed ones too: id → last revision."""
        cursor: int | bytes = 0
        while True:
            reply = self._client.one(Command(("HSCAN", here.revisions, cursor, "COUNT", PAGE)))
            cursor, flat = cast("tuple[int | bytes, list[bytes]]", reply)
            yield {_text(flat[i]): flat[i + 1] for i in range(0, len(flat), 2)}
            if int(cursor) == 0:
                return

    def _copy_policies(self, here: Partition, revisions: Mapping[str, bytes]) -> None:
        ids = list(revisions)
        records = _together(self._client, [Command(("MGET", here.policy(policy_id))) for policy_id in ids])
        found = {i: record for i, (record,) in zip(ids, cast("list[list[bytes | None]]", records), strict=True)}
        known = {i: self._read(i, record) for i, record in found.items() if record is not None}
        self._copy_lost(here, {i: revisions[i] for i in ids if i not in known})
        reads = _together(self._client, [call for policy in known.values() for call in self._reads(here, policy)])
        calls: list[Command] = []
        pairs: list[tuple[str, str]] = []
        for place, policy in enumerate(known.values()):
            due, listed, located, *views = cast("list[bytes | None]", reads[5 * place : 5 * place + 5])
            goal = self._aside(self._home(here, policy))
            calls += self._written(policy, goal, revisions[policy.policy_id], due=due, listed=listed is not None)
            # Of one that has moved before, with what stamp.
            moved = b"%d%s" % (goal.number, b"".join((located or b"").partition(b"@")[1:]))
            directory = self._aside(self._wanted.directory(policy.policy_id)).directory
            calls.append(Command(("HSET", directory, policy.policy_id, moved)))
            if policy.view is not None and (keys := view_keys(goal, policy.view)) is not None:
                told = zip(keys, views, strict=True)
                calls += [Command(("HSET", key, policy.policy_id, view)) for key, view in told if view is not None]
            pairs += self._copied(here, goal, policy.policy_id)
        _together(self._client, calls)
        self._restore(pairs)
        self._counts["policies"] += len(known)

    def _read(self, policy_id: str, record: bytes) -> Policy:
        try:
            return decode_policy(policy_id, record)
        except UNREADABLE:
            raise PartitionsError(
                f"the record of policy {policy_id} cannot be read: restore it from a backup, or delete its key"
            ) from None

    def _home(self, here: Partition, policy: Policy) -> Partition:
        """Where a policy belongs; one of which nothing was published yet has no owner that is known."""
        if policy.view is None:
            return Partition(here.number % self._wanted.partitions)
        return self._wanted.of(_owner(policy))

    def _reads(self, here: Partition, policy: Policy) -> list[Command]:
        """What of a policy is in keys that it shares with others."""
        policy_id = policy.policy_id
        views = None if policy.view is None else view_keys(here, policy.view)
        return [
            Command(("ZSCORE", here.due, policy_id)), Command(("ZSCORE", here.all, policy_id)),
            Command(("HGET", self._former.directory(policy_id).directory, policy_id)),
            *(Command(("HGET", key, policy_id)) for key in views or (here.settings, here.settings)),
        ]  # fmt: skip

    def _written(
        self, policy: Policy, goal: _Aside, revision: bytes, *, due: bytes | None, listed: bool
    ) -> Iterator[Command]:
        policy_id = policy.policy_id
        yield Command(("HSET", goal.revisions, policy_id, revision))
        if due is not None:
            yield Command(("ZADD", goal.due, due, policy_id))
        if listed:
            yield Command(("ZADD", goal.all, 0, policy_id))
        indexes = {goal.scope_index(scope) for scope in index_scopes(policy.watching)}
        for key in sorted(indexes | former_name_keys(goal, policy)):
            yield Command(("ZADD", key, 0, policy_id))

    def _copied(self, here: Partition, goal: _Aside, policy_id: str) -> Iterator[tuple[str, str]]:
        """A policy's own keys, and where they go."""
        yield here.policy(policy_id), goal.policy(policy_id)
        yield here.history(policy_id), goal.history(policy_id)
        counted = self._former.directory(policy_id)
        for outcome in LoginOutcome:
            to = self._aside(self._wanted.directory(policy_id)).logins(outcome, policy_id)
            yield counted.logins(outcome, policy_id), to

    def _copy_lost(self, here: Partition, revisions: Mapping[str, bytes]) -> None:
        """Policies whose records are lost keep their revisions, so that none is given again. Those that left are elsewhere."""
        asked = [Command(("HGET", self._former.directory(i).directory, i)) for i in revisions]
        goal = _Aside(here.number % self._wanted.partitions)
        calls = []
        for (policy_id, revision), home in zip(revisions.items(), self._client.run(asked), strict=True):
            if cast("bytes", home or b"").partition(b"@")[0] == str(here.number).encode():
                directory = self._aside(self._wanted.directory(policy_id)).directory
                calls.append(Command(("HSET", goal.revisions, policy_id, revision)))
                calls.append(Command(("HSET", directory, policy_id, goal.number)))
        self._client.run(calls)

    def _restore(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Copy whole keys, with their time to live."""
        listed = list(pairs)
        replies = _together(self._client,
            [Command((name, source)) for source, _ in listed for name in ("DUMP", "PTTL")]
        )  # fmt: skip
        _together(self._client, [
            Command(("RESTORE", goal, max(0, cast("int", replies[2 * place + 1])), cast("bytes", replies[2 * place]), "REPLACE"))
            for place, (_, goal) in enumerate(listed) if replies[2 * place] is not None
        ])  # fmt: skip

    # All else

    def _copy_others(self, keys: Iterable[str]) -> None:
        pairs: list[tuple[str, str]] = []
        events: list[tuple[Partition, str]] = []
        for key in keys:
            match = _KEY.fullmatch(key)
            if match is None or match[2].startswith(ASIDE):
                continue
            here, name = Partition(int(match[1])), match[2]
            family = family_of(name)
            rest = name[len(family) + 1 :]
            if family in OF_OWNERS | OF_IDS:
                pairs.append((key, self._of(rest).prefix + name))
            elif family in OF_KEEPERS:
                pairs.append((key, self._aside(self._wanted.home_of_scope(rest)).prefix + name))
            elif family in LISTS_OF_OWNERS:
                self._share_out(key, name)
            elif family == "inbox:event":
                events.append((here, rest))
            elif family == "came":
                self._copy_came(here, rest)
            elif family not in WITH_POLICIES | WITH_EVENTS | EVERYWHERE | SUMMED | GATHERED | LEFT:
                raise PartitionsError(
                    f"the key {key} is none that this release knows: move it away, and start this again"
                )
        self._restore(pairs)
        self._copy_events(events)

    def _share_out(self, key: str, name: str) -> None:
        """A sorted set of owners."""
        members = scored(self._client.one(Command(("ZRANGE", key, 0, -1, "WITHSCORES"))))
        self._client.run([Command(("ZADD", self._of(_text(raw)).prefix + name, score, raw)) for raw, score in members])

    def _copy_came(self, here: Partition, event_id: str) -> None:
        """What came of an event that waits elsewhere: it is looked for in every partition."""
        number = here.number % self._wanted.partitions
        sources = range(number, self._former.partitions, self._wanted.partitions)
        replies = self._client.run([Command(("LRANGE", Partition(n).came(event_id), 0, -1)) for n in sources])
        lines = [line for reply in cast("list[list[bytes]]", replies) for line in reply]
        key = _Aside(number).came(event_id)
        self._client.run([Command(("DEL", key)), Command(("RPUSH", key, *lines))], atomic=True)

    def _copy_events(self, events: Sequence[tuple[Partition, str]]) -> None:
        """Events of the inbox, whether they wait or are dead letters."""
        for here, event_id in events:
            replies = self._client.run([
                Command(("HMGET", here.event(event_id), "kind", "owner", "delivery", "bulk", "policy")),
                *(Command(("ZSCORE", _queue(here, lane), event_id)) for lane in (*LANES, None)),
            ])  # fmt: skip
            kind, owner, delivery, bulk, policy = (
                None if word is None else _text(word) for word in cast("list[bytes | None]", replies[0])
            )
            home = self._wanted.of(event_id if kind in PLACED else owner or delivery or event_id)
            goal = self._aside(home)
            pairs = [(here.event(event_id), goal.event(event_id))]
            calls: list[Command] = []
            if bulk:
                written = bulk.rpartition(":")[2]
                pairs.append((bulk, goal.body(event_id, written)))
                calls.append(Command(("HSET", goal.event(event_id), "bulk", home.body(event_id, written))))
            self._restore(pairs)
            for lane, score in zip((*LANES, None), cast("list[bytes | None]", replies[1:]), strict=True):
                if score is not None:
                    calls.append(Command(("ZADD", _queue(goal, lane), score, event_id)))
            if policy:
                calls += self._counted(event_id, policy)
            self._client.run(calls)
            self._counts["events"] += 1

    def _counted(self, event_id: str, policy_id: str) -> Iterator[Command]:
        """That the login was counted of which an event tells that is not settled yet."""
        at = self._client.one(Command(("ZSCORE", self._former.directory(policy_id).counted, event_id)))
        if at is not None:
            counted = self._aside(self._wanted.directory(policy_id)).counted
            yield Command(("ZADD", counted, cast("bytes", at), event_id))

    def _copy_audit(self) -> Iterator[None]:
        """With fewer partitions, several trails become one, in the order of time; else they stay as they are."""
        if self._wanted.partitions >= self._former.partitions:
            return
        for goal in self._wanted.all():
            sources = self._former.all()[goal.number :: self._wanted.partitions]
            key, last = self._aside(goal).audit, (0, 0)
            self._client.one(Command(("DEL", key)))
            calls: list[Command] = []
            for at, words in heapq.merge(*(self._trail(source) for source in sources), key=lambda entry: entry[0]):
                last = max(at, (last[0], last[1] + 1))
                calls.append(Command(("XADD", key, f"{last[0]}-{last[1]}", *words)))
                if len(calls) == PAGE:
                    self._client.run(calls)
                    calls = []
                    yield
            self._client.run(calls)
            yield

    def _trail(self, source: Partition) -> Iterator[tuple[tuple[int, int], list[bytes]]]:
        after = "-"
        while True:
            reply = self._client.one(Command(("XRANGE", source.audit, after, "+", "COUNT", PAGE)))
            page = cast("list[tuple[bytes, list[bytes]]]", reply)
            for entry_id, words in page:
                milliseconds, _, number = entry_id.partition(b"-")
                yield (int(milliseconds), int(number)), words
            if len(page) < PAGE:
                return
            after = f"({_text(page[-1][0])}"

    # What is the same everywhere

    def _copy_everywhere(self) -> None:
        wanted = [self._aside(partition) for partition in self._wanted.all()]
        settings = self._hashes("settings")
        epoch = max(int(one.get("epoch", b"1")) for one in settings)
        said: dict[str, Argument] = {**settings[0], PARTITIONS_FIELD: self._wanted.partitions}
        if epoch > 1:
            said["epoch"] = epoch
        # What one partition is closed by closes all: what is intended is followed afterwards.
        closed: dict[str, Argument] = {scope: word for one in self._hashes("switches") for scope, word in one.items()}
        followed, stamps, clocks, beats = (self._strings(name) for name in ("followed", "stamp", "clock", "beats"))
        calls: list[Command] = []
        for goal in wanted:
            calls.append(_hash(goal.settings, said))
            calls += [_hash(goal.switches, closed)] if closed else []
            calls += [Command(("SET", goal.followed, min(followed, key=int)))] if followed else []
            calls += [Command(("SET", goal.stamp, max(stamps, key=int)))] if stamps else []
            calls += [Command(("SET", goal.clock, max(clocks, key=_first)))] if clocks else []
            # As many as anybody saw of any partition: of none does it seem that it went back in time.
            calls += [Command(("SET", goal.beats, max(beats, key=_first)))] if beats else []
        self._client.run([*calls, *self._placing(wanted), *self._counters(wanted[0])])
        self._begin_feeds(wanted, settings[0])

    def _hashes(self, name: str) -> list[dict[str, bytes]]:
        """What each partition has of a hash."""
        calls = [Command(("HGETALL", cast("str", getattr(partition, name)))) for partition in self._former.all()]
        return list(map(fields, self._client.run(calls)))

    def _strings(self, name: str) -> list[bytes]:
        """The same of a string, where it is there."""
        calls = [Command(("GET", cast("str", getattr(partition, name)))) for partition in self._former.all()]
        return [reply for reply in cast("list[bytes | None]", self._client.run(calls)) if reply is not None]

    def _placing(self, wanted: Sequence[_Aside]) -> Iterator[Command]:
        """Walks over policies that are not finished begin again."""
        former = zip(self._former.all(), self._hashes("placing"), strict=True)
        if indexes := {key.removeprefix(partition.prefix) for partition, one in former for key in one}:
            for goal in wanted:
                yield _hash(goal.placing, {f"{Partition(goal.number).prefix}{index}": "" for index in indexes})

    def _counters(self, goal: _Aside) -> Iterator[Command]:
        """They are read as a sum."""
        total: Counter[str] = Counter()
        for one in self._hashes("counters"):
            total.update({name: int(value) for name, value in one.items()})
        if total:
            yield _hash(goal.counters, dict(total))

    def _begin_feeds(self, wanted: Sequence[_Aside], settings: Mapping[str, bytes]) -> None:
        """Each stream begins after all that were ever there, by its dates and by what was ever added: no place in one of those is
        a place in it.
        """
        looks = self._client.run([ScriptCall("look", (partition.changes,), ()) for partition in self._former.all()])
        told = [fields(look[2]) for look in cast("list[list[object]]", looks) if look[2]]
        added = max((int(one["entries-added"]) for one in told), default=0) + 2
        last = max((int(one["last-generated-id"].partition(b"-")[0]) for one in told), default=0) + 1
        told_again = {name: text_of(settings[name]) for name in FIELDS if name in settings}
        event = orjson.dumps({
            "specversion": "1.0", "id": f"partitions:{self._wanted.partitions}:{added}", "source": "tenure", "type": "matching.changed",
            "subject": "settings", "time": rfc3339(last * 1000), "datacontenttype": "application/json", "data": {"settings": told_again},
        })  # fmt: skip
        for start in range(0, len(wanted), TOGETHER):
            self._client.run([
                Command(words) for goal in wanted[start : start + TOGETHER] for words in (
                    ("DEL", goal.changes), ("XADD", goal.changes, f"{last}-0", "event", event),
                    ("XSETID", goal.changes, f"{last}-0", "ENTRIESADDED", added, "MAXDELETEDID", "0-1"),
                )
            ])  # fmt: skip


def _first(written: bytes) -> int:
    """What time was shown (`_moment.lua`), or how many beats there were (`live.lua`)."""
    return int(written.partition(b" ")[0])


def _owner(policy: Policy) -> str:
    assert policy.view is not None
    return str(owner_of(policy.view))


def _hash(key: str, values: Mapping[str, Argument]) -> Command:
    return Command(("HSET", key, *(word for pair in values.items() for word in pair)))


def _queue(partition: Partition, lane: str | None) -> str:
    return partition.dead if lane is None else partition.waiting(lane)
