"""An idle stack: a new event is settled at once, and waiting for it costs next to nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self, cast

import pytest

from tests.conftest import LEFT_OUT, wait_until
from tests.resilience.conftest import Stack
from tests.store.making import idle, plain, put_and_ring, registration

EVENTS = 200
P99_SECONDS = 0.050
OTHERS = 0.1
"""Share of the machine that other programs may use while it still counts as idle."""
IDLE_SECONDS = 5.0
IDLE_CORE = 0.05
"""Share of a core that the two workers, the scheduler and the server may use together while nothing happens."""
IDLE_COMMANDS = 400
"""Commands a second, those inside scripts included. Each of 2 workers looks into 4 queues a second (some 7 commands a
look), and two jobs a second look into the lanes and due sets of 16 partitions; none of it grows with what is stored."""


def cpu_seconds(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Seconds of processor time, until now."""

    all: float
    busy: float
    ours: float

    @classmethod
    def of(cls, stack: Stack) -> Self:
        """What the machine has, what of it was used, and what of that by this stack and its test."""
        ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        idle_ticks = ticks[3] + ticks[4]
        ours = sum(map(cpu_seconds, [os.getpid(), *pids(stack)]))
        return cls(sum(ticks) / second, (sum(ticks) - idle_ticks) / second, ours)

    def others_since(self, before: Usage) -> float:
        """Which share of the machine other programs have used since."""
        return ((self.busy - before.busy) - (self.ours - before.ours)) / (self.all - before.all)


def pids(stack: Stack) -> list[int]:
    assert stack.store.pid is not None
    return [stack.store.pid, *(worker.pid for worker in stack.workers), stack.scheduler.pid]


def latencies(stack: Stack, round_: int) -> list[float]:
    """Seconds from before an event is put until its change can be read from the feed, one event at a time."""
    app = stack.app
    taken = []
    with plain(app) as redis:
        for n in range(EVENTS):
            event = registration(app, f"idle-{round_}-{n}", owner=n)
            changes = app.keyspace.of(n).changes
            last = redis.xrevrange(changes, count=1)
            after = cast("list[tuple[str, object]]", last)[0][0] if last else "0"
            begun = time.perf_counter()
            put_and_ring(app, event)
            assert redis.xread({changes: after}, block=5_000)
            taken.append(time.perf_counter() - begun)
    return sorted(taken)


@pytest.mark.processes
def test_an_idle_stack_settles_a_new_event_within_50_milliseconds(
    stack: Stack, measured: Callable[[str], None]
) -> None:
    """Given an idle stack, when an event is put, then its change is published within 50 ms, 99 times of 100."""
    # What else the machine does can only make it slower: one round of three is enough.
    quiet = False
    p99 = 0.0
    for round_ in range(3):
        begun = Usage.of(stack)
        taken = latencies(stack, round_)
        others = Usage.of(stack).others_since(begun)
        p50, p99 = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
        measured(
            f"idle: from put to published p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms; "
            f"others used {others:.0%} of the machine"
        )
        if p99 < P99_SECONDS:
            return
        quiet |= others < OTHERS
    if not quiet:
        pytest.skip(f"{LEFT_OUT} this machine is not idle, so it cannot show the latency of an idle one")
    pytest.fail(f"p99 was {p99 * 1000:.1f} ms")


@pytest.mark.processes
def test_an_idle_stack_costs_next_to_nothing(stack: Stack, measured: Callable[[str], None]) -> None:
    """Given an idle stack, when nothing happens for 5 s, then it uses under 5 % of a core and few commands."""
    wait_until(lambda: idle(stack.app), "nothing is left to do")
    with plain(stack.app) as redis:
        before = sum(map(cpu_seconds, pids(stack)))
        commands = cast("dict[str, int]", redis.info("stats"))["total_commands_processed"]
        time.sleep(IDLE_SECONDS)  # Nothing is waited for: this is what is measured.
        commands = cast("dict[str, int]", redis.info("stats"))["total_commands_processed"] - commands
        share = (sum(map(cpu_seconds, pids(stack))) - before) / IDLE_SECONDS
    measured(f"idle: {share:.1%} of a core, {commands / IDLE_SECONDS:.0f} commands/s")
    assert share < IDLE_CORE
    assert commands / IDLE_SECONDS < IDLE_COMMANDS
