"""How the parts that ask GitHub are put together, for a process that has the App's credentials."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from worker.app import App
from worker.github.budget import Budgets
from worker.github.client import GitHub
from worker.github.wire import Timeouts
from worker.lifecycle.facts import HOUR, SECOND, Micros
from worker.settings import Settings, SettingsError
from worker.settings.rotation import Rotation
from worker.verify.budgets import SharedBudgets
from worker.verify.calls import CallCounter
from worker.verify.checker import Checker, LaneAllowances
from worker.verify.installations import Accesses
from worker.verify.lanes import Lanes
from worker.verify.losses import Losses
from worker.verify.redeliverer import Redeliverer
from worker.verify.sweeper import Sweeper
from worker.verify.verifier import Verifier

TIMEOUTS = Timeouts(connect=5.0, read=6.0, write=6.0, pool=6.0, total=8.0)
"""GitHub itself gives up on a request after ten seconds."""


@dataclass(frozen=True, slots=True)
class VerificationParts:
    """Everything that asks GitHub."""

    github: GitHub
    accesses: Accesses
    verifier: Verifier
    checker: Checker
    sweeper: Sweeper
    redeliverer: Redeliverer

    def close(self) -> None:
        self.checker.close()
        self.github.close()


def github_client(
    settings: Settings,
    budgets: Budgets,
    calls: CallCounter,
    clock: Callable[[], float] = time.time,
    transport: httpx.BaseTransport | None = None,
) -> GitHub:
    """GitHub's API, as the settings have it; its calls are counted and bounded by `calls`.

    Raises:
        SettingsError: there are no credentials to ask with.
    """
    if settings.github_app_id is None or settings.github_private_key is None:
        raise SettingsError(
            "TENURE_GITHUB_APP_ID: not set, so GitHub cannot be asked; give the App's id, and its key in "
            "TENURE_GITHUB_PRIVATE_KEY_FILE"
        )
    rotation = Rotation(settings, time.monotonic)

    def private_key() -> str:
        # It can change, and cannot go: settings with the App's id and without its key are refused.
        key = rotation.settings().github_private_key
        return key.get_secret_value() if key is not None else ""

    return GitHub(
        api_url=settings.github_api_url,
        app_id=settings.github_app_id,
        private_key=private_key,
        clock=clock,
        budgets=budgets,
        on_call=calls.note,
        until=calls.until,
        timeouts=TIMEOUTS,
        transport=transport,
    )


def build_verification(
    app: App,
    now: Callable[[], Micros] | None = None,
    pace: LaneAllowances = LaneAllowances(),  # noqa: B008 - immutable
    *,
    clock: Callable[[], float] = time.time,
    transport: httpx.BaseTransport | None = None,
    lanes: Lanes | None = None,
) -> VerificationParts:
    """Connect the parts. `now` tells the time and dates what is learnt; if not given, the store does. `clock`: unix seconds of
    this machine. `transport`: takes the place of connections to GitHub; `lanes`, of the threads that check.

    Raises:
        SettingsError: there are no credentials to ask with.
    """
    settings = app.settings
    time_of = now or app.status.now
    stamp = app.status.stamp if now is None else lambda _owner_id: time_of()
    budgets, calls = Budgets(), CallCounter()
    github = github_client(settings, budgets, calls, clock, transport)
    accesses = Accesses(github, app.directory, calls, time_of, clock)
    losses = Losses(app.missing_scopes, settings.breaker_share)
    verifier = Verifier(
        github=github,
        calls=calls,
        checks=app.checks,
        budgets=SharedBudgets(budgets, app.ledger),
        accesses=accesses,
        suspects=app.missing_scopes,
        losses=losses,
        policies=app.policies,
        settler=app.settler,
        rules=settings.rules,
        now=time_of,
        stamp=stamp,
        clock=clock,
    )
    checker = Checker(
        verifier=verifier,
        checks=app.checks,
        ledger=app.ledger,
        status=app.status,
        calls=calls,
        now=time_of,
        pace=pace,
        lanes=lanes or Lanes(),
    )
    sweeper = Sweeper(
        verifier=verifier,
        checker=checker,
        accesses=accesses,
        checks=app.checks,
        directory=app.directory,
        status=app.status,
        calls=calls,
        every=round(settings.sweep_hours * HOUR),
        now=time_of,
    )
    redeliverer = Redeliverer(
        github=github,
        deliveries=app.deliveries,
        checks=app.checks,
        directory=app.directory,
        status=app.status,
        calls=calls,
        now=now or (lambda: round(clock() * SECOND)),
    )
    return VerificationParts(github, accesses, verifier, checker, sweeper, redeliverer)
