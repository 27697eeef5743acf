"""What an operator does to one policy: the same acts for the command line and for the console."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import Final

from worker.app import App
from worker.lifecycle.facts import SECOND, newest
from worker.lifecycle.owners import DEFAULT, issuer_of
from worker.lifecycle.policy import Policy
from worker.lifecycle.views import View, owner_of
from worker.operators.submit import Submission, submit
from worker.store.audit import AuditEntry, record_call
from worker.store.audit import act as audited

NEAR = 500
"""Entries of the audit trail that are looked at for that of a hold."""
RECHECKED: Final = "policy.rechecked"


class OperatorAction(StrEnum):
    """An act that is an event, by the event's type."""

    HOLD = "policy.held"
    RELEASE = "policy.released"
    RENEW = "policy.renewed"
    REMOVE = "policy.removed"


class ActionRefusal(StrEnum):
    """Why an act is refused, or did not take effect."""

    UNKNOWN = "unknown_policy"
    REMOVED = "removed"
    NO_CREDENTIALS = "not_asked"
    UNSETTLED = "unsettled"


class ActionRefusedError(Exception):
    """An act that is not done. Its text says why, and what to do instead."""

    def __init__(self, refusal: ActionRefusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


def registered_policy(app: App, policy_id: str) -> tuple[Policy, View]:
    """A policy that was registered.

    Raises:
        RefusedError: no policy has this id.
        UnreadableError: its record is broken.
    """
    policy = app.policies.load([policy_id])[policy_id].read(policy_id)
    if policy is None or policy.view is None:
        raise ActionRefusedError(ActionRefusal.UNKNOWN, f"no policy has the id {policy_id}")
    return policy, policy.view


def perform(app: App, act: OperatorAction, policy_id: str, *, reason: str, by: str, request_id: str) -> None:
    """Submit an act and wait until it is settled. `request_id` makes it idempotent.

    Raises:
        RefusedError: the policy is unknown or removed, or the event is not settled yet and waits in the inbox.
        StoreError: the store could not be reached.
    """
    _, view = registered_policy(app, policy_id)
    if act is not OperatorAction.REMOVE:
        _refuse_removed(policy_id, view)
    data = {"policy_id": policy_id, "reason": reason}
    verdict = submit(app, [Submission(act, data, owner_of(view), request_id)], by=by)[0]
    if not verdict.done:
        raise ActionRefusedError(
            ActionRefusal.UNSETTLED, f"{policy_id}: {act} is in the inbox, and not settled: {verdict.error}"
        )


def recheckable(app: App, policy_id: str) -> tuple[Policy, View]:
    """A policy about which GitHub can be asked now.

    Raises:
        RefusedError: the policy is unknown or removed, or there are no GitHub credentials.
    """
    policy, view = registered_policy(app, policy_id)
    _refuse_removed(policy_id, view)
    issuer = issuer_of(owner_of(view))
    if issuer not in app.settings.asked:
        what = (
            "set TENURE_GITHUB_APP_ID and TENURE_GITHUB_PRIVATE_KEY_FILE"
            if issuer == DEFAULT
            else f"give {issuer} its app_id and private_key in TENURE_ISSUERS"
        )
        raise ActionRefusedError(
            ActionRefusal.NO_CREDENTIALS, f"there are no GitHub credentials, so GitHub cannot be asked; {what}"
        )
    return policy, view


def request_recheck(app: App, policy_id: str, *, reason: str, by: str, request_id: str) -> None:
    """Have a verifier ask GitHub about a policy, and enter it in the audit trail in the same step.

    Raises:
        RefusedError: as `recheckable`.
        StoreError: the store could not be reached.
    """
    policy, view = recheckable(app, policy_id)
    written = audited(RECHECKED, by, reason, (policy_id,), {"owner_id": owner_of(view)})
    entry = record_call(written, once=f"{RECHECKED}:{request_id}")
    if app.checks.ask(policy.verifiable_scopes, app.status.now(), entry=entry):
        app.wakeups.check()


def hold_of(app: App, policy: Policy) -> AuditEntry | None:
    """Who holds a policy, and why, as the audit trail has it: None if nobody does, or its entry is not near the hold."""
    placed = [fact for fact in policy.facts.values() if fact.aspect == "held" and fact.value is True]
    ended = [fact for fact in policy.facts.values() if fact.aspect == "held" and fact.value is not True]
    last = newest(placed)
    if last is None or any(fact.at > last.at for fact in ended):
        return None
    # The entry is written when the hold is settled, so it comes after; clocks of the two may differ a little.
    near = islice(app.audit.since(last.at - SECOND), NEAR)
    return next((entry for entry in near if entry.details.get("request") == last.source.id), None)


def _refuse_removed(policy_id: str, view: View) -> None:
    if view["state"] == "removed":
        raise ActionRefusedError(
            ActionRefusal.REMOVED, f"{policy_id} was removed, which is final; register a policy under another id"
        )
