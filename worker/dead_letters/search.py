"""Finding dead letters, looking at one, dropping some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from glob import escape
from itertools import islice
from typing import NamedTuple

from handlers.base import Incoming
from handlers.table import handle
from worker.app import App
from worker.lifecycle.criteria import owner_given
from worker.lifecycle.facts import Micros, ObservationSource
from worker.lifecycle.owners import OwnerRef, issuer_in
from worker.lifecycle.policy import Policy, concerns
from worker.lifecycle.views import owner_of, rfc3339
from worker.store.dead import PAGE, Chosen, DeadLetter, DeadLetterRef, Group, Whole, merged
from worker.words.text import parse_moment


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters are wanted; None for what does not matter. All that is given must fit."""

    event: str | None = None
    """An event's name, or a pattern: `repository.*`."""
    kind: str | None = None
    """github, github/<alias>, registry, exchange or operator."""
    owner: OwnerRef | None = None
    """Id of the GitHub owner that the event is about, or whose policy it names."""
    policy: str | None = None
    """Id of a policy: letters that name it, or that tell something of what it watches."""
    error: str | None = None
    """Class of the last error, as `UnusableEventError`."""
    since: Micros | None = None
    """Given up on then or later."""
    until: Micros | None = None
    """Given up on then or earlier."""
    text: str | None = None
    """A text in the error's message, the delivery's id, or the body as it was sent."""

    def admits(self, kind: str, event: str, error: str) -> bool:
        """What a group has in common: all but owner, policy, text and times."""
        return (
            (self.event is None or fnmatchcase(event, self.event))
            and (self.kind is None or self.kind == kind)
            and (self.error is None or self.error == error)
        )

    def described(self) -> dict[str, object]:
        """What was given, for people and programs."""
        values = {name: getattr(self, name) for name in Filter.__slots__}
        moments = {name: rfc3339(values[name]) for name in ("since", "until") if values[name] is not None}
        return {name: value for name, value in (values | moments).items() if value is not None}


ALL = Filter()
KINDS = ("github", "registry", "exchange", "operator")


