"""A server with a replica that takes its place, with all that was written or without the last of it; and who notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import cast

from tests.simulation.operators import Operated
from tests.simulation.product import Given
from tests.simulation.promises import BrokenPromiseError
from worker.lifecycle.facts import SECOND, Micros
from worker.operators.recovery import accept
from worker.store.epoch import Epochs, Pulse, Recovery, StoreWitness
from worker.store.inbox import EVENTS, OVERFLOW, Envelope, Inbox
from worker.store.keys import EPOCH, Partition


class Replica(Enum):
    """What the API waits for."""

    NONE = "there is no replica"
    WAITED_FOR = "the API waits for the replica"
    IGNORED = "nobody waits for the replica"


class Witness(StoreWitness):
    """What is kept outside of the store, here."""

    def __init__(self) -> None:
        super().__init__(Path())
        self._kept: dict[str, Pulse] = {}

    def seen(self, store: str) -> Pulse | None:
        return self._kept.get(store)

    def keep(self, pulse: Pulse) -> str:
        self._kept[pulse.store] = pulse
        return ""


class Replicated(Operated):
    """A world in which one server may have a replica."""

    def __init__(self, seed: int, given: Given) -> None:
        super().__init__(seed, given)
        self._replica = Replica.NONE if self._store.apart else self._random.choice(list(Replica))
        self._witness = Witness()
        if self._replica is Replica.WAITED_FOR:
            inbox = Inbox(
                self._app.client, self._keyspace, {EVENTS: 2, OVERFLOW: 3}, replicas=int(self._parts.api_waits)
            )
            self._app = replace(self._app, inbox=inbox)
        self._heard_of: dict[str, tuple[Envelope, Micros]] = {}
        self._trimmed_before: dict[Partition, list[bytes]] = {}
        """What the replica has heard of: what was taken in, and trimmed."""
        self._promised: set[str] = set()
        """What was answered 2xx."""
        self._failed_over: Micros | None = None
        """When the replica last took over, by what has elapsed."""
        self._epoch = 1
        """The epoch that begins at the latest when somebody notices it."""
        self._closed = False
        """Somebody has noticed it and closed everything, and nobody has accepted it yet."""

    def _between(self) -> None:
        super()._between()
        if self._replica is Replica.NONE:
            return
        drawn = self._random.random()
        if self._store.behind and drawn < 0.02:
            self._fail_over()
        elif self._store.behind and drawn < 0.03:
            self._store.catch_up()
        elif not self._store.behind and drawn < 0.01:
            self.history.append("the replica hears of nothing from now on")
            self._heard_of = dict(self._taken)
            self._trimmed_before = {partition: list(entries) for partition, entries in self._trimmed.items()}
            self._store.fall_behind()

    def _fail_over(self) -> None:
        """The replica takes over, with a clock of its own. Whoever was at something is gone, too: he might say in the one that what
        he has done in the other is done.
        """
        lost = self._taken.keys() - self._heard_of.keys()
        self.history.append(f"the replica takes over, without the last {len(lost)} events")
        self._store.fail_over()
        self._turn(self._store.now + self._random.randrange(-60 * SECOND, 60 * SECOND), 0)
        self._power_cut()
        self._cut = set(self._following)
        if self._replica is Replica.WAITED_FOR and lost & self._promised:
            raise BrokenPromiseError(f"{len(lost & self._promised)} events were answered, and are lost")
        self._taken, self._trimmed = dict(self._heard_of), self._trimmed_before
        self._promised -= lost
        self._settled = {known: at for known, at in self._settled.items() if known in self._taken}
        for event, _ in self._taken.values():
            if self._waits(event):
                self._settled.pop(event.event_id, None)
        self._failed_over = self.elapsed
        # What closed everything may be lost, too, until somebody looks again.
        self._closed = False
        store, *told = cast("list[bytes | None]", self._store.look("HMGET", EPOCH, "store", "beats", "epoch"))
        beats, epoch = (int(each or 0) for each in told)
        # One that has lost even its id was hardly begun.
        seen = self._witness.seen(store.decode()) if store else None
        self._epoch = max(epoch, seen.epoch) + 1 if seen is not None and beats < seen.beats else 1

    def _answered(self, event: Envelope) -> None:
        self._promised.add(event.event_id)

    def _lately_failed_over(self, seconds: int) -> bool:
        return self._failed_over is not None and self._failed_over >= self.elapsed - seconds * SECOND

    # Who notices

    def _a_witness(self, number: int) -> tuple[str, Callable[[], object]]:
        """A process that notes that the store lives on, or an operator who accepts that it has gone back."""
        if self._closed and self._random.random() < 0.6:
            self.history.append(f"operator-{number} accepts what is lost")
            return f"operator-{number}", lambda: self._accepts(f"operator-{number}")
        return f"witness {number}", self._beats

    def _beats(self) -> None:
        epochs = Epochs(
            self._app.client, self._keyspace, self._witness, new_id=lambda: f"{self._random.getrandbits(64):x}", close=self._close,
            replicas=int(self._replica is Replica.WAITED_FOR),
        )  # fmt: skip
        begun = self._epoch, self._failed_over
        epochs.beat()
        recovery = self._app.epochs.recovery()
        if (
            begun == (self._epoch, self._failed_over)
            and self._epoch > 1
            and (not recovery or recovery.epoch < self._epoch)
        ):
            raise BrokenPromiseError("the store went back in time, and nobody noticed it")

    def _close(self, recovery: Recovery) -> None:
        self._app.recoveries.close(recovery)
        if self._app.epochs.recovery() == recovery:
            self.history.append("everything is closed, since the store went back in time")
            self._closed = True

    def _accepts(self, name: str) -> None:
        recovery = self._app.epochs.recovery()
        if recovery is not None and recovery.accepted is None:
            self._closed = False
            accept(self._app, recovery, by=name, reason="nothing can be sent again")

    def _nobody_passes_what_is_closed(self) -> None:
        """What a noticed loss has closed, an operator opens."""
        admitted = self._admitted(self._app.reader) if self._closed else []
        if admitted:
            raise BrokenPromiseError(f"the store went back in time, and a reader lets {admitted} publish")

    def _everything_is_accepted(self) -> None:
        """The replica has all again; whoever looks first finds what was lost, and an operator accepts it."""
        if self._store.behind:
            self._store.catch_up()
        if self._replica is not Replica.NONE:
            self._beats()
            self._accepts("the last operator")
            self._app.switches.finish()
