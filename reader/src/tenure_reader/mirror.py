"""The same answers from memory, kept up to date by the change feed, for as long as that can be trusted.

A mirror is trusted if a snapshot was loaded, and the store confirmed within the last second that nothing of the feed is missing.
Reading the feed confirms nothing: what was trimmed before it was read does not show there. An idle feed is no lag: the store
says that nothing was published. Where a mirror is not trusted it refuses to answer; `Fallback` then asks the store itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import NamedTuple, Protocol, Self, runtime_checkable

from redis.exceptions import MovedError, RedisError

from tenure_reader.claims import Claims
from tenure_reader.decision import Decision, decide
from tenure_reader.freshness import AtLeast, told, wrong
from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.keys import OwnerRef, owner_of, partition_number
from tenure_reader.lookup import NOTHING_NEAR, BehindError, GrantStatus, decided, repository_of
from tenure_reader.memory import ChangeEvent, Memory
from tenure_reader.routing import UnavailableError
from tenure_reader.rules import Wanted
from tenure_reader.source import GapError, Pass, ReplacedError, Source, elapsed
from tenure_reader.switches import SwitchEvent
from tenure_reader.times import SECOND, Micros
from tenure_reader.unknown import UnknownClaims

MAX_LAG = 1.0
"""Seconds since the store last confirmed that nothing is missing, after which the memory gives no answer."""
BLOCK_MS = 100
"""How long one read waits for a change."""
VERIFY_SECONDS = 0.25
"""How often what was read is compared with what the store says was ever published."""
STREAMS = 5
"""So many streams are compared each time, in turn, however many there are."""
RETRY_SECONDS = (0.05, 1.0)
"""The first and the longest pause after a failure."""

log = logging.getLogger("tenure.mirror")


class UntrustedError(UnavailableError):
    """The mirror may be behind. Ask the store itself, or refuse."""


class Listener(Protocol):
    """Is called with changes, in the mirror's thread. If it raises, the mirror is not trusted and calls it again."""

    def changed(self, change: ChangeEvent) -> None:
        """Something was published. A change may come twice; those of different policies come in any order."""

    def reloaded(self, memory: Memory) -> None:
        """A snapshot was loaded, at the start or after a gap: changes before it may have been missed."""


@runtime_checkable
class SwitchListener(Listener, Protocol):
    """One that is told of switches, too. Whoever issues what lives longer than a decision should be one."""

    def switched(self, event: SwitchEvent) -> None:
        """A switch was closed or opened. Each partition says so, so it comes as often as there are partitions. What was said
        before a snapshot may have been missed, and what is closed then is in `Memory.closed`.
        """


class MirrorStatus(NamedTuple):
    trusted: bool
    reason: str
    """Why not, for operators; empty if it is trusted."""
    lag_seconds: float
    """Since the store last confirmed that nothing is missing; infinite before the first time."""
    confirmations: int
    """How often it did so."""
    policies: int
    changes: int
    """Change events read since the start."""
    delay_seconds: float
    """From the publication of the last change until it counted here, by the store's clock."""
    loads: int
    """Snapshots loaded."""
    load_seconds: float
    """How long the last one took."""
    gaps: int
    """How often something of the feed was found missing."""


