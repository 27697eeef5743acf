"""Policies: finding some, and looking at one."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from starlette.responses import Response

from worker.app import App
from worker.console.changes import cause_text
from worker.console.session import Visit
from worker.console.templating import link
from worker.lifecycle.criteria import PolicyCriteria
from worker.lifecycle.decide import State
from worker.lifecycle.facts import Observation
from worker.lifecycle.reasons import REASONS
from worker.lifecycle.registration import decode
from worker.lifecycle.views import View, owner_of
from worker.operators.narrowing import narrowing_of
from worker.operators.policies import hold_of
from worker.operators.timeline import TimelineRow, timeline
from worker.store.logins import with_logins
from worker.store.policies import HistoryEntry, UnreadableError
from worker.store.search import SCANNED_AT_ONCE, Search
from worker.web.problems import ProblemError
from worker.words.conditions import asked
from worker.words.explanation import Explanation, explanation_of, purpose, sentence

PAGE = 50
LISTED = tuple(state.value for state in State if state is not State.REMOVED)
FIELDS = ("id", "owner", "repository", "package_owner", "state", "reason")


class Row(NamedTuple):
    """One line of a policy's timeline."""

    line: TimelineRow
    cause: str
    came: list[tuple[str, str]]
    """Reasons that hold since then, and whose word that was, where it was not the cause's."""
    went: list[str]
    """And those that hold no more."""

    @property
    def entry(self) -> HistoryEntry:
        return self.line.entry


def policies(visit: Visit) -> Response:
    """Those that are wanted, some at a time."""
    query = {name: visit.query.get(name, "") for name in FIELDS}
    searched = {name: text for name, text in query.items() if text}
    criteria = PolicyCriteria(**{name: text for name, text in searched.items() if name != "id"})
    if criteria.reason is not None and criteria.reason not in REASONS:
        raise ProblemError(422, "fields", "There is no such reason. Choose one of the list.")
    if query["id"]:
        result = _by_id(visit.app, query["id"], criteria)
        return visit.page(
            "policies.html", {"asked": query, "searched": searched, "views": result, "found": None, **_choices()}
        )
    found_some = Search(visit.app.client, visit.app.keyspace).find(criteria, visit.query.get("after"), limit=PAGE)
    scanned = _number(visit.query.get("seen")) + found_some.scanned
    further = found_some.cursor and link(visit.path, **searched, after=found_some.cursor, seen=scanned)
    return visit.page(
        "policies.html",
        {
            "asked": query,
            "searched": searched,
            "views": found_some.views,
            "found": found_some,
            "seen": scanned,
            "further": further,
            "first": visit.query.get("after") is None,
            "narrowed": criteria.owner_id is not None or criteria.package_owner is not None,
            **_choices(),
        },
    )


def _choices() -> dict[str, object]:
    return {"states": LISTED, "reasons": tuple(REASONS), "look": SCANNED_AT_ONCE}


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else 0


def _by_id(app: App, policy_id: str, criteria: PolicyCriteria) -> list[View]:
    policy = app.policies.load([policy_id])[policy_id].read(policy_id)
    return [policy.view] if policy is not None and policy.view is not None and criteria.admits(policy.view) else []


def policy(visit: Visit) -> Response:
    """One policy, and everything that is known of it."""
    policy_id = visit.query.get("id", "")
    located = visit.app.policies.load([policy_id])[policy_id]
    if located.broken:
        raise UnreadableError(policy_id)
    record = located.policy
    if record is None or record.view is None:
        raise ProblemError(404, "unknown_policy", "No policy has this id. Look for it among the policies.")
    explanation = explanation_of(record, record.view, visit.app.settings.rules, visit.now)
    logins = visit.app.logins.of(record)
    history = with_logins(visit.app.policies.history(policy_id, located.home), logins)
    return visit.page(
        "policy.html",
        {
            "view": record.view,
            "owner": owner_of(record.view),
            "asked": list(asked(record.view)),
            "explanation": explanation,
            "standing": explanation.standing,
            "purpose": purpose(record.view),
            "sentence": sentence(explanation.standing, visit.now),
            "hold": hold_of(visit.app, record),
            "switches": visit.app.switches.over(record.view),
            "facts": sorted(record.facts.values(), key=lambda fact: fact.at, reverse=True),
            "history": rows_of(history),
            "logins": logins,
            "narrowing": narrowing_of(record, record.view, explanation.standing, logins, visit.now),
            "whole": bool(history) and history[-1].revision == 1,
            "acts": _acts(visit, explanation),
            "request_id": str(uuid.uuid4()),
            "done": visit.query.get("done", ""),
            "value": value_text,
        },
    )


def rows_of(history: list[HistoryEntry]) -> list[Row]:
    """A history, newest first, with what each step did to the reasons."""
    rows = []
    for line in timeline(history):
        entry, before = line.entry, line.before.reasons if line.before else []
        came = [(reason, _source(entry, reason)) for reason in entry.reasons if reason not in before]
        went = [reason for reason in before if reason not in entry.reasons]
        rows.append(Row(line, cause_text(entry.cause["kind"], entry.cause["event"]), came, went))
    return rows


def _source(entry: HistoryEntry, reason: str) -> str:
    source = entry.sources.get(reason, entry.cause)
    return "" if source == entry.cause else cause_text(source["kind"], source["event"])


def value_text(fact: Observation) -> str:
    """`yes`, `no`, or the value; a registration and a login in words."""
    if isinstance(fact.value, bool):
        return "yes" if fact.value else "no"
    if fact.aspect == "registration":
        registration = decode(str(fact.value))
        environment = f" in {registration.environment}" if registration.environment else ""
        return (
            f"{registration.workflow_file}{environment} of {registration.repository_owner}/{registration.repository} ({registration.visibility or 'visibility not said'}, "
            f"id {registration.repository_id or 'not said'}) for {registration.package_owner}, by {registration.creator}"
        )
    if fact.aspect == "login":
        repository_id, _, owner_id = str(fact.value).partition(":")
        return f"from repository {repository_id} of owner {owner_id}"
    return "" if fact.value is None else str(fact.value)


class OfferedAction(NamedTuple):
    """Something that an operator can do to a policy."""

    name: str
    label: str
    says: str


def _acts(visit: Visit, explanation: Explanation) -> list[OfferedAction]:
    """What makes sense now, if they may act."""
    standing = explanation.standing
    if not visit.acts or standing.state is State.REMOVED:
        return []
    held = "held_by_operator" in standing.reasons
    acts = [
        OfferedAction("release", "Release", "Ends the hold. Other reasons that block go on blocking.")
        if held
        else OfferedAction("hold", "Hold", "At once it may not publish, until it is released.")
    ]
    if standing.window is not None:
        acts.append(OfferedAction("renew", "Renew", "Gives it a new window in which to prove itself."))
    if standing.tenure.registration.issuer in visit.app.settings.asked:
        acts.append(OfferedAction("recheck", "Recheck", "Has GitHub asked now about its repository and its creator."))
    return acts
