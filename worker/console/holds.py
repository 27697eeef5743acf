"""Holding many policies at once: what is held, and whom a switch would close before it is closed."""

from __future__ import annotations

import uuid

from starlette.responses import Response

from worker.console.acts import reason_of, request_id_of
from worker.console.session import Visit, redirect
from worker.console.templating import CONSOLE, link
from worker.operators.switches import ScopeError, affected, check_issuer, scope
from worker.store.switches import MOST, Scope, StandsError, TooManyError, scope_of
from worker.web.problems import ProblemError

SHOWN = 20
"""Policies that are named."""
LOOKED = 20_000
"""Policies that a look before an act reads at most: about a second."""
KINDS = {
    "owner": "GitHub owner, by its id",
    "repository": "repository, as OWNER_ID:ID",
    "creator": "account that created policies",
    "package_owner": "account that owns packages",
    "issuer": "instance of GitHub, by its alias",
    "all": "everything",
}
"""Kind of a scope → what its name is."""


def show(visit: Visit) -> Response:
    """What is held now."""
    content = {"closed": visit.app.switches.all(), "most": MOST, "kinds": KINDS, "done": visit.query.get("done", "")}
    return visit.page("holds.html", content)


def preview(visit: Visit) -> Response:
    """How many policies, and which: nothing is done yet."""
    wanted, act = _wanted(visit)
    reason = reason_of(visit)
    content = {
        "scope": str(wanted), "act": act, "reason": reason, "found": affected(visit.app, wanted, SHOWN, LOOKED),
        "request_id": str(uuid.uuid4()),
    }  # fmt: skip
    return visit.page("hold.html", content)


def act(visit: Visit) -> Response:
    """Close a switch, or open it."""
    wanted, name = _wanted(visit)
    reason, request = reason_of(visit), request_id_of(visit)
    turn = visit.app.switches.close if name == "hold" else visit.app.switches.open
    try:
        turn(wanted, reason=reason, by=visit.by, at=visit.now, request_id=request)
    except StandsError as error:
        # The same form sent twice is one act.
        if error.there is None or error.there.switch_id != request:
            raise ProblemError(409, "stands", f"{error}.") from None
    except TooManyError as error:
        raise ProblemError(409, "stands", f"{error}.") from None
    return redirect(link(f"{CONSOLE}/holds", done=name))


def _wanted(visit: Visit) -> tuple[Scope, str]:
    """What, and whether it is to be held or released.

    Raises:
        ProblemError: there is no such scope, or act.
    """
    name = visit.form.get("act")
    if name not in ("hold", "release"):
        raise ProblemError(422, "fields", "There is no such act.")
    if name == "release":
        return scope_of(visit.form.get("scope")), name
    given = visit.form.get("scope")
    kind, named = given.partition(":")[::2] if given else (visit.form.get("kind"), visit.form.get("name"))
    try:
        wanted = scope(kind, named)
        check_issuer(wanted, visit.app.settings.aliases)
    except ScopeError as error:
        told = "Leave the name empty" if kind == "all" else KINDS.get(kind, "what is to be held")
        raise ProblemError(422, "fields", f"{told[:1].upper()}{told[1:]}: {error}. Go back and try again.") from None
    return wanted, name
