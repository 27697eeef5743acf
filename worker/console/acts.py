"""What operators do to a policy. It goes through the inbox, like everything that happens."""

from __future__ import annotations

import uuid

from starlette.responses import Response

from worker.console.session import Visit, redirect
from worker.console.templating import CONSOLE, link
from worker.operators.submit import Submission, submit
from worker.store.audit import act as audited
from worker.store.audit import record_call
from worker.web.problems import ProblemError

EVENTS = {"hold": "policy.held", "release": "policy.released", "renew": "policy.renewed"}
"""Act → the event that it is."""
RECHECK = "recheck"
RECHECKED = "policy.rechecked"
LONGEST_REASON = 500


def reason_of(visit: Visit) -> str:
    """Why somebody acts.

    Raises:
        ProblemError: they do not say.
    """
    reason = visit.form.get("reason").strip()
    if not reason or len(reason) > LONGEST_REASON:
        raise ProblemError(422, "fields", f"Say why, in at most {LONGEST_REASON} characters. Go back and try again.")
    return reason


def act(visit: Visit) -> Response:
    """One act on one policy."""
    name, policy_id = visit.form.get("act"), visit.form.get("id")
    if name not in EVENTS and name != RECHECK:
        raise ProblemError(422, "fields", "There is no such act.")
    reason = reason_of(visit)
    policy = visit.app.policies.load([policy_id])[policy_id].read(policy_id)
    if policy is None or policy.view is None:
        raise ProblemError(404, "unknown_policy", "No policy has this id. Look for it among the policies.")
    if policy.view["state"] == "removed":
        raise ProblemError(409, "removed", "This policy was removed, which is final.")
    owner_id = policy.view["repository_owner_id"]
    if name == RECHECK:
        if not visit.app.settings.asks_github:
            raise ProblemError(409, "not_asked", "There are no GitHub credentials, so nobody can be asked.")
        written = audited(RECHECKED, visit.by, reason, (policy_id,), {"owner_id": owner_id})
        entry = record_call(written, once=f"{RECHECKED}:{_request_id(visit)}")
        if visit.app.checks.ask(policy.asked_about, visit.now, entry=entry):
            visit.app.wakeups.check()
    else:
        asked = Submission(EVENTS[name], {"policy_id": policy_id, "reason": reason}, owner_id, _request_id(visit))
        verdict = submit(visit.app, [asked], by=visit.by)[0]
        if not verdict.settled:
            raise ProblemError(500, "unsettled", f"It is in the inbox, and not settled: {verdict.error}.")
    return redirect(link(f"{CONSOLE}/policy", id=policy_id, done=name))


def _request_id(visit: Visit) -> str:
    """What the form was given when it was shown: sent twice, it is one act."""
    try:
        return str(uuid.UUID(visit.form.get("request_id")))
    except ValueError:
        raise ProblemError(422, "fields", "This form is incomplete. Reload the page and try again.") from None