class FilterError(ValueError):
    """A filter's text that makes no sense. `field` is the field's name; the message says what to give."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def parsed(texts: Mapping[str, str], now: Micros) -> Filter:
    """The filter that a command, a form or a query asks for: field → text. Times may be spans, as `2h` ago.

    Raises:
        FilterError: a field's text makes no sense.
    """
    owner, kind = texts.get("owner"), texts.get("kind")
    if owner is not None and owner_given(owner) is None:
        raise FilterError("owner", "the id of a GitHub owner, in digits, or alias/id of another instance")
    if kind is not None and kind not in KINDS and issuer_in(kind) is None:
        raise FilterError("kind", f"one of {', '.join(KINDS)}, or github/<alias> of another instance")
    moments: dict[str, Micros] = {}
    for name in ("since", "until"):
        try:
            moments |= {name: parse_moment(texts[name]).at(now)} if name in texts else {}
        except ValueError as error:
            raise FilterError(name, str(error)) from None
    return Filter(
        event=texts.get("event"),
        kind=kind,
        owner=owner_given(owner),
        policy=texts.get("policy"),
        error=texts.get("error"),
        since=moments.get("since"),
        until=moments.get("until"),
        text=texts.get("text"),
    )


class DeadLetterPage(NamedTuple):
    letters: list[DeadLetter]
    next: str | None
    """Give it back as `after` for the next page; None at the end."""


def find(app: App, criteria: Filter = ALL) -> Iterator[DeadLetter]:
    """The dead letters that fit, those given up on last first.

    Raises:
        StoreError: the store cannot be reached.
        UnreadableError: the record of a policy that is asked for cannot be read.
    """
    return _matching(app, criteria, app.dead.places(criteria.since, criteria.until))


def page(app: App, criteria: Filter = ALL, *, after: str | None = None, limit: int = 50) -> DeadLetterPage:
    """Some of them, as `find` gives them.

    Raises:
        ValueError: `after` is not what an earlier page gave.
    """
    places = app.dead.places(criteria.since, criteria.until)
    if after is not None:
        died, number, event_id = after.split(":")
        last = (-int(died), int(number), event_id)
        places = [place for place in places if _order(place) > last]
    matches = list(islice(_matching(app, criteria, places), limit + 1))
    if len(matches) <= limit:
        return DeadLetterPage(matches, None)
    last_shown = matches[limit - 1]
    return DeadLetterPage(matches[:limit], f"{last_shown.died_at}:{last_shown.partition.number}:{last_shown.event_id}")


def _order(place: DeadLetterRef) -> tuple[int, int, str]:
    return -place.died_at, place.partition.number, place.event_id


def select(
    app: App, criteria: Filter = ALL, *, ids: Sequence[str] | None = None, limit: int | None = None
) -> tuple[list[DeadLetter], list[str]]:
    """The letters to act on, those received first first, `limit` of these at most: those with these ids, or all that
    fit. With them, the ids that are no dead letter's (any more).
    """
    if ids is None:
        matches, missing = list(find(app, criteria)), []
    else:
        by_id = {event_id: app.dead.find(event_id) for event_id in dict.fromkeys(ids)}
        matches = [letter for letter in by_id.values() if letter is not None]
        missing = [event_id for event_id, letter in by_id.items() if letter is None]
    return _in_order(matches)[:limit], missing


def _in_order(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    return sorted(letters, key=lambda letter: (letter.received_at, letter.event_id))


def freeze(app: App, token: str, criteria: Filter, letters: Sequence[DeadLetter]) -> None:
    """Keep these as what `criteria` has found, so that whoever has seen them acts on them and on no others."""
    app.dead.freeze(token, Chosen([letter.event_id for letter in letters], criteria.described()))


def frozen(app: App, token: str) -> tuple[list[DeadLetter], dict[str, object]] | None:
    """Those that were kept under this token and still are dead letters, those received first first, and what was asked
    for; None if nothing is kept under it (any more).
    """
    kept = app.dead.frozen(token)
    if kept is None:
        return None
    ids = frozenset(kept.ids)
    dead = app.dead.read([place for place in app.dead.places() if place.event_id in ids])
    return _in_order(dead), kept.described


def count(app: App, criteria: Filter = ALL) -> int:
    """How many fit."""
    if criteria == Filter(since=criteria.since, until=criteria.until):
        return len(app.dead.places(criteria.since, criteria.until))
    return sum(1 for _ in find(app, criteria))


def groups(app: App, criteria: Filter = ALL) -> list[Group]:
    """Those that fit, by kind, event and error; the group to which something was added last first."""
    if criteria == Filter(criteria.event, criteria.kind, error=criteria.error):
        return [group for group in app.dead.groups() if criteria.admits(*group[:3])]
    return merged(Group(x.kind, x.name, x.error, 1, x.died_at, x.died_at, x.message) for x in find(app, criteria))


def of_group(group: Group) -> Filter:
    """The filter that the letters of this group fit, and no others."""
    return Filter(event=escape(group.event), kind=group.kind, error=group.error)


def with_prefix(app: App, written: str) -> list[DeadLetter]:
    """The dead letters that somebody means by an id as people write it: the letter's own id or its delivery's, whole or
    its beginning, also with the `…` of a shortened one. More than one, where the beginning fits several.
    """
    beginning = written.strip().removesuffix("…").removesuffix("...")
    exact = app.dead.find(beginning)
    if exact is not None:
        return [exact]
    if not beginning:
        return []
    fitting = [x for x in find(app) if x.event_id.startswith(beginning) or x.delivery.startswith(beginning)]
    return [x for x in fitting if x.delivery == beginning] or fitting


def show(app: App, event_id: str) -> Whole | None:
    """One dead letter with its body and every attempt; None if there is none with this id."""
    letter = app.dead.find(event_id)
    return None if letter is None else app.dead.whole(letter)


def drop(app: App, letters: Sequence[DeadLetter], *, reason: str, by: str) -> int:
    """Drop these for good; returns how many were there. Each gets an entry in the audit trail, in the same step.

    Their policies stand as if they had not happened. Delivered again within days, they count as settled.
    """
    return sum(app.dead.drop(letters, reason=reason, by=by))


def _matching(app: App, criteria: Filter, places: Sequence[DeadLetterRef]) -> Iterator[DeadLetter]:
    for start in range(0, len(places), PAGE):
        letters = [x for x in app.dead.read(places[start : start + PAGE]) if criteria.admits(x.kind, x.name, x.error)]
        if criteria.owner is not None:
            letters = _of_owner(app, letters, criteria.owner)
        if criteria.text is not None:
            letters = _mentioning(app, letters, criteria.text)
        if criteria.policy is not None:
            letters = list(_about_policy(app, letters, criteria.policy))
        yield from letters


def _of_owner(app: App, letters: Sequence[DeadLetter], owner: OwnerRef) -> list[DeadLetter]:
    named = {letter.policy for letter in letters if letter.owner is None and letter.policy is not None}
    policies = app.policies.load(sorted(named))
    owners = {name: owner_of(x.policy.view) for name, x in policies.items() if x.policy and x.policy.view}
    return [x for x in letters if owner == (x.owner if x.owner is not None else owners.get(x.policy or ""))]


def _mentioning(app: App, letters: Sequence[DeadLetter], text: str) -> list[DeadLetter]:
    """The message and the id are at hand; the bodies of the others are searched where they are."""
    ids = {x.event_id for x in letters if text in x.message or text in x.delivery}
    rest = [x for x in letters if x.event_id not in ids]
    ids |= {x.event_id for x, there in zip(rest, app.dead.mentioning(rest, text), strict=True) if there}
    return [x for x in letters if x.event_id in ids]


def _about_policy(app: App, letters: Iterable[DeadLetter], policy_id: str) -> Iterator[DeadLetter]:
    policy = app.policies.load([policy_id])[policy_id].read(policy_id)
    for letter in letters:
        if letter.policy is not None:
            if letter.policy == policy_id:
                yield letter
        elif policy is not None and _concerns(app, letter, policy):
            yield letter


def _concerns(app: App, letter: DeadLetter, policy: Policy) -> bool:
    """Whether a letter tells something that the policy watches. One that nothing can be read from tells nothing."""
    whole = app.dead.whole(letter)
    if whole is None or deadly(whole):
        return False
    try:
        handled = handle(incoming(whole))
        observations = (*handled.observations, *handled.aside)
    except Exception:  # noqa: BLE001 - whatever makes it a dead letter, here it only says nothing
        return False
    return any(concerns(policy, observation) for observation in observations)


WORKER_LOST = "WorkerLost"


def deadly(whole: Whole) -> bool:
    """Whether a letter may have ended a worker, last or before: what it holds must not be looked at in this process."""
    return whole.dead_letter.error == WORKER_LOST or any(attempt.error == WORKER_LOST for attempt in whole.attempts)


def incoming(whole: Whole) -> Incoming:
    """The letter as a worker hands it to its handler."""
    letter = whole.dead_letter
    return Incoming(ObservationSource(letter.kind, letter.delivery, letter.name), letter.at, whole.body)
