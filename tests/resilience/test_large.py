"""An owner of thousands of policies: its events are settled piece by piece, and nobody else waits for them."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.conftest import Process, Processes, wait_until
from tests.store.making import (
    about_member,
    about_repository,
    dead_letters,
    idle,
    plain,
    published,
    put_and_ring,
    registration,
    settle_all,
    states,
    view,
)
from tests.support import OWNER
from worker.app import App
from worker.store.inbox import Envelope

POLICIES = 5_000
OTHER = 4242
VISIBLE_WITHIN = 1.0
"""Seconds: what another owner's event may wait behind a large one."""

Progress = tuple[int, int, str]


class Watched:
    """The large event, seen from outside: how far it has got, and who holds it. It must never go back."""

    def __init__(self, app: App, letter: Envelope, redis: Redis) -> None:
        self._key = app.keyspace.of(OWNER).event(letter.event_id)
        self._redis = redis
        self.progress: Progress = (0, 0, "")

    def look(self) -> Progress:
        cursor = self._redis.hget(self._key, "cursor")
        if isinstance(cursor, str):
            step, _, position = cursor.partition("@")
            index, _, after = position.partition(":")
            now = (int(step), int(index), after)
            assert now >= self.progress
            self.progress = now
        return self.progress

    def holder(self) -> str | None:
        held = self._redis.hget(self._key, "held_by")
        return held if isinstance(held, str) else None


@pytest.mark.processes
@pytest.mark.timeout(180)
def test_a_large_owner_blocks_nobody_and_resumes_where_its_worker_was_killed(app: App, processes: Processes) -> None:
    """Given an owner of 5,000 policies whose creator leaves, when its worker is killed, then each changes once."""
    settle_all(app, registration(app, "other", owner=OTHER))
    for start in range(0, POLICIES, 500):
        settle_all(app, *(registration(app, f"pol-{n:05d}") for n in range(start, start + 500)))
    started = [processes.start("-m", "worker", "worker", "--single") for _ in range(2)]
    processes.scheduler(app)
    workers = [processes.ready(app, "worker", process) for process in started]
    leaves = about_member(app, "member_removed", "d-large")
    with plain(app) as redis:
        large = Watched(app, leaves, redis)
        put_and_ring(app, leaves)
        wait_until(lambda: large.look() >= (0, 0, "pol-00500"), "the large event is under way")
        put_and_ring(app, about_repository(app, "archived", "d-small", owner=OTHER))
        wait_until(lambda: disabled(app), "the other owner's event is visible", VISIBLE_WITHIN)
        victim = kill_holder(large, workers)
        reached = large.look()
        wait_until(lambda: large.look() > reached, "another goes on from there", 12)
        wait_until(lambda: (large.look(), idle(app))[1], "the large event is settled", 60)
    assert sum(process.running for process in (*workers, victim)) == 1
    changes = published(app)
    assert [len(changes[f"pol-{n:05d}"]) for n in range(POLICIES)] == [2] * POLICIES
    assert list(states(app, "pol-").values()) == ["disabled"] * POLICIES
    assert dead_letters(app) == []


def disabled(app: App) -> bool:
    seen = view(app, "other", owner=OTHER)
    return seen is not None and seen["state"] == "disabled"


def kill_holder(large: Watched, workers: list[Process]) -> Process:
    """Kill the worker that holds the large event, in the middle of it."""
    by_name = {worker.name: worker for worker in workers}
    wait_until(lambda: large.holder() in by_name, "somebody holds the large event")
    victim = by_name[str(large.holder())]
    victim.kill()
    assert large.holder() == victim.name
    return victim