class Mirror:
    """Use as a context manager, or `start` and `stop`. Threads and event loops may share it; nothing here blocks."""

    def __init__(
        self,
        url: str,
        *,
        listener: Listener | None = None,
        max_lag: float = MAX_LAG,
        unknown_claims: UnknownClaims | None = None,
    ) -> None:
        self._source = Source(url)
        self._listener = listener
        self._max_lag = max_lag
        self.unknown_claims = UnknownClaims() if unknown_claims is None else unknown_claims
        self._lock = threading.Lock()
        self._memory: Memory | None = None
        self._confirmed: float | None = None
        self._ahead: Mapping[int, float] = {}
        """Partition → the clock of its node minus ours, in seconds."""
        self._reason = "no snapshot has been loaded yet"
        self._changes = self._loads = self._gaps = self._confirmations = 0
        self._load_seconds = self._delay_seconds = 0.0
        self._stopped = threading.Event()
        self._trust = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="tenure-mirror", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """End its thread, and wait for that: for so many seconds at most, if a number is given. A store that does not answer, or
        a listener, may hold it up; it ends by itself then.
        """
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        if not self._thread.is_alive():
            self._source.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Questions

    def evaluate(
        self,
        claims: Claims,
        *,
        package: str | None = None,
        action: str | None = None,
        at_least: AtLeast | None = None,
        now: Micros | None = None,
    ) -> Decision:
        """See `Reader.evaluate`. A mirror does not wait for a revision.

        Raises:
            BehindError: it does not know of such a revision, or the policy was removed.
            UntrustedError: the mirror may be behind.
            UnavailableError: a policy of the token's repository cannot be read.
            ValueError: `at_least` names no revisions, or too many.
        """
        problem = None if at_least is None else wrong(at_least)
        if problem is not None:
            raise ValueError(f"at_least {problem}")
        memory, job = self._trusted(), GITHUB_ACTIONS.job(claims)
        repository = repository_of(job, memory.matching)
        at = self._now(None if repository is None else repository.owner) if now is None else now
        self.unknown_claims.note(claims)
        if repository is None:
            return decide((), job, at, NOTHING_NEAR, matching=memory.matching)
        with self._lock:
            views, nearby = memory.find(repository)
            known = {policy_id: memory.revision(policy_id) for policy_id in at_least or ()}
        behind = told(at_least or {}, known)
        if behind is not None:
            raise BehindError(behind)
        return decided(views, job, at, nearby, matching=memory.matching, wanted=Wanted(package, action))

    def standing(self, policy_id: str) -> GrantStatus:
        """A policy as it stands now.

        Raises:
            UntrustedError: the mirror may be behind.
        """
        memory = self._trusted()
        with self._lock:
            grant = memory.get(policy_id)
            return GrantStatus(grant, self._now(None if grant is None else owner_of(grant)))

    def _now(self, owner: OwnerRef | None) -> Micros:
        """The clock of the node that has an owner's policies, as far as we know it: rather a little ahead than behind. Known
        whenever we are trusted.
        """
        ahead = self._ahead
        known = max(ahead.values()) if owner is None else ahead[partition_number(owner, len(ahead))]
        return int((elapsed() + known) * SECOND)

    def status(self) -> MirrorStatus:
        confirmed, memory = self._confirmed, self._memory
        lag = float("inf") if confirmed is None else max(0.0, elapsed() - confirmed)
        trusted = memory is not None and lag <= self._max_lag
        return MirrorStatus(
            trusted=trusted,
            reason="" if trusted else self._reason or f"the store last answered {lag:.1f} s ago",
            lag_seconds=lag,
            confirmations=self._confirmations,
            policies=0 if memory is None else len(memory),
            changes=self._changes,
            delay_seconds=self._delay_seconds,
            loads=self._loads,
            load_seconds=self._load_seconds,
            gaps=self._gaps,
        )

    def wait(self, seconds: float) -> bool:
        """Until it is trusted; False if that takes longer."""
        with self._trust:
            return self._trust.wait_for(lambda: self.status().trusted, seconds)

    def _trusted(self) -> Memory:
        memory, confirmed = self._memory, self._confirmed
        if memory is None or confirmed is None or elapsed() - confirmed > self._max_lag:
            raise UntrustedError(self.status().reason)
        return memory

    # The thread

    def _run(self) -> None:
        pause = RETRY_SECONDS[0]
        while not self._stopped.is_set():
            try:
                memory = self._load() if self._memory is None else self._memory
                self._catch_up(memory)
                pause = RETRY_SECONDS[0]
                self._follow(memory)
            except (GapError, ReplacedError) as lost:
                self._distrust(str(lost))
                self._memory = None
                self._gaps += isinstance(lost, GapError)
            except (RedisError, UnavailableError) as error:
                # A slot that is elsewhere now takes nothing from what was confirmed: that ends in its time, unless the slot is
                # found before.
                if self._confirmed is None or not isinstance(error, MovedError):
                    self._distrust(f"{type(error).__name__}: {error}")
            except Exception as error:  # most likely the listener's; whatever it is, the mirror must not end with it
                self._distrust(f"{type(error).__name__} in the listener")
                log.exception("the listener failed")
            if not self._stopped.is_set():
                self._stopped.wait(pause)
                pause = min(pause * 2, RETRY_SECONDS[1])

    def _load(self) -> Memory:
        began = elapsed()
        self._source.begin()
        memory = Memory(*self._source.decisions())
        for grant in self._source.snapshot():
            memory.take(grant)
            if self._stopped.is_set():
                break
        self._load_seconds = elapsed() - began
        self._loads += 1
        return memory

    def _catch_up(self, memory: Memory) -> None:
        """Everything up to now, compared with what the store counts. Only then is the memory trusted."""
        complete = False
        while not complete and not self._stopped.is_set():
            complete = self._take(memory, self._source.compare())
        if self._memory is not memory and complete:
            if self._listener is not None:
                self._listener.reloaded(memory)
            self._memory = memory
            self._notify()

    def _follow(self, memory: Memory) -> None:
        compared = elapsed()
        while not self._stopped.is_set():
            left = compared + VERIFY_SECONDS - elapsed()
            if left > 0:
                self._take(memory, self._source.read(min(BLOCK_MS, 1 + int(left * 1000))))
                continue
            compared = elapsed()
            # This process or the store was paused, and anything may have happened meanwhile.
            late = left < -VERIFY_SECONDS
            self._take(memory, self._source.compare(None if late else STREAMS))

    def _take(self, memory: Memory, read: Pass) -> bool:
        """Take in what was read; returns whether that is everything.

        Raises:
            GapError: a revision was skipped.
        """
        for change in read.changes:
            # The listener first: what it revokes must not be open again for a moment, where a policy closed and came back.
            if self._listener is not None:
                self._listener.changed(change)
            with self._lock:
                memory.take(change.grant)
        for partition, event in read.switched:
            if isinstance(self._listener, SwitchListener):
                self._listener.switched(event)
            with self._lock:
                memory.switch(partition, event)
        self._source.advance(read)
        self._changes += len(read.changes)
        if read.changes:
            self._delay_seconds = self._delay_of(read.changes[-1])
        if not read.complete:
            return False
        if not memory.complete():
            raise GapError("a revision was skipped")
        if memory.waits():
            return False
        if read.ahead:
            self._confirm(read.sent_at, read.ahead)
        return True

    def _delay_of(self, change: ChangeEvent) -> float:
        if not self._ahead:
            return 0.0
        return max(0.0, self._now(owner_of(change.grant)) / SECOND - change.published_at / 1000)

    def _confirm(self, sent_at: float, ahead: Mapping[int, float]) -> None:
        self._ahead = ahead
        self._confirmed, self._reason = sent_at, ""
        self._confirmations += 1
        self._notify()

    def _notify(self) -> None:
        with self._trust:
            self._trust.notify_all()

    def _distrust(self, reason: str) -> None:
        if self._reason != reason:
            log.warning("the mirror is not trusted: %s", reason)
        self._confirmed, self._reason = None, reason
