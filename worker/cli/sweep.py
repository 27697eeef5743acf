"""`tenure policy recheck` and `tenure sweep`: asking GitHub now, and seeing what it says."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated

import typer

from worker.app import App
from worker.cli import output
from worker.cli.policy_acts import operator, refused
from worker.cli.session import AsJson, Exit, PolicyId, ended, opened, registered_policy, stated
from worker.lifecycle.criteria import owner_given
from worker.lifecycle.facts import HOUR, SECOND, Micros
from worker.lifecycle.owners import DEFAULT, OwnerRef, issuer_of, owner_at
from worker.lifecycle.views import View, owner_of, rfc3339
from worker.operators.policies import RECHECKED, ActionRefusedError, recheckable
from worker.settling.processor import worker_name
from worker.verify.build import VerificationParts, build_verification
from worker.verify.losses import SECOND_LOOK
from worker.verify.verifier import Report, VerificationRequest

UNANSWERED = frozenset({"later", "limited", "credentials"})
"""Outcomes for which GitHub could not be reached, or would not talk to us."""
PASSING: Micros = HOUR
"""How long losses are let through after an operator said so."""


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(sweep)


def register_recheck(policies: typer.Typer) -> None:
    """Add that command to those about policies."""
    policies.command()(recheck)


@contextmanager
def asking_github(app: App, issuer: str) -> Iterator[VerificationParts]:
    """What asks an instance of GitHub, closed at the end.

    Raises:
        SettingsError: there are no credentials.
    """
    asking = build_verification(app, issuer=issuer)
    try:
        yield asking
    finally:
        asking.close()


def recheck(
    ctx: typer.Context,
    policy_id: PolicyId,
    *,
    reason: Annotated[str | None, typer.Option(help="Why; goes into the audit trail.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask GitHub now about a policy's repository and creator, and show what it says.

    Exit code 5 if GitHub does not answer: then nothing was changed by it.
    """
    app = opened(ctx)
    try:
        policy, view = recheckable(app, policy_id)
    except ActionRefusedError as error:
        raise refused(error) from None
    with asking_github(app, issuer_of(owner_of(view))) as asking:
        app.audit.record(RECHECKED, by=operator(), reason=(reason or "").strip() or None, subjects=(policy_id,))
        request = VerificationRequest(
            owner_of(view), policy.verifiable_scopes, app.status.now(), urgent=True, event="recheck"
        )
        reports = [asking.verifier.verify(request)]
        asking.checker.follow(reports[-1])
        again = _second_look(reports)
        if again is not None:
            _wait(app, again)
            reports.append(asking.verifier.verify(request._replace(heard_at=app.status.now())))
            asking.checker.follow(reports[-1])
    _, _, after = registered_policy(app, policy_id)
    _show_recheck(policy_id, reports, view, after, as_json=as_json, now=app.status.now())
    last = reports[-1]
    if last.outcome in UNANSWERED:
        raise ended(Exit.UNREACHABLE, f"GitHub did not answer: {last.error}")
    if last.outcome != "done":
        raise ended(Exit.FAILED, f"{policy_id}: {last.error or last.evidence[-1].answer}")


def _show_recheck(
    policy_id: str, reports: list[Report], before: View, after: View, *, as_json: bool, now: Micros
) -> None:
    evidence = [line for report in reports for line in report.evidence]
    if as_json:
        lines = [{"about": line.about, "answer": line.answer, "asked_at": rfc3339(line.at)} for line in evidence]
        report_fields = {
            "policy_id": policy_id,
            "outcome": reports[-1].outcome,
            "calls": sum(report.calls for report in reports),
            "evidence": lines,
            "view": after,
        }
        output.line(output.as_json(report_fields))
    else:
        output.table(("ASKED", "ABOUT", "GITHUB SAYS"), ((output.when(e.at, now), e.about, e.answer) for e in evidence))
    reasons = f" ({', '.join(after['reasons'])})" if after["reasons"] else ""
    was = "still " if (before["state"], before["reasons"]) == (after["state"], after["reasons"]) else "now "
    output.note(f"{policy_id}: {was}{after['state']}{reasons}")


def _second_look(reports: Iterable[Report]) -> Micros | None:
    """When the first second looks are due, if that is soon."""
    soon = [when for report in reports for when in report.again if when <= report.at + 2 * SECOND_LOOK]
    return max(soon, default=None)


def _wait(app: App, moment: Micros) -> None:
    left = (moment - app.status.now()) / SECOND
    if left > 0:
        output.note(f"GitHub does not know all of it; a second look in {left:.0f} s")
        time.sleep(left)


