"""Owners for whom GitHub is slow, or never ends: they have so much of its time and ours, and delay nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import settings_of, wait_until
from tests.store.making import about_repository, registration
from tests.support import NAME, OWNER, REPOSITORY, USER
from tests.verify.scene import INSTALLATION, Scene
from worker.app import build
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.lifecycle.facts import HOUR, SECOND
from worker.local.valkey import EmbeddedStore
from worker.settings import load
from worker.verify.build import build_verification
from worker.verify.calls import Allowance
from worker.verify.checker import LaneAllowances
from worker.verify.lanes import DESKS, Lane

HANGING, HEALTHY = DESKS[Lane.QUICK] - 4, 4
PACE = LaneAllowances(quick=Allowance(8, 2.5), slow=Allowance(12, 3.0), slow_after=2.0)
"""Nobody who hangs is given up before healthy owners are answered for, on a busy machine."""


@pytest.fixture
def scene(fake: FakeGitHub, store: EmbeddedStore, credentials: dict[str, str]) -> Iterator[Scene]:
    """Everything that asks, with little patience, and twelve owners beside four others."""
    app = build(load({**settings_of(store), **credentials}))
    made = Scene(app, fake)
    made.asking = build_verification(app, made.now, PACE)
    for n in range(HANGING + HEALTHY):
        fake.world.add_org(f"org-{n}", account_id=owner(n))
        fake.world.add_member(owner(n), USER)
        fake.world.add_repository(owner(n), NAME, repository_id=700 + n)
        fake.world.install(owner(n), installation_id=100 + n)
    yield made
    made.asking.close()
    app.broker.close()
    app.client.redis.close()


def owner(n: int) -> int:
    return OWNER + 10 + n


def pursue(scene: Scene) -> None:
    """Check again and again until all is known."""
    for _ in range(20):
        scene.checks()
        if all(scene.stands(f"pol-{n}") == ("active", []) for n in range(14)):
            return
    pytest.fail("what one check does not get through is never asked")


def hint(scene: Scene, action: str, event_id: str) -> None:
    """The same happens to all repositories, and is heard of."""
    for n in range(HANGING + HEALTHY):
        scene.fake.world.archive(700 + n, archived=action == "archived")
    scene.hears(*(
        about_repository(scene.app, action, f"{event_id}-{n}", owner=owner(n), repository_id=700 + n, name=NAME)
        for n in range(HANGING + HEALTHY)
    ))  # fmt: skip


def test_owners_that_hang_or_drip_delay_only_each_other(scene: Scene, fake: FakeGitHub) -> None:
    scene.hears(*(
        registration(scene.app, f"pol-{n}", f"r-{n}", repository_id=700 + n, owner=owner(n))
        for n in range(HANGING + HEALTHY)
    ))  # fmt: skip
    scene.checks()
    healthy = [f"pol-{n}" for n in range(HANGING, HANGING + HEALTHY)]

    def let_in() -> bool:
        return all(scene.stands(name) == ("provisional", []) for name in healthy)

    hint(scene, "archived", "h-1")
    scene.checks()
    for n in range(HANGING):
        fake.faults.add(Fault(kind="stall" if n % 2 else "slow", installation=100 + n, seconds=4.0, delay=0.1))

    # Whether it is the first time that they hang, or known of them: the others are answered for meanwhile.
    for turn in range(2):
        hint(scene, "archived", f"h-a{turn}")
        hint(scene, "unarchived", f"h-b{turn}")
        assert not let_in()
        scene.wait(60 * SECOND)
        scene.asking.checker.begin()
        wait_until(let_in, "the others are let in")
        # Those that hang still do: nobody waited for them.
        assert scene.asking.checker.begun(Lane.SLOW if turn else Lane.QUICK) > 0
        scene.asking.checker.run(10.0)
    assert all(scene.stands(f"pol-{n}") == ("disabled", ["repository_archived"]) for n in range(HANGING))

    # When GitHub is well again, then so are they.
    fake.faults.heal()
    scene.wait(HOUR)
    scene.checks()
    assert all(scene.stands(f"pol-{n}") == ("provisional", []) for n in range(HANGING))


def test_one_check_takes_so_many_calls_and_the_rest_goes_on(scene: Scene, fake: FakeGitHub) -> None:
    """Fourteen repositories, each asked about singly, where one check has eight calls, and twelve in the slow lane."""
    for n in range(14):
        fake.world.add_repository(OWNER, f"tool-{n}", repository_id=1000 + n)
    fake.world.uninstall(INSTALLATION)
    fake.world.install(OWNER, installation_id=INSTALLATION, repositories=[REPOSITORY])
    for n in range(14):
        fake.world.set_visibility(1000 + n, "public")
    scene.hears(
        *(registration(scene.app, f"pol-{n}", f"r-{n}", repository_id=1000 + n, name=f"tool-{n}") for n in range(14))
    )
    pursue(scene)
    fake.forget_calls()
    scene.hears(
        *(
            about_repository(scene.app, "archived", f"h-{n}", repository_id=1000 + n, name=f"tool-{n}")
            for n in range(14)
        )
    )
    scene.wait(60 * SECOND)
    scene.asks()
    assert 0 < sum(fake.calls.values()) <= PACE.slow.calls
    scene.hears(
        *(
            about_repository(scene.app, "unarchived", f"i-{n}", repository_id=1000 + n, name=f"tool-{n}")
            for n in range(14)
        )
    )
    scene.wait(60 * SECOND)
    pursue(scene)
