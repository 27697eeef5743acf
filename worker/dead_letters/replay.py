"""Replaying dead letters: back into the inbox, paced, in a batch that can be watched, stopped and gone on with."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import orjson

from worker.app import App
from worker.dead_letters.pace import ReplayPace
from worker.lifecycle.facts import SECOND, Micros
from worker.settling.processor import worker_name
from worker.store.dead import DeadLetter
from worker.store.replays import ENDED, RUNNING, STOPPED, Member, Replay

PATIENCE_SECONDS = 20.0
"""How long the end of a replay waits for the workers' answers."""
LOOK_SECONDS = 0.1
LEASE: Micros = 10 * SECOND
"""How long a replay counts as under way after its last sign of life."""
RENEW_SECONDS = 2.0
"""How often that sign is given, and looked whether somebody has stopped it."""
SLOWEST = 0.01
"""Letters a second at least."""
INTERRUPTED = "interrupted"
SHOWN = 200
"""Changes that are named in the audit trail; the feed has all of them."""


class Progress(NamedTuple):
    """A replay, and what became of its letters so far."""

    replay: Replay
    running: bool
    """Somebody is at it. If not, and its state is `running`, it was interrupted: resume it."""
    handled: int
    """Put back, and settled (or dropped since)."""
    failed: int
    """Put back, and dead letters again."""
    waiting: int
    """Put back, and not answered for yet."""

    @property
    def state(self) -> str:
        """`running`, `interrupted` (resume it), `stopped` or `ended`."""
        return INTERRUPTED if self.replay.state == RUNNING and not self.running else self.replay.state

    @property
    def left(self) -> int:
        return self.replay.total - self.replay.done


class ReplayError(Exception):
    """The replay cannot be stopped or gone on with, and why."""


class UnknownReplayError(ReplayError):
    """There is no replay with this id."""


def batch_id() -> str:
    """A name for a new replay."""
    return uuid.uuid4().hex[:12]


def _nothing(_: int) -> None:
    pass


def replay(
    app: App,
    letters: Sequence[DeadLetter],
    *,
    reason: str,
    by: str,
    rate: float | None = None,
    selection: Mapping[str, object] | None = None,
    batch: str | None = None,
    stop: threading.Event | None = None,
    ends: threading.Event | None = None,
    advance: Callable[[int], None] = _nothing,
) -> Progress:
    """Put these letters back into the inbox, in this order, and wait for a while until they are answered for.

    They keep their dates, so none can override what is newer; all their attempts are anew, and what is known of the
    old ones stays. One that fails again is the same letter with one more attempt. A letter that is none any more is
    left as it is, so replaying twice changes nothing more.

    `reason` says why and `by` who; `rate` is letters a second at most, None as fast as the store takes them;
    `selection` is what was asked for (`Filter.described`), to be shown with the replay; `batch` an id from `batch_id`,
    to watch it by. `stop`, if set, stops it before the next letter, as `stop_replay` does from anywhere; `ends`, if set,
    tells that this process ends: it is left there, interrupted. `advance` is told each time how many letters were put
    back.

    Raises:
        StoreError: the store cannot be reached. What was put back is; go on with `resume`.
        ReplayError: there is a replay with this id already.
        ValueError: there are no letters, no reason, or the rate is below `SLOWEST`.

    """
    if not letters or not reason.strip() or (rate is not None and rate < SLOWEST):
        raise ValueError(f"a replay wants letters, a reason, and a rate of at least {SLOWEST}")
    new = Replay(
        batch=batch or batch_id(),
        state=RUNNING,
        by=by,
        reason=reason.strip(),
        rate=rate,
        selection=dict(selection or {}),
        started_at=app.status.now(),
        total=len(letters),
        done=0,
    )
    if app.replays.get(new.batch) is not None:
        raise ReplayError(f"replay {new.batch} was started already")
    details = {"letters": len(letters), "rate": rate, "selection": new.selection}
    with _held(app, new.batch) as who:
        app.replays.begin(new, letters, details)
        _run(app, new, _Runner(who, by, stop or threading.Event(), ends or threading.Event(), advance))
    return status(app, new.batch)


def resume(
    app: App,
    batch: str,
    *,
    by: str,
    reason: str | None = None,
    stop: threading.Event | None = None,
    ends: threading.Event | None = None,
    advance: Callable[[int], None] = _nothing,
) -> Progress:
    """Go on with a replay that was stopped or interrupted.

    Raises:
        ReplayError: there is none with this id, it is over, or somebody is at it.
        StoreError: the store cannot be reached.
    """
    _get(app, batch)
    with _held(app, batch) as who:
        record = _get(app, batch)
        if record.state == ENDED:
            raise ReplayError(f"replay {batch} is over; list the dead letters, and replay what is left")
        app.replays.mark(record, RUNNING, by=by, reason=reason, action="replay.resumed")
        _run(app, record, _Runner(who, by, stop or threading.Event(), ends or threading.Event(), advance))
    return status(app, batch)


def stop_replay(app: App, batch: str, *, by: str, reason: str | None = None) -> Progress:
    """Stop a replay, whoever runs it, before its next letter. What was put back stays so.

    Raises:
        ReplayError: there is none with this id, or it does not run.
        StoreError: the store cannot be reached.
    """
    record = _get(app, batch)
    if record.state != RUNNING:
        raise ReplayError(f"replay {batch} does not run: it is {record.state}")
    app.replays.mark(record, STOPPED, by=by, reason=reason, action="replay.stopped")
    return status(app, batch)


