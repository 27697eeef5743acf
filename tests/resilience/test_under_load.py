"""Events flow through the API and a worker while the nodes of the store fail, hang, and hand slots over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import cast

import httpx
import pytest

from tests.conftest import Processes, settings_of, wait_until
from tests.engines import Cluster, EngineStore, Sentinels, ServerProcess, paused, replication
from tests.resilience.doors import Doors
from tests.store.making import (
    Json,
    about_repository,
    assert_consistent,
    dead_letters,
    idle,
    published,
    registration,
    settle_all,
    states,
)
from worker.app import App, build
from worker.settings import load
from worker.store.client import StoreError
from worker.store.inbox import Envelope
from worker.store.keys import CLOCK

OWNERS = range(100, 112)
"""They have policies on every node."""
SENDERS = 4
WAITS_FOR_NONE = {"TENURE_WAIT_REPLICAS": "0"}
AGAIN_SECONDS = 0.05
APART_SECONDS = 0.3
"""For so long replicas hear nothing before their primary is killed."""


@dataclass
class Sender:
    """What GitHub does for some owners: one delivery after the other, each until it is taken."""

    owners: list[int]
    taken: list[Envelope] = field(default_factory=list)

    def run(self, app: App, doors: Doors, stopped: Event) -> None:
        for number in count():
            for owner in self.owners:
                action = "unarchived" if number % 2 else "archived"
                letter = about_repository(app, action, f"{owner}-{number}", owner=owner)
                while not self._sent(doors, letter):
                    if stopped.wait(AGAIN_SECONDS):
                        return
            if stopped.is_set():
                return

    def _sent(self, doors: Doors, letter: Envelope) -> bool:
        with suppress(httpx.TransportError):
            if doors.send(letter).status_code in {200, 202}:
                self.taken.append(letter)
                return True
        return False


@dataclass
class Flow:
    """Events that flow, and what was answered to them."""

    app: App
    doors: Doors
    senders: list[Sender]
    stop: Callable[[], None]

    @property
    def taken(self) -> list[Envelope]:
        return [letter for sender in self.senders for letter in sender.taken]

    def goes_on(self, more: int = 100) -> None:
        """Wait until so many more are taken."""
        before = len(self.taken)
        wait_until(lambda: len(self.taken) >= before + more, "events flow")

    def lost(self) -> list[str]:
        """Deliveries that were taken and are known no more, once all is over and settled: another of each is no duplicate."""
        self.stop()
        wait_until(self._is_idle, "everything is settled", 60)
        return [letter.delivery for letter in self.taken if self._answer(letter) != "duplicate"]

    def _answer(self, letter: Envelope) -> str:
        """What is answered to it when it is sent again, until it is taken: 503 says nothing of it."""
        told: list[str] = []

        def is_told() -> bool:
            response = self.doors.send(letter)
            if response.status_code in {200, 202}:
                told.append(str(response.json()["status"]))
            return bool(told)

        wait_until(is_told, f"{letter.delivery} is taken again")
        return told[0]

    def _is_idle(self) -> bool:
        with suppress(StoreError):
            return idle(self.app)
        return False


@contextmanager
def flowing(store: EngineStore, folder: Path, **more: str) -> Iterator[Flow]:
    """An API, a worker and a scheduler, and events for as long as this lasts."""
    settings = {**settings_of(store), **more}
    app = build(load(settings))
    processes = Processes(settings, folder)
    stopped = Event()
    with closing(app.broker), closing(app.client), ExitStack() as ending:
        ending.callback(processes.kill)
        settle_all(app, *(registration(app, f"pol-{owner}", owner=owner) for owner in OWNERS))
        doors = Doors(processes)
        ending.callback(doors.http.close)
        processes.worker(app)
        processes.scheduler(app)
        senders = [Sender(list(OWNERS[n::SENDERS])) for n in range(SENDERS)]
        threads = [Thread(target=sender.run, args=(app, doors, stopped)) for sender in senders]

        def stop() -> None:
            stopped.set()
            for thread in threads:
                thread.join()

        for thread in threads:
            thread.start()
        ending.callback(stop)
        yield Flow(app, doors, senders, stop)


def caused(event: Json) -> str:
    return str(cast("Json", cast("Json", event["data"])["cause"])["id"])


def number_of(delivery: str) -> int:
    """Which of its owner's it is."""
    return int(delivery.partition("-")[2])


