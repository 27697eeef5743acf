"""Observations and facts.

An observation is one thing learnt about the world. A fact is the newest observation of one subject. Facts form a
join-semilattice: `merge` keeps the greater of two observations of the same subject, so any order and any number of
repetitions of the same observations end in the same facts.

A subject is a *scope* (what it is about: a repository, an account, …), an *aspect* (what of it) and a *channel*:

- a boolean aspect ("is it archived?") has three channels, because they must not overwrite each other: the newest
  signed hint that blocks, the newest signed hint that clears, and the newest proof. Which of them counts is
  `decide`'s business, so it can change (GitHub credentials added or withdrawn) without anything being learnt again;
- a *series* ("when did logins happen?") keeps every observation, each in a channel of its own, because a window
  that is learnt of later must still find the login that happened inside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum, StrEnum
from typing import NamedTuple, TypeAlias

Micros: TypeAlias = int
"""Microseconds: since 1970-01-01 UTC for a point in time, plain for a duration."""

Value: TypeAlias = str | int | bool | None
"""What can be observed. Anything richer is a JSON text, encoded by the one who observes it."""

SECOND: Micros = 1_000_000
HOUR: Micros = 3600 * SECOND
DAY: Micros = 24 * HOUR

SERIES = frozenset({
    "registration", "renewal", "login", "visibility", "name", "renamed_to", "blind", "repository_id", "identity",
})  # fmt: skip
"""Aspects of which every observation counts, not just the newest."""


class Basis(StrEnum):
    """How far an observation can be trusted to give access back."""

    HINT = "hint"
    """A signed webhook: true when GitHub sent it, perhaps no longer."""
    PROOF = "proof"
    """An answer of GitHub's API, or the word of whoever decides the matter: registry, exchange, operator."""


class ObservationSource(NamedTuple):
    """Who said it: `kind` is github, registry, exchange, schedule or operator; `id` the delivery's or event's id."""

    kind: str
    id: str
    event: str


class Observation(NamedTuple):
    """One thing learnt: at `at`, `source` said that `aspect` of `scope` is `value`.

    `dated`: when its sender says that it happened, where a hint says so, and never later than `at`. It orders hints among
    themselves; against a proof, a hint is as new as its receipt.
    """

    scope: str
    aspect: str
    value: Value
    at: Micros
    basis: Basis
    source: ObservationSource
    dated: Micros | None = None


Facts: TypeAlias = Mapping[str, Observation]
"""Subject → newest observation of it."""


def subject(observation: Observation) -> str:
    """The key under which an observation is kept; two observations of one subject compete, others do not."""
    scope, aspect, value, at, basis, source, _ = observation
    if aspect in SERIES:
        return f"{scope} {aspect} @{at} {basis.value} {source.id if aspect == 'registration' else value}"
    if basis is Basis.PROOF:
        return f"{scope} {aspect} ="
    return f"{scope} {aspect} {'-' if value else '+'}"


def precedence(observation: Observation) -> tuple[Micros, bool, bool, str, ObservationSource, str]:
    """Newer wins. At the same instant, what blocks wins, and an update is later than the registration that it updates:
    clocks of registries may count whole seconds. The rest only makes the order total.
    """
    updates = observation.source.event == "policy.updated"
    return (
        observation.at,
        observation.value is True,
        updates,
        repr(observation.value),
        observation.source,
        observation.basis,
    )


def merge(facts: Facts, observations: Iterable[Observation]) -> Facts:
    """The facts after learning `observations`; the very same object if there was nothing new in them."""
    learnt: dict[str, Observation] = {}
    for observation in observations:
        key = subject(observation)
        old = learnt.get(key) or facts.get(key)
        kept = observation if old is None else joined(old, observation)
        if kept is not old:
            learnt[key] = kept
    return {**facts, **learnt} if learnt else facts


def happened(observation: Observation) -> Micros:
    """When it happened, as far as is known: the date that orders hints among themselves."""
    return observation.at if observation.dated is None else observation.dated


def joined(old: Observation, new: Observation) -> Observation:
    """What two observations of one subject come to: the newer one, with the later of their senders' dates.

    Both are kept at their greatest, since a hint may be the last to arrive and not the last that was sent. The very
    same object as `old` if `new` adds nothing.
    """
    newer, other = (new, old) if precedence(new) > precedence(old) else (old, new)
    if newer.dated is None or happened(newer) >= happened(other):
        return newer
    return newer._replace(dated=happened(other))


def newest_hint(hints: Iterable[Observation | None]) -> Observation | None:
    """The hint that happened last; at the same instant the one that was received last, and what blocks before what clears."""
    present = [hint for hint in hints if hint is not None]
    if len(present) < 2:
        return present[0] if present else None
    return max(present, key=lambda hint: (happened(hint), precedence(hint)))


def series(facts: Facts, scope: str, aspect: str) -> list[Observation]:
    """All observations of one series, oldest first."""
    matching = [fact for fact in facts.values() if fact.aspect == aspect and fact.scope == scope]
    if len(matching) > 1:
        matching.sort(key=precedence)
    return matching


def shifted(observations: Iterable[Observation], by: Micros, limit: Micros) -> list[Observation]:
    """The observations with every date beyond `limit` earlier by `by`, in the order that they had: a date that would come
    before one that stays follows that one.
    """
    shifted_facts = list(observations)
    dates = sorted({date for o in shifted_facts for date in (o.at, o.dated) if date is not None})
    moved: dict[Micros, Micros] = {}
    last = -1
    for date in dates:
        last = date if date <= limit else max(date - by, last + 1)
        moved[date] = last
    return [o._replace(at=moved[o.at], dated=None if o.dated is None else moved[o.dated]) for o in shifted_facts]


