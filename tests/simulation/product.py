"""The product's own parts on a simulated store, with what every simulated world does with them."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias, cast

from greenlet import greenlet
from redis import Redis

from schedules.scheduler import send
from schedules.table import entries
from tenure_reader import Fallback, Mirror, Reader
from tenure_reader.keys import PARTITIONS
from tenure_reader.mirror import UntrustedError
from tenure_reader.nodes import Nodes
from tests.simulation import promises
from tests.simulation.mirrors import SimulatedMirror, nodes_of
from tests.simulation.promises import BrokenPromiseError, LetIn, Published
from tests.simulation.scheduler import Scheduler
from tests.simulation.store import Fate
from worker.app import App, assemble
from worker.lifecycle.facts import HOUR, SECOND, Micros
from worker.lifecycle.rules import Rules
from worker.logs import Outage, logger
from worker.processes import JobContext as JobParts
from worker.processes import _ticking
from worker.queue.broker import BlockingBroker
from worker.queue.wakeups import CLOCK, WakeUps
from worker.settings import Settings
from worker.settling.processor import Processor
from worker.settling.settler import Settler
from worker.store.client import Client
from worker.store.inbox import BULKY, EVENTS, OVERFLOW, SUSPECT, WORKER, Envelope, Inbox
from worker.store.keys import CLOCK as INSTALLATION
from worker.store.keys import Keyspace, Partition
from worker.store.policies import MOVED, Policies
from worker.verify.build import VerificationParts

WORKERS = ("w:0", "w:1", "w:2")
LAST_WORKER = "w:9"
"""It comes when all others have ended."""
CATCHES_UP = 200
"""So many round trips are enough for all of them to be trusted again."""
MOVES = 0.002
"""How likely a slot moves to another node before a step."""
ROUNDS = 80
"""So many looks at the inbox, two minutes apart, are enough for it to come to rest."""


class Tick(NamedTuple):
    queue: str
    job: str
    planned: int
    sent: int


class Bell(WakeUps):
    """Wake-ups that wait here, in no order, and may be lost."""

    def __init__(self) -> None:
        self.rung: list[tuple[Partition, str]] = []
        self.ticks: list[Tick] = []

    def wake(self, partition: Partition, lane: str, event_id: str) -> None:  # noqa: ARG002 - as its base has it
        self.rung.append((partition, lane))

    def tick(self, queue: str, job: str, planned: int, sent: int) -> None:
        self.ticks.append(Tick(queue, job, planned, sent))

    def check(self) -> None:
        """Whoever asks GitHub looks by himself."""


class Idle(BlockingBroker):
    """The broker of nobody: wake-ups wait in the bell."""

    def forget_ended(self, queues: Iterable[str]) -> int:  # noqa: ARG002 - as its base has it
        return 0


@dataclass(slots=True)
class Parts:
    """The product, with what a broken variant puts in place of a part of it."""

    client: Client
    keyspace: Keyspace = field(default_factory=lambda: Keyspace(2))
    processor: type[Processor] = Processor
    policies: type[Policies] = Policies
    reader: type[Reader] = Reader
    mirror: type[SimulatedMirror] = SimulatedMirror
    api_waits: bool = True
    """For the replica, where it is to be waited for."""


Asked: TypeAlias = Reader | Mirror | Fallback
Breaks = Callable[[Parts], None]
"""What makes a broken variant of the product."""


class Given(NamedTuple):
    """What a world is about."""

    settings: Settings
    rules: Rules
    policies: Collection[str]
    """All that may be registered."""
    places: Collection[tuple[int, int]]
    """Owners and repositories under which they may be found."""
    broken: Breaks | None


class Product(Scheduler):
    """A world whose events go through the product."""

    def __init__(self, seed: int, given: Given) -> None:
        settings, rules, policies, places, broken = given
        super().__init__(seed)
        parts = Parts(Client(self._store.topology()))
        if broken is not None:
            broken(parts)
        self._parts = parts
        self._keyspace, self._made = parts.keyspace, parts.processor
        self._policies, self._places = list(policies), sorted(set(places))
        self._moved: Micros | None = None
        """When a slot has last moved, by what has elapsed."""
        self._spread()
        self._store.look("SET", PARTITIONS, len(self._keyspace.all()))
        made = assemble(settings, parts.client, parts.keyspace, Idle(Redis(), []))
        self._bell = Bell()
        stored = parts.policies(parts.client, parts.keyspace)
        self._app: App = replace(
            made,
            inbox=Inbox(parts.client, parts.keyspace, {EVENTS: 2, OVERFLOW: 3}),
            policies=stored,
            settler=Settler(stored, rules),
            reader=parts.reader(self._way()),
            wakeups=self._bell,
        )
        self._taken: dict[str, tuple[Envelope, Micros]] = {}
        """Whatever is in the inbox or was, with its date, in its order."""
        self._settled: dict[str, Micros] = {}
        """What was settled → how much time had elapsed by then."""
        self._made_mirror = parts.mirror
        self._mirrors: dict[str, SimulatedMirror] = {}
        """Those whose processes live."""
        self._schedule = entries(settings)
        self._dropped: set[str] = set()
        """What somebody would have dropped."""
        self._outage = Outage(logger("scheduler"))
        self._most_mirrors = self._random.choice((1, 1, 2))
        self._trims = self._random.choice((0.0, 0.01, 0.2))
        """How likely somebody trims the feed before a step."""
        self._trimmed: dict[Partition, list[bytes]] = {partition: [] for partition in self._keyspace.all()}
        """Change events that are not in the feed any more."""

    # Where things are

    def _way(self) -> Redis | Nodes:
        """How a reader comes to the store."""
        return nodes_of(self._store, self.wait) if self._store.apart else self._store.connection()

    def _spread(self) -> None:
        """Give the nodes slots: no node has all partitions, and any of them what is the whole installation's."""
        order = self._random.sample(self._nodes, len(self._nodes))
        for number, partition in enumerate(self._keyspace.all()):
            self._store.move(partition.clock, order[number % len(order)])
        for key in (INSTALLATION, PARTITIONS):
            self._store.move(key, self._random.choice(order))

    def _a_slot_moves(self) -> None:
        key = self._random.choice([INSTALLATION, *(partition.clock for partition in self._keyspace.all())])
        node = self._random.choice(self._nodes)
        if node != self._store.owner(key):
            self.history.append(f"the slot of {key} moves to {self._called(node)}")
            self._store.move(key, node)
            self._moved = self.elapsed

    def _node_of(self, owner: int) -> int:
        """The node that has an owner's partition."""
        return self._store.owner(self._keyspace.of(owner).clock)

    def _clocks(self) -> dict[str, Micros]:
        """What time it is for each repository: by the clock of the node that its owner's partition is on."""
        return {f"{owner}/{number}": self._store.clock(self._node_of(owner)) for owner, number in self._places}

    def _slowest_clocks(self, seconds: int) -> dict[str, Micros]:
        """The same, for whoever asked no longer ago than this, where a clock showed least."""
        slowest = [self._slowest_clock(node, seconds * SECOND) for node in self._nodes]
        if self._moved is not None and self._moved >= self.elapsed - seconds * SECOND:
            # It may have been asked for at either node.
            slowest = [min(slowest)] * len(slowest)
        return {f"{owner}/{number}": slowest[self._node_of(owner)] for owner, number in self._places}

    # What everybody does

    @abstractmethod
    def _act(self, number: int) -> tuple[str, Callable[[], object]]:
        """What somebody does in this world."""

    @abstractmethod
    def _runs(self) -> list[tuple[int, int, str]]:
        """The workflow runs that want to publish: owner, repository, and its name with its owner's login."""

    def _next_act(self, number: int) -> tuple[str, Callable[[], object]]:
        if len(self._following) < self._most_mirrors and self._random.random() < 0.5:
            self._begin_to_mirror(f"mirror {number}")
        return self._act(number)

    def _begin_to_mirror(self, name: str) -> None:
        self._mirrors = {known: mirror for known, mirror in self._mirrors.items() if known in self._following}
        mirror = self._mirrors[name] = self._made_mirror(self._store, self.wait)
        self._following[name] = greenlet(self._quietly(mirror.follow))
        self.history.append(f"{name} begins")

    def _trim(self, partition: Partition, left: int) -> None:
        """Somebody makes room, whoever may not have read it yet."""
        entries = self._feed(partition)
        if len(entries) > left:
            self._trimmed[partition] += entries[: len(entries) - left]
            self._store.look("XTRIM", partition.changes, "MAXLEN", "=", left)
            self.history.append(f"somebody trims the feed of partition {partition.number} to {left} entries")

    def _between(self) -> None:
        super()._between()
        if self._store.apart and self._random.random() < MOVES:
            self._a_slot_moves()
        if self._random.random() < self._trims:
            self._trim(self._random.choice(self._keyspace.all()), self._random.choice((0, 0, 1)))

    def _pass(self, by: Micros) -> None:
        for event_id, (event, _) in self._taken.items():
            if event_id not in self._settled and not self._waits(event):
                self._settled[event_id] = self.elapsed
        super()._pass(by)

    def _settled_before(self, event: Envelope, seconds: int) -> bool:
        """Whether it was settled so many seconds ago, or longer."""
        return self._settled.get(event.event_id, self.elapsed) < self.elapsed - seconds * SECOND

    def _take(self, event: Envelope) -> None:
        """What a door does. An event is taken in also where nobody hears of it."""
        try:
            ((receipt,),) = self._app.inbox.put([[event]])
            if receipt.conflict:
                raise BrokenPromiseError(f"{event.delivery} contradicts itself")
            self._answered(event)
            if receipt.wake and self._random.random() < 0.9:
                self._bell.wake(event.partition, receipt.wake, event.event_id)
        finally:
            self._note(event)

    def _answered(self, event: Envelope) -> None:
        """Whoever sent it has a 2xx for it."""

    def _note(self, event: Envelope) -> None:
        dated = self._store.look("HGET", event.partition.event(event.event_id), "received_at")
        if dated is not None and event.event_id not in self._taken:
            self._taken[event.event_id] = (event, int(cast("bytes", dated)))

    def _a_worker(self, number: int) -> tuple[str, Callable[[], object]]:
        """A worker that answers a wake-up, if there is one, or shows that it lives."""
        who = self._random.choice(WORKERS)
        if self._bell.rung and self._random.random() < 0.8:
            partition, lane = self._bell.rung.pop(self._random.randrange(len(self._bell.rung)))
            name = f"{who} ({number})"
            self.history.append(f"{name}: drains the {lane} of partition {partition.number}")
            return name, lambda: self._drain(who, partition, lane)
        ticks = [tick for tick in self._bell.ticks if tick.queue == CLOCK]
        if ticks and self._random.random() < 0.8:
            tick = self._random.choice(ticks)
            self._bell.ticks.remove(tick)
            name = f"{who} ({number})"
            self.history.append(f"{name}: runs {tick.job}")
            return name, lambda: self._run_job(who, tick)
        return f"{who} is alive ({number})", lambda: self._app.status.beat(WORKER, who)

    def _drain(self, worker: str, partition: Partition, lane: str) -> None:
        processor = self._processor(worker)
        if lane == SUSPECT:
            processor.drain_quarantine()
        elif lane == BULKY:
            processor.drain_bulky(partition)
        else:
            processor.drain(partition, lane)

    def _processor(self, worker: str) -> Processor:
        return self._made(
            name=worker,
            keyspace=self._keyspace,
            inbox=self._app.inbox,
            settler=self._app.settler,
            checks=self._app.checks,
            status=self._app.status,
            wakeups=self._bell,
            asked=self._app.settings.asked,
            monotonic=lambda: self.elapsed / SECOND,
        )

    def _run_job(self, worker: str, tick: Tick, asking: VerificationParts | None = None) -> None:
        run = _ticking(
            JobParts(self._app, self._processor(worker), () if asking is None else (asking,)), self._schedule
        )
        run(job=tick.job, planned=tick.planned, sent=tick.sent)

    def _a_scheduler(self, number: int) -> tuple[str, Callable[[], object]]:
        """One of several, which do not know of each other."""
        entry = self._random.choice(self._schedule)
        name = f"scheduler {number}"
        if self._random.random() < 0.3:
            return name, self._wake_for_what_is_due
        self.history.append(f"{name}: sends the tick of {entry.name}")
        return name, lambda: send(self._app, entry, self._outage)

    def _wake_for_what_is_due(self) -> None:
        for partition, lane in self._app.inbox.overdue():
            self._bell.wake(partition, lane, "")

    # The end

    def _settle_everything(self, unusable: Callable[[Envelope], bool]) -> None:
        """Somebody sets the clocks right. An hour later all is settled, once more what died with its workers; `unusable`: what
        cannot be handled.
        """
        latest = self._latest
        for node in self._nodes:
            self._turn(latest, node)
        self._pass(HOUR)
        self._settle_all()
        self._replay()
        self._settle_all()
        self._everything_taken_has_a_place(unusable)

    def _mirrors_catch_up(self) -> None:
        """A mirror that was there all along, or is new, answers soon when all faults are over."""
        if not self._following:
            self._begin_to_mirror("the last mirror")
        for _ in range(CATCHES_UP):
            if all(mirror.status().trusted for mirror in self._living()):
                return
            self._step(self._following, Fate.DONE)
        raise BrokenPromiseError(f"a mirror does not answer: {[mirror.status().reason for mirror in self._living()]}")

    def _every_mirror_agrees(self) -> None:
        if self._trims:
            for partition in self._keyspace.all():
                self._trim(partition, 0)
        self._pass(2 * SECOND)
        self._mirrors_catch_up()
        for mirror in self._living():
            answers = self._admitted(Fallback(mirror, self._app.reader))
            promises.agrees(answers, self._admitted(self._app.reader))

    def _settle_what_is_due(self) -> None:
        while any(outcome.changes for outcome in self._app.settler.settle_due(100)):
            pass

    def _settle_all(self) -> None:
        for _ in range(ROUNDS):
            self._app.status.beat(WORKER, LAST_WORKER)
            for partition, lane in self._app.inbox.overdue():
                self._drain(LAST_WORKER, partition, lane)
            depth = self._app.inbox.depth()
            if not any(depth[lane] for lane in depth if lane != "dead"):
                return
            self._pass(130 * SECOND)
        raise BrokenPromiseError(f"the inbox does not come to rest: {self._app.inbox.depth()}")

    @abstractmethod
    def _replay(self) -> None:
        """Have every dead letter tried again: some died with their workers."""

    def _everything_taken_has_a_place(self, unusable: Callable[[Envelope], bool]) -> None:
        """What was taken in was settled, or is a dead letter if it cannot be handled. And nothing else is left over."""
        for event, _ in self._taken.values():
            said = cast("bytes | None", self._store.look("GET", event.partition.said(event.event_id)))
            dead = self._store.look("ZSCORE", event.partition.dead, event.event_id) is not None
            settled = self._store.look("EXISTS", event.partition.settled(event.event_id)) == 1
            settled = settled or (said is not None and said.startswith(b"s"))
            # A drop may have come too late, or been interrupted.
            wrong = dead is not unusable(event) and event.event_id not in self._dropped
            if wrong or (settled and dead):
                raise BrokenPromiseError(f"{event.delivery}, {event.name}: settled {settled}, dead letter {dead}")
            left = self._waits(event)
            if left is not dead:
                raise BrokenPromiseError(f"{event.delivery}, {event.name}: {'is left over' if left else 'is gone'}")

    # What can be seen

    def _admitted(self, asked: Asked) -> list[LetIn]:
        """The policies by which a reader or a mirror lets the runs publish."""
        return [LetIn(policy, f"{run[0]}/{run[1]}") for run in self._runs() for policy in self._granted(asked, *run)]

    def _mirrored(self) -> Iterator[list[LetIn]]:
        """The same for each mirror that answers."""
        for mirror in self._living():
            with suppress(UntrustedError):
                yield self._admitted(mirror)

    def _living(self) -> list[SimulatedMirror]:
        return [mirror for name, mirror in self._mirrors.items() if name in self._following]

    @staticmethod
    def _granted(asked: Asked, owner: int, number: int, name: str) -> list[str]:
        claims = {
            "repository": name, "repository_id": str(number), "repository_owner": name.partition("/")[0],
            "repository_owner_id": str(owner), "job_workflow_ref": f"{name}/.github/workflows/release.yml@refs/heads/main",
            "event_name": "push",
        }  # fmt: skip
        return [grant["policy_id"] for grant in asked.evaluate(claims).granted]

    def _named_by_the_ledger(self) -> Iterator[tuple[str, int]]:
        """The revisions that the ledger has of what was taken in, each with its policy."""
        for event, _ in self._taken.values():
            for entry in self._app.event_ledger.find(event.delivery, event.event_id):
                yield from entry.came

    def _waits(self, event: Envelope) -> bool:
        return self._store.look("EXISTS", event.partition.event(event.event_id)) == 1

    def _feed(self, partition: Partition) -> list[bytes]:
        entries = self._store.look("XRANGE", partition.changes, "-", "+")
        return [event for _, (_, event) in cast("list[tuple[bytes, list[bytes]]]", entries)]

    def _published(self) -> Published:
        look = self._store.look
        streams: list[list[Mapping[str, object]]] = []
        views: dict[str, list[str]] = {}
        revisions: dict[str, list[int]] = {}
        leaving, listed, counters = Counter[str](), Counter[str](), Counter[str]()
        for partition in self._keyspace.all():
            entries = map(json.loads, self._trimmed[partition] + self._feed(partition))
            # Others are notices.
            streams.append([event for event in entries if "view" in event["data"]])
            for place in self._places:
                for key in (partition.repository(*place), partition.repository_v2(*place)):
                    for policy, view in _pairs(look("HGETALL", key)).items():
                        views.setdefault(policy, []).append(view)
            records = cast("list[bytes | None]", look("MGET", *map(partition.policy, self._policies)))
            for policy, record in zip(self._policies, records, strict=True):
                if record is not None and record.startswith(MOVED):
                    leaving[policy] += 1
                elif record is not None:
                    revisions.setdefault(policy, []).append(int(record.partition(b".")[0]))
            listed.update(raw.decode() for raw in cast("list[bytes]", look("ZRANGE", partition.all, 0, -1)))
            for name, count in _pairs(look("HGETALL", partition.counters)).items():
                counters[name] += int(count)
        return Published(streams, views, revisions, leaving, listed, counters)


def _pairs(flat: object) -> dict[str, str]:
    words = [word.decode() for word in cast("list[bytes]", flat)]
    return dict(zip(words[::2], words[1::2], strict=True))
