"""The product, broken on purpose. Each must be found: one that is not is a defect of the simulation."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import cast

import pytest

from handlers.base import Handled
from handlers.table import WEBHOOKS
from tenure_reader import Decision, Reader
from tenure_reader.claims import Claims
from tenure_reader.freshness import AtLeast
from tenure_reader.keys import PARTITIONS
from tenure_reader.memory import Memory
from tenure_reader.source import Pass
from tests.simulation.mirrors import SimulatedMirror, SimulatedSource, Waits
from tests.simulation.product import Breaks, Parts
from tests.simulation.scheduler import START
from tests.simulation.store import SimulatedStore
from worker.github.answers import RepositoryAnswer
from worker.lifecycle import facts
from worker.lifecycle.facts import DAY, HOUR, SECOND, Micros, Observation
from worker.settings import Settings
from worker.settling.processor import Processor
from worker.store.client import Client, Reply
from worker.store.inbox import Claimed
from worker.store.keys import Partition
from worker.store.policies import Policies, _Ready
from worker.store.status import Status
from worker.verify.evidence import EvidenceBuilder
from worker.verify.inquiry import RepositorySubject
from worker.verify.installations import ApiAccess
from worker.verify.redeliverer import Redeliverer, RedeliveryRun
from worker.verify.sweeper import Sweeper


def edited(script: str, *, old: str, new: str) -> Breaks:
    """Other text in a script."""

    def breaks(parts: Parts) -> None:
        replace(parts.client, script, old, new)

    return breaks


def replace(client: Client, script: str, old: str, new: str) -> None:
    """Put another text into a script of this client's."""
    source = client._sources[script]
    assert old.encode() in source, f"{script}.lua has no {old}"
    client._sources[script] = source.replace(old.encode(), new.encode())
    client._shas[script] = hashlib.sha1(client._sources[script]).hexdigest()


class AcknowledgesFirst(Processor):
    def process(self, claimed: Claimed) -> bool:
        self._inbox.acknowledge(claimed.events)
        return super().process(claimed)


class RemembersNothing(Policies):
    def remembered(self, wanted: Iterable[str]) -> dict[str, list[Observation]]:
        return {scope: [] for scope in wanted}


class OpensBeforeItCloses(Policies):
    """A policy that moves is there first, and leaves then."""

    def _move(self, home: Partition, goal: Partition, ready: _Ready) -> Reply:
        self._client.one(self._commit(goal, [ready]))
        return super()._move(home, goal, ready)


def opens_before_it_closes(parts: Parts) -> None:
    parts.policies = OpensBeforeItCloses


class KnowsNoTime(Reader):
    def evaluate(
        self,
        claims: Claims,
        *,
        package: str | None = None,
        action: str | None = None,
        at_least: AtLeast | None = None,
        wait: float = 0,
        now: Micros | None = None,  # noqa: ARG002 - that is what is broken
    ) -> Decision:
        return super().evaluate(claims, package=package, action=action, at_least=at_least, wait=wait, now=START)


def reads_without_a_clock(parts: Parts) -> None:
    parts.reader = KnowsNoTime


class BelievesForEver(SimulatedMirror):
    def __init__(self, store: SimulatedStore, waits: Waits) -> None:
        super().__init__(store, waits)
        self._max_lag = inf


class ConfirmsWithoutVerifying(SimulatedMirror):
    """Takes it that nothing is missing, since the store answers."""

    def __init__(self, store: SimulatedStore, waits: Waits) -> None:
        super().__init__(store, waits)
        self._source = Unverified(store, waits)


class Unverified(SimulatedSource):
    def compare(self, streams: int | None = None) -> Pass:  # noqa: ARG002 - that is what is broken
        read = self.read(0)
        at = self._nodes.run(self._nodes.router.transaction(PARTITIONS, ())).at
        return read._replace(ahead=dict.fromkeys(self._numbers.values(), at / SECOND - read.sent_at))


class LooksOnceAtTheClock(SimulatedMirror):
    def _confirm(self, sent_at: float, ahead: Mapping[int, float]) -> None:
        first = self._ahead
        super()._confirm(sent_at, ahead)
        self._ahead = first or self._ahead


class NotesPositionsLate(SimulatedMirror):
    """Reads the views, and only then notes where the feed is."""

    def _load(self) -> Memory:
        memory = super()._load()
        self._source.begin()
        return memory


def mirrors(made: type[SimulatedMirror]) -> Breaks:
    """Another mirror."""

    def breaks(parts: Parts) -> None:
        parts.mirror = made

    return breaks


def answers_before_the_replica_has_it(parts: Parts) -> None:
    parts.api_waits = False


def acknowledges_first(parts: Parts) -> None:
    parts.processor = AcknowledgesFirst


def remembers_nothing(parts: Parts) -> None:
    parts.policies = RemembersNothing


def older_wins(_: Parts) -> None:
    """The facts' own module is broken beside this: see `broken`."""


