"""Webhooks that did not reach us are delivered again, or their owner is swept."""

from __future__ import annotations

import pytest

from tests.support import OWNER
from tests.verify.scene import INSTALLATION, Scene
from worker.demo.fakegithub import Fault
from worker.demo.fakegithub.records import DeliveryRecord
from worker.github.answers import LaterError
from worker.lifecycle.facts import DAY, SECOND
from worker.verify.redeliverer import RedeliveryRun

NOTHING = RedeliveryRun(0, 0, 0)


class Hook:
    """GitHub's end of the hook: what was asked for again, and how that goes."""

    def __init__(self, scene: Scene) -> None:
        self._world = scene.fake.world
        self._scene = scene
        self.again: list[str] = []
        self.status = 202
        scene.fake.on_redelivery(self._redelivered)

    def _redelivered(self, delivery: DeliveryRecord) -> int:
        self.again.append(delivery.guid)
        return self.status

    def sent(self, guid: str, status: int, *, ago: int = 0) -> None:
        """An attempt, so many microseconds ago."""
        at = (self._scene.app.status.now() - ago) / SECOND
        self._world.record_delivery(
            "repository", status, action="archived", guid=guid, delivered_at=at, installation_id=INSTALLATION
        )


@pytest.fixture
def hook(scene: Scene) -> Hook:
    return Hook(scene)


def test_what_never_succeeded_is_delivered_again_once_for_each_guid(scene: Scene, hook: Hook) -> None:
    hook.sent("arrived", 202)
    hook.sent("lost", 502)
    hook.sent("lost", 503)
    hook.sent("later", 500)
    hook.sent("later", 200)
    assert scene.asking.redeliverer.run() == RedeliveryRun(failed=1, redelivered=1, given_up=0)
    assert hook.again == ["lost"]
    assert scene.asking.redeliverer.run() == NOTHING
    assert scene.app.deliveries.pending() == {}


def test_what_fails_again_is_tried_later(scene: Scene, hook: Hook) -> None:
    hook.sent("lost", 502)
    hook.status = 500
    scene.asking.redeliverer.run()
    assert scene.asking.redeliverer.run().redelivered == 0
    scene.wait(600 * SECOND)
    hook.status = 200
    assert scene.asking.redeliverer.run().redelivered == 1
    assert hook.again == ["lost", "lost"]


def test_what_is_too_old_brings_its_owners_sweep_forward(scene: Scene, hook: Hook) -> None:
    scene.registers()
    scene.sweeps()
    assert [swept > 0 for _, swept in scene.app.checks.stalest(10)] == [True]
    hook.sent("lost", 502, ago=2 * DAY)
    hook.status = 500
    scene.asking.redeliverer.run()
    scene.wait(DAY)
    assert scene.asking.redeliverer.run().given_up == 1
    assert [missed.given_up for missed in scene.app.deliveries.pending().values()] == [True]
    assert scene.app.checks.stalest(10) == [(OWNER, 0)]
    assert scene.asking.redeliverer.run() == NOTHING


def test_after_a_long_silence_every_owner_is_swept(scene: Scene, hook: Hook) -> None:
    scene.registers()
    scene.asking.redeliverer.run()
    scene.sweeps()
    scene.wait(4 * DAY)
    scene.asking.redeliverer.run()
    assert scene.app.checks.stalest(10) == [(OWNER, 0)]


def test_a_look_that_failed_is_made_up_for_by_the_next(scene: Scene, hook: Hook) -> None:
    hook.sent("lost", 502)
    scene.fake.faults.add(Fault(kind="status", status=500, route="GET /app/hook/deliveries", times=1))
    with pytest.raises(LaterError):
        scene.asking.redeliverer.run()
    assert scene.asking.redeliverer.run().redelivered == 1


def test_many_pages_are_read_to_their_end(scene: Scene, hook: Hook) -> None:
    for number in range(250):
        hook.sent(f"lost-{number}", 502, ago=number)
    assert scene.asking.redeliverer.run() == RedeliveryRun(250, 250, 0)
    assert scene.fake.calls["GET /app/hook/deliveries"] == 3 + 1


def test_after_a_restore_all_that_is_kept_is_delivered_again_once_and_in_its_order(scene: Scene, hook: Hook) -> None:
    """Given deliveries that arrived and others that failed, when the store lacks what came of them, then each comes again."""
    hook.sent("before", 202, ago=3600 * SECOND)
    hook.sent("arrived", 202, ago=30 * SECOND)
    hook.sent("twice", 502, ago=20 * SECOND)
    hook.sent("twice", 202, ago=10 * SECOND)
    hook.sent("lost", 502)
    since = scene.app.status.now() - 1800 * SECOND
    assert list(scene.asking.redeliverer.all_since(since)) == [True, True, True]
    assert hook.again == ["arrived", "twice", "lost"]
