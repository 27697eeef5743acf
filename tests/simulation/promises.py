"""What must hold, told anew: by what was taken in, and by what any client can read. None of the product's code decides here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, takewhile
from typing import NamedTuple, TypeAlias, TypedDict, cast

EPOCH = 1_000_000_000
"""So many revisions apart are those of two epochs."""
WINDOW = 86_400_000_000
"""How long a policy has to prove itself in the simulated installation, in microseconds."""

BEHIND = 1
"""For so long, in seconds, a mirror may not know yet what every reader knows."""

CLOSES = {
    "archived": "unarchived", "deleted": "created", "member_removed": "member_added", "locked": "unlocked",
    "held": "released",
}  # fmt: skip
"""What takes access away, and what gives it back."""
OPENS = frozenset({*CLOSES.values(), "succeeded", "registered", "renewed"})


class LetIn(NamedTuple):
    """By which policy a token is let through, and of which repository."""

    policy: str
    place: str


class BrokenPromiseError(Exception):
    """What was promised does not hold."""


class Taken(NamedTuple):
    """Something that was taken in: when that was, or when it was by what it says, and as the how manieth."""

    at: int
    order: int
    name: str
    about: str
    """A policy, a repository, an owner's member, or an account."""
    place: str = ""
    """Of a registration or a login: the repository that it names."""


Watched: TypeAlias = Mapping[str, Mapping[str, Collection[str]]]
"""Policy → each repository that it may be registered for → what it depends on there."""


def place_of(policy: str, told: Iterable[Taken]) -> str:
    """The repository that its newest registration names; empty if nobody registered it."""
    return max(
        (t for t in told if t.about == policy and t.name == "policy.registered"), default=Taken(0, 0, "", "")
    ).place


def truth(policy: str, watched: Mapping[str, Collection[str]], told: Collection[Taken], now: int) -> str | None:
    """The state of a policy whose repository is private, or None if nobody registered it. `watched`: what it depends on at each
    repository that it may be registered for.

    It is where its newest registration says, since the first of those in a row that say the same: a new one begins anew.
    Removal is for good. Before that: without a login inside a window it expires when the last one ends. Before that: it is
    disabled while the newest word on its repository, its creator's membership or account, or an operator's hold says so.
    """
    place = place_of(policy, told)
    if not place:
        return None
    mine = sorted(t for t in told if t.about == policy or t.about in watched[place])
    if any(t.name == "policy.removed" for t in mine):
        return "removed"
    registrations = [t for t in mine if t.name == "policy.registered"]
    begun = min(t.at for t in takewhile(lambda t: t.place == place, reversed(registrations)))
    windows = [begun, *(t.at for t in mine if t.name == "policy.renewed" and t.at >= begun)]
    logins = [t.at for t in mine if t.name == "login.succeeded" and t.place == place]
    proven = any(start <= login < start + WINDOW for start in windows for login in logins)
    if not proven and now >= max(windows) + WINDOW:
        return "expired"
    words = [t.name.partition(".")[2] for t in mine]
    for closing, opening in CLOSES.items():
        last = next((word for word in reversed(words) if word in (closing, opening)), opening)
        if last == closing:
            return "disabled"
    return "active" if proven else "provisional"


def usable_in_one_place(admitted: Iterable[LetIn]) -> None:
    """No reader lets publish by a policy from two repositories."""
    for policy, times in Counter(each.policy for each in set(admitted)).items():
        if times > 1:
            raise BrokenPromiseError(f"{policy} may be used from {times} repositories at once")


def nobody_gets_in(
    admitted: Collection[LetIn],
    policies: Watched,
    settled: Iterable[Taken],
    waiting: Collection[Taken],
    now: Mapping[str, int],
) -> None:
    """Whom a reader lets publish, nothing that was settled forbids. `now`: what time it is for each repository. Of what waits, whatever opens may count already: a
    worker that wrote it has not said so yet. While a policy's registration waits, nothing is promised of it.
    """
    heard = [*settled, *(t for t in waiting if t.name.partition(".")[2] in OPENS)]
    unsaid = {t.about for t in waiting if t.name == "policy.registered"}
    for policy, place in {each for each in admitted if each.policy not in unsaid}:
        state = truth(policy, policies[policy], heard, now[place])
        if state not in (None, "provisional", "active"):
            raise BrokenPromiseError(f"a token is let through by {policy}, which is {state} by what was settled")
        if state is not None and place != place_of(policy, heard):
            raise BrokenPromiseError(
                f"a token of {place} is let through by {policy}, which is for {place_of(policy, heard)}"
            )


class Span(NamedTuple):
    """What time it may be: parts of a store have clocks of their own, and each decides by its own."""

    earliest: int
    latest: int