VARIANTS: dict[str, Breaks] = {
    "commits without compare-and-set": edited(
        "commit", old="return found and string.match(found, '^[%d.]+') == stamp", new="return true"
    ),
    "acknowledges before it commits": acknowledges_first,
    "an older observation wins": older_wins,
    "remembers nothing for policies to come": remembers_nothing,
    "forgets what was settled": edited(
        "settle", old="enter(newer, older, KEYS[9], time, ledger_room, kept, field, value)", new=""
    ),
    "counts a login as often as it is told of": edited("count", old="if anew and", new="if"),
    "settled events stay": edited("settle", old="redis.call('DEL', unpack(keys))", new="#keys"),
    "does not look again when a window ends": edited(
        "commit", old="redis.call('ZADD', KEYS[2], unpack(dated))", new=""
    ),
    "dates by a clock that goes back": edited("put", old="math.max(now, last + 1)", new="redis.call('TIME')[1] * 1e6"),
    "publishes twice": edited(
        "commit",
        old="redis.call('XADD', KEYS[1], '*', 'event', event)",
        new="redis.call('XADD', KEYS[1], '*', 'event', event) redis.call('XADD', KEYS[1], '*', 'event', event)",
    ),
    "keeps a removed policy's view": edited("commit", old="write('HDEL', key, policy)", new=""),
    "a worker that was lost keeps its events": edited(
        "claim", old="redis.call('ZADD', KEYS[1], unpack(leased))", new="redis.call('ZREM', KEYS[1], leased[2])"
    ),
    "a step stands on one that was not made": edited("commit", old="return made[policy]", new="return true"),
    "what overflows is lost": edited("claim", old="redis.call('ZADD', KEYS[8], unpack(moved))", new=""),
    "a reader does not look when a window ends": reads_without_a_clock,
    "a mirror believes for ever": mirrors(BelievesForEver),
    "a mirror confirms without verifying": mirrors(ConfirmsWithoutVerifying),
    "a mirror asks for the time once": mirrors(LooksOnceAtTheClock),
    "a mirror notes its positions late": mirrors(NotesPositionsLate),
    "moves without a word of where it went": edited(
        "leave", old="redis.call('SET', KEYS[1], ARGV[4])", new="redis.call('DEL', KEYS[1])"
    ),
    "moves, and opens before it closes": opens_before_it_closes,
    "moves, and leaves its view": edited(
        "leave", old="ARGV[i + 1] == 'unview' and 'HDEL' or 'ZREM'", new="ARGV[i + 1] == 'unview' and 'HGET' or 'ZREM'"
    ),
    "never clears what a move has left": edited("left", old="redis.call('DEL', KEYS[1], KEYS[3])", new=""),
    "answers before the replica has it": answers_before_the_replica_has_it,
    "nobody notices that the store went back": edited(
        "pulse", old="local back, noted = beats < tonumber(ARGV[4]),", new="local back, noted = false,"
    ),
    "reads who lives in another slot": edited(
        "claim", old="redis.call('DEL', KEYS[3])", new="redis.call('DEL', KEYS[3], 'tenure:{all}:alive:worker')"
    ),
    "builds a key that it has not declared": edited(
        "settle", old="redis.call('DEL', unpack(keys))", new="redis.call('DEL', 'tenure:{p00}:built', unpack(keys))"
    ),
    "a letter that is replayed waits nowhere": edited("put", old="wait(stamped(), 0)", new=""),
    "counts no state": edited("commit", old="count('state:' .. after, 1)", new=""),
}


def broken(name: str, monkeypatch: pytest.MonkeyPatch) -> Breaks:
    """A variant, until the test ends."""
    breaks = VARIANTS[name]
    if breaks is older_wins:
        monkeypatch.setattr(facts, "joined", lambda known, _: known)
    return breaks


def _rules(**changed: object) -> Callable[[pytest.MonkeyPatch], None]:
    """Other rules than the settings make."""
    made = cast("property", Settings.rules).fget
    assert made is not None

    def breaks(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Settings, "rules", property(lambda self: dataclasses.replace(made(self), **changed)))

    return breaks


def _dates_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = Status.stamp
    monkeypatch.setattr(Status, "stamp", lambda self, owner_id: stamp(self, owner_id) + HOUR)


def _believes_whoever_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.verify.verifier.ApiAccess", lambda installed, *, own: ApiAccess(installed, own=True))  # noqa: ARG005


def _sweeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sweeper, "run", lambda _self, _worker, _seconds: None)


def _asks_for_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Redeliverer, "run", lambda _self: RedeliveryRun(0, 0, 0))


def _hears_of_nobody_who_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEBHOOKS, "organization.member_removed", lambda _incoming: Handled(()))


def _takes_anybodys_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = EvidenceBuilder._seen

    def believes(
        self: EvidenceBuilder, subject: RepositorySubject, found: RepositoryAnswer, at: Micros
    ) -> list[Observation]:
        return seen(self, subject, found._replace(owner_id=self._owner_id), at)

    monkeypatch.setattr(EvidenceBuilder, "_seen", believes)


ASKING_VARIANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a webhook gives access back": _rules(proof_required=False),
    "a proof counts for ever": _rules(proof_max_age=36_500 * DAY),
    "a proof is dated by another clock": _dates_ahead,
    "a stranger's installation counts as the owner's": _believes_whoever_answers,
    "nobody sweeps": _sweeps_nothing,
    "nobody asks for what did not arrive": _asks_for_nothing_again,
    "nobody hears of who left": _hears_of_nobody_who_left,
    "a repository counts whoever owns it": _takes_anybodys_repository,
}
"""The same, where GitHub is asked."""
