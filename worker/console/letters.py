"""Dead letters: finding them, looking at one, and what a replay would do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from starlette.responses import Response

from worker import dead_letters
from worker.app import App
from worker.console.session import Visit
from worker.console.templating import link
from worker.dead_letters import KINDS, DryRun, Effect, Filter, FilterError, parsed
from worker.lifecycle.facts import Micros
from worker.store.dead import DeadLetter, Group
from worker.web.problems import ProblemError

PAGE = 50
GROUPS = 100
"""Groups on one page."""
FIELDS = ("event", "kind", "owner", "policy", "error", "since", "until", "text")
REHEARSED = 100
REHEARSAL_SECONDS = 12.0
"""How many letters are rehearsed for one page, and for how long."""
RECENT = 5
NAMED = 20
"""Letters that are named in the record of a replay."""
SHOWN = 128 * 1024
"""Bytes of a body that are shown."""


def filter_of(value_of: Callable[[str], str], now: Micros) -> tuple[Filter, dict[str, str]]:
    """The filter that a form or a query asks for, and what was asked, to be asked again.

    Raises:
        ProblemError: one of its fields makes no sense; it is named.
    """
    query = {name: text for name in FIELDS if (text := value_of(name).strip())}
    try:
        return parsed(query, now), query
    except FilterError as error:
        raise ProblemError(422, "fields", f"{error.field.capitalize()}: give {error}.") from None


def show_all(visit: Visit) -> Response:
    """Those that fit, the last given up on first."""
    criteria, query = filter_of(lambda name: visit.query.get(name, ""), visit.now)
    try:
        page = dead_letters.page(visit.app, criteria, after=visit.query.get("after"), limit=PAGE)
    except ValueError:
        raise ProblemError(400, "fields", "This page is not one of the list's. Go to its beginning.") from None
    return visit.page(
        "letters.html",
        {
            "letters": page.letters,
            "groups": [_GroupRow(group, query) for group in dead_letters.groups(visit.app, criteria)[:GROUPS]],
            "asked": {name: query.get(name, "") for name in FIELDS},
            "searched": query,
            "kinds": KINDS,
            "next": page.next and link(visit.path, **query, after=page.next),
            "first": "after" not in visit.query,
            "total": visit.app.inbox.depth()["dead"],
            "replays": dead_letters.replays(visit.app, RECENT),
            "done": visit.query.get("dropped", ""),
        },
    )


class _GroupRow(NamedTuple):
    """A group, and what a form or an address says to mean just its letters, of those that were searched for."""

    group: Group
    searched: Mapping[str, str]

    @property
    def fields(self) -> dict[str, str]:
        own = dead_letters.of_group(self.group).described()
        return {**self.searched, **{name: str(value) for name, value in own.items()}}


def show_one(visit: Visit) -> Response:
    """One letter, with all that is kept of it, and what a replay would do."""
    letter = dead_letters.show(visit.app, visit.query.get("id", ""))
    if letter is None:
        message = (
            "No dead letter has this id. It may have been replayed, delivered again, or dropped: see the audit trail."
        )
        raise ProblemError(404, "unknown_letter", message)
    rehearsal = rehearse(visit.app, [letter.dead_letter])
    content = {
        "letter": letter.dead_letter,
        "attempts": list(reversed(letter.attempts)),
        "trace": letter.attempts[-1].trace if letter.attempts else "",
        "body": body_text(letter.body),
    }
    form = act_form([letter.dead_letter], dead_letters.batch_id(), {}, left=rehearsal.left, whole=False)
    return visit.page("letter.html", {**content, "effects": rehearsal.effects, **form})


def body_text(body: bytes) -> str:
    """A body over several lines, if it is JSON of a usual size; else as it was sent, as far as it is shown."""
    text = body[:SHOWN].decode(errors="backslashreplace")
    if len(body) > SHOWN:
        return f"{text}\n… {len(body) - SHOWN:,} bytes more: `tenure dead show` has all of them"
    try:
        # Python's JSON keeps every digit of an id.
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


class DryRunResult(NamedTuple):
    """What a replay would do, as far as there was time to try."""

    effects: list[Effect]
    left: int
    """Letters that were not rehearsed."""

    @property
    def verdicts(self) -> dict[str, int]:
        """How many come to what."""
        return _counted(self.effects)


def rehearse(app: App, chosen: Sequence[DeadLetter]) -> DryRunResult:
    """Try the first of these; nothing is written."""
    effects: list[Effect] = []
    deadline = time.monotonic() + REHEARSAL_SECONDS
    for effect in dead_letters.preview(app, islice(chosen, REHEARSED)):
        effects.append(effect)
        if time.monotonic() > deadline:
            break
    return DryRunResult(effects, len(chosen) - len(effects))


def chosen_to_try(visit: Visit) -> tuple[Filter, dict[str, str], list[DeadLetter], bool]:
    """What a form asks to try: the filter, as it was asked for, the letters, and whether all that fit are meant.

    Raises:
        ProblemError: there are none, or a field of the filter makes no sense.
    """
    criteria, query = filter_of(visit.form.get, visit.now)
    whole = visit.form.get("all") == "yes"
    matches, _ = dead_letters.select(visit.app, criteria, ids=None if whole else visit.form.chosen)
    return criteria, query, _some(visit, matches), whole


def chosen_of(visit: Visit) -> tuple[list[DeadLetter], dict[str, object]]:
    """The letters that a form was made for, as far as they still are some, and how they were chosen.

    Raises:
        ProblemError: there are none, the form is too old, or it does not say that some were not tried.
    """
    noted = visit.app.dead.dry_run(visit.form.get("batch"))
    left = str(DryRun.read(noted).left) if noted else visit.form.get("left")
    if left not in ("", "0") and visit.form.get("untried") != "yes":
        message = "Some of these letters were not tried. Go back, and say that they are meant too."
        raise ProblemError(422, "fields", message)
    if visit.form.get("all") == "yes":
        kept = dead_letters.frozen(visit.app, visit.form.get("batch"))
        if kept is None:
            raise ProblemError(409, "preview", "This dry run is too old to act on. Search again, and try anew.")
        return _some(visit, kept[0]), kept[1]
    matches = _some(visit, dead_letters.select(visit.app, ids=visit.form.chosen)[0])
    return matches, {"letters": [letter.event_id for letter in matches[:NAMED]]}


def _some(visit: Visit, matches: list[DeadLetter]) -> list[DeadLetter]:
    """
    Raises:
        ProblemError: there are none.
    """
    if not matches:
        chose = visit.form.get("all") == "yes" or visit.form.chosen
        message = "None of these is a dead letter any more." if chose else "Choose some letters first."
        raise ProblemError(422, "fields", message)
    return matches


def act_form(
    chosen: Sequence[DeadLetter], batch: str, query: Mapping[str, str], *, left: int, whole: bool
) -> dict[str, object]:
    """What the form wants that replays or drops. All that fit stay in the store, under the form's batch: whoever sends
    the form acts on what was shown, and on nothing that came since. `left` were not tried.
    """
    return {
        "left": left,
        "batch": batch,
        "all": whole,
        "fields": query,
        "rate": f"{dead_letters.DEFAULT_RATE:g}",
        "ids": [] if whole else [letter.event_id for letter in chosen],
    }


def _counted(effects: Sequence[Effect]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for effect in effects:
        counts[effect.verdict.value] = counts.get(effect.verdict.value, 0) + 1
    return counts
