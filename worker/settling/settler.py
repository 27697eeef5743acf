"""Settle: find the policies that an observation touches, merge, decide, commit. The only way in which state changes.

Events are settled in batches. A batch costs a few round trips, however many events are in it:

1. *touch*: remember what was observed, load every policy that watches it;
2. for each policy: merge, decide;
3. *commit*, with compare-and-set on the stamp that was read; who loses the race loads again and repeats.

A policy that begins to watch something new (it was registered, or bound to a repository) reads what was observed of it
before, and reads again after it has entered the index, so that nothing falls between the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import TypeVar

from worker.lifecycle import scopes
from worker.lifecycle.facts import SECOND, Micros, Observation, ObservationSource, Worth, worth
from worker.lifecycle.policy import Policy, Step, advance, cause_of, concerns, learn
from worker.lifecycle.rules import Rules
from worker.lifecycle.views import ChangeType, owner_of
from worker.store.client import StoreError
from worker.store.keys import Partition
from worker.store.policies import START, Commit, DuePolicy, Located, Policies, SpoiltKeyError, Touch, UnreadableError

PAGE = 500
"""Policies settled at once for one event; the rest of a larger one waits its turn."""
MAX_ROUNDS = 50
"""Lost races before a policy is given back to the inbox: each one means that somebody else got on."""

FEW = 64
"""Observations of an event that are looked at one by one."""
MANY_INDEXES = 200
"""Indexes of one owner that are looked at one by one. Of an event that names more, all policies of the owner are looked
at: they are fewer than what it names, or at least they are there."""
POSTPONED: Micros = 60 * SECOND
"""When the clock looks again at a due policy that could not be settled."""
SCHEDULE = "schedule"
"""The kind of cause of what the clock brings about."""


@dataclass(frozen=True)
class Work:
    """One event's observations, to be settled; `cursor` says how far a large one has got."""

    cause: ObservationSource
    observations: tuple[Observation, ...]
    received_at: Micros | None
    cursor: str | None = None
    aside: tuple[Observation, ...] = ()
    """Told to the policies that it addresses by their id, and to nobody else, now or later."""
    event: str | None = None
    """The key of the event, for one of the inbox: what comes of it is noted there."""

    def concerning(self, policy: Policy) -> list[Observation]:
        """What of it bears on a policy."""
        if self.aside and policy.policy_id in self._addressed:
            return [o for o in (*self.observations, *self.aside) if concerns(policy, o)]
        return self._matching_observations(policy)

    def _matching_observations(self, policy: Policy) -> list[Observation]:
        """An event may name a hundred thousand things, and concern hundreds of policies."""
        if len(self.observations) <= FEW or not policy.watching:
            return [o for o in self.observations if concerns(policy, o)]
        return [o for scope in policy.watching for o in self._by_scope.get(scope, ())]

    @cached_property
    def sources(self) -> frozenset[ObservationSource]:
        """Who said its observations: usually its cause; those of an import name theirs."""
        return frozenset(observation.source for observation in (*self.observations, *self.aside))

    @cached_property
    def _addressed(self) -> frozenset[str]:
        return frozenset(policy_id for o in self.observations if (policy_id := _named(o)) is not None)

    @cached_property
    def _by_scope(self) -> dict[str, list[Observation]]:
        by_scope: dict[str, list[Observation]] = {}
        for observation in self.observations:
            by_scope.setdefault(observation.scope, []).append(observation)
        return by_scope


@dataclass(slots=True)
class SettlingOutcome:
    """What came of one piece of work."""

    changes: list[tuple[Policy, ChangeType]] = field(default_factory=list)
    """Every revision that was published for it."""
    bound: list[str] = field(default_factory=list)
    """Repositories whose ids it told to policies that did not know theirs."""
    conflicts: int = 0
    cursor: str | None = None
    """Set if policies are left that it touches."""
    error: Exception | None = None


ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def parted(do: Callable[[Sequence[ItemT]], list[ResultT]], items: Sequence[ItemT], *, apart: bool) -> list[ResultT]:
    """Do something for all items; where a part of the store cannot be reached (`apart`: there are several), for those that do
    not need it.

    Raises:
        StoreError: it could be done for none of them.
    """
    try:
        return do(items)
    except StoreError:
        if not apart or len(items) < 2:
            raise
    done: list[ResultT] = []
    failed: list[StoreError] = []
    middle = len(items) // 2
    for half in (items[:middle], items[middle:]):
        try:
            done += parted(do, half, apart=apart)
        except StoreError as error:
            failed.append(error)
    if len(failed) == 2:
        raise failed[0]
    return done