@pytest.mark.processes
def test_a_node_that_hangs_and_slots_that_move_lose_nothing_and_keep_the_order(
    tmp_path: Path, measured: Callable[[str], None]
) -> None:
    """Given events that flow through a cluster, when a node hangs until another has taken over, and then all slots of another
    node move, then everything that was answered 2xx is settled, and what came of it was published in the order in which it was
    sent.
    """
    with (
        Cluster(tmp_path / "cluster") as cluster,
        flowing(EngineStore(cluster, tmp_path / "cluster"), tmp_path) as flow,
    ):
        hanging = cluster.place_of(CLOCK)
        source, target = (place for place in range(3) if place != hanging)
        flow.goes_on()
        with paused(cluster.servers[hanging]):
            taking_over = cluster.replicas_of(hanging)[0]
            taking_over.wait(lambda redis: replication(redis)["role"] == "master", "it took over")
            flow.goes_on()
        flow.goes_on()
        cluster.migrate(*cluster.slots(source), source, target)
        flow.goes_on()
        assert flow.lost() == []
        measured(f"{len(flow.taken)} events were taken while a node hung and slots moved, and none was lost")
        assert dead_letters(flow.app) == []
        for policy_id, changes in published(flow.app).items():
            # What is settled together with something newer may publish nothing of its own.
            told = [number_of(cause) for cause in map(caused, changes[1:])]
            assert told == sorted(set(told))
            owner = policy_id.removeprefix("pol-")
            last = max(number_of(letter.delivery) for letter in flow.taken if letter.delivery.startswith(owner))
            assert states(flow.app, policy_id) == {policy_id: "provisional" if last % 2 else "disabled"}
        assert_consistent(flow.app)


def cut_off(primary: ServerProcess, replicas: Sequence[ServerProcess]) -> None:
    """Kill a primary whose replicas have heard nothing of what it did last."""
    with ExitStack() as apart:
        for replica in replicas:
            apart.enter_context(paused(replica))
        with primary.redis() as redis:
            redis.client_kill_filter(_type="replica")
        time.sleep(APART_SECONDS)  # Nothing is waited for: this is what they do not hear of.
        primary.kill()


@pytest.mark.processes
@pytest.mark.parametrize("engine", [Cluster, Sentinels])
@pytest.mark.parametrize("waits", [True, False])
def test_a_primary_that_is_killed_takes_with_it_what_no_replica_had(
    engine: type[Cluster | Sentinels], waits: bool, tmp_path: Path, measured: Callable[[str], None]
) -> None:
    """Given events that flow, when a primary is killed whose replicas were cut off for a moment, then nothing that was answered
    2xx is lost, if the API waits for replicas; if it does not, what was answered in that moment is.
    """
    with (
        engine(tmp_path / "engine") as made,
        flowing(EngineStore(made, tmp_path / "engine"), tmp_path, **({} if waits else WAITS_FOR_NONE)) as flow,
    ):
        flow.goes_on()
        if isinstance(made, Cluster):
            place = made.place_of(flow.app.keyspace.of(OWNERS[0]).stamp)
            killed = made.servers[place]
            cut_off(killed, made.replicas_of(place))
            made.await_failover(made.replicas_of(place)[0])
        else:
            killed = made.primary
            cut_off(killed, made.replicas)
            made.await_failover(killed)
        # Until it follows, whoever took over may have too few replicas.
        killed.start()
        killed.wait(lambda redis: replication(redis).get("master_link_status") == "up", "it follows")
        flow.goes_on()
        lost = flow.lost()
        of = f"{len(lost)} of {len(flow.taken)} that were answered 2xx"
        measured(f"{engine.__name__}, {'waiting for' if waits else 'without'} replicas: {of} were lost with a primary")
        assert dead_letters(flow.app) == []
        assert bool(lost) != waits
