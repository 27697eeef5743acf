"""What operators do to a policy. It goes through the inbox, like everything that happens."""

from __future__ import annotations

import uuid

from starlette.responses import Response

from worker.console.session import Visit, redirect
from worker.console.templating import CONSOLE, link
from worker.operators.policies import ActionRefusal, ActionRefusedError, OperatorAction, perform, request_recheck
from worker.web.problems import Kind, PageKind, ProblemError
from worker.words.text import sentence

ACTS = {"hold": OperatorAction.HOLD, "release": OperatorAction.RELEASE, "renew": OperatorAction.RENEW}
RECHECK = "recheck"
REFUSED: dict[ActionRefusal, tuple[int, Kind | PageKind]] = {
    ActionRefusal.UNKNOWN: (404, "unknown_policy"),
    ActionRefusal.REMOVED: (409, "removed"),
    ActionRefusal.NO_CREDENTIALS: (409, "not_asked"),
    ActionRefusal.UNSETTLED: (500, "unsettled"),
}
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
    if name not in ACTS and name != RECHECK:
        raise ProblemError(422, "fields", "There is no such act.")
    reason = reason_of(visit)
    request = request_id_of(visit)
    try:
        if name == RECHECK:
            request_recheck(visit.app, policy_id, reason=reason, by=visit.by, request_id=request)
        else:
            perform(visit.app, ACTS[name], policy_id, reason=reason, by=visit.by, request_id=request)
    except ActionRefusedError as error:
        raise ProblemError(*REFUSED[error.refusal], sentence(str(error))) from None
    return redirect(link(f"{CONSOLE}/policy", id=policy_id, done=name))


def request_id_of(visit: Visit) -> str:
    """What the form was given when it was shown: sent twice, it is one act."""
    try:
        return str(uuid.UUID(visit.form.get("request_id")))
    except ValueError:
        raise ProblemError(422, "fields", "This form is incomplete. Reload the page and try again.") from None