class ContentionError(Exception):
    """A policy was changed by others again and again; the event will be tried again later."""


class Settler:
    """Settles work on policies in a store."""

    def __init__(self, policies: Policies, rules: Rules) -> None:
        self._policies = policies
        self._rules = rules

    @property
    def apart(self) -> bool:
        """Whether some of the store may be reached while another part cannot be."""
        return self._policies.apart

    def recover(self, events: Mapping[str, bytes]) -> None:
        """Note on events what came of them, as far as whoever settled them before has not said so. See `Policies.recover`."""
        self._policies.recover(events)

    def forget(self, events: Mapping[str, SettlingOutcome | None]) -> None:
        """Events are settled: what is kept of them elsewhere goes. `events`: the key of an event → what came of it; None where
        others may have settled it before.
        """
        everywhere = self._policies.keyspace.all()
        self._policies.forget({
            event: everywhere if outcome is None else [self._policies.home_of(policy) for policy, _ in outcome.changes]
            for event, outcome in events.items()
        })  # fmt: skip

    def settle(self, batch: Sequence[Work], now: Micros, *, page: int = PAGE) -> list[SettlingOutcome]:
        """Settle a batch in order, at most `page` policies for each piece of work and partition.

        What is wrong with one piece of work is in its outcome and harms no other.

        Raises:
            StoreError: the store could not be reached; any part of the batch may be done, and all of it may be repeated.
        """
        return [outcome for part in _parts(batch) for outcome in self._settle(part, now, page)]

    def _settle(self, batch: Sequence[Work], now: Micros, page: int) -> list[SettlingOutcome]:
        outcomes = [SettlingOutcome() for _ in batch]
        loaded = self._load(batch, outcomes, page)
        tasks = [_Task(i, policy_id, where) for i, located in enumerate(loaded) for policy_id, where in located.items()]
        self._advance(batch, tasks, outcomes, [now] * len(batch))
        return outcomes

    def settle_due(self, limit: int) -> list[SettlingOutcome]:
        """Let the clock of each partition look at the policies that are due there, at most `limit`; an outcome for each."""
        return parted(self._settle_due, self._policies.due(limit), apart=self._policies.apart)

    def _settle_due(self, due: Sequence[DuePolicy]) -> list[SettlingOutcome]:
        batch = [Work(ObservationSource(SCHEDULE, f"{each.policy_id}@{each.now}", "clock"), (), None) for each in due]
        outcomes = [SettlingOutcome() for _ in due]
        located = self._policies.load_due({each.policy_id: each.partition for each in due})
        tasks = [_Task(i, each.policy_id, located[each.policy_id], by_clock=True) for i, each in enumerate(due)]
        self._advance(batch, tasks, outcomes, [each.now for each in due])
        failed = [each for each, outcome in zip(due, outcomes, strict=True) if outcome.error is not None]
        if failed:
            self._policies.postpone({each.policy_id: each.now + POSTPONED for each in failed})
        return outcomes

    # Finding

    def _load(
        self, batch: Sequence[Work], outcomes: list[SettlingOutcome], page: int
    ) -> list[dict[str, Located | None]]:
        """For each piece of work, the policies that it touches: by id, with what was loaded of them so far."""
        located = self._addressed(batch)
        touches = [(i, step, touch) for i, work in enumerate(batch) for step, touch in self._remaining(work)]
        pages = self._policies.observe([touch for _, _, touch in touches], page)
        for (i, step, _), loaded in zip(touches, pages, strict=True):
            if loaded.spoilt is not None:
                outcomes[i].error = SpoiltKeyError(loaded.spoilt)
            if outcomes[i].cursor is not None:
                continue
            located[i].update(loaded.loaded)
            if loaded.cursor is not None:
                outcomes[i].cursor = f"{step}@{loaded.cursor}"
        return located

    def _addressed(self, batch: Sequence[Work]) -> list[dict[str, Located | None]]:
        """The policies that are addressed by their id, for each piece of work.

        What is said of a policy that nobody registered is remembered until somebody does.
        """
        addressed: list[dict[str, Located | None]] = [{} for _ in batch]
        observations = [
            (i, o, policy_id) for i, work in enumerate(batch) for o in work.observations if (policy_id := _named(o))
        ]
        if not observations:
            return addressed
        found = self._policies.load(sorted({policy_id for _, _, policy_id in observations}))
        ids = {policy_id for policy_id, located in found.items() if located.exists}
        strangers: list[tuple[Observation, str]] = []
        for _, observation, policy_id in observations:
            # Said before a registration, also one of this batch: nobody is there yet to learn it.
            if observation.aspect == "registration":
                ids.add(policy_id)
            elif policy_id not in ids:
                strangers.append((observation, policy_id))
        if strangers:
            self._policies.remember([observation for observation, _ in strangers])
            registered = self._policies.load(sorted({policy_id for _, policy_id in strangers}))
            found |= registered
            ids |= {policy_id for policy_id, located in registered.items() if located.exists}
        for i, _, policy_id in observations:
            if policy_id in ids:
                addressed[i][policy_id] = found[policy_id]
        return addressed

    def _remaining(self, work: Work) -> list[tuple[int, Touch]]:
        """The numbered steps of a work's plan from its cursor on."""
        number, _, position = (work.cursor or f"0@{START}").partition("@")
        first = int(number)
        return [
            (step, touch._replace(cursor=position) if step == first else touch)
            for step, touch in enumerate(self._plan(work))
            if step >= first
        ]

    def _plan(self, work: Work) -> list[Touch]:
        """Where to look for the policies that a piece of work touches, always in the same order.

        A GitHub owner's policies are all in its partition. An account's may be anywhere; what was observed of it is
        remembered in one place, and that place comes first.
        """
        by_keeper: dict[str, list[Observation]] = {}
        for observation in work.observations:
            if _named(observation) is None:
                by_keeper.setdefault(scopes.keeper_of(observation.scope), []).append(observation)
        owned: dict[Partition, list[str]] = {}
        spread: dict[Partition, list[str]] = {}
        for keeper in by_keeper:
            where = spread if scopes.owner_id_of(keeper) is None else owned
            where.setdefault(self._policies.keyspace.home_of_scope(keeper), []).append(keeper)

        def seen(keepers: Iterable[str]) -> tuple[Observation, ...]:
            return tuple(o for keeper in keepers for o in by_keeper[keeper])

        def indexes(keepers: Iterable[str]) -> tuple[str, ...]:
            return tuple(sorted({scope for keeper in keepers for scope in _indexes(keeper, by_keeper[keeper])}))

        plan = [Touch(home, seen(keepers), indexes(keepers)) for home, keepers in sorted(owned.items())]
        plan += [Touch(home, seen(keepers), ()) for home, keepers in sorted(spread.items())]
        if spread:
            everywhere = indexes(keeper for keepers in spread.values() for keeper in keepers)
            plan += [Touch(partition, (), everywhere) for partition in self._policies.keyspace.all()]
        return plan

    # Moving on

    def _advance(
        self, batch: Sequence[Work], todo: list[_Task], outcomes: list[SettlingOutcome], times: Sequence[Micros]
    ) -> None:
        """Bring every policy up to date, repeating for those that somebody else changed meanwhile. `times`: what time it is for
        each piece of work.
        """
        for _ in range(MAX_ROUNDS):
            if not todo:
                return
            todo = self._round(batch, todo, outcomes, times)
        for task in todo:
            error = ContentionError(f"policy {task.policy_id} was changed by others {MAX_ROUNDS} times")
            outcomes[task.work].error = error

    def _round(
        self, batch: Sequence[Work], todo: list[_Task], outcomes: list[SettlingOutcome], times: Sequence[Micros]
    ) -> list[_Task]:
        """One attempt at every task; returns those to be repeated.

        What several events make of one policy is decided step by step and committed together: each step stands on the one
        before, so that it is not written unless that one is.
        """
        self._rules = self._policies.in_epoch(self._rules)
        chains, again = self._chains(batch, todo, outcomes, times)
        made = self._commit(batch, [task for chain in chains for task in chain])
        arrived: list[tuple[_Task, Step]] = []
        for chain in chains:
            # What follows a lost step is lost with it, also if it had nothing to add: that may have been known from this one.
            lost = next((place for place, task in enumerate(chain) if made.get(task, True) is not True), len(chain))
            left = chain[lost:]
            if left and isinstance(spoilt := made[left[0]], str):
                outcomes[left.pop(0).work].error = SpoiltKeyError(spoilt)
            elif left:
                outcomes[left[0].work].conflicts += 1
            again += [task.anew() for task in left]
            steps = [(task, task.step) for task in chain[:lost] if task.step is not None]
            for task, step in steps:
                if step.change is not None:
                    outcomes[task.work].changes.append((step.policy, step.change))
                    outcomes[task.work].bound += _bound(task.located, step)
            if lost == len(chain) and steps and steps[-1][1].policy.unread:
                arrived.append(steps[-1])
        return sorted(again, key=attrgetter("work")) + self._missed(arrived)

    def _chains(
        self, batch: Sequence[Work], todo: list[_Task], outcomes: list[SettlingOutcome], times: Sequence[Micros]
    ) -> tuple[list[list[_Task]], list[_Task]]:
        """Decide for each task, those of one policy one after another; and the tasks that are left for another round."""
        turns = _turns(todo)
        missing = self._policies.load([task.policy_id for task in turns[0] if task.located is None])
        for task in turns[0]:
            task.located = task.located or missing[task.policy_id]
        # Most of what later turns will ask for is named in their events: it is read at once. A list of many names few of it.
        named = {
            o.scope
            for turn in turns[1:]
            for task in turn
            if len(batch[task.work].observations) <= FEW
            for o in batch[task.work].observations
        }
        remembered = self._policies.remembered(named) if named else {}
        chains: dict[str, list[_Task]] = {}
        left: list[_Task] = []
        for turn in turns:
            going: list[_Task] = []
            for task in turn:
                chain = chains.setdefault(task.policy_id, [])
                if chain and self._moves(chain[-1]):
                    left.append(task.anew())
                    continue
                if chain:
                    self._stand_on(task, chain[-1])
                chain.append(task)
                going.append(task)
            self._decide(batch, going, outcomes, times, remembered)
        return list(chains.values()), left

    def _commit(self, batch: Sequence[Work], tasks: Sequence[_Task]) -> dict[_Task, bool | str]:
        """Write the steps of these tasks, those of one policy one after another; which of them were written, or which key
        stood in the way.
        """
        ready = [(task, task.located, task.step) for task in tasks if task.located and task.step]
        results = self._policies.commit([
            Commit(
                located, step, self._cause(batch[task.work], located, step), batch[task.work].received_at,
                follows=task.follows, event=batch[task.work].event,
            )
            for task, located, step in ready
        ])  # fmt: skip
        return {task: done for (task, _, _), done in zip(ready, results, strict=True)}

    def _moves(self, task: _Task) -> bool:
        """Whether a step takes its policy to another partition: nothing follows there in the same run."""
        if task.step is None or task.located is None or not task.located.exists:
            return False
        return task.located.home != self._policies.located(task.step).home

    def _stand_on(self, task: _Task, before: _Task) -> None:
        """Begin a task from where the one before leaves the policy."""
        if before.step is None:
            task.located, task.pending, task.follows = before.located, before.pending, before.follows
        else:
            task.located, task.pending = self._policies.located(before.step), before.step.policy.unread
            task.follows = True

    def _cause(self, work: Work, located: Located, step: Step) -> ObservationSource:
        if step.change is None:
            return work.cause
        return cause_of(located.policy, step, work.cause, work.sources, self._rules)

    def _decide(
        self,
        batch: Sequence[Work],
        todo: list[_Task],
        outcomes: list[SettlingOutcome],
        times: Sequence[Micros],
        remembered: dict[str, list[Observation]],
    ) -> None:
        """Merge and decide for each task; one that begins to watch a scope first reads what was observed of it, unless that
        is among what is `remembered` already.
        """
        for task in todo:
            policy = task.known
            extra = (o for o in task.extra if concerns(policy, o))
            self._learn(task, [*batch[task.work].concerning(policy), *extra], outcomes, times[task.work])
        learning = todo
        while fresh := {task: scopes_ for task in learning if (scopes_ := task.newly_watched())}:
            unread = {scope for scopes_ in fresh.values() for scope in scopes_} - remembered.keys()
            if unread:
                remembered |= self._policies.remembered(unread)
            for task, scopes_ in fresh.items():
                task.caught_up |= scopes_
                self._learn(task, [o for scope in scopes_ for o in remembered[scope]], outcomes, times[task.work])
            learning = list(fresh)

    def _learn(
        self,
        task: _Task,
        observations: Iterable[Observation],
        outcomes: list[SettlingOutcome],
        now: Micros,
    ) -> None:
        before, policy = task.located.policy if task.located else None, task.known
        if task.located and task.located.broken:
            outcomes[task.work].error = UnreadableError(task.policy_id)
            return
        try:
            task.policy = learn(policy, observations, self._rules)
            learnt = (
                task.by_clock
                or before is None
                or bool(before.unread - task.pending)
                or task.policy.facts is not before.facts
            )
            step = advance(task.policy, now, self._rules, learnt=learnt)
            task.step = step and step._replace(policy=step.policy._replace(unread=task.unread(step.policy)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this event's trouble and no other's
            outcomes[task.work].error = error
            task.step = None

    def _missed(self, arrived: Sequence[tuple[_Task, Step]]) -> list[_Task]:
        """Policies that entered an index: what was observed between their reading and their arrival?"""
        if not arrived:
            return []
        remembered = self._policies.remembered({scope for _, step in arrived for scope in step.policy.unread})
        again = []
        for task, step in arrived:
            missed = [o for scope in step.policy.unread for o in remembered[scope]]
            if learn(step.policy, missed, self._rules) is not step.policy:
                again.append(_Task(task.work, task.policy_id, None, tuple(missed)))
        return again


@dataclass(slots=True, eq=False)
class _Task:
    """One policy that one piece of work touches, on its way through a round."""

    work: int
    policy_id: str
    located: Located | None
    extra: tuple[Observation, ...] = ()
    """Observations beside those of the work."""
    by_clock: bool = False
    """The clock asked: write the next due time even if nothing else changes."""
    policy: Policy | None = None
    step: Step | None = None
    caught_up: frozenset[str] = frozenset()
    """Scopes that it begins to watch, and of which it has read what was observed."""
    pending: frozenset[str] = frozenset()
    """What the steps before it, which are not committed yet, begin to watch."""
    follows: bool = False
    """There are such steps."""

    def anew(self) -> _Task:
        """The same, to begin with from what is in the store."""
        return _Task(self.work, self.policy_id, None, self.extra, self.by_clock)

    @property
    def known(self) -> Policy:
        """The policy as far as it is known in this round."""
        before = self.located.policy if self.located else None
        return self.policy or before or Policy(self.policy_id, {})

    def newly_watched(self) -> frozenset[str]:
        """What has to be read before this step is written: what it begins to watch, and what nobody read again since
        it began, because the worker that should have was lost.
        """
        if self.step is None:
            return frozenset()
        policy = self.step.policy
        owed = self.located.policy.unread & policy.watching if self.located and self.located.policy else frozenset()
        return (self.entering(policy) | owed) - self.caught_up - self.pending

    def unread(self, policy: Policy) -> frozenset[str]:
        """What has to be read again once this step is committed."""
        return self.entering(policy) | (self.pending & policy.watching)

    def entering(self, policy: Policy) -> frozenset[str]:
        """What a policy begins to watch with this step; all of it where it moves to another owner's partition, which
        an event that is settled page by page may have left behind already.
        """
        before = self.located.policy if self.located else None
        if before is None or before.view is None or policy.view is None:
            return policy.watching
        moves = owner_of(before.view) != owner_of(policy.view)
        return policy.watching if moves else policy.watching - before.watching


def _bound(before: Located | None, step: Step) -> list[str]:
    """The repository that a policy has just learnt to be its own."""
    was = before.policy.view if before and before.policy else None
    tenure = step.standing.tenure
    if was is None or was["repository_id"] is not None or tenure.repository_id is None:
        return []
    return [scopes.repository(tenure.owner_id, tenure.repository_id)]


def _named(observation: Observation) -> str | None:
    return scopes.policy_id_of(observation.scope)


def _indexes(keeper: str, observations: Iterable[Observation]) -> set[str]:
    """The scopes by which the policies that these concern are found; in place of very many of an owner, the owner."""
    indexes = {scopes.index_of(o.scope) for o in observations}
    return {keeper} if len(indexes) > MANY_INDEXES else indexes


def _parts(batch: Sequence[Work]) -> list[list[Work]]:
    """Divide a batch where advice follows anything else, which may be what brings a policy to watch for it: a
    registration, a rename. Of advice that nobody watches for, nothing is remembered.
    """
    parts: list[list[Work]] = [[]]
    advised = True
    for work in batch:
        advises = any(worth(o) is Worth.ADVICE for o in work.observations)
        if advises and not advised:
            parts.append([])
        parts[-1].append(work)
        advised = advises
    return parts


def _turns(todo: Sequence[_Task]) -> list[list[_Task]]:
    """Divide tasks so that no policy is in a turn twice, and each sees its events in order."""
    counts: Counter[str] = Counter()
    turns: list[list[_Task]] = []
    for task in todo:
        turn = counts[task.policy_id]
        counts[task.policy_id] += 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(task)
    return turns
