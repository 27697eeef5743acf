"""What the store knows of itself: its clock, signs of life, counters, and whether it is durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from redis.exceptions import RedisError, ResponseError

from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.owners import OwnerRef
from worker.store import keys
from worker.store.client import Client, Command, Reply, ScriptCall, StoreError
from worker.store.keys import Keyspace
from worker.store.replies import fields, scored
from worker.store.topology import text_of

ALIVE_FOR: Micros = 10 * SECOND
"""How long a sign of life is believed."""


class Durability(NamedTuple):
    """Whether a 2xx means: on disk. `problem` says what to do if not."""

    durable: bool
    problem: str
    known: bool = True
    """Whether the server says so; managed ones may not."""


class JobRun(NamedTuple):
    """The last run of a job of the schedule."""

    planned: Micros
    started: Micros
    finished: Micros | None
    """None while it runs, or if whoever ran it is gone."""
    took: Micros
    """How long the last one that finished took."""
    worker: str
    runs: int
    """How often it was begun."""
    error: str
    """What went wrong in the last one that finished; empty if nothing did."""


class Times(NamedTuple):
    """`now`: what time it is for Tenure. Windows, waits and leases end by it, and nothing is dated earlier. It is what the
    store's clock shows, until somebody sets that back: then time goes on from where it was, a sixteenth slower, until
    the clock has caught up. `clock`: what the store's clock shows.
    """

    now: Micros
    clock: Micros


class Status:
    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        self._client = client
        self._keyspace = keyspace

    def now(self) -> Micros:
        """What time it is: by the store's clock, but never back. See `Times`."""
        return self.times().now

    def times(self) -> Times:
        """What time it is, and what the store's clock shows."""
        return times_of(self._client.one(ScriptCall("now", (keys.CLOCK,), ())))

    def skews(self, here: Callable[[], Micros]) -> dict[str, Micros]:
        """By how much the clock of each node that can be asked is ahead of `here`."""
        replies = self._client.each("TIME")
        now = here()
        clocks = {
            name: cast("tuple[bytes, bytes]", reply) for name, reply in replies.items() if isinstance(reply, list)
        }
        return {name: int(seconds) * SECOND + int(micros) - now for name, (seconds, micros) in clocks.items()}

    def now_anywhere(self) -> Micros:
        """What time it is, of whatever part of the store can be reached: for comparing what comes from other clocks.

        Raises:
            StoreError: none can be.
        """
        try:
            return self.now()
        except StoreError:
            if not self._client.apart:
                raise
        found = self._client.reached([ScriptCall("now", (p.clock,), ()) for p in self._keyspace.all()])
        return max(times_of(reply).now for reply in found if reply is not None)

    def as_of_all(self, there: Micros) -> Micros:
        """What time it is by the clock that dates checks, for whoever knows what time it is in some partition, `there`: where all
        is on one server, the same.
        """
        return self.now_anywhere() if self._client.apart else there

    def stamp(self, owner_id: OwnerRef) -> Micros:
        """A date for what is about to be learnt of a GitHub owner: later than that of every event that was taken before
        for its partition, and earlier than that of every one that is taken afterwards.
        """
        home = self._keyspace.of(owner_id)
        return int(cast("bytes", self._client.one(ScriptCall("stamp", (home.stamp, home.clock), ()))))

    def ahead(self) -> Micros:
        """By how much dates are ahead of the clock of the node that gives them; 0 if all follow theirs."""
        here, *replies = self._client.run([
            ScriptCall("now", (keys.CLOCK,), ()),
            *(call for p in self._keyspace.all() for call in (ScriptCall("now", (p.clock,), ()), Command(("GET", p.stamp)))),
        ])  # fmt: skip
        given = [
            (times_of(here), b"0"),
            *zip(map(times_of, replies[::2]), cast("list[bytes | None]", replies[1::2]), strict=True),
        ]
        return max(max(int(stamp or b"0"), times.now) - times.clock for times, stamp in given)

    def beat(self, role: str, name: str) -> None:
        """Note what time it is and that a process is alive, and forget those that have been silent for an hour."""
        self._client.one(ScriptCall("beat", (keys.CLOCK, keys.alive(role)), (name, 3600 * SECOND)))

    def alive(self, role: str) -> list[str]:
        """Names of the processes of a role that were seen in the last ten seconds."""
        return [name.decode() for name in seen_lately(self._client, keys.CLOCK, [keys.alive(role)], ALIVE_FOR)]

    def begin_job(self, job: str, planned: int, worker: str) -> bool:
        """Whether this process is the one to run a tick, planned for `planned` (seconds since 1970): the first to ask
        is. Two schedulers plan the same ticks, and of several that are late the last stands for all.
        """
        return self._client.one(ScriptCall("begin", (keys.job(job), keys.CLOCK), (planned, worker))) == 1

    def end_job(self, job: str, planned: int, error: str) -> None:
        """Note the end of a run, unless a later one has begun meanwhile."""
        self._client.one(ScriptCall("end", (keys.job(job), keys.CLOCK), (planned, error)))

    def runs(self, jobs: Sequence[str]) -> dict[str, JobRun | None]:
        """The last run of each job, None for one that never ran."""
        replies = self._client.run([Command(("HGETALL", keys.job(job))) for job in jobs])
        return {job: _run(fields(reply)) for job, reply in zip(jobs, replies, strict=True)}

    def hold(self, name: str, worker: str, lease: Micros) -> bool:
        """Whether this worker may do what only one in the whole installation should do at a time, for `lease`.

        It saves double work and no more: what is done under it must be right without it, too.
        """
        return bool(self._client.one(Command(("SET", keys.hold(name), worker, "NX", "PX", lease // 1000))))

    def keep(self, name: str, worker: str, lease: Micros) -> bool:
        """Go on with it for `lease` from now, if it is still ours to do; whether it is."""
        return bool(self._client.one(ScriptCall("keep", (keys.hold(name),), (worker, lease // 1000))))

    def held(self, name: str) -> bool:
        """Whether somebody does it now."""
        return bool(self._client.one(Command(("EXISTS", keys.hold(name)))))

    def release(self, name: str, worker: str) -> None:
        """Let others do it, if it is still ours to do."""
        self._client.one(ScriptCall("release", (keys.hold(name),), (worker,)))

    def count(self, counts: dict[str, int]) -> None:
        """Add to counters that no script writes; they are kept in partition 0."""
        counters = self._keyspace.all()[0].counters
        self._client.run([Command(("HINCRBY", counters, name, amount)) for name, amount in counts.items()])

    def counters(self) -> dict[str, int]:
        """All counters, summed over the partitions."""
        total: dict[str, int] = {}
        for reply in self._client.run([Command(("HGETALL", p.counters)) for p in self._keyspace.all()]):
            for name, value in fields(reply).items():
                total[name] = total.get(name, 0) + int(value)
        return total

    def durability(self) -> Durability:
        """Whether every server writes each command to disk before it answers.

        `WAITAOF` would not do: some servers answer it before any fsync.
        """
        replies = self._client.each("CONFIG", "GET", "appendonly", "appendfsync")
        each = [_durability(name, reply) for name, reply in replies.items()]
        return min(each, key=lambda one: (one.durable, not one.known))


def _durability(name: str, reply: Reply) -> Durability:
    """Of one node, by its configuration."""
    if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
        told = f"cannot ask {name}: start it, or let a replica take over"
        return Durability(durable=False, problem=told, known=False)
    if isinstance(reply, ResponseError):
        # Managed servers forbid CONFIG in many ways.
        told = f"cannot ask the server ({reply}): make sure that appendfsync is always"
        return Durability(durable=False, problem=told, known=False)
    said = {name: text_of(value) for name, value in fields(reply).items()}
    if said.get("appendonly") != "yes":
        return Durability(durable=False, problem="appendonly is off: set `appendonly yes` and `appendfsync always`")
    if said.get("appendfsync") != "always":
        return Durability(
            durable=False,
            problem=f"appendfsync is {said.get('appendfsync')}: set `appendfsync always`, or a crash loses "
            "what was acknowledged in the last second",
        )
    return Durability(durable=True, problem="")


def seen_lately(client: Client, clock: str, alive: Sequence[str], span: Micros) -> list[bytes]:
    """The names of processes that left a sign of life within a span of time. `clock`, `alive`: the keys of what time it is, and of
    signs of life by role.

    Raises:
        StoreError: the store cannot be reached.
    """
    seen, *known = client.run([
        ScriptCall("now", (clock,), ()), *(Command(("ZRANGE", key, 0, -1, "WITHSCORES")) for key in alive)
    ])  # fmt: skip
    since = times_of(seen).now - span
    return [name for reply in known for name, at in scored(reply) if at >= since]


def times_of(reply: object) -> Times:
    """What `now.lua` answers."""
    return Times(*cast("list[int]", reply))


def _run(values: Mapping[str, bytes]) -> JobRun | None:
    if not values:
        return None
    finished = values.get("finished")
    return JobRun(
        planned=int(values["planned"]) * SECOND,
        started=int(values["started"]),
        finished=None if finished is None else int(finished),
        took=int(values.get("took", b"0")),
        worker=values.get("worker", b"").decode(),
        runs=int(values.get("runs", b"0")),
        error=values.get("error", b"").decode(),
    )