class Worth(IntEnum):
    """How dear an observation is where not all can be kept: the lowest goes first, and of equals the oldest."""

    ADVICE = 0
    """About a workflow file, an environment or refs: it never blocks."""
    DETAIL = 1
    """It describes, or gives access back."""
    LOSS = 2
    """It takes access away."""
    PERSON = 3
    """It takes access away from a person or from a whole owner: nobody can bring these about by the hundred."""


def worth(observation: Observation) -> Worth:
    """How dear an observation is."""
    kind = observation.scope.partition(":")[0]
    if kind in ("workflow", "environment", "refs"):
        return Worth.ADVICE
    if observation.value is not True or observation.aspect == "verified":
        return Worth.DETAIL
    return Worth.PERSON if kind in ("member", "collaborator", "owner") else Worth.LOSS


THICK = 16
"""So many observations of one series are kept before any is thinned out."""


def thin(facts: Facts, scope: str, aspect: str, width: Micros) -> Facts:
    """Drop from a long series what no window of at least `width` can miss.

    Of three successive observations with the same value, the middle one is redundant when the outer two are no
    further apart than `width`: every window that holds it also holds one of its neighbours, whenever that window
    is learnt of. So a policy that publishes a hundred times a day keeps about two logins a window. A window that a
    registration of another repository cuts short is the exception, which is why short series are left alone.
    """
    kept = series(facts, scope, aspect)
    if len(kept) <= THICK:
        return facts
    dropped: set[str] = set()
    index = 1
    while index < len(kept) - 1:
        before, middle, after = kept[index - 1 : index + 2]
        alike = (before.value, before.basis) == (middle.value, middle.basis) == (after.value, after.basis)
        if alike and after.at - before.at <= width:
            dropped.add(subject(middle))
            del kept[index]
        else:
            index += 1
    return {key: fact for key, fact in facts.items() if key not in dropped} if dropped else facts


LONGEST = 32
"""So many observations are kept of what anybody with a repository can bring about as often as he likes."""
ENDLESS = frozenset({"held_by", "name", "renamed_to", "identity"})
"""Such aspects, without what follows a colon: who had a name, and renames."""


def shortened(facts: Facts) -> Facts:
    """Drop from each endless series what is beyond `LONGEST`, the same whatever came first.

    Of who had a name, the newest are kept: whoever has it now is among them, and of one who had it before, that he gave
    it up is kept for longer than that he took it. Of the others, the oldest and the newest halves are: a rename counts from
    when a name was come to, and what is the case now by the last of them.
    """
    if len(facts) <= LONGEST:
        return facts
    groups: dict[tuple[str, str], list[str]] = {}
    for key, fact in facts.items():
        family = fact.aspect.partition(":")[0]
        if family in ENDLESS:
            groups.setdefault((fact.scope, family), []).append(key)
    dropped: set[str] = set()
    for (_, family), keys in groups.items():
        if len(keys) > LONGEST:
            keys.sort(key=lambda key: precedence(facts[key]))
            half = LONGEST // 2
            dropped.update(keys[:-LONGEST] if family == "held_by" else keys[half:-half])
    return {key: fact for key, fact in facts.items() if key not in dropped} if dropped else facts


def newest(observations: Iterable[Observation | None]) -> Observation | None:
    """The newest of these, blocking before clearing at the same instant; None if there is none."""
    present = [o for o in observations if o is not None]
    if len(present) < 2:
        return present[0] if present else None
    return max(present, key=precedence)


def effective(
    facts: Facts, scope: str, aspect: str, *, proof_required: bool, lag: Micros, until: Micros | None = None
) -> Observation | None:
    """What counts as known of a boolean aspect, or None if nothing is. From `until` on, nothing clears it. `lag`: as
    `outweighs`.

    A hint that blocks always counts. A hint that clears counts only where no proof can be had: promise 1 of the
    contract, "disable on hint, enable on proof".
    """
    prefix = f"{scope} {aspect} "
    proof = facts.get(prefix + "=")
    hint = facts.get(prefix + "-")
    clears = None if proof_required else facts.get(prefix + "+")
    if until is not None:
        proof = proof if proof is None or proof.value is True or proof.at < until else None
        clears = clears if clears is None or clears.at < until else None
    # Of most aspects nothing is known, or one thing: a policy asks some twenty times at every step.
    if clears is not None:
        hint = newest_hint((hint, clears))
    if proof is None or hint is None:
        return hint if proof is None else proof
    return hint if outweighs(hint, proof, lag) else proof


def outweighs(hint: Observation, proof: Observation, lag: Micros) -> bool:
    """Whether a hint counts beside a proof: if it was received after GitHub was asked.

    What takes access away counts also if it was received less than `lag` before that: the replica of GitHub's that
    answered may not have heard of it yet.
    """
    if hint.value is True and proof.value is not True and hint.at + lag > proof.at:
        return True
    return precedence(hint) > precedence(proof)


def too_early(answer: Observation, hints: Iterable[Observation | None], lag: Micros) -> bool:
    """Whether an answer of GitHub's to what somebody is called came less than `lag` after a hint that says something else:
    the replica that answered may not have heard of it yet.
    """
    return answer.basis is Basis.PROOF and any(
        hint is not None
        and hint.basis is Basis.HINT
        and hint.value != answer.value
        and hint.at <= answer.at < hint.at + lag
        for hint in hints
    )


def holds(facts: Facts, scope: str, aspect: str, *, proof_required: bool, lag: Micros) -> bool:
    """Whether a boolean aspect is known to be true."""
    fact = effective(facts, scope, aspect, proof_required=proof_required, lag=lag)
    return fact is not None and fact.value is True
