"""The audit trail: who did what, when, why."""

from __future__ import annotations

import re

from starlette.responses import Response

from worker.web.console.frame import Visit
from worker.web.console.pages import link

PAGE = 50
_ENTRY = re.compile(r"\d{1,15}-\d{1,19}")


def show(visit: Visit) -> Response:
    """The last acts, newest first."""
    before = visit.query.get("before", "")
    entries = visit.app.audit.newest(PAGE + 1, before if _ENTRY.fullmatch(before) else None)
    further = link(visit.path, before=entries[PAGE - 1].entry_id) if len(entries) > PAGE else None
    return visit.page("audit.html", {"entries": entries[:PAGE], "further": further, "first": not before})
