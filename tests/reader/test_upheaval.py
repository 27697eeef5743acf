"""A cluster whose nodes end, pause, take over and hand on slots, while policies are opened and closed and everybody asks."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tenure_reader import Decision, Fallback, Mirror, Reader, UnavailableError
from tenure_reader.keys import partition_keys
from tenure_reader.mirror import MAX_LAG
from tenure_reader.routing import BELIEVED, LIMIT
from tenure_reader.topology import slot_of
from tests.engines import Cluster, ServerProcess
from tests.reader.published import COUNT, Published, claims_of, owner_in

LASTS = 25.0
"""Seconds."""
MARGIN = 0.2
"""Seconds between the moment in which something is true and that in which a test notes it."""
SECONDS = 30.0
OWNERS = [owner_in(number) for number in range(COUNT)]


@dataclass
class Upheaval:
    """What happens to the cluster, and what was acknowledged by a primary and its replica: owner → when, which revision."""

    cluster: Cluster
    chance: random.Random
    over: threading.Event = field(default_factory=threading.Event)
    acknowledged: dict[int, list[tuple[float, int]]] = field(
        default_factory=lambda: {owner: [(0.0, 1)] for owner in OWNERS}
    )
    happened: Counter[str] = field(default_factory=Counter)

    def writes(self) -> None:
        """One policy of each owner, open in every other revision."""
        chance = random.Random(self.chance.random())
        while not self.over.is_set():
            owner = chance.choice(OWNERS)
            revision = self.acknowledged[owner][-1][1] + 1
            # What was not acknowledged may be there: it is written again, as it was.
            while not self.over.is_set() and not self._written(owner, revision):
                time.sleep(0.05)
            self.acknowledged[owner].append((time.monotonic(), revision))
            time.sleep(0.02)

    def _written(self, owner: int, revision: int) -> bool:
        """Whether a primary has it, and a replica."""
        for server in self.cluster.servers:
            try:
                with Redis(port=server.port, socket_timeout=1, socket_connect_timeout=0.3) as redis:
                    if redis.role()[0] == b"master":
                        Published(redis).write(f"p-{owner}", revision, owner, usable=bool(revision % 2))
                        return bool(redis.execute_command("WAIT", 1, 800))
            except RedisError:
                continue
        return False

    def happens(self) -> None:
        """One thing, and the time that it takes to come to rest."""
        roles = {server: server.redis().role()[0] for server in self.cluster.servers}
        primaries = [server for server, role in roles.items() if role == b"master"]
        what = self.chance.choice([self.pause, self.end, self.take_over, self.move])
        self.happened[what.__name__] += 1
        what(primaries)

    def pause(self, primaries: list[ServerProcess]) -> None:
        server = self.chance.choice(primaries)
        server.pause()
        time.sleep(self.chance.choice([0.4, 2.5]))
        server.resume()
        time.sleep(1)

    def end(self, primaries: list[ServerProcess]) -> None:
        server = self.chance.choice(primaries)
        server.kill()
        time.sleep(2.5)
        server.start()
        server.wait(lambda redis: redis.ping(), "it is back")
        time.sleep(1)

    def take_over(self, primaries: list[ServerProcess]) -> None:
        replicas = [server for server in self.cluster.servers if server not in primaries]
        with self.chance.choice(replicas).redis() as redis:
            redis.execute_command("CLUSTER", "FAILOVER")
        time.sleep(1)

    def move(self, primaries: list[ServerProcess]) -> None:
        slot = slot_of(partition_keys(self.chance.choice(OWNERS), COUNT).settings)
        to = self.chance.choice(primaries)
        target = self.cluster.ids[self.cluster.servers.index(to)]
        for each in primaries:
            with each.redis() as redis:
                # Whoever does not have it refuses.
                try:
                    redis.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target)
                except RedisError:
                    continue
        time.sleep(1)

    def asks(self, evaluate: Callable[[int, dict[str, int]], Decision], *, named: bool, longest: float) -> Counter[str]:
        """Ask until it is over. `named`: for the last revision that was acknowledged; else only what was acknowledged a second
        ago has to be known. No refusal takes longer than `longest` seconds.
        """
        chance, told = random.Random(self.chance.random()), Counter[str]()
        while not self.over.is_set():
            owner, asked_at = chance.choice(OWNERS), time.monotonic()
            lag = 0.0 if named else max(BELIEVED, MAX_LAG) + MARGIN
            wanted = max(revision for at, revision in self.acknowledged[owner] if at <= asked_at - lag)
            try:
                decision = evaluate(owner, {f"p-{owner}": wanted} if named else {})
            except UnavailableError:
                told["refused"] += 1
                assert time.monotonic() - asked_at < longest
                continue
            told["answered"] += 1
            if decision.granted:
                assert decision.granted[0]["revision"] >= wanted, f"{owner}: older than revision {wanted}"
            time.sleep(0.002)
        return told


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_becomes_of_nodes_nobody_answers_from_something_older(
    cluster: Cluster, published: Published, seed: int
) -> None:
    """Given writers that wait for a replica, when nodes end, pause, take over and hand on slots, then whoever asks for a revision
    gets no older answer, whoever does not gets none that is older than a second, and all recover.
    """
    for owner in OWNERS:
        published.publish(f"p-{owner}", 1, owner)
    upheaval = Upheaval(cluster, random.Random(seed))
    near, far = (
        Reader.connect(cluster.url),
        Reader.connect(f"redis://{cluster.servers[-1].name},{cluster.servers[0].name}"),
    )
    with Mirror(cluster.url) as mirror, ThreadPoolExecutor(8) as pool:
        assert mirror.wait(SECONDS)
        fallback, longest = Fallback(mirror, near), 2 * LIMIT + 1
        ways: dict[str, tuple[Callable[[int, dict[str, int]], Decision], bool]] = {
            "reader": (lambda owner, _: near.evaluate(claims_of(owner)), False),
            "another": (lambda owner, _: far.evaluate(claims_of(owner)), False),
            "mirror": (lambda owner, _: mirror.evaluate(claims_of(owner)), False),
            "at least": (lambda owner, asked: far.evaluate(claims_of(owner), at_least=asked, wait=0), True),
            "fallback": (lambda owner, asked: fallback.evaluate(claims_of(owner), at_least=asked, wait=0), True),
        }
        writer = pool.submit(upheaval.writes)
        asking = {
            name: pool.submit(upheaval.asks, way, named=named, longest=longest) for name, (way, named) in ways.items()
        }
        end = time.monotonic() + LASTS
        try:
            while time.monotonic() < end:
                upheaval.happens()
        finally:
            upheaval.over.set()
        told = {name: asked.result(SECONDS) for name, asked in asking.items()}
        writer.result(SECONDS)
        assert mirror.wait(SECONDS), mirror.status()
        for owner in OWNERS:
            near.evaluate(claims_of(owner), at_least={f"p-{owner}": upheaval.acknowledged[owner][-1][1]})
    assert all(each["answered"] > 100 for each in told.values()), told
    assert sum(map(len, upheaval.acknowledged.values())) > 100, upheaval.happened
    near.close()
    far.close()
