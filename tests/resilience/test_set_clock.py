"""Somebody sets the store's clock: back, ahead, and back again. A real server is given another clock."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from redis import Redis

from schedules.scheduler import planned
from schedules.table import TABLE
from tests.cli.running import Tenure
from tests.conftest import Processes, settings_of, wait_until
from tests.resilience.clocks import Clock
from tests.store.making import about_member, exhaust, put, registration, settle_all
from tests.support import NAME, OWNER, REPOSITORY, USER
from worker.app import App, build
from worker.demo.fakegithub import FakeGitHub
from worker.doctor.diagnostics import clock
from worker.lifecycle.facts import DAY, SECOND, Micros
from worker.local.valkey import EmbeddedStore, free_port
from worker.operators.submit import Submission, submit
from worker.settings import load
from worker.store.clock_reset import ClockReset
from worker.store.inbox import EVENTS, LEASE, Event
from worker.verify.build import VerificationParts, build_verification
from worker.verify.checker import WINDOW
from worker.verify.losses import SECOND_LOOK
from worker.web.health import parts_of

TEN_MINUTES: Micros = 600 * SECOND


@pytest.fixture
def clocked(library: Path, tmp_path: Path) -> Iterator[tuple[EmbeddedStore, Clock]]:
    made = Clock(tmp_path, library)
    with (
        EmbeddedStore(tmp_path / "store", free_port(), str(made.server)) as store,
        Redis(port=store.port) as made.redis,
    ):
        made.redis.config_set("hz", 500)
        yield store, made


@pytest.fixture
def wall(clocked: tuple[EmbeddedStore, Clock]) -> Clock:
    return clocked[1]


@pytest.fixture
def app(clocked: tuple[EmbeddedStore, Clock]) -> Iterator[App]:
    """The parts of one process; it has just shown that it is alive, as processes do every few seconds."""
    built = build(load(settings_of(clocked[0])))
    built.status.beat("worker", "test")
    yield built
    built.broker.close()
    built.client.redis.close()


def stands(app: App, policy_id: str = "pol-1") -> tuple[str, list[str]]:
    policy = app.policies.load([policy_id])[policy_id].policy
    assert policy is not None
    assert policy.view is not None
    return policy.view["state"], policy.view["reasons"]


# What is learnt


class Asker:
    """A policy of a member whose GitHub can be asked."""

    def __init__(self, app: App, asking: VerificationParts, fake: FakeGitHub, wall: Clock) -> None:
        self.app, self.asking, self.fake, self._wall = app, asking, fake, wall
        self._numbers = count(1)

    def hears(self, action: str) -> None:
        # After a setback an event is dated some milliseconds ahead of the time that goes on from what was noted last.
        exhaust(self.app, about_member(self.app, action, f"h-{next(self._numbers)}"))

    def passes(self, duration: Micros) -> None:
        self.app.status.beat("worker", "test")
        self._wall.move(duration)
        self.app.status.beat("worker", "test")

    def checks(self) -> None:
        """Ask about everything that is wanted, with all second looks."""
        for _ in range(4):
            self.passes(WINDOW + SECOND_LOOK)
            self.asking.checker.run(10.0)


@pytest.fixture
def asker(clocked: tuple[EmbeddedStore, Clock], tmp_path: Path) -> Iterator[Asker]:
    store, wall = clocked
    with FakeGitHub() as fake:
        fake.world.add_org("octo", account_id=OWNER)
        fake.world.add_user("maria", account_id=USER)
        fake.world.add_member(OWNER, USER)
        fake.world.add_repository(OWNER, NAME, repository_id=REPOSITORY)
        fake.world.install(OWNER)
        key = tmp_path / "app.pem"
        key.write_text(fake.private_key_pem)
        app = build(load({
            **settings_of(store), "TENURE_GITHUB_APP_ID": str(fake.app_id), "TENURE_GITHUB_API_URL": fake.url,
            "TENURE_GITHUB_PRIVATE_KEY_FILE": str(key),
        }))  # fmt: skip
        asking = build_verification(app)
        made = Asker(app, asking, fake, wall)
        settle_all(app, registration(app, "pol-1", at=app.status.now()))
        made.checks()
        assert stands(app) == ("provisional", [])
        yield made
        asking.close()
        app.broker.close()
        app.client.redis.close()


@pytest.mark.parametrize("wrong", [-TEN_MINUTES, -2 * SECOND], ids=["by ten minutes", "by two seconds"])
def test_who_is_removed_after_the_clock_was_set_back_is_out_and_comes_back_with_the_proof(
    asker: Asker, wall: Clock, wrong: Micros
) -> None:
    wall.move(wrong)
    asker.hears("member_removed")
    assert stands(asker.app) == ("disabled", ["creator_left_organization"])
    asker.fake.world.remove_member(OWNER, USER)
    asker.checks()
    assert stands(asker.app) == ("disabled", ["creator_left_organization"])
    asker.fake.world.add_member(OWNER, USER)
    asker.hears("member_added")
    asker.checks()
    assert stands(asker.app) == ("provisional", [])


def test_who_is_removed_after_a_clock_that_was_a_day_ahead_was_corrected_is_out(asker: Asker, wall: Clock) -> None:
    wall.move(86_400 * SECOND)
    asker.hears("member_added")
    asker.checks()
    wall.move(-86_400 * SECOND)
    asker.hears("member_removed")
    assert stands(asker.app) == ("disabled", ["creator_left_organization"])
    asker.checks()
    assert stands(asker.app) == ("provisional", [])


def test_a_proof_is_never_dated_after_what_is_heard_later(app: App, wall: Clock) -> None:
    """Also if the clock was set back between the two, and no process has shown itself since."""
    proof = app.status.stamp(OWNER)
    wall.move(-TEN_MINUTES)
    put(app, about_member(app, "member_removed", "h-1"))
    heard: list[Event] = []

    def claimed() -> bool:
        heard.extend(app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "test", 1).events)
        return bool(heard)

    wait_until(claimed, "due")
    assert heard[0].received_at > proof
    assert app.status.stamp(OWNER) > heard[0].received_at


def test_what_an_operator_releases_after_the_clock_was_set_back_is_released(app: App, wall: Clock) -> None:
    def act(name: str) -> None:
        said = {"policy_id": "pol-1", "reason": "to see"}
        assert submit(app, [Submission(name, said, OWNER, name)], by="test")[0].done

    settle_all(app, registration(app, "pol-1", at=app.status.now()))
    act("policy.held")
    assert stands(app) == ("disabled", ["held_by_operator"])
    wall.move(-TEN_MINUTES)
    act("policy.released")
    assert stands(app) == ("provisional", [])


# What waits


def test_what_a_lost_worker_held_before_the_clock_was_set_back_is_due_again_after_its_lease(
    app: App, wall: Clock
) -> None:
    put(app, registration(app, "pol-1", at=app.status.now()))
    partition = app.keyspace.of(OWNER)
    # Each process notes every second what time it is.
    app.status.beat("worker", "test")
    assert app.inbox.claim(partition, EVENTS, "lost", 1).events
    wall.move(-TEN_MINUTES)
    assert app.inbox.overdue() == []
    app.status.beat("worker", "test")
    # In a partition, time goes on from when somebody looks.
    app.processor("test").drain(partition, EVENTS)
    wall.move(LEASE + SECOND)
    assert app.inbox.overdue()
    app.processor("test").drain(partition, EVENTS)
    app.processor("test").drain_quarantine()
    assert stands(app) == ("provisional", [])


def test_time_goes_on_where_it_was_and_meets_the_clock_again(app: App, wall: Clock) -> None:
    before = app.status.now()
    wall.move(-160 * SECOND)
    app.status.beat("worker", "test")
    assert before - SECOND < app.status.now() < before + 10 * SECOND
    wall.move(16 * SECOND)
    # A sixteenth slower.
    assert 14 * SECOND < app.status.now() - before < 25 * SECOND
    assert 130 * SECOND < app.status.ahead() < 160 * SECOND
    wall.move(160 * SECOND)
    app.status.beat("worker", "test")
    times = app.status.times()
    assert times.now == times.clock
    assert app.status.ahead() < SECOND


# An operator resets it

FAR: Micros = 400 * DAY


def reset_of(app: App) -> ClockReset:
    return ClockReset(app.client, app.status, app.policies, app.settings.rules)


def far_ahead(app: App, wall: Clock, meanwhile: Callable[[], object]) -> None:
    """Something happens while the clock is far ahead; then that is put right."""
    wall.move(FAR)
    app.status.beat("worker", "test")
    meanwhile()
    wall.move(-FAR)
    app.status.beat("worker", "test")


def is_reset(app: App, wall: Clock) -> Counter[str]:
    done = reset_of(app).reset(by="test", reason="it was ahead", pause=wall.move)
    assert reset_of(app).ahead() == 0
    assert not reset_of(app).offset()
    return done


def test_what_was_learnt_while_the_clock_was_far_ahead_keeps_its_order_after_a_reset(asker: Asker, wall: Clock) -> None:
    app = asker.app

    def meanwhile() -> None:
        asker.hears("member_added")
        asker.fake.world.remove_member(OWNER, USER)
        asker.hears("member_removed")
        app.settler.settle_due(10)

    far_ahead(app, wall, meanwhile)
    assert stands(app)[0] == "expired"
    assert is_reset(app, wall)["policies"] == 1
    times = app.status.times()
    assert times.now - times.clock < SECOND
    assert stands(app) == ("disabled", ["creator_left_organization"])
    asker.fake.world.add_member(OWNER, USER)
    asker.hears("member_added")
    asker.checks()
    assert stands(app) == ("provisional", [])
    # What is heard from now on is newer than all that was heard before.
    asker.hears("member_removed")
    assert stands(app) == ("disabled", ["creator_left_organization"])


def test_what_waited_while_the_clock_was_far_ahead_waits_no_longer(app: App, wall: Clock) -> None:
    """An event under the lease of a worker that is gone, what is remembered of somebody, and a check that is wanted."""
    partition = app.keyspace.of(OWNER)

    def meanwhile() -> None:
        settle_all(app, about_member(app, "member_removed", "h-1"))
        put(app, registration(app, "pol-1", at=app.status.now() - FAR))
        assert app.inbox.claim(partition, EVENTS, "lost", 1).events
        app.checks.ask([f"owner:{OWNER}"], app.status.now())

    far_ahead(app, wall, meanwhile)
    assert app.inbox.overdue() == []
    assert {"events", "remembered", "waiting"} <= set(is_reset(app, wall))
    app.status.beat("worker", "test")
    wall.move(LEASE + SECOND)
    app.processor("test").drain(partition, EVENTS)
    app.processor("test").drain_quarantine()
    assert stands(app) == ("disabled", ["creator_left_organization"])
    assert app.checks.due(app.status.now())


def test_a_reset_that_was_interrupted_goes_on(app: App, wall: Clock) -> None:
    settle_all(app, registration(app, "pol-1", at=app.status.now()))
    far_ahead(app, wall, lambda: settle_all(app, about_member(app, "member_removed", "h-1")))

    def dies(_: Micros) -> None:
        raise KeyboardInterrupt

    before = reset_of(app).ahead()
    with pytest.raises(KeyboardInterrupt):
        reset_of(app).reset(by="test", reason="it was ahead", pause=dies)
    assert abs(reset_of(app).ahead() - before) < DAY
    is_reset(app, wall)
    assert stands(app) == ("disabled", ["creator_left_organization"])
    assert [entry.action for entry in app.audit.since(0)] == ["clock.reset", "clock.reset"]


def test_a_clock_that_was_ahead_by_minutes_is_not_reset(app: App, wall: Clock) -> None:
    wall.move(TEN_MINUTES)
    app.status.beat("worker", "test")
    wall.move(-TEN_MINUTES)
    assert reset_of(app).ahead() == 0


def test_the_command_shows_first_and_does_what_it_is_told(
    app: App, clocked: tuple[EmbeddedStore, Clock], tmp_path: Path
) -> None:
    tenure = Tenure(tmp_path, f"redis://127.0.0.1:{clocked[0].port}")
    assert tenure("clock").code == 3
    far_ahead(app, clocked[1], lambda: settle_all(app, registration(app, "pol-1", at=app.status.now())))
    assert "`tenure clock`" in clock(app).advice
    shown = tenure("clock", "--json")
    assert (shown.code, shown.objects[0]["reset"]) == (0, False)
    assert shown.objects[0]["dated_anew"]["policies"] == 1
    assert reset_of(app).ahead() > FAR - DAY
    assert tenure("clock", "--apply").code == 2
    done = tenure("clock", "--apply", "--reason", "it was ahead")
    assert (done.code, "1 policies" in done.err) == (0, True)
    assert clock(app).level == "ok"
    assert stands(app)[0] == "provisional"


# The store's clock and the machine's


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_a_tick_is_named_by_the_store_s_time_wherever_the_scheduler_s_clock_is(entry: object) -> None:
    job = next(known for known in TABLE if known is entry)
    on_time = 1_800_000_000 // job.every * job.every
    for late in (-1, 0, job.jitter):
        assert planned(job, on_time * SECOND + late * SECOND // 100) == on_time


@pytest.mark.processes
def test_jobs_run_whatever_the_scheduler_s_clock_shows(
    app: App, clocked: tuple[EmbeddedStore, Clock], tmp_path: Path
) -> None:
    clocked[1].move(TEN_MINUTES)
    processes = Processes(settings_of(clocked[0]), tmp_path)
    try:
        processes.worker(app)
        processes.scheduler(app)
        wait_until(lambda: (run := app.status.runs(["inbox"])["inbox"]) and run.runs > 1, "the job runs, and again")
        parts = parts_of(app)
    finally:
        processes.kill()
    assert not parts["clock"]["ok"]
    assert "ahead of this machine's" in parts["clock"]["detail"]


@pytest.mark.processes
def test_jobs_go_on_when_the_scheduler_s_clock_is_set_back(
    app: App, clocked: tuple[EmbeddedStore, Clock], library: Path, tmp_path: Path
) -> None:
    offset = tmp_path / "scheduler"
    offset.write_bytes(bytes(8))
    processes = Processes(settings_of(clocked[0]), tmp_path)

    def runs() -> int:
        run = app.status.runs(["inbox"])["inbox"]
        return run.runs if run else 0

    try:
        processes.worker(app)
        processes.scheduler(app, LD_PRELOAD=str(library), SETCLOCK=str(offset))
        wait_until(runs, "the job runs")
        with offset.open("r+b") as file:
            file.write((-TEN_MINUTES).to_bytes(8, sys.byteorder, signed=True))
        before = runs()
        wait_until(lambda: runs() > before + 2, "it goes on")
    finally:
        processes.kill()


@pytest.mark.parametrize(
    ("set_clock", "told"),
    [
        (lambda wall: wall.move(TEN_MINUTES), "ahead of this machine's"),
        (lambda wall: wall.move(-TEN_MINUTES), "behind this machine's"),
    ],
)
def test_a_skew_is_told(app: App, wall: Clock, set_clock: Callable[[Clock], None], told: str) -> None:
    assert clock(app).level == "ok"
    set_clock(wall)
    found = clock(app)
    assert (found.level, told in found.finding) == ("warning", True)
    assert found.advice


def test_dates_that_ran_ahead_of_a_clock_that_is_right_again_are_told(app: App, wall: Clock) -> None:
    wall.move(TEN_MINUTES)
    app.status.beat("worker", "test")
    wall.move(-TEN_MINUTES)
    assert abs(app.status.times().clock - time.time_ns() // 1000) < SECOND
    found = clock(app)
    assert (found.level, "was set back" in found.finding) == ("warning", True)
