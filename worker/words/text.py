"""How moments, durations and names from outside are put into words, for terminals and for browsers.

Names come from outside. Whatever is shown of them is plain text: no character that moves, colours, reorders or hides
what stands around it gets through.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import NamedTuple

from worker.lifecycle import views
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.views import rfc3339

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that move the cursor, colour, reorder or hide what stands around them."""
UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def clean(text: object) -> str:
    """A text as text: each character that is not to be seen becomes U+FFFD, and shows that it was there."""
    return "".join("\ufffd" if unicodedata.category(char) in HIDDEN else char for char in str(text))


def sentence(text: str) -> str:
    """A text as a sentence: `no replay has this id` → `No replay has this id.`"""
    return f"{text[:1].upper()}{text[1:]}."


def micros(written: str) -> Micros:
    """The moment that a view's time tells."""
    return views.micros(datetime.fromisoformat(written))


def span(duration: Micros) -> str:
    """`3 d 4 h`: the two largest units that are not zero."""
    left = abs(duration) // SECOND
    parts = []
    for unit, size in UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def when(moment: Micros, now: Micros | None) -> str:
    """`2026-01-31T12:00:00Z (3 h ago)`; without a `now`, the moment alone."""
    text = rfc3339(moment)[:19] + "Z"
    if now is None:
        return text
    return f"{text} ({span(now - moment)} ago)" if moment <= now else f"{text} (in {span(moment - now)})"


class MomentOrAge(NamedTuple):
    """A moment, or how long ago."""

    moment: Micros | None
    ago: Micros

    def at(self, now: Micros) -> Micros:
        return max(0, now - self.ago if self.moment is None else self.moment)


def parse_moment(text: str) -> MomentOrAge:
    """`2026-01-31T12:00:00Z`, or `10m`, `2h`, `3d` ago.

    Raises:
        ValueError: it is neither; the message says what would be.
    """
    ago = re.fullmatch(r"([0-9]{1,6})([smhd])", text.strip())
    if ago:
        return MomentOrAge(None, int(ago[1]) * dict(UNITS)[ago[2]] * SECOND)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        msg = "a time with its offset, such as 2026-01-31T12:00:00Z, or a span such as 10m, 2h, 3d"
        raise ValueError(msg)
    return MomentOrAge(views.micros(moment), 0)
