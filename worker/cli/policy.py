"""`tenure policy`: look at policies. `explain`, `policy_acts` and `transfer` add the other commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain, islice
from typing import Annotated

import typer

from worker.app import App
from worker.cli import explain, output, policy_acts, sweep, transfer
from worker.cli.session import AsJson, Exit, PolicyId, ended, opened, registered_policy, say_unreadable
from worker.lifecycle import scopes
from worker.lifecycle.criteria import PolicyCriteria, owner_given
from worker.lifecycle.decide import Standing, decide
from worker.lifecycle.facts import Micros, Observation
from worker.lifecycle.logins import LoginCount
from worker.lifecycle.policy import Policy
from worker.lifecycle.reasons import REASONS
from worker.lifecycle.views import View, described, owner_of
from worker.operators.switches import told_of
from worker.operators.timeline import timeline
from worker.store.codec import fits
from worker.store.logins import PolicyLogins, with_logins
from worker.store.policies import START, HistoryEntry, Touch
from worker.words.conditions import asked

PAGE = 500
ON_TERMINAL = 100
"""How many policies fit a terminal, if nobody says how many are wanted."""
HEADINGS = ("POLICY", "STATE", "USABLE UNTIL", "REASONS", "REPOSITORY", "WORKFLOW", "ENVIRONMENT", "PACKAGE OWNER")
LOGIN_HEADINGS = ("LOGINS", "CODE", "COUNT", "FIRST", "LAST", "RUN", "REF")

policies = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    explain.register(policies)
    policy_acts.register(policies)
    transfer.register(policies)
    sweep.register_recheck(policies)
    app.add_typer(policies, name="policy", help="Look at policies, and act on them.")


@policies.callback()
def _policy() -> None:
    """Look at policies, and act on them.

    What you change goes the way of all events: dated, ordered, published, and kept if it fails.
    """


class ListedState(StrEnum):
    PROVISIONAL = "provisional"
    ACTIVE = "active"
    DISABLED = "disabled"
    EXPIRED = "expired"


@policies.command("list")
def list_(
    ctx: typer.Context,
    *,
    owner: Annotated[
        str | None, typer.Option(help="GitHub owner: login or id. An id is found without reading the rest.")
    ] = None,
    repository: Annotated[str | None, typer.Option(help="GitHub repository: name, owner/name or id.")] = None,
    package_owner: Annotated[str | None, typer.Option(help="The registry's account that owns the packages.")] = None,
    state: Annotated[
        ListedState | None, typer.Option(help="Removed policies are not listed; `show` still finds them.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="A blocking reason, such as held_by_operator.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many; {ON_TERMINAL} on a terminal if not given, else all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List policies and where they stand. Exit code 3 if none matches, 4 if a record cannot be read: the rest is shown."""
    if reason is not None and reason not in REASONS:
        raise typer.BadParameter(f"is one of {', '.join(REASONS)}", param_hint="--reason")
    app = opened(ctx)
    criteria = PolicyCriteria(owner, repository, package_owner, state.value if state else None, reason)
    unreadable: list[str] = []
    candidates = _candidates(app, owner, unreadable)
    matched = (view for policy in candidates if (view := policy.view) and criteria.admits(view))
    first = next(matched, None)
    if first is None and not unreadable:
        raise ended(Exit.NOTHING, "no policy matches")
    room = ON_TERMINAL if limit is None and output.on_terminal() and not as_json else limit
    shown = islice(chain(() if first is None else (first,), matched), room)
    if as_json:
        for view in shown:
            output.line(output.as_json(view))
    else:
        now = app.status.now()
        output.table(HEADINGS, (_cells(view, now) for view in shown))
    if room is not None and next(matched, None) is not None:
        output.note(f"there are more than these {room}; --limit says how many to show")
    say_unreadable(unreadable)


def _candidates(app: App, owner: str | None, unreadable: list[str]) -> Iterator[Policy]:
    """Every policy that was not removed, or those of one GitHub owner where its id is given. Ids of those that cannot be
    read are added to `unreadable`.
    """
    owner_id = owner_given(owner)
    if owner_id is None:
        for policy_id, policy in app.policies.listed(PAGE):
            if policy is None:
                unreadable.append(policy_id)
            else:
                yield policy
        return

    partition, index = app.keyspace.of(owner_id), scopes.owner(owner_id)
    cursor: str | None = START
    while cursor is not None:
        page = app.policies.observe([Touch(partition, (), (index,), cursor)], PAGE)[0]
        for policy_id, located in page.loaded.items():
            if located.policy is None or not fits(located.policy.view):
                unreadable.append(policy_id)
            else:
                yield located.policy
        cursor = page.cursor


