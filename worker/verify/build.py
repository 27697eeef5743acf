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
from worker.lifecycle.facts import DAY, HOUR, SECOND, Micros
from worker.lifecycle.owners import DEFAULT
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
    """Everything that asks one instance of GitHub."""

    issuer: str
    github: GitHub
    accesses: Accesses
    verifier: Verifier
    checker: Checker
    sweeper: Sweeper
    redeliverer: Redeliverer

    def close(self) -> None:
        self.checker.close()
        self.github.close()


def build_all(app: App) -> tuple[VerificationParts, ...]:
    """The parts for each instance of GitHub that can be asked, the default one's first.

    Raises:
        SettingsError: there are no credentials to ask any with.
    """
    asked = [issuer for issuer in app.settings.instances if issuer in app.settings.asked]
    return tuple(build_verification(app, issuer=issuer) for issuer in asked or [DEFAULT])


def github_client(
    settings: Settings,
    budgets: Budgets,
    calls: CallCounter,
    clock: Callable[[], float] = time.time,
    transport: httpx.BaseTransport | None = None,
    *,
    issuer: str = DEFAULT,
) -> GitHub:
    """The API of an instance of GitHub, as the settings have it; its calls are counted and bounded by `calls`.

    Raises:
        SettingsError: there are no credentials to ask with.
    """
    instance = settings.instances[issuer]
    if instance.app_id is None:
        raise SettingsError(
            "TENURE_GITHUB_APP_ID: not set, so GitHub cannot be asked; give the App's id, and its key in "
            "TENURE_GITHUB_PRIVATE_KEY_FILE"
            if issuer == DEFAULT
            else f"TENURE_ISSUERS: {issuer}.app_id: not set, so this instance cannot be asked; give its App's id and key"
        )
    rotation = Rotation(settings, time.monotonic)

    def private_key() -> str:
        # It can change, and cannot go: settings with the App's id and without its key are refused.
        key = rotation.settings().instances[issuer].private_key
        return key.get_secret_value() if key is not None else ""

    return GitHub(
        api_url=instance.api_url,
        app_id=instance.app_id,
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
    issuer: str = DEFAULT,
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
    github = github_client(settings, budgets, calls, clock, transport, issuer=issuer)
    checks, ledger, directory = app.checks.at(issuer), app.ledger.at(issuer), app.directory.at(issuer)
    missing_scopes = app.missing_scopes.at(issuer)
    accesses = Accesses(github, directory, calls, time_of, clock)
    losses = Losses(missing_scopes, settings.breaker_share)
    verifier = Verifier(
        github=github,
        calls=calls,
        checks=checks,
        budgets=SharedBudgets(budgets, ledger),
        accesses=accesses,
        suspects=missing_scopes,
        losses=losses,
        policies=app.policies,
        settler=app.settler,
        rules=settings.rules.at(issuer),
        now=time_of,
        stamp=stamp,
        clock=clock,
    )
    checker = Checker(
        verifier=verifier,
        checks=checks,
        ledger=ledger,
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
        checks=checks,
        directory=directory,
        status=app.status,
        calls=calls,
        every=round(settings.sweep_hours * HOUR),
        now=time_of,
    )
    redeliverer = Redeliverer(
        github=github,
        deliveries=app.deliveries.at(issuer),
        checks=checks,
        directory=directory,
        status=app.status,
        calls=calls,
        now=now or (lambda: round(clock() * SECOND)),
        issuer=issuer,
        kept=settings.instances[issuer].redelivery_days * DAY,
    )
    return VerificationParts(issuer, github, accesses, verifier, checker, sweeper, redeliverer)
