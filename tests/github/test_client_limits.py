"""Limits: an installation waits for its own, nobody for another's, and what is urgent goes on for longest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.github.clients import Calls, Clock, asking
from worker.demo.fakegithub import FakeGitHub, Fault
from worker.github.answers import LimitedError
from worker.github.budget import APP, Budget, Budgets
from worker.github.client import GitHub

HERE, THERE = 900, 901


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake(clock: Clock) -> Iterator[FakeGitHub]:
    """Two organisations with the App, and a repository each: number 1 here, number 2 there."""
    with FakeGitHub(clock=clock, limit=50) as github:
        for number, installation in ((1, HERE), (2, THERE)):
            owner = github.world.add_org(f"org-{number}")
            github.world.add_repository(owner.id, "widgets", repository_id=number)
            github.world.install(owner.id, installation_id=installation)
        yield github


@pytest.fixture
def budgets() -> Budgets:
    return Budgets()


@pytest.fixture
def github(fake: FakeGitHub, clock: Clock, budgets: Budgets) -> Iterator[GitHub]:
    with asking(fake.url, clock=clock, budgets=budgets, app_id=str(fake.app_id), pem=fake.private_key_pem) as client:
        yield client


def asks_until_it_must_not(github: GitHub, *, urgent: bool) -> LimitedError:
    for _ in range(100):
        try:
            github.repository(HERE, 1, urgent=urgent)
        except LimitedError as error:
            return error
    pytest.fail("it never had to stop")


def test_the_last_tenth_of_a_budget_is_for_urgent_calls(
    fake: FakeGitHub, github: GitHub, clock: Clock, budgets: Budgets
) -> None:
    reset_at = int(clock.now) + 3600
    # When a sweep has used what it may, then it is told when to go on, and GitHub is not asked.
    error = asks_until_it_must_not(github, urgent=False)
    assert error.retry_at == reset_at
    assert fake.calls["GET /repositories/{id}"] == 45
    assert budgets.snapshot(HERE) == Budget(50, 5, reset_at)

    # Then what is urgent goes on to the very last call, and no further.
    assert asks_until_it_must_not(github, urgent=True).retry_at == reset_at
    assert fake.calls["GET /repositories/{id}"] == 50

    # Meanwhile others go on. After the reset, so does this one.
    github.repository(THERE, 2, urgent=False)
    clock.now = reset_at
    github.repository(HERE, 1, urgent=False)


def test_the_app_s_own_budget_has_a_reserve_too(fake: FakeGitHub, github: GitHub, clock: Clock) -> None:
    fake.limits.set("jwt", remaining=6, reset_in=600)
    github.installations()
    with pytest.raises(LimitedError) as caught:
        github.installations()
    assert caught.value.retry_at == clock.now + 600
    with pytest.raises(LimitedError):
        github.repository(HERE, 1, urgent=False)
    # A token is fetched from the reserve for what is urgent; it then serves all.
    github.repository(HERE, 1, urgent=True)
    github.repository(HERE, 1, urgent=False)


@pytest.mark.parametrize("kind", ["primary_limit", "secondary_limit"])
@pytest.mark.parametrize("route", ["GET /repositories/{id}", "POST /app/installations/{id}/access_tokens"])
def test_a_limit_holds_up_its_installation_and_nobody_else(
    fake: FakeGitHub, github: GitHub, clock: Clock, kind: str, route: str
) -> None:
    fake.faults.add(Fault(kind=kind, installation=HERE, route=route, retry_after=30))  # type: ignore[arg-type]
    with pytest.raises(LimitedError) as caught:
        github.repository(HERE, 1, urgent=True)
    assert caught.value.retry_at == clock.now + 30
    fake.forget_calls()

    # Given that it is over at GitHub's, when it is asked before its time, then nothing is sent.
    fake.faults.heal()
    clock.now += 29
    with pytest.raises(LimitedError, match="not sent") as caught:
        github.repository(HERE, 1, urgent=True)
    assert caught.value.retry_at == clock.now + 1
    assert not fake.calls

    # Others, and the App itself, are not held up.
    github.repository(THERE, 2, urgent=False)
    github.installations()
    clock.now += 1
    github.repository(HERE, 1, urgent=False)


def test_a_process_heeds_what_another_learnt(fake: FakeGitHub, github: GitHub, clock: Clock, budgets: Budgets) -> None:
    calls = Calls()
    others = Budgets()
    with asking(
        fake.url, clock=clock, budgets=others, calls=calls, app_id=str(fake.app_id), pem=fake.private_key_pem
    ) as other:
        fake.faults.add(Fault(kind="secondary_limit", installation=HERE, route="GET /repositories/{id}"))
        with pytest.raises(LimitedError):
            github.repository(HERE, 1, urgent=True)
        others.load(budgets.snapshots([HERE, APP]))
        with pytest.raises(LimitedError):
            other.repository(HERE, 1, urgent=True)
    assert calls == []
