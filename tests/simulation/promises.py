"""What must hold, told anew: by what was taken in, and by what any client can read. None of the product's code decides here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, TypedDict, cast

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


class BrokenPromiseError(Exception):
    """What was promised does not hold."""


class Taken(NamedTuple):
    """Something that was taken in: when that was, or when it was by what it says, and as the how manieth."""

    at: int
    order: int
    name: str
    about: str
    """A policy, a repository, an owner's member, or an account."""


def truth(policy: str, watched: Collection[str], told: Iterable[Taken], now: int) -> str | None:
    """The state of a policy whose repository is private, or None if nobody registered it.

    Removal is for good. Before that: without a login inside a window it expires when the last one ends. Before that: it is
    disabled while the newest word on its repository, its creator's membership or account, or an operator's hold says so.
    """
    mine = sorted(t for t in told if t.about == policy or t.about in watched)
    starts = [t.at for t in mine if t.name == "policy.registered"]
    if not starts:
        return None
    if any(t.name == "policy.removed" for t in mine):
        return "removed"
    windows = [starts[0], *(t.at for t in mine if t.name == "policy.renewed" and t.at >= starts[0])]
    logins = [t.at for t in mine if t.name == "login.succeeded"]
    proven = any(start <= login < start + WINDOW for start in windows for login in logins)
    if not proven and now >= max(windows) + WINDOW:
        return "expired"
    for closing, opening in CLOSES.items():
        words = [t.name.partition(".")[2] for t in mine]
        last = next((word for word in reversed(words) if word in (closing, opening)), opening)
        if last == closing:
            return "disabled"
    return "active" if proven else "provisional"


def nobody_gets_in(
    admitted: Collection[str],
    policies: Mapping[str, Collection[str]],
    settled: Iterable[Taken],
    waiting: Collection[Taken],
    now: Mapping[str, int],
) -> None:
    """Whom a reader lets publish, nothing that was settled forbids. `now`: what time it is for each policy. Of what waits, whatever opens may count already: a
    worker that wrote it has not said so yet. While a policy's registration waits, nothing is promised of it.
    """
    heard = [*settled, *(t for t in waiting if t.name.partition(".")[2] in OPENS)]
    for policy in set(admitted) - {t.about for t in waiting if t.name == "policy.registered"}:
        state = truth(policy, policies[policy], heard, now[policy])
        if state not in (None, "provisional", "active"):
            raise BrokenPromiseError(f"a token is let through by {policy}, which is {state} by what was settled")


def nobody_is_locked_out(
    admitted: Collection[str],
    policies: Mapping[str, Collection[str]],
    told: Iterable[Taken],
    now: Mapping[str, int],
) -> None:
    """At rest, a reader lets publish whoever may."""
    heard = list(told)
    states = {policy: truth(policy, policies[policy], heard, now[policy]) for policy in policies}
    usable = {policy for policy, state in states.items() if state in ("provisional", "active")}
    if usable != set(admitted):
        raise BrokenPromiseError(f"a reader lets {sorted(admitted)} publish, and in truth {sorted(usable)} may")


def agrees(mirrored: Collection[str], admitted: Collection[str]) -> None:
    """At rest, a mirror lets publish whom a reader does."""
    if set(mirrored) != set(admitted):
        raise BrokenPromiseError(f"a mirror lets {sorted(mirrored)} publish, and a reader {sorted(admitted)}")


class Published(NamedTuple):
    """All that a client can read: the feed in its order, every view, every record's revision, and the counters."""

    feed: list[Mapping[str, object]]
    views: Mapping[str, str]
    """Policy → the view's JSON, in whatever hash it is."""
    revisions: Mapping[str, int]
    """Policy → the revision of its record."""
    counters: Mapping[str, int]


def revisions_have_no_gap(seen: Published) -> None:
    """Every policy's revisions are 1, 2, 3, … in the order of the feed, and the last is its record's."""
    told: dict[str, list[int]] = {}
    for event in seen.feed:
        told.setdefault(str(event["subject"]), []).append(_view(event)["revision"])
    for policy, revisions in told.items():
        if revisions != list(range(1, len(revisions) + 1)):
            raise BrokenPromiseError(f"the revisions of {policy} in the feed are {revisions[-6:]}")
    for policy, revision in seen.revisions.items():
        if len(told.get(policy, [])) != revision:
            raise BrokenPromiseError(f"{policy} has revision {revision}, and {len(told.get(policy, []))} events")


def views_are_the_newest_events(seen: Published) -> None:
    """The view of a policy is that of its newest event; a removed policy has none."""
    newest = {str(event["subject"]): _view(event) for event in seen.feed}
    wanted = {policy: view for policy, view in newest.items() if view["state"] != "removed"}
    found = {policy: json.loads(written) for policy, written in seen.views.items()}
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


def states_are_true(seen: Published, policies: Mapping[str, Collection[str]], told: Iterable[Taken], now: int) -> None:
    """At rest, every policy stands where the truth says. `policies`: each with its repository, creator and accounts."""
    taken = list(told)
    newest = {str(event["subject"]): _view(event)["state"] for event in seen.feed}
    for policy, watched in policies.items():
        wanted = truth(policy, watched, taken, now)
        if newest.get(policy) != wanted:
            raise BrokenPromiseError(f"{policy} is {newest.get(policy)}, and in truth {wanted}")


class _View(TypedDict):
    revision: int
    state: str


def _view(event: Mapping[str, object]) -> _View:
    data = cast("Mapping[str, object]", event["data"])
    return cast("_View", data["view"])


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
        view = json.loads(seen.views.get(policy, "{}"))
        wrong = {field: view[field] for field, name in names.items() if view.get(field, name) != name}
        if wrong:
            raise BrokenPromiseError(f"the view of {policy} has {wrong}, and it was heard that these are {dict(names)}")


def usable_is_true(admitted: Collection[str], may: Collection[str]) -> None:
    """At rest, and after GitHub was asked, exactly those may publish who may in truth."""
    if set(admitted) != set(may):
        raise BrokenPromiseError(f"a reader lets {sorted(set(admitted))} publish, and in truth {sorted(may)} may")