def nobody_is_locked_out(admitted: Collection[LetIn], policies: Watched, told: Iterable[Taken], now: Span) -> None:
    """At rest, a reader lets publish whoever may."""
    heard = list(told)
    places = {policy: place for policy in policies if (place := place_of(policy, heard))}

    def usable(at: int) -> set[LetIn]:
        states = {policy: truth(policy, policies[policy], heard, at) for policy in places}
        return {LetIn(policy, places[policy]) for policy, state in states.items() if state in ("provisional", "active")}

    if not usable(now.latest) <= set(admitted) <= usable(now.earliest):
        raise BrokenPromiseError(
            f"a reader lets {sorted(admitted)} publish, and in truth {sorted(usable(now.latest))} may"
        )


def agrees(mirrored: Collection[LetIn], admitted: Collection[LetIn]) -> None:
    """At rest, a mirror lets publish whom a reader does."""
    if set(mirrored) != set(admitted):
        raise BrokenPromiseError(f"a mirror lets {sorted(mirrored)} publish, and a reader {sorted(admitted)}")


@dataclass(frozen=True)
class Published:
    """All that a client can read: the feed, every view, every record's revision, and the counters."""

    streams: Sequence[Sequence[Mapping[str, object]]]
    """The feed of each partition, in its order."""
    views: Mapping[str, Sequence[str]]
    """Policy → the views' JSON, in whatever hashes they are."""
    revisions: Mapping[str, Sequence[int]]
    """Policy → the revisions of its records, in whatever partitions they are."""
    leaving: Mapping[str, int]
    """Policy → in how many partitions something says that it has left for another."""
    listed: Mapping[str, int]
    """Policy → in how many partitions it is listed."""
    counters: Mapping[str, int]

    @cached_property
    def feed(self) -> list[Mapping[str, object]]:
        """All of it, each policy's events in the order of their revisions."""
        events = [event for stream in self.streams for event in stream]
        return sorted(events, key=lambda event: (str(event["subject"]), _view(event)["revision"]))


def revisions_have_no_gap(seen: Published) -> None:
    """Every policy's revisions are 1, 2, 3, …, in each partition in their order, and the last is its record's; a store that went
    back in time goes on at the next thousand million. A policy has one record, or is on its way.
    """
    for stream in seen.streams:
        last: dict[str, int] = {}
        for event in stream:
            policy, revision = str(event["subject"]), _view(event)["revision"]
            if revision <= last.get(policy, 0):
                raise BrokenPromiseError(f"a partition tells of {policy} revision {revision} after {last[policy]}")
            last[policy] = revision
    told: dict[str, list[int]] = {}
    for event in seen.feed:
        told.setdefault(str(event["subject"]), []).append(_view(event)["revision"])
    for policy, revisions in told.items():
        if any(later != one + 1 and (later % EPOCH != 1 or later <= one) for one, later in pairwise([0, *revisions])):
            raise BrokenPromiseError(f"the revisions of {policy} in the feed are {revisions[-6:]}")
    for policy in {*told, *seen.revisions}:
        records, newest = list(seen.revisions.get(policy, ())), max(told.get(policy, [0]))
        if records != [newest] and not (policy in seen.leaving and not records):
            raise BrokenPromiseError(
                f"{policy} has records of the revisions {records}, and its newest event is {newest}"
            )


def nothing_is_on_its_way(seen: Published) -> None:
    """At rest, every policy has arrived, nothing else is where it was, and it is listed in one place unless it was removed."""
    for policy in seen.leaving:
        raise BrokenPromiseError(f"{policy} has left for another partition, and never came to rest")
    removed = {str(event["subject"]): _view(event)["state"] == "removed" for event in seen.feed}
    for policy in {*removed, *seen.listed}:
        if seen.listed.get(policy, 0) != (not removed.get(policy, True)):
            raise BrokenPromiseError(f"{policy} is listed in {seen.listed.get(policy, 0)} partitions")


def views_are_the_newest_events(seen: Published) -> None:
    """The view of a policy is that of its newest event; a removed policy has none, and none has one that is on its way."""
    for policy, views in seen.views.items():
        if len(views) > 1:
            raise BrokenPromiseError(f"{policy} has {len(views)} views")
    newest = {str(event["subject"]): _view(event) for event in seen.feed}
    wanted = {
        policy: view for policy, view in newest.items() if view["state"] != "removed" and seen.revisions.get(policy)
    }
    found = {policy: json.loads(written) for policy, (written,) in seen.views.items()}
    if found != wanted:
        odd = sorted(p for p in {*found, *wanted} if found.get(p) != wanted.get(p))
        raise BrokenPromiseError(f"the views of {', '.join(odd)} are not those of the feed's newest events")


def logins_are_counted_once(counted: Mapping[tuple[str, str], int], told: Iterable[Taken]) -> None:
    """No more logins are counted than were told of, whoever settled them how often. `counted`: of each event and policy."""
    heard = Counter((t.name, t.about) for t in told)
    for (name, policy), number in counted.items():
        if number > heard[name, policy]:
            raise BrokenPromiseError(f"{number} {name} of {policy} are counted, and there were {heard[name, policy]}")


