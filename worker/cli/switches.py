"""`tenure hold`, `tenure release`: many policies at once, without a write for each."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.app import App
from worker.cli import output
from worker.cli.policy_acts import operator
from worker.cli.session import AsJson, Exit, ended, opened, stated
from worker.operators.switches import LONGEST_REASON, Affected, ScopeError, affected, check_issuer, scope
from worker.store.switches import Scope, StandsError, Switch, TooManyError, new_id

SHOWN = 20
"""Policies that are named."""
HEADINGS = ("SCOPE", "SINCE", "BY", "REASON")
POLICIES = ("POLICY", "STATE", "REPOSITORY", "WORKFLOW", "PACKAGE OWNER")

All = Annotated[bool, typer.Option("--all", help="Every policy.")]
Issuer = Annotated[
    str | None, typer.Option(metavar="ALIAS", help="Policies of one instance of GitHub: github, or another's alias.")
]
Owner = Annotated[
    str | None, typer.Option(metavar="ID", help="Policies of a GitHub owner, by its id; alias/id of another instance.")
]
Creator = Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Policies that an account created.")]
Repository = Annotated[
    str | None, typer.Option(metavar="OWNER_ID:ID", help="Policies of a repository, by its owner's id and its own.")
]
PackageOwner = Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Policies that publish for an account.")]
Reason = Annotated[str | None, typer.Option(help="Why: goes into the audit trail, and is shown to operators.")]
Apply = Annotated[bool, typer.Option("--apply", help="Do it; else only show how many and which.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(hold)
    app.command()(release)


def hold(
    ctx: typer.Context,
    *,
    all_: All = False,
    issuer: Issuer = None,
    owner: Owner = None,
    creator: Creator = None,
    repository: Repository = None,
    package_owner: PackageOwner = None,
    reason: Reason = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """Hold many policies at once: show how many and which; with --apply --reason, do it. Without any, show what is held.

    At once no reader lets any of them publish, and none of them changes: a release leaves each as it was, and holds of
    single policies (`tenure policy hold`) as they are. Exit code 3 if nothing is held, or there is no such policy to hold.
    """
    wanted = _scope(
        all_, issuer=issuer, owner=owner, creator=creator, repository=repository, package_owner=package_owner
    )
    why = _stated(reason) if apply else ""
    app = opened(ctx)
    if wanted is None:
        _show_all(app, as_json=as_json)
        return
    try:
        check_issuer(wanted, app.settings.aliases)
    except ScopeError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{wanted.kind}") from None
    found = affected(app, wanted, SHOWN)
    done = False
    if apply:
        try:
            app.switches.close(wanted, reason=why, by=operator(), at=app.status.now(), request_id=new_id())
        except (StandsError, TooManyError) as error:
            raise ended(Exit.FAILED, str(error)) from None
        done = True
    _show(wanted, found, done=done, word="held", as_json=as_json)
    if not found.count and not done:
        raise ended(Exit.NOTHING, f"no policy is under {wanted}; --apply would hold those that come")


def release(
    ctx: typer.Context,
    *,
    all_: All = False,
    issuer: Issuer = None,
    owner: Owner = None,
    creator: Creator = None,
    repository: Repository = None,
    package_owner: PackageOwner = None,
    reason: Reason = None,
    apply: Apply = False,
    as_json: AsJson = False,
) -> None:
    """End what `tenure hold` began: show how many and which; with --apply --reason, do it.

    Holds of single policies, and other switches, go on. Exit code 3 if it is not held.
    """
    wanted = _scope(
        all_, issuer=issuer, owner=owner, creator=creator, repository=repository, package_owner=package_owner
    )
    if wanted is None:
        raise typer.BadParameter("say what to release: --all, --owner ID, …; `tenure hold` shows what is held")
    why = _stated(reason) if apply else ""
    app = opened(ctx)
    if not any(switch.scope == str(wanted) for switch in app.switches.all()):
        raise ended(Exit.NOTHING, f"{wanted} is not held")
    found = affected(app, wanted, SHOWN)
    if apply:
        try:
            app.switches.open(wanted, reason=why, by=operator(), at=app.status.now(), request_id=new_id())
        except StandsError as error:
            raise ended(Exit.NOTHING, str(error)) from None
    _show(wanted, found, done=apply, word="released", as_json=as_json)


def _stated(reason: str | None) -> str:
    why = stated(reason)
    if len(why) > LONGEST_REASON:
        raise typer.BadParameter(f"say it in at most {LONGEST_REASON} characters", param_hint="--reason")
    return why


def _scope(all_: bool, **named: str | None) -> Scope | None:
    """The one that is named; None if none is.

    Raises:
        typer.BadParameter: several are, or it is none.
    """
    given = {kind: name for kind, name in (named | {"all": "" if all_ else None}).items() if name is not None}
    if not given:
        return None
    if len(given) > 1:
        raise typer.BadParameter("name one of --all, --issuer, --owner, --creator, --repository, --package-owner")
    ((kind, name),) = given.items()
    try:
        return scope(kind, name)
    except ScopeError as error:
        raise typer.BadParameter(str(error), param_hint=f"--{kind.replace('_', '-')}") from None


def _show_all(app: App, *, as_json: bool) -> None:
    closed = app.switches.all()
    if as_json:
        for switch in closed:
            output.line(output.as_json(switch.shown()))
    elif closed:
        output.table(HEADINGS, map(_cells, closed))
    if not closed:
        raise ended(Exit.NOTHING, "nothing is held; --owner ID and the like say what to hold")


def _cells(switch: Switch) -> tuple[str, ...]:
    return switch.scope, switch.at, switch.by, switch.reason


def _show(wanted: Scope, found: Affected, *, done: bool, word: str, as_json: bool) -> None:
    if as_json:
        output.line(
            output.as_json({
                "scope": str(wanted), "policies": found.count, word: done,
                "first": [view["policy_id"] for view in found.first],
            })
        )  # fmt: skip
        return
    rows = [
        (
            view["policy_id"],
            view["state"],
            f"{view['repository_owner']}/{view['repository']}",
            view["workflow_file"],
            view["package_owner"]["account"],
        )
        for view in found.first
    ]
    if rows:
        output.table(POLICIES, rows)
    if found.count > len(rows):
        output.note(f"… and {found.count - len(rows)} more")
    policies = f"{found.count} {'policy' if found.count == 1 else 'policies'}"
    if done:
        output.note(f"{wanted}: {word}; {policies}")
    else:
        output.note(f"{wanted}: {policies} would be {word}. Give --apply --reason")
