"""The search box: whatever an id or a name is of, on one page."""

from __future__ import annotations

from starlette.responses import Response

from worker.console.session import Visit
from worker.operators.find import LISTED, find

SAYS = {
    "waits": "waits in the inbox, to be settled",
    "settled": "settled",
    "refused": "refused, and nothing was learnt from it",
    "dropped": "given up on, and dropped by an operator",
    "dead letter": "given up on: it is a dead letter",
}


def show(visit: Visit) -> Response:
    """What was found for `id`."""
    found = find(visit.app, visit.query.get("id", ""))
    return visit.page("find.html", {"found": found, "sought": found.text, "says": SAYS, "most": LISTED})