def _cells(view: View, now: Micros) -> tuple[str, ...]:
    return (
        view["policy_id"],
        view["state"],
        output.when_written(view["usable_until"], now),
        ",".join(view["reasons"]) or "-",
        f"{view['repository_owner']}/{view['repository']}",
        view["workflow_file"],
        view["environment"] or "-",
        view["package_owner"]["account"],
    )


@policies.command()
def show(ctx: typer.Context, policy_id: PolicyId, *, as_json: AsJson = False) -> None:
    """Show all that is known of a policy: its published view, each fact with its source and age, its history."""
    app = opened(ctx)
    home, policy, view = registered_policy(app, policy_id)
    facts = sorted(policy.facts.values(), key=lambda fact: (fact.scope, fact.aspect, fact.at))
    logins = app.logins.of(policy)
    history = with_logins(app.policies.history(policy_id, home), logins)
    switches = app.switches.over(view)
    if as_json:
        record = {
            "view": view,
            "switches": [switch.shown() for switch in switches],
            "facts": [described(fact) for fact in facts],
            "history": [entry.as_json() for entry in history],
            "logins": logins.as_json(),
        }
        output.line(output.as_json(record))
        return
    now = app.status.now()
    standing = decide(policy.facts, policy_id, now, app.settings.rules)
    held = {"held": "; ".join(map(told_of, switches))} if switches else {}
    output.fields(_shown(view, now) | held | _verified(standing, now), "view")
    headings = ("SCOPE", "ASPECT", "VALUE", "OBSERVED", "BASIS", "SOURCE")
    output.table(headings, (_fact_cells(fact, now) for fact in facts), section="fact")
    headings = ("REVISION", "PUBLISHED", "CHANGE", "STATE", "REASONS", "CAUSE")
    # Programs get every entry; people get repeated verifications in one line.
    lines = (
        [(line.entry, line.times) for line in timeline(history)] if output.on_terminal() else [(e, 1) for e in history]
    )
    output.table(headings, (_history_cells(entry, times, now) for entry, times in lines), section="history")
    if logins.succeeded or logins.refused:
        output.table(LOGIN_HEADINGS, _login_rows(logins, now), section="login")


def _shown(view: View, now: Micros) -> dict[str, object]:
    creator = view["created_by"]
    return {
        "policy_id": view["policy_id"],
        "name": view["name"],
        "state": view["state"],
        "usable": "yes" if view["usable"] else "no",
        "usable_until": output.when_written(view["usable_until"], now),
        "reasons": ", ".join(view["reasons"]) or "-",
        "advisories": ", ".join(view["advisories"]) or "-",
        "package_owner": f"{view['package_owner']['account']} ({view['package_owner']['kind']})",
        "created_by": f"{creator['account']} (GitHub user id {creator['github_user_id'] or 'unknown'})",
        "repository": f"{view['repository_owner']}/{view['repository']} ({view['visibility'] or 'visibility unknown'})",
        "ids": f"owner {owner_of(view)}, repository {view['repository_id'] or 'not known yet'}",
        "workflow_file": view["workflow_file"],
        "environment": view["environment"] or "-",
        **dict(asked(view)),
        "verified_at": output.when_written(view["verified_at"], now),
        "updated_at": output.when_written(view["updated_at"], now),
        "revision": view["revision"],
    }


def _verified(standing: Standing | None, now: Micros) -> dict[str, object]:
    """The view has the proof that was known when it was published; this is the last one."""
    at = None if standing is None else standing.verified_at
    return {"verified_at": "-" if at is None else output.when(at, now)}


def _fact_cells(fact: Observation, now: Micros) -> tuple[object, ...]:
    value = json.dumps(fact.value, ensure_ascii=False) if not isinstance(fact.value, str) else fact.value
    return fact.scope, fact.aspect, value, output.when(fact.at, now), fact.basis.value, " ".join(fact.source)


def _login_rows(logins: PolicyLogins, now: Micros) -> Iterator[tuple[object, ...]]:
    """The last login of either outcome with its run and ref; then why tokens were refused, what was last first."""
    for outcome, found in (("succeeded", logins.succeeded), ("refused", logins.refused)):
        if found is None:
            continue
        last = found.every.last
        yield (
            outcome, last.get("code", "-"), *_counted(found.every, now), last.get("run_id", "-"), last.get("ref", "-"),
        )  # fmt: skip
        if outcome == "refused":
            yield from (("by code", code, *_counted(count, now), "-", "-") for code, count in found.named.items())


def _counted(count: LoginCount, now: Micros) -> tuple[object, ...]:
    return count.times, output.when(count.first_at, now), output.when(count.last_at, now)


def _history_cells(entry: HistoryEntry, times: int, now: Micros) -> tuple[object, ...]:
    cause = " ".join(entry.cause[part] for part in ("kind", "event", "id"))
    reasons = ",".join(entry.reasons) or "-"
    change = entry.type if times == 1 else f"{entry.type} x{times}"
    return entry.revision, output.when_written(entry.at, now), change, entry.state, reasons, cause
