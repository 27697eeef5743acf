"""A world of seeded events, processes and faults around the product's own parts, with one thread and no clock but its own.

Every round trip to the store is a point at which the scheduler decides who goes next, and what becomes of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, cast

from greenlet import getcurrent, greenlet

from handlers.base import EXCHANGE, GITHUB, OPERATOR, REGISTRY
from tenure_reader import Reader
from tenure_reader.keys import PARTITIONS
from tests.simulation import promises
from tests.simulation.promises import BrokenPromiseError, Published, Taken
from tests.simulation.store import EndedError, Fate, SimulatedStore
from tests.support import JSON, account, person, registration_data, repository
from worker.lifecycle.facts import DAY, HOUR, SECOND, Micros
from worker.lifecycle.rules import Rules
from worker.queue.wakeups import WakeUps
from worker.settling.processor import Processor
from worker.settling.settler import Settler
from worker.store.checks import Checks
from worker.store.client import Call, Client, StoreError
from worker.store.inbox import BULKY, EVENTS, OVERFLOW, SUSPECT, WORKER, Envelope, Inbox, identity, put_call
from worker.store.keys import Keyspace, Partition
from worker.store.policies import Policies
from worker.store.status import Status

START: Micros = 1_800_000_000 * SECOND
OWNERS = (41, 42)
POLICIES = {f"pol-{n}": (OWNERS[n % 2], 100 + n % 3) for n in range(6)}
"""Policy → its owner and repository: some share one."""
WATCHED = {
    policy: (f"{owner}/{repository_id}", f"maria of {owner}", "maria")
    for policy, (owner, repository_id) in POLICIES.items()
}
"""What the truth of each policy is about, beside itself."""
WORKERS = ("w:0", "w:1", "w:2")
LAST_WORKER = "w:9"
"""It comes when all others have ended."""
REDELIVERED: Micros = 3 * DAY
"""For so long GitHub redelivers what was sent."""
LOOK_EVERY = 40
"""After so many effects, whatever can be read at any time is compared."""
ROUNDS = 80
"""So many looks at the inbox, two minutes apart, are enough for it to come to rest."""


class Bell(WakeUps):
    """Wake-ups that wait here, in no order, and may be lost."""

    def __init__(self) -> None:
        self.rung: list[tuple[Partition, str]] = []

    def wake(self, partition: Partition, lane: str, event_id: str) -> None:  # noqa: ARG002 - as its base has it
        self.rung.append((partition, lane))

    def check(self) -> None:
        """Nobody asks GitHub here."""


class Delivery(NamedTuple):
    """What somebody sends: an event, and what the truth makes of it; None: it cannot be handled."""

    envelope: Envelope
    about: str | None


@dataclass(slots=True)
class Parts:
    """The product, with what a broken variant puts in place of a part of it."""

    client: Client
    keyspace: Keyspace = field(default_factory=lambda: Keyspace(2))
    processor: type[Processor] = Processor
    policies: type[Policies] = Policies
    reader: type[Reader] = Reader


Breaks = Callable[[Parts], None]
"""What makes a broken variant of the product."""


class World:
    """One run: `effects` round trips with faults, and then what is left must come to rest, and be true."""

    def __init__(self, seed: int, broken: Breaks | None = None) -> None:
        self.history: list[str] = []
        self.effects = 0
        self._random = Random(seed)
        self._hub = getcurrent()
        self._running: dict[str, greenlet] = {}
        self._ended: set[greenlet] = set()
        self._store = SimulatedStore(self._fate)
        self._latest: Micros = START
        self._turn(START)
        parts = Parts(Client(self._store.connection()))
        if broken is not None:
            broken(parts)
        self._client, self._keyspace, self._made = parts.client, parts.keyspace, parts.processor
        self._bell = Bell()
        self._status = Status(parts.client, parts.keyspace)
        self._inbox = Inbox(parts.client, parts.keyspace, {EVENTS: 2, OVERFLOW: 3})
        policies = parts.policies(parts.client, parts.keyspace)
        self._settler = Settler(policies, Rules(window=promises.WINDOW, reminder=HOUR))
        self._taken: dict[str, tuple[Delivery, Micros]] = {}
        """Whatever is in the inbox or was, with its date."""
        self._store.look("SET", PARTITIONS, len(self._keyspace.all()))
        self._reader = parts.reader(self._store.connection())
        self._sent: list[tuple[Micros, Delivery]] = []

    # Who goes next

    def _fate(self) -> Fate:
        current = getcurrent()
        if current is self._hub:
            return Fate.DONE
        if current in self._ended:
            # What a process does on its way out, one that was killed does not.
            raise EndedError
        return cast("Fate", self._hub.switch())

    def run(self, effects: int) -> None:
        """Raises:
        BrokenPromiseError: what was promised does not hold.
        """
        number = 0
        while self.effects < effects:
            if not self._running or self._random.random() < 0.15:
                number += 1
                name, act = self._next_act(number)
                self._running[name] = greenlet(self._quietly(act))
                continue
            if self._random.random() < 0.04:
                self._clock_moves()
                # A window may have ended, and nobody has written so yet.
                self._look()
            self._step(self._random.choice(list(self._running)))
            if self.effects % LOOK_EVERY == 0:
                self._look()
        self._power_cut()
        self._come_to_rest()

    def _step(self, name: str) -> None:
        process = self._running[name]
        fate = self._drawn()
        if process:
            if fate is not Fate.DONE:
                self.history.append(f"{name}: {fate.value}")
            if fate in (Fate.ENDS_BEFORE, Fate.ENDS_AFTER):
                self._ended.add(process)
            process.switch(fate)
        else:
            process.switch()
        self.effects += 1
        if process.dead:
            del self._running[name]
            self._ended.discard(process)

    def _drawn(self) -> Fate:
        drawn = self._random.random()
        odds = ((0.01, Fate.ENDS_BEFORE), (0.02, Fate.ENDS_AFTER), (0.03, Fate.LOST), (0.04, Fate.TWICE))
        return next((fate for odd, fate in odds if drawn < odd), Fate.DONE)

    @staticmethod
    def _quietly(act: Callable[[], object]) -> Callable[[], None]:
        def body() -> None:
            with suppress(StoreError, EndedError):
                act()

        return body

    def _clock_moves(self) -> None:
        back = self._random.random() < 0.15
        by = int(10 ** self._random.uniform(3, 9 if back else 11))
        self.history.append(f"the store's clock moves {'back' if back else 'on'} by {by / SECOND:.3f} s")
        self._turn(self._store.now + (-by if back else by))

    def _turn(self, now: Micros) -> None:
        self._latest = max(self._latest, now)
        self._store.set_clock(now)

    # What they do

    def _next_act(self, number: int) -> tuple[str, Callable[[], object]]:
        drawn = self._random.random()
        if drawn < 0.5:
            delivery = self._next_delivery(number)
            name = f"door {number}"
            self.history.append(
                f"{name}: takes {delivery.envelope.name} of {delivery.about} ({delivery.envelope.delivery})"
            )
            return name, lambda: self._take(delivery)
        if drawn < 0.8 and self._bell.rung:
            partition, lane = self._bell.rung.pop(self._random.randrange(len(self._bell.rung)))
            who = self._random.choice(WORKERS)
            name = f"{who} ({number})"
            self.history.append(f"{name}: drains the {lane} of partition {partition.number}")
            return name, lambda: self._drain(who, partition, lane)
        if drawn < 0.88:
            who = self._random.choice(WORKERS)
            return f"{who} is alive ({number})", lambda: self._status.beat(WORKER, who)
        if drawn < 0.94:
            return f"clock {number}", lambda: self._settler.settle_due(self._status.now(), 100)
        return f"scheduler {number}", self._wake_for_what_is_due

    def _next_delivery(self, number: int) -> Delivery:
        lately = [delivery for sent, delivery in self._sent if sent > self._store.now - REDELIVERED]
        if lately and self._random.random() < 0.15:
            return self._random.choice(lately)
        delivery = self._delivery(f"d-{number}")
        self._sent.append((self._store.now, delivery))
        return delivery

    def _delivery(self, label: str) -> Delivery:
        policy = self._random.choice(list(POLICIES))
        owner, repository_id = POLICIES[policy]
        where = repository(repository_id, f"widgets-{repository_id}", owner=account(owner))
        member: dict[str, JSON] = {"organization": account(owner), "membership": {"user": person()}}
        old, new = self._random.sample([str(where["name"]), f"{where['name']}-2", f"{where['name']}-3"], 2)
        renamed: JSON = {**where, "name": new}
        former: JSON = {"repository": {"name": {"from": old}}}
        login: dict[str, JSON] = {
            "policy_id": policy, "repository_id": repository_id, "repository_owner_id": owner, "jti": label,
        }  # fmt: skip
        register: dict[str, JSON] = {
            **registration_data(
                repository_owner_id=owner, repository_id=repository_id, repository=f"widgets-{repository_id}"
            ),
            "policy_id": policy,
        }
        about: dict[str, JSON] = {"policy_id": policy}
        kinds: list[tuple[int, str, str, dict[str, JSON], str | None]] = [
            (8, REGISTRY, "policy.registered", register, policy),
            (6, EXCHANGE, "login.succeeded", login, policy),
            (3, REGISTRY, "policy.renewed", about, policy),
            (1, REGISTRY, "policy.removed", about, policy),
            (2, OPERATOR, "policy.held", about, policy),
            (2, OPERATOR, "policy.released", about, policy),
            (5, GITHUB, "repository.archived", {"repository": where}, f"{owner}/{repository_id}"),
            (5, GITHUB, "repository.unarchived", {"repository": where}, f"{owner}/{repository_id}"),
            (1, GITHUB, "repository.deleted", {"repository": where}, f"{owner}/{repository_id}"),
            (1, GITHUB, "repository.created", {"repository": where}, f"{owner}/{repository_id}"),
            (3, GITHUB, "repository.renamed", {"repository": renamed, "changes": former}, "a name"),
            (3, GITHUB, "organization.member_removed", member, f"maria of {owner}"),
            (3, GITHUB, "organization.member_added", member, f"maria of {owner}"),
            (2, REGISTRY, "account.locked", {"account": "maria"}, "maria"),
            (2, REGISTRY, "account.unlocked", {"account": "maria"}, "maria"),
            (1, GITHUB, "repository.archived", {"repository": 7}, None),
        ]
        _, kind, name, data, whom = self._random.choices(kinds, [weight for weight, *_ in kinds])[0]
        if kind == GITHUB:
            data = {"action": name.partition(".")[2], **data}
        seems = None if whom == "maria" else owner
        home = self._keyspace.of("maria" if seems is None else seems)
        body = json.dumps(data).encode()
        event_id = identity(kind, label)
        first = name in ("repository.archived", "repository.deleted", "organization.member_removed")
        said = None if kind == GITHUB else identity(name, body).encode()
        return Delivery(Envelope(home, event_id, kind, name, label, body, owner=seems, first=first, said=said), whom)

    def _take(self, delivery: Delivery) -> None:
        """What a door does. An event is taken in also where nobody hears of it."""
        event = delivery.envelope
        try:
            ((receipt,),) = self._inbox.put([[event]])
            if receipt.conflict:
                raise BrokenPromiseError(f"{event.delivery} contradicts itself")
            if receipt.wake and self._random.random() < 0.9:
                self._bell.wake(event.partition, receipt.wake, event.event_id)
        finally:
            self._note(delivery)

    def _note(self, delivery: Delivery) -> None:
        event = delivery.envelope
        dated = self._store.look("HGET", event.partition.event(event.event_id), "received_at")
        if dated is not None and event.event_id not in self._taken:
            self._taken[event.event_id] = (delivery, int(cast("bytes", dated)))

    def _drain(self, worker: str, partition: Partition, lane: str) -> None:
        processor = self._made(
            name=worker,
            keyspace=self._keyspace,
            inbox=self._inbox,
            settler=self._settler,
            checks=Checks(self._client, self._keyspace),
            status=self._status,
            wakeups=self._bell,
            asks_github=False,
            monotonic=lambda: self._store.now / SECOND,
        )
        if lane == SUSPECT:
            processor.drain_suspects()
        elif lane == BULKY:
            processor.drain_bulky(partition)
        else:
            processor.drain(partition, lane)

    def _wake_for_what_is_due(self) -> None:
        for partition, lane in self._inbox.overdue(self._status.now()):
            self._bell.wake(partition, lane, "")

    # The end

    def _power_cut(self) -> None:
        self.history.append("all processes end")
        for process in self._running.values():
            if process and not process.dead:
                self._ended.add(process)
                process.throw(EndedError)
        self._running.clear()

    def _come_to_rest(self) -> None:
        self._turn(self._latest + HOUR)
        self._settle_all()
        self._replay()
        self._settle_all()
        self._everything_taken_has_a_place()
        self._compare_with_the_truth()
        # Every window ends, and nobody says a word.
        self._turn(self._store.now + 2 * promises.WINDOW)
        self._compare_with_the_truth()

    def _compare_with_the_truth(self) -> None:
        while any(outcome.changes for outcome in self._settler.settle_due(self._status.now(), 100)):
            pass
        self._look()
        seen = self._published()
        promises.counters_agree_with_the_feed(seen)
        promises.states_are_true(seen, WATCHED, self._told(), self._status.now())
        promises.nobody_is_locked_out(self._admitted(), WATCHED, self._told(), self._store.now)

    def _settle_all(self) -> None:
        for _ in range(ROUNDS):
            self._status.beat(WORKER, LAST_WORKER)
            for partition, lane in self._inbox.overdue(self._status.now()):
                self._drain(LAST_WORKER, partition, lane)
            depth = self._inbox.depth()
            if not any(depth[lane] for lane in depth if lane != "dead"):
                return
            self._turn(self._store.now + 130 * SECOND)
        raise BrokenPromiseError(f"the inbox does not come to rest: {self._inbox.depth()}")

    def _replay(self) -> None:
        """An operator has every dead letter tried again: some died with their workers."""
        calls: list[Call] = [
            put_call(self._keyspace, partition, event_id.decode())
            for partition in self._keyspace.all()
            for event_id in cast("list[bytes]", self._store.look("ZRANGE", partition.dead, 0, -1))
        ]
        self._client.run(calls)

    def _told(self) -> list[Taken]:
        return [told for told, _ in self._told_with_events()]

    def _told_with_events(self) -> Iterator[tuple[Taken, Envelope]]:
        """What the truth is made of, in the order in which it was taken in."""
        for order, (delivery, at) in enumerate(self._taken.values()):
            if delivery.about is not None:
                yield Taken(order, at, delivery.envelope.name, delivery.about), delivery.envelope

    # What must hold

    def _look(self) -> None:
        seen = self._published()
        promises.revisions_have_no_gap(seen)
        promises.views_are_the_newest_events(seen)
        told = [(t, self._waits(event)) for t, event in self._told_with_events()]
        settled, waiting = [t for t, waits in told if not waits], [t for t, waits in told if waits]
        promises.nobody_gets_in(self._admitted(), WATCHED, settled, waiting, self._store.now)

    def _admitted(self) -> list[str]:
        """The policies by which a reader lets a token publish, asked for one token of each policy's repository."""
        decisions = [self._reader.evaluate(_token(owner, number)) for owner, number in POLICIES.values()]
        return [grant["policy_id"] for decision in decisions for grant in decision.granted]

    def _waits(self, event: Envelope) -> bool:
        return self._store.look("EXISTS", event.partition.event(event.event_id)) == 1

    def _published(self) -> Published:
        look = self._store.look
        feed, views, revisions, counters = [], {}, {}, dict[str, int]()
        for partition in self._keyspace.all():
            for _, (_, event) in cast("list[tuple[bytes, list[bytes]]]", look("XRANGE", partition.changes, "-", "+")):
                feed.append(json.loads(event))
            for owner, repository_id in POLICIES.values():
                views.update(_pairs(look("HGETALL", partition.repository(owner, repository_id))))
            for policy in POLICIES:
                record = cast("bytes | None", look("GET", partition.policy(policy)))
                if record is not None:
                    revisions[policy] = int(record.partition(b".")[0])
            for name, count in _pairs(look("HGETALL", partition.counters)).items():
                counters[name] = counters.get(name, 0) + int(count)
        return Published(feed, views, revisions, counters)

    def _everything_taken_has_a_place(self) -> None:
        """What was taken in was settled, or is a dead letter if it cannot be handled. And nothing else is left over."""
        for delivery, _ in self._taken.values():
            event = delivery.envelope
            said = cast("bytes | None", self._store.look("GET", self._keyspace.mark(event.event_id)))
            dead = self._store.look("ZSCORE", event.partition.dead, event.event_id) is not None
            settled = self._store.look("EXISTS", event.partition.settled(event.event_id)) == 1
            settled = settled or (said is not None and said.startswith(b"s"))
            if dead is not (delivery.about is None) or (settled and dead):
                raise BrokenPromiseError(f"{event.delivery}, {event.name}: settled {settled}, dead letter {dead}")
            left = self._store.look("EXISTS", event.partition.event(event.event_id)) == 1
            if left is not dead:
                raise BrokenPromiseError(f"{event.delivery}, {event.name}: {'is left over' if left else 'is gone'}")


def _token(owner: int, repository_id: int) -> dict[str, str]:
    """What the token of a run of the policy's workflow says."""
    name = f"octo/widgets-{repository_id}"
    return {
        "repository": name, "repository_id": str(repository_id), "repository_owner": "octo",
        "repository_owner_id": str(owner), "job_workflow_ref": f"{name}/.github/workflows/release.yml@refs/heads/main",
        "event_name": "push",
    }  # fmt: skip


def _pairs(flat: object) -> dict[str, str]:
    words = [word.decode() for word in cast("list[bytes]", flat)]
    return dict(zip(words[::2], words[1::2], strict=True))
