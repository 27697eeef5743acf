"""`tenure doctor`: looks at everything that Tenure needs and says what to do. `checks` holds the single looks."""

from __future__ import annotations

import typer

from worker import logs, settings
from worker.app import build
from worker.cli import output
from worker.cli.session import AsJson, Exit, failure
from worker.doctor import diagnostics
from worker.doctor.finding import OK, PROBLEM, WARNING, Finding
from worker.doctor.runbooks import address_of
from worker.store.client import StoreError


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(doctor)


def doctor(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Look at settings, store, queue, workers and clock; say what is wrong, what it means and what to do.

    Exit codes: 0 nothing is wrong (there may be warnings), 1 something is, 5 the store or the queue cannot be reached.
    """
    configuration = settings.load()
    # The doctor tells of what fails in its findings.
    logs.configure("debug" if ctx.obj else "error", configuration.log_format)
    configuration.store_url()
    findings = [
        Finding("settings", WARNING, f"{name} is set, and is no setting", f"call it {meant}, or unset it")
        for name, meant in settings.misspelt().items()
    ] or [Finding("settings", OK, "can be read", "")]
    unreachable = False
    try:
        app = build(configuration)
        findings.extend(diagnostics.diagnose(app))
    except StoreError as error:
        message = failure(error)
        finding = Finding("store", PROBLEM, message[1] if message else "", diagnostics.REACH_STORE)
        findings.append(diagnostics.with_runbook(finding))
        unreachable = True
    except settings.SettingsError as error:
        findings.append(Finding("settings", PROBLEM, str(error), "correct it and start Tenure again"))
    unreachable = unreachable or any(f.advice == diagnostics.REACH_BROKER for f in findings)
    _show(
        [finding._replace(runbook=address_of(configuration, finding.runbook)) for finding in findings], as_json=as_json
    )
    if unreachable:
        raise typer.Exit(Exit.UNREACHABLE)
    if any(finding.level == PROBLEM for finding in findings):
        raise typer.Exit(Exit.FAILED)


def _show(findings: list[Finding], *, as_json: bool) -> None:
    if as_json:
        for finding in findings:
            output.line(output.as_json(finding._asdict()))
        return
    output.table(("", "CHECK", "FINDING", "WHAT TO DO"), ((f.level, f.check, f.finding, _advice(f)) for f in findings))


def _advice(finding: Finding) -> str:
    return f"{finding.advice}; see {finding.runbook}" if finding.runbook else finding.advice
