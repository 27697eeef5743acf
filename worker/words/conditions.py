"""What a policy asks of a token beside its repository, its workflow and its environment, for people."""

from __future__ import annotations

from collections.abc import Iterator

from worker.lifecycle.conditions import NAMES
from worker.lifecycle.views import View


def asked(view: View) -> Iterator[tuple[str, str]]:
    """Each condition that it makes: what it is called, and what it wants."""
    for name in NAMES:
        wanted = view.get(name)
        if isinstance(wanted, list):
            yield name.replace("_", " "), ", ".join(wanted)
        elif wanted is not None:
            yield name.replace("_", " "), "yes" if wanted is True else str(wanted)
