"""Slots of a cluster move key by key while events flow: nothing that was taken is lost, and nothing is written by half."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle

import pytest
from pydantic import SecretStr

from tests.conftest import wait_until
from tests.engines import Cluster
from tests.store.making import about_repository, assert_consistent, plain, put, registration, settle_all
from worker.app import App, build
from worker.settings import Settings
from worker.store.client import StoreError
from worker.store.inbox import LANES, Envelope
from worker.store.topology import slot_of

OWNERS = range(100, 112)
PARTITIONS = 4
PASSES = 3
"""How often each partition moves on to the next node."""
BURST = 11
"""More events of one owner at once than one worker may have: some overflow."""
SECONDS = 60.0


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), replicas=0, arguments=("--appendfsync", "no")) as running:
        yield running


@pytest.fixture
def app(cluster: Cluster) -> Iterator[App]:
    built = build(Settings(_env_file=None, redis_url=SecretStr(cluster.url), partitions=PARTITIONS))
    yield built
    built.broker.close()
    built.client.close()


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Somebody does this again and again, whether or not the store can be reached."""
    ended, problems = threading.Event(), list[BaseException]()

    def run() -> None:
        while not ended.is_set():
            try:
                with suppress(StoreError):
                    act()
            except BaseException as error:  # noqa: BLE001 - it is the test's, not the thread's
                problems.append(error)
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert not problems, problems[0]


def test_nothing_is_lost_while_every_partition_moves_key_by_key(app: App, cluster: Cluster) -> None:
    settle_all(app, *(registration(app, f"pol-{owner}", owner=owner, repository_id=owner) for owner in OWNERS))
    taken: Counter[int] = Counter()
    processor = app.processor("worker")

    def deliveries() -> Iterator[tuple[int, list[Envelope]]]:
        for number, owner in enumerate(cycle(OWNERS)):
            yield (
                owner,
                [
                    about_repository(
                        app,
                        "unarchived" if (taken[owner] + i) % 2 else "archived",
                        f"delivery-{number}-{i}",
                        owner=owner,
                        repository_id=owner,
                    )
                    for i in range(BURST)
                ],
            )

    waiting = deliveries()
    sent = next(waiting)

    def send() -> None:
        nonlocal sent
        owner, letters = sent
        put(app, *letters)
        taken[owner] += BURST
        sent = next(waiting)

    def work() -> bool:
        for partition in app.keyspace.all():
            for lane in LANES:
                processor.drain(partition, lane)
        return not any(app.inbox.depth().values())

    slots = [slot_of(partition.counters) for partition in app.keyspace.all()]
    places = [next(p for p in range(3) if cluster.slots(p)[0] <= slot <= cluster.slots(p)[1]) for slot in slots]
    steps = 0
    with meanwhile(send), meanwhile(work):
        for number in range(PASSES):
            for slot, place in zip(slots, places, strict=True):
                source = (place + number) % 3
                steps += sum(1 for _ in cluster.migrate_keys(slot, source, (source + 1) % 3))
    assert steps > 100 * PASSES
    wait_until(lambda: _settles(work), "all that was taken is settled", SECONDS)
    with plain(app) as redis:
        views = [
            json.loads(entry["event"])["data"]["view"]
            for p in app.keyspace.all()
            for _, entry in redis.xrange(p.changes)
        ]
    assert app.status.counters()["settled"] == len(OWNERS) + taken.total()
    for owner in OWNERS:
        mine = [view for view in views if view["repository_owner_id"] == owner]
        assert [view["revision"] for view in mine] == list(range(1, len(mine) + 1))
        assert mine[-1]["usable"] == (taken[owner] % 2 == 0), owner
    assert_consistent(app)


def _settles(work: Callable[[], bool]) -> bool:
    try:
        return work()
    except StoreError:
        return False
