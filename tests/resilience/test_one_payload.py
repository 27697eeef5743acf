"""One webhook as large as GitHub sends any, from somebody who has nothing to do with the others: they do not notice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.conftest import Processes, settings_of, wait_until
from tests.resilience.conftest import Stack
from tests.resilience.doors import Doors
from tests.store.making import Json, about_member, about_repository, dead_letters, idle, registration, settle_all, view
from tests.support import JSON, OWNER, REPOSITORY, account, installation, repository
from worker.app import App
from worker.store.inbox import Envelope

OTHER = 1_049
"""Its policies are in the partition of `OWNER`'s."""
FILES = 300_000
REPOSITORIES = 100_000
P99_SECONDS = 0.25
"""What others may wait at most while the payload is taken and settled: 99 of 100 of them."""
ATTEMPTS = 3
"""The machine may be busy with something else: then it is tried again. What is too slow is so each time."""
REMOVAL_SECONDS = 1.0
"""What the removal of somebody may wait for what his owner sent before."""


def push(app: App, event_id: str, files: int = FILES) -> Envelope:
    removed: list[JSON] = [f".github/workflows/workflow-{n}.yml" for n in range(files)]
    data: Json = {
        "ref": "refs/heads/main",
        "repository": repository(99, owner=account(OWNER)),
        "commits": [{"added": [], "modified": [], "removed": removed}],
        "head": event_id,
    }
    body = json.dumps(data).encode()
    return Envelope(app.keyspace.of(OWNER), event_id, "github", "push", event_id, body)


def listing(app: App, event_id: str) -> Envelope:
    """`installation_repositories.removed` with 100,000 repositories, none of which has a policy."""
    listed: list[JSON] = [
        {"id": n, "node_id": "R_kgDOAAAA", "name": f"r-{n}", "full_name": f"octo/r-{n}", "private": True}
        for n in range(1_000_000, 1_000_000 + REPOSITORIES)
    ]
    about: Json = {"installation": installation(account=account(OWNER)), "repositories_removed": listed}
    body = json.dumps({"action": "removed", **about}).encode()
    return Envelope(app.keyspace.of(OWNER), event_id, "github", "installation_repositories.removed", event_id, body)


@pytest.fixture(scope="module")
def doors(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    settle_all(stack.app, registration(stack.app, "mine"), registration(stack.app, "other", owner=OTHER))
    processes = Processes(settings_of(stack.store), tmp_path_factory.mktemp("doors"))
    try:
        opened = Doors(processes)
        yield opened
        opened.http.close()
    finally:
        processes.kill()


def is_in(app: App, policy_id: str, owner: int, state: str) -> bool:
    seen = view(app, policy_id, owner=owner, repository_id=REPOSITORY)
    return seen is not None and seen["state"] == state


@pytest.mark.processes
@pytest.mark.timeout(120)
def test_others_do_not_notice_the_largest_payload(stack: Stack, doors: Doors, measured: Callable[[str], None]) -> None:
    """Given a push and a list of 10 MB each on their way, when others send webhooks, then these are settled at once."""

    def payloads(attempt: int) -> list[list[Envelope]]:
        return [[push(stack.app, f"push-{attempt}")], [listing(stack.app, f"list-{attempt}")]]

    harmless(stack.app, doors, "two payloads of 10 MB", payloads, measured)


@pytest.mark.processes
@pytest.mark.timeout(120)
def test_others_do_not_notice_a_flood_of_renames(stack: Stack, doors: Doors, measured: Callable[[str], None]) -> None:
    """Given a thousand renames of one policy's repository, when a neighbour in its partition sends webhooks, then these are
    settled at once.
    """
    assert stack.app.keyspace.of(OTHER) == stack.app.keyspace.of(OWNER)

    def renames(attempt: int) -> list[list[Envelope]]:
        names = [f"{attempt}-{n}" for n in range(1000)]
        flood = [about_repository(stack.app, "renamed", f"renamed-{name}", name=name) for name in names]
        return [flood[::2], flood[1::2]]

    harmless(stack.app, doors, "1,000 renames of one policy", renames, measured)


def harmless(
    app: App,
    doors: Doors,
    what: str,
    attack: Callable[[int], list[list[Envelope]]],
    measured: Callable[[str], None],
) -> None:
    """Others do not notice an attack, which is tried anew where they do."""
    p99, attempt = others_during(app, doors, attack(1)), 1
    while max(p99) > P99_SECONDS and attempt < ATTEMPTS:
        attempt += 1
        p99 = others_during(app, doors, attack(attempt))
    measured(
        f"others during {what}: "
        f"answered p99 {p99[0] * 1000:.0f} ms, visible p99 {p99[1] * 1000:.0f} ms, at attempt {attempt}"
    )
    assert max(p99) <= P99_SECONDS
    assert dead_letters(app) == []


def others_during(app: App, doors: Doors, attack: list[list[Envelope]]) -> list[float]:
    """How long others wait for an answer, and for its effect, while an attack is taken and settled: p99, seconds."""
    answered: list[float] = []
    visible: list[float] = []
    with ThreadPoolExecutor(2) as aside:
        under_way = [aside.submit(lambda row: [doors.deliver(one) for one in row], row) for row in attack]
        number = 0
        while number < 100 or number % 2 or not (all(future.done() for future in under_way) and idle(app)):
            action, goal = ("archived", "disabled") if number % 2 == 0 else ("unarchived", "provisional")
            begun = time.monotonic()
            answered.append(doors.deliver(about_repository(app, action, f"d-{begun}", owner=OTHER)))
            wait_until(partial(is_in, app, "other", OTHER, goal), f"{number} is visible", 10)
            visible.append(time.monotonic() - begun)
            number += 1
        assert [max(future.result()) < 8 for future in under_way] == [True, True]
    return [sorted(taken)[int(0.99 * len(taken))] for taken in (answered, visible)]


@pytest.mark.processes
@pytest.mark.timeout(120)
def test_nobody_delays_his_own_removal_by_pushing(stack: Stack, doors: Doors, measured: Callable[[str], None]) -> None:
    """Given large pushes and hundreds of small ones of an owner, when it removes a member, then his policy is closed."""
    app = stack.app
    with ThreadPoolExecutor(8) as aside:
        large = [aside.submit(doors.deliver, push(app, f"large-{n}", FILES // 3)) for n in range(3)]
        small = [aside.submit(doors.deliver, push(app, f"small-{n}", 10)) for n in range(400)]
        wait_until(lambda: sum(future.done() for future in small) > 200, "many are under way", 20)
        begun = time.monotonic()
        doors.deliver(about_member(app, "member_removed", "out"))
        wait_until(partial(is_in, app, "mine", OWNER, "disabled"), "the removal is visible", 20)
        took = time.monotonic() - begun
        for future in (*large, *small):
            future.result()
    measured(f"a removal among pushes of the same owner was visible after {took * 1000:.0f} ms")
    assert took <= REMOVAL_SECONDS
    wait_until(lambda: idle(app), "all is settled", 30)
