"""The audit trail: who did what, when, why."""

from __future__ import annotations

import re

from starlette.responses import Response

from worker.console.session import Visit
from worker.console.templating import link

PAGE = 50
_ENTRY = re.compile(r"(?!0+-0+$)[0-9]{1,15}-[0-9]{1,19}")
"""An entry's id; before the very first there is none."""


def show(visit: Visit) -> Response:
    """The last acts, newest first."""
    asked = visit.query.get("before", "")
    before = asked if _ENTRY.fullmatch(asked) else None
    entries = visit.app.audit.newest(PAGE + 1, before)
    further = link(visit.path, before=entries[PAGE - 1].entry_id) if len(entries) > PAGE else None
    return visit.page("audit.html", {"entries": entries[:PAGE], "further": further, "first": before is None})