def sweep(
    ctx: typer.Context,
    *,
    owner: Annotated[str | None, typer.Option(help="One GitHub owner only: login or id.")] = None,
    status: Annotated[bool, typer.Option("--status", help="Only show how verifying stands.")] = False,
    let_through: Annotated[
        bool, typer.Option("--let-through", help="Believe what GitHub does not know, however much it is, for an hour.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why; needed with --let-through.")] = None,
    as_json: AsJson = False,
) -> None:
    """Verify all policies with GitHub now, the owners that were not verified for longest first.

    It stops when too much is missing at once to be true, until you let it through. Exit code 4 if some owners could not
    be verified.
    """
    app = opened(ctx)
    if status:
        _show_status(app, as_json=as_json)
        return
    why = stated(reason) if let_through else ""
    with ExitStack() as parts:
        asked = [parts.enter_context(asking_github(app, issuer)) for issuer in asked_issuers(app)]
        if let_through:
            app.audit.record("sweep.let_through", by=operator(), reason=why, subjects=())
            for asking in asked:
                app.missing_scopes.at(asking.issuer).let_through(app.status.now() + PASSING)
            output.note("what GitHub does not know is believed for an hour")
        owners = {asking.issuer: _owners(app, asking.issuer, owner) for asking in asked}
        if not any(owners.values()):
            raise ended(Exit.NOTHING, "no policy has such a GitHub owner" if owner else "there are no policies")
        reports = [r for asking in asked if owners[asking.issuer] for r in _sweep(app, asking, owners[asking.issuer])]
    last = {report.owner_id: report for report in reports}
    failed = [report for report in last.values() if report.outcome not in ("done", "blind")]
    _show_reports(reports, as_json=as_json)
    if any(app.missing_scopes.at(issuer).breaker().open_since is not None for issuer in owners):
        raise ended(
            Exit.PARTLY,
            "too much is missing at GitHub to be true, so none of it is believed; if it is true: "
            "tenure sweep --let-through --reason TEXT",
        )
    if failed:
        code = Exit.PARTLY if len(failed) < len(last) else Exit.UNREACHABLE
        raise ended(code, f"{len(failed)} of {len(last)} owners are not verified: {failed[0].error}")


def asked_issuers(app: App) -> list[str]:
    """The instances of GitHub that can be asked; the default one, whose credentials are missed, if there are none."""
    return [issuer for issuer in app.settings.instances if issuer in app.settings.asked] or [DEFAULT]


def _owners(app: App, issuer: str, named: str | None) -> list[OwnerRef]:
    checks = app.checks.at(issuer)
    owners = [owner for owner, _ in checks.stalest(checks.owners())]
    if named is None:
        return owners
    installed = {entry.login.lower(): owner_at(issuer, entry.account_id) for entry in app.directory.at(issuer).all()}
    requested = owner_given(named)
    wanted = installed.get(named.lower()) if requested is None else requested
    return [owner for owner in owners if owner == wanted]


def _sweep(app: App, asking: VerificationParts, owners: list[OwnerRef]) -> list[Report]:
    asking.sweeper.refresh()
    plan = asking.sweeper.plan(owners)
    unknown = f", {plan.unknown} of them for the first time" if plan.unknown else ""
    output.note(f"planned: {plan.owners} owners, {plan.calls} calls{unknown}")
    reports = []
    with output.progress("owners", len(owners)) as advance:
        for owner_id in owners:
            reports.append(asking.sweeper.sweep(owner_id, worker_name()))
            advance()
    due = _second_look(reports)
    if due is not None:
        _wait(app, due)
        suspected = {report.owner_id: [s for scopes in report.again.values() for s in scopes] for report in reports}
        for owner_id, about in suspected.items():
            if about:
                request = VerificationRequest(owner_id, tuple(about), app.status.now(), urgent=False, event="sweep")
                reports.append(asking.verifier.verify(request))
                asking.checker.follow(reports[-1])
    output.note(f"used: {sum(report.calls for report in reports)} calls")
    return reports


def _show_reports(reports: list[Report], *, as_json: bool) -> None:
    merged: dict[OwnerRef, list[Report]] = {}
    for report in reports:
        merged.setdefault(report.owner_id, []).append(report)
    rows = []
    for owner_id, parts in merged.items():
        changes = [f"{policy_id} {change.value}" for part in parts for policy_id, change in part.changes]
        withheld = sorted({scope for part in parts for scope in part.withheld})
        report_fields = {
            "owner_id": owner_id,
            "outcome": parts[-1].outcome,
            "policies": parts[0].policies,
            "calls": sum(part.calls for part in parts),
            "withheld": withheld,
            "changes": changes,
        }
        if as_json:
            output.line(output.as_json(report_fields))
        rows.append((*[*report_fields.values()][:4], len(withheld), "; ".join(changes) or "-"))
    if not as_json:
        output.table(("OWNER", "OUTCOME", "POLICIES", "CALLS", "WITHHELD", "CHANGES"), rows)


def _show_status(app: App, *, as_json: bool) -> None:
    told = {issuer: _status_at(app, issuer) for issuer in app.settings.instances}
    if as_json:
        others = {issuer: said for issuer, said in told.items() if issuer != DEFAULT}
        output.line(output.as_json({**told[DEFAULT], **({"issuers": others} if others else {})}))
        return
    for issuer, said in told.items():
        name = "sweep" if issuer == DEFAULT else f"sweep of {issuer}"
        output.fields({field: "-" if value is None else value for field, value in said.items()}, name)


def _status_at(app: App, issuer: str) -> dict[str, object]:
    now, checks, missing = app.status.now(), app.checks.at(issuer), app.missing_scopes.at(issuer)
    stalest = checks.stalest(1)
    breaker, tally = missing.breaker(), missing.tally(now)
    lost = sum(missed.given_up for missed in app.deliveries.at(issuer).pending().values())
    oldest = stalest[0][1] if stalest else None
    since = None if breaker.open_since is None else rfc3339(breaker.open_since)
    return {
        "owners": checks.owners(),
        "stalest_verified_at": rfc3339(oldest) if oldest else None,
        "checks_waiting": checks.waiting(),
        "owners_asked_lately": tally.owners_asked,
        "owners_losing": tally.losing,
        "suspected": tally.pending,
        "lost_lately": tally.lost,
        "breaker_open_since": since,
        "let_through_until": rfc3339(breaker.passing_until) if breaker.passing_until > now else None,
        "deliveries_lost": lost,
        "github_failures_in_a_row": app.ledger.at(issuer).trouble().failures,
    }
