"""Everything that an id or a name may be of: one search for the command line and for the console."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from worker.app import App
from worker.lifecycle.criteria import PolicyCriteria, owner_given
from worker.lifecycle.facts import Micros
from worker.lifecycle.views import View
from worker.store.dead import DeadLetter
from worker.store.event_ledger import Entry
from worker.store.inbox import cloud_event_id
from worker.store.replays import Replay
from worker.store.search import Search

LISTED = 20
"""Policies that are named; the page of policies has the others."""
LONGEST = 1_250
"""Characters that are looked for: a CloudEvent's source may have 1,000, its id 200."""
PLACES = 8
"""Blanks at which a text may be a CloudEvent's source and its id."""
_LETTER = re.compile(r"[0-9a-f]{32}")


class Found(NamedTuple):
    """What was found."""

    text: str
    """What was looked for."""
    events: list[Entry]
    """Those with this delivery id, or this `source` and `id`; newest first."""
    since: Micros | None
    """From when on the ledger has every event; None if it has none."""
    letter: DeadLetter | None
    """The dead letter with this id."""
    policies: list[View]
    """The policy with this id; else those that have this id or name in them."""
    unread: int
    """Policies that were not looked through: there may be more among them."""
    replay: Replay | None
    deliveries_page: str | None
    """GitHub's page of the App's deliveries."""

    @property
    def nothing(self) -> bool:
        return not (self.events or self.letter or self.policies or self.replay)


def find(app: App, text: str) -> Found:
    """Look for an event by its delivery id, or by its source and id with a blank between; a dead letter, a policy or a replay
    by its id; and for policies by the id, login or name of an owner, repository, package owner or creator.

    Raises:
        UnreadableError: the policy with this id cannot be read.
        StoreError: the store cannot be reached.
    """
    text = text.strip()[:LONGEST]
    events = _events(app, text)
    letter = app.dead.find(text) if _LETTER.fullmatch(text) else None
    replay = app.replays.get(text) if text else None
    policies = _policy(app, text) if text else []
    unread = 0
    if text and not (events or letter or replay or policies):
        policies, unread = _named(app, text)
    return Found(
        text,
        events,
        app.event_ledger.since(),
        letter,
        policies,
        unread,
        replay,
        (app.directory.deliveries_page() if len(app.settings.aliases) == 1 else None),
    )


def _events(app: App, text: str) -> list[Entry]:
    found = app.event_ledger.find(text) if text else []
    for blank in islice(re.finditer(r"\s+", text), PLACES):
        source, event_id = text[: blank.start()], text[blank.end() :]
        found += app.event_ledger.find(event_id, cloud_event_id(source, event_id))
    return found


def _policy(app: App, policy_id: str) -> list[View]:
    policy = app.policies.load([policy_id])[policy_id].read(policy_id)
    return [policy.view] if policy is not None and policy.view is not None else []


def _named(app: App, text: str) -> tuple[list[View], int]:
    """By the indexes first, which are asked at once; then among so many policies as one search looks through."""
    search = Search(app.client, app.keyspace)
    owned = search.find(PolicyCriteria(owner=text), None, limit=LISTED).views if owner_given(text) is not None else []
    published = search.find(PolicyCriteria(package_owner=text), None, limit=LISTED).views
    through = search.find(PolicyCriteria(named=text), None, limit=LISTED)
    unread = through.total - through.scanned if through.cursor is not None else 0
    return _once((*owned, *published, *through.views)), unread


def _once(views: Iterable[View]) -> list[View]:
    return list(islice({view["policy_id"]: view for view in views}.values(), LISTED))
