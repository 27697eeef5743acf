"""What a client prefers: `Prefer`, RFC 7240 (https://www.rfc-editor.org/rfc/rfc7240)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

LONGEST_WAIT = 30
"""Seconds. Who prefers to wait for longer is answered as if it were this."""
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = rf"{_WORD}(?:[ \t]*=[ \t]*(?:{_WORD}|{_QUOTED})?)?"
_PREFERENCE = re.compile(
    rf"[ \t]*(?:({_WORD})(?:[ \t]*=[ \t]*({_WORD}|{_QUOTED})?)?(?:[ \t]*;(?:[ \t]*{_PARAMETER})?)*)?[ \t]*(?:,|$)"
)
"""One element of the list, which may be empty; its name and value."""


def wait_preferred(fields: Sequence[str]) -> int | None:
    """For how many seconds a client prefers to wait, `LONGEST_WAIT` at most, by all its fields `Prefer`; None if it says
    nothing of that, or nothing that is a number of seconds. What is not well-formed is ignored, as RFC 7240 has it for what is not understood.
    """
    for name, value in _preferences(",".join(fields)):
        # Of a preference that is given twice, the first counts.
        if name.lower() == "wait":
            return min(int(value), LONGEST_WAIT) if value.isascii() and value.isdigit() and len(value) < 10 else None
    return None


def _preferences(header: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(header):
        found = _PREFERENCE.match(header, place)
        if found is None:
            return
        if found[1]:
            yield found[1], _plain(found[2] or "")
        place = found.end()


def _plain(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
