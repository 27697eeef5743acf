"""`tenure recover`: what to do after the store went back in time."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.app import App
from worker.cli import output
from worker.cli.policy_acts import operator
from worker.cli.session import AsJson, Exit, ended, opened, stated
from worker.cli.sweep import asked_issuers, asking_github
from worker.github.answers import GitHubError
from worker.lifecycle.facts import DAY, SECOND, Micros
from worker.lifecycle.views import rfc3339
from worker.operators.recovery import accept
from worker.store.epoch import Recovery

OVERLAP: Micros = 60 * SECOND
"""Deliveries are asked for from a little earlier on: GitHub's clock dates them, and what is known already is a duplicate."""


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(recover)


def recover(
    ctx: typer.Context,
    *,
    redeliver: Annotated[
        bool, typer.Option("--redeliver", help="Have GitHub deliver again all webhooks that it keeps since then.")
    ] = False,
    accepted: Annotated[
        bool, typer.Option("--accept", help="Open the policies again, whatever is still missing.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why; needed with --accept. Goes into the audit trail.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show since when the store lacks what was written, and what brings it back; with --accept, open the policies again.

    A store that was restored from a backup, or that a failover left behind, would open again what had been closed since.
    So every policy is closed until an operator accepts the store as it is. Exit code 3 if it never went back, or was
    accepted already.
    """
    why = stated(reason) if accepted else ""
    app = opened(ctx)
    recovery = app.epochs.recovery()
    if recovery is None or recovery.accepted is not None:
        if as_json and recovery is not None:
            output.line(output.as_json(_shown(recovery)))
        raise ended(Exit.NOTHING, "nothing to recover: the store did not go back in time, or was accepted since")
    if as_json:
        output.line(output.as_json(_shown(recovery)))
    else:
        _explain(app, recovery)
    if redeliver:
        _redeliver(app, recovery)
    if accepted:
        held = accept(app, recovery, by=operator(), reason=why)
        output.note(
            "accepted; every policy is still held: `tenure hold` says by whom"
            if held
            else "accepted: policies are open again, as the store knows them"
        )


def _shown(recovery: Recovery) -> dict[str, object]:
    return {
        "epoch": recovery.epoch,
        "lost_since": rfc3339(recovery.since),
        "found_at": rfc3339(recovery.found),
        "accepted_at": None if recovery.accepted is None else rfc3339(recovery.accepted),
    }


def _explain(app: App, recovery: Recovery) -> None:
    output.line(f"lost since   {rfc3339(recovery.since)}")
    output.line(f"found at     {rfc3339(recovery.found)}")
    output.line(f"epoch        {recovery.epoch}")
    webhooks = (
        "`tenure recover --redeliver` has GitHub deliver them again, as far back as it keeps them: three days, or seven"
        if app.settings.asks_github
        else 'set TENURE_GITHUB_APP_ID and its key to have GitHub deliver them again, or use the App\'s page "Advanced"'
    )
    verified = (
        "`tenure sweep` verifies every policy with GitHub"
        if app.settings.asks_github
        else "without access to GitHub's API, nothing can be verified"
    )
    for step in (
        f"webhooks: {webhooks}",
        "the registry and the exchange send every event again whose time is later than that; what is known is a duplicate",
        "operators repeat what they did since then: holds, releases, renewals; `tenure audit` lacks them, too",
        verified,
        "then `tenure recover --accept --reason TEXT` opens the policies",
    ):
        output.note(f"- {step}")


def _redeliver(app: App, recovery: Recovery) -> None:
    came = gone = 0
    for issuer in asked_issuers(app):
        since = max(recovery.since - OVERLAP, app.status.now() - app.settings.instances[issuer].redelivery_days * DAY)
        came, gone = _redeliver_from(app, issuer, since, came, gone)
    output.note(f"{came} webhooks are delivered again" + (f"; {gone} are kept no more" if gone else ""))


def _redeliver_from(app: App, issuer: str, since: Micros, came: int, gone: int) -> tuple[int, int]:
    """How many webhooks come again, and how many are kept no more, with those of one instance of GitHub."""
    with asking_github(app, issuer) as asking, output.progress("webhooks", None) as advance:
        try:
            for will_come in asking.redeliverer.all_since(since):
                came, gone = came + will_come, gone + (not will_come)
                advance()
        except GitHubError as error:
            raise ended(
                Exit.UNREACHABLE,
                f"{came} webhooks are delivered again, and then GitHub did not answer: {error}; repeat this",
            ) from None
    return came, gone