def status(app: App, batch: str) -> Progress:
    """How far a replay is.

    Raises:
        UnknownReplayError: there is none with this id.
    """
    record = _get(app, batch)
    fates = Counter(app.dead.fates([(member.partition, member.event_id) for member in app.replays.done(batch)]))
    return Progress(record, app.status.held(_hold(batch)), fates["settled"], fates["dead"], fates["waiting"])


LATELY = 20
"""How many of the last replays are looked at."""


def replays(app: App, limit: int = LATELY) -> list[Progress]:
    """The last replays, newest first."""
    return [status(app, batch) for batch in app.replays.newest(limit) if app.replays.get(batch) is not None]


def interrupted(app: App) -> list[Progress]:
    """Those of them that nobody is at, although nobody stopped them."""
    records = filter(None, map(app.replays.get, app.replays.newest(LATELY)))
    left = [x.batch for x in records if x.state == RUNNING and not app.status.held(_hold(x.batch))]
    return [status(app, batch) for batch in left]


def _get(app: App, batch: str) -> Replay:
    record = app.replays.get(batch)
    if record is None:
        raise UnknownReplayError(f"no replay has the id {batch}")
    return record


def _hold(batch: str) -> str:
    return f"replay:{batch}"


@contextmanager
def _held(app: App, batch: str) -> Iterator[str]:
    """Be the one who is at a replay; gives the name that one has in it.

    Raises:
        ReplayError: somebody else is.
    """
    who = f"{worker_name()}:{uuid.uuid4().hex[:8]}"
    if not app.status.hold(_hold(batch), who, LEASE):
        raise ReplayError(
            f"somebody is at replay {batch}; stop it first, or wait {LEASE // SECOND} s if that was killed"
        )
    try:
        yield who
    finally:
        app.status.release(_hold(batch), who)


class _Runner(NamedTuple):
    """Who is at a replay, and how they are told to leave it."""

    who: str
    by: str
    stop: threading.Event
    ends: threading.Event
    advance: Callable[[int], None]

    def waits(self, seconds: float) -> bool:
        """Wait for so long, if nobody tells to leave it meanwhile; whether somebody did."""
        return self.stop.wait(min(seconds, LOOK_SECONDS)) or self.ends.is_set()


def _run(app: App, record: Replay, runner: _Runner) -> None:
    if _put_back(app, record, runner):
        _await(app, record, runner)
        now = status(app, record.batch)
        app.replays.end(record, _result(app, now), by=runner.by)
    elif runner.stop.is_set():
        current = _get(app, record.batch)
        if current.state == RUNNING:
            app.replays.mark(current, STOPPED, by=runner.by, reason=None, action="replay.stopped")


def _put_back(app: App, record: Replay, runner: _Runner) -> bool:
    """Put back what is left; False if it was left before the last one."""
    pace = ReplayPace(record.rate)
    checked_at = time.monotonic()
    while True:
        while (wait := pace.wait()) > 0 and not runner.waits(wait):
            if time.monotonic() - checked_at >= RENEW_SECONDS:
                checked_at = _renewed(app, record.batch, runner.who, checked_at)
                if app.replays.state(record.batch) != RUNNING:
                    return False
        if runner.waits(0):
            return False
        members = app.replays.pending(record.batch, max(1, pace.allowed()))
        if not members:
            return True
        if not _put(app, record.batch, members):
            return False
        pace.gone(len(members))
        runner.advance(len(members))
        checked_at = _renewed(app, record.batch, runner.who, checked_at)


def _put(app: App, batch: str, members: Sequence[Member]) -> bool:
    """Put these back; False if none was, since somebody has stopped it."""
    receipts, state = app.replays.put_back(batch, members)
    for member, receipt in zip(members, receipts, strict=True):
        if receipt.wake:
            app.wakeups.wake(member.partition, receipt.wake, member.event_id)
    return state == RUNNING


def _renewed(app: App, batch: str, who: str, last: float) -> float:
    if time.monotonic() - last < RENEW_SECONDS:
        return last
    app.status.keep(_hold(batch), who, LEASE)
    return time.monotonic()


def _await(app: App, record: Replay, runner: _Runner) -> None:
    """Wait until everything is answered for; not long, and not at all where no worker runs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    renewed = time.monotonic()
    places = [(member.partition, member.event_id) for member in app.replays.done(record.batch)]
    while time.monotonic() < deadline and app.status.alive("worker"):
        fates = app.dead.fates(places)
        places = [place for place, fate in zip(places, fates, strict=True) if fate == "waiting"]
        if not places or runner.waits(LOOK_SECONDS):
            return
        renewed = _renewed(app, record.batch, runner.who, renewed)


def _result(app: App, now: Progress) -> dict[str, object]:
    """What came of a replay: how many letters, and every change that they caused, as published."""
    deliveries = {member.delivery for member in app.replays.done(now.replay.batch)}
    changes: list[dict[str, object]] = []
    count = 0
    for entry in app.feed.since(now.replay.started_at):
        event = orjson.loads(entry.event)
        view, cause = event["data"].get("view"), event["data"].get("cause")
        if view is None or cause is None or cause["id"] not in deliveries:
            continue
        count += 1
        if len(changes) < SHOWN:
            changes.append({
                "change": event["id"], "type": event["type"], "before": event["data"]["previous_state"],
                "after": view["state"], "reasons": view["reasons"],
            })  # fmt: skip
    return {
        "letters": now.replay.total,
        "settled": now.handled,
        "failed_again": now.failed,
        "waiting": now.waiting,
        "changes": count,
        "changed": changes,
    }
