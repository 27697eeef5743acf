"""`tenure policy explain`: a policy's standing in plain English, what blocks it, and what happens next."""

from __future__ import annotations

import typer

from worker.cli import output
from worker.cli.session import AsJson, PolicyId, opened, registered_policy
from worker.operators.narrowing import narrowing_of
from worker.operators.policies import hold_of
from worker.operators.switches import told_of
from worker.words.explanation import explanation_of


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(explain)


def explain(ctx: typer.Context, policy_id: PolicyId, *, as_json: AsJson = False) -> None:
    """Explain in plain English where a policy stands, what would clear each reason, what happens next, and what it could ask
    for beside what it does.
    """
    app = opened(ctx)
    _, policy, view = registered_policy(app, policy_id)
    explanation = explanation_of(policy, view, app.settings.rules, app.status.now())
    narrowing = narrowing_of(policy, view, explanation.standing, app.logins.of(policy), explanation.now)
    switches = app.switches.over(view)
    if as_json:
        held_by = [switch.shown() for switch in switches]
        proposed = None if narrowing is None else narrowing.as_json()
        output.line(output.as_json({**explanation.as_json(), "switches": held_by, "proposal": proposed}))
        return
    for text in explanation.lines():
        output.line(output.clean(text))
    if narrowing is not None:
        output.line(output.clean(narrowing.sentence))
        if narrowing.members:
            output.line(output.clean(f"To ask for that: {narrowing.command}"))
    for switch in switches:
        output.line(output.clean(f"It may not publish now, whatever else: {told_of(switch)}"))
    held = hold_of(app, policy)
    if held is not None:
        output.line(output.clean(f"Held by {held.by}{f': {held.reason}' if held.reason else ''}"))
