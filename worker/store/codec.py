"""How facts, policies and change events are written. Ids are written and read as integers of any size up to 64 bits."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias, cast

import orjson

from worker.lifecycle.decide import State
from worker.lifecycle.facts import Basis, Facts, Observation, ObservationSource, Value, subject
from worker.lifecycle.policy import Policy
from worker.lifecycle.views import View

Row: TypeAlias = list[Value]

_BASES = {basis.value: basis for basis in Basis}
"""Asked for every fact that is read, where calling the enumeration is slow."""


def row(fact: Observation) -> Row:
    """A fact as JSON. The value comes first and the time second, so that equal times compare by value; the sender's date
    is last, and only there if it has one.
    """
    scope, aspect, value, at, basis, source, dated = fact
    written: Row = [value, at, scope, aspect, basis.value, source.kind, source.id, source.event]
    if dated is not None:
        written.append(dated)
    return written


def fact_of(written: Row) -> Observation:
    value, at, scope, aspect, basis, kind, source_id, event, *dated = written
    source = ObservationSource(str(kind), str(source_id), str(event))
    date = cast("int", dated[0]) if dated else None
    return Observation(str(scope), str(aspect), value, cast("int", at), _BASES[str(basis)], source, date)


def encode_fact(fact: Observation) -> bytes:
    return orjson.dumps(row(fact))


def decode_fact(written: bytes) -> Observation:
    return fact_of(orjson.loads(written))


def stamp(policy: Policy | None) -> str:
    """What the compare-and-set compares: changes with every write, also with those that publish nothing."""
    return "" if policy is None else f"{policy.revision}.{policy.edition}"


def encode_policy(policy: Policy) -> bytes:
    record = {
        "facts": [row(fact) for fact in policy.facts.values()],
        "view": policy.view,
        "windows": policy.windows,
        "since": policy.since,
        "reminded": policy.reminded,
        # As a release before this one called it, which may read it.
        "refused": sorted(policy.contrary),
        "decided_at": policy.decided_at,
        "watching": sorted(policy.watching),
        "unread": sorted(policy.unread),
    }
    return stamp(policy).encode() + b"\n" + orjson.dumps(record)


UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)
"""What may go wrong where the store holds something else than we wrote."""

_TEXTS = ("policy_id", "name", "repository_owner", "repository", "workflow_file")
_NUMBERS = ("revision", "repository_owner_id")
_OPTIONAL = ("visibility", "environment")
_MOMENTS = ("usable_until", "verified_at")
_LISTS = ("refs", "events", "packages", "actions")
_WORDS = ("workflow_binds", "called_workflow", "runner", "issuer")
_STATES = frozenset(State)


def fits(candidate: View | None) -> bool:
    """Whether a view that was read has the form in which we publish, in every part. Who settles a policy makes it anew; who
    shows many of them has to know.
    """
    if candidate is None:
        return True
    view = cast("dict[str, object]", candidate)
    try:
        owner = cast("dict[str, object]", view["package_owner"])
        creator = cast("dict[str, object]", view["created_by"])
        reasons, advisories = view["reasons"], view["advisories"]
        texts = [view[name] for name in _TEXTS] + [owner["account"], owner["kind"], creator["account"]]
        numbers = [view[name] for name in _NUMBERS]
        optional = [view[name] for name in _OPTIONAL]
        ids = [view["repository_id"], creator["github_user_id"]]
        moments = [view["updated_at"], *(each for name in _MOMENTS if (each := view[name]) is not None)]
        usable, state = view["usable"], view["state"]
    except UNREADABLE:
        return False
    return (
        isinstance(reasons, list)
        and isinstance(advisories, list)
        and all(isinstance(text, str) for text in (*texts, *reasons, *advisories))
        and all(text is None or isinstance(text, str) for text in optional)
        and all(isinstance(number, int) for number in numbers)
        and all(number is None or isinstance(number, int) for number in ids)
        and all(map(_is_moment, moments))
        and isinstance(usable, bool)
        and isinstance(state, str)
        and state in _STATES
        and _asks(view)
    )


def _asks(view: dict[str, object]) -> bool:
    """Whether what it asks of a token, if anything, has the form in which we publish it."""
    lists = [view.get(name, []) for name in _LISTS]
    words = [word for words in lists if isinstance(words, list) for word in words]
    words += [view.get(name, "") for name in _WORDS]
    plain = all(isinstance(word, str) for word in words)
    return plain and all(isinstance(words, list) for words in lists) and view.get("ref_protected", True) is True


def _is_moment(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def decode_policy(policy_id: str, written: bytes) -> Policy:
    """A record as it was written.

    Raises:
        Exception: one of `UNREADABLE`: it is none of ours.
    """
    head, _, body = written.partition(b"\n")
    revision, _, edition = head.partition(b".")
    record = orjson.loads(body)
    facts: Facts = {subject(fact): fact for fact in map(fact_of, record["facts"])}
    return Policy(
        policy_id=policy_id,
        facts=facts,
        revision=int(revision),
        edition=int(edition),
        view=_shape(record["view"]),
        windows=record["windows"],
        since=record["since"],
        reminded=record["reminded"],
        contrary=frozenset(record.get("refused", ())),
        decided_at=record["decided_at"],
        watching=frozenset(record["watching"]),
        unread=frozenset(record["unread"]),
    )


def decode_view(written: bytes | None) -> View | None:
    """What was last published of a policy, without its facts; None if there is no record that can be read."""
    try:
        view = _shape(orjson.loads((written or b"").partition(b"\n")[2])["view"])
    except UNREADABLE:
        return None
    return view if fits(view) else None


def _shape(value: object) -> View | None:
    """
    Raises:
        ValueError: it is no view at all.
    """
    if value is not None and not isinstance(value, dict):
        raise ValueError("not a view of ours")
    return cast("View | None", value)