def counters_agree_with_the_feed(seen: Published) -> None:
    """As many changes were counted of each type, and policies in each state, as the feed tells."""
    changes = Counter(f"changes:{event['type']}" for event in seen.feed)
    newest = {str(event["subject"]): _view(event) for event in seen.feed}
    states = Counter(f"state:{view['state']}" for view in newest.values())
    counted = {k: n for k, n in seen.counters.items() if n and k.startswith(("changes:", "state:"))}
    if counted != {**changes, **states}:
        raise BrokenPromiseError(f"counted were {counted}, and published {dict(changes + states)}")


def the_ledger_names_what_was_published(seen: Published, named: Iterable[tuple[str, int]]) -> None:
    """Each revision came of one event, and the ledger has it there, once. What the clock alone did came of none; nor does what
    a late worker adds when another has settled its event: what the clock has done since, or what had been said before the
    policy was there. That is a second step, so the one before it is named.
    """
    published = {(str(event["subject"]), _view(event)["revision"]): event for event in seen.feed}
    told = Counter(named)
    lacking = {
        name
        for name, event in published.items()
        if name not in told
        and event["type"] not in ("policy.expired", "policy.expiring")
        and _cause(event) != "schedule"
        and (name[0], name[1] - 1) not in told
    }
    odd = {
        name
        for name, times in told.items()
        if times > 1 or name not in published or _cause(published[name]) == "schedule"
    }
    if lacking or odd:
        raise BrokenPromiseError(f"the ledger lacks {sorted(lacking)}, and should not have {sorted(odd)}")


def _cause(event: Mapping[str, object]) -> str:
    return cast("Mapping[str, Mapping[str, str]]", event["data"])["cause"]["kind"]


def states_are_true(seen: Published, policies: Watched, told: Iterable[Taken], now: Span) -> None:
    """At rest, every policy stands where the truth says."""
    taken = list(told)
    newest = {str(event["subject"]): _view(event)["state"] for event in seen.feed}
    for policy, watched in policies.items():
        wanted = [truth(policy, watched, taken, at) for at in now]
        if newest.get(policy) not in wanted:
            raise BrokenPromiseError(f"{policy} is {newest.get(policy)}, and in truth {' or '.join(map(str, wanted))}")


class _View(TypedDict):
    revision: int
    state: str


def _view(event: Mapping[str, object]) -> _View:
    """As it is published: a view that readers of the first version do not see says otherwise for them in the feed."""
    view = cast("Mapping[str, Mapping[str, object]]", event["data"])["view"]
    told = {name: value for name, value in view.items() if name != "usable_v2"}
    return cast("_View", {**told, "usable": view.get("usable_v2", view["usable"])})


class Cause(NamedTuple):
    """One of the things that a policy's use depends on: its repository's owner, that it is not archived, that the App sees it,
    its creator.
    """

    policy: str
    what: str


LEASE = 72 * 3_600_000_000
"""For so long, in microseconds, a policy may be used after GitHub was last asked about it."""
SLACK = 60_000_000


def what_was_heard_is_believed(
    admitted: Collection[str], heard: Mapping[Cause, Iterable[int]], broken: Mapping[Cause, int]
) -> None:
    """Nobody publishes by a policy of which a settled webhook told that it may not be used, as long as that is so. `heard`:
    of which times that something ended a webhook was settled; `broken`: which time it is that holds now.
    """
    for cause, times in heard.items():
        if cause.policy in admitted and broken.get(cause) in set(times):
            raise BrokenPromiseError(
                f"a token is let through by {cause.policy}, and it was heard that {cause.what} is not so"
            )


def what_is_not_heard_ends(admitted: Collection[str], since: Mapping[Cause, int], now: Mapping[str, int]) -> None:
    """Nobody publishes by a policy that may not be used since longer than the last answer of GitHub's counts."""
    for cause, at in since.items():
        late = now[cause.policy] - at
        if cause.policy in admitted and late > LEASE + SLACK:
            raise BrokenPromiseError(
                f"a token is let through by {cause.policy}, {late / 3.6e9:.0f} h after {cause.what}"
            )


def names_are_as_heard(seen: Published, heard: Mapping[str, Mapping[str, str]]) -> None:
    """A view shows the name of which the last settled webhook told, as long as that is its name. `heard`: policy → field →
    name.
    """
    for policy, names in heard.items():
        view = json.loads(next(iter(seen.views.get(policy, ())), "{}"))
        wrong = {field: view[field] for field, name in names.items() if view.get(field, name) != name}
        if wrong:
            raise BrokenPromiseError(f"the view of {policy} has {wrong}, and it was heard that these are {dict(names)}")


def usable_is_true(admitted: Collection[str], may: Collection[str]) -> None:
    """At rest, and after GitHub was asked, exactly those may publish who may in truth."""
    if set(admitted) != set(may):
        raise BrokenPromiseError(f"a reader lets {sorted(set(admitted))} publish, and in truth {sorted(may)} may")
