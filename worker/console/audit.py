"""The audit trail: who did what, when, why."""

from __future__ import annotations

import re

from starlette.responses import Response

from worker.console.session import Visit
from worker.console.templating import link
from worker.store.audit import Audit, AuditEntry

PAGE = 50
SCANNED_AT_ONCE = 4_000
"""Entries that one request looks through, where a filter leaves few of them."""
_ENTRY = re.compile(r"(?!0+-0+$)[0-9]{1,15}-[0-9]{1,19}")
"""An entry's id; before the very first there is none."""
FILTERS = ("by", "action", "subject")


def show(visit: Visit) -> Response:
    """The last acts, newest first: all, or those of an operator, of a kind, or on a subject."""
    before_id = visit.query.get("before", "")
    before = before_id if _ENTRY.fullmatch(before_id) else None
    filters = {name: visit.query.get(name, "").strip() for name in FILTERS}
    entries, on = _matching(visit.app.audit, filters, before)
    return visit.page(
        "audit.html",
        {
            "entries": entries,
            "wanted": filters,
            "look": SCANNED_AT_ONCE,
            "partly": on is not None and len(entries) < PAGE,
            "further": None if on is None else link(visit.path, before=on, **filters),
            "first": before is None,
        },
    )


def _matching(audit: Audit, filters: dict[str, str], before: str | None) -> tuple[list[AuditEntry], str | None]:
    """A page of what fits, and the id of the entry to go on from: None at the end."""
    matches: list[AuditEntry] = []
    scanned = 0
    while True:
        entries = audit.newest(SCANNED_AT_ONCE // 8 if any(filters.values()) else PAGE + 1, before)
        for entry in entries:
            if len(matches) == PAGE or scanned == SCANNED_AT_ONCE:
                return matches, before
            scanned, before = scanned + 1, entry.entry_id
            if _fits(entry, filters):
                matches.append(entry)
        if len(entries) < PAGE:
            return matches, None


def _fits(entry: AuditEntry, filters: dict[str, str]) -> bool:
    """Whether it is what is asked for; `policy.` means all acts on policies."""
    return (
        filters["by"] in ("", entry.by)
        and (
            filters["action"] in ("", entry.action)
            or (filters["action"][-1:] == "." and entry.action.startswith(filters["action"]))
        )
        and (not filters["subject"] or filters["subject"] in entry.subjects)
    )
