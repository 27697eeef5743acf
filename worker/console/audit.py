"""The audit trail: who did what, when, why."""

from __future__ import annotations

import re

from starlette.responses import Response

from worker.console.session import Visit
from worker.console.templating import link
from worker.store.audit import Audit, Entry

PAGE = 50
LOOK = 4_000
"""Entries that one request looks through, where a filter leaves few of them."""
_ENTRY = re.compile(r"(?!0+-0+$)[0-9]{1,15}-[0-9]{1,19}")
"""An entry's id; before the very first there is none."""
FILTERS = ("by", "action", "subject")


def show(visit: Visit) -> Response:
    """The last acts, newest first: all, or those of an operator, of a kind, or on a subject."""
    asked = visit.query.get("before", "")
    before = asked if _ENTRY.fullmatch(asked) else None
    wanted = {name: visit.query.get(name, "").strip() for name in FILTERS}
    entries, on = _found(visit.app.audit, wanted, before)
    return visit.page(
        "audit.html",
        {
            "entries": entries,
            "wanted": wanted,
            "look": LOOK,
            "partly": on is not None and len(entries) < PAGE,
            "further": None if on is None else link(visit.path, before=on, **wanted),
            "first": before is None,
        },
    )


def _found(audit: Audit, wanted: dict[str, str], before: str | None) -> tuple[list[Entry], str | None]:
    """A page of what fits, and the id of the entry to go on from: None at the end."""
    found: list[Entry] = []
    looked = 0
    while True:
        entries = audit.newest(LOOK // 8 if any(wanted.values()) else PAGE + 1, before)
        for entry in entries:
            if len(found) == PAGE or looked == LOOK:
                return found, before
            looked, before = looked + 1, entry.entry_id
            if _fits(entry, wanted):
                found.append(entry)
        if len(entries) < PAGE:
            return found, None


def _fits(entry: Entry, wanted: dict[str, str]) -> bool:
    """Whether it is what is asked for; `policy.` means all acts on policies."""
    return (
        wanted["by"] in ("", entry.by)
        and (
            wanted["action"] in ("", entry.action)
            or (wanted["action"][-1:] == "." and entry.action.startswith(wanted["action"]))
        )
        and (not wanted["subject"] or wanted["subject"] in entry.subjects)
    )
