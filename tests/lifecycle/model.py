"""A second opinion: what a list of observations adds up to, worked out the slow way.

It keeps no facts and merges nothing: it plays all observations in the order of their times, and asks of every instant
of every window what was known then. It knows nothing of renames, which have tests of their own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.lifecycle import scopes
from worker.lifecycle.facts import Basis, Micros, Observation
from worker.lifecycle.rules import Rules


class Verdict(NamedTuple):
    """Times as everywhere, `window` the last one of a policy that has not proven itself."""

    state: str
    reasons: frozenset[str]
    usable_until: Micros | None
    repository_id: int | None
    window: tuple[Micros, Micros] | None


@dataclass
class Hold:
    """A policy's hold on one repository, as the play goes on."""

    since: Micros
    owner: int
    name: str
    user: int | None
    creator: str
    package_owner: str
    repository_id: int | None = None
    known_since: Micros = 0
    windows: list[tuple[Micros, Micros]] = field(default_factory=list)
    declared: list[tuple[Micros, str]] = field(default_factory=list)
    former: list[tuple[str, Micros]] = field(default_factory=list)
    """Names that it was registered under before, and until when."""
    logged_in: bool = False

    def open_at(self, at: Micros) -> bool:
        return any(start <= at < end for start, end in self.windows)


def verdict(observations: Iterable[Observation], now: Micros, rules: Rules) -> Verdict | None:
    """The standing at `now`; None if nobody registered the policy."""
    story = sorted(set(observations), key=_order)
    hold = _play(story, rules)
    if hold is None:
        return None
    proven = hold.logged_in or _was_public(story, hold, rules)
    window = None if proven else hold.windows[-1]
    lapse = _lapse(story, hold, rules)
    reasons = _reasons(story, hold, rules)
    if lapse is not None and lapse <= now:
        reasons.add("verification_lapsed")
    usable_until = None
    if any(o.aspect == "removed" for o in story):
        state = "removed"
    elif window is not None and window[1] <= now:
        state = "expired"
    elif reasons:
        state = "disabled"
    else:
        state = "active" if proven else "provisional"
        limits = [limit for limit in (window and window[1], lapse) if limit is not None]
        usable_until = min(limits) if limits else None
    return Verdict(state, frozenset(reasons), usable_until, hold.repository_id, window)


_FIRST_THINGS = ("registration", "renewal", "login")


def _order(observation: Observation) -> tuple[Micros, int, str, str]:
    first = _FIRST_THINGS.index(observation.aspect) if observation.aspect in _FIRST_THINGS else len(_FIRST_THINGS)
    return observation.at, first, str(observation.value), str(observation)


def _play(story: Sequence[Observation], rules: Rules) -> Hold | None:
    hold: Hold | None = None
    for observation in story:
        if observation.aspect == "registration":
            hold = _register(hold, observation, rules)
        elif hold is None:
            continue
        elif observation.aspect == "renewal":
            hold.windows.append((observation.at, observation.at + rules.window))
        elif observation.aspect == "login":
            repository_id, owner = (int(part) for part in str(observation.value).split(":"))
            if owner == hold.owner and hold.open_at(observation.at):
                if hold.repository_id is None:
                    hold.repository_id, hold.known_since = repository_id, observation.at
                hold.logged_in = hold.logged_in or hold.repository_id == repository_id
    return hold


def _register(hold: Hold | None, said: Observation, rules: Rules) -> Hold:
    _, package_owner, _, creator, user, _, owner, name, repository_id, visibility, *_ = json.loads(str(said.value))
    goes_on = hold is not None and hold.owner == owner
    if hold is not None and goes_on:
        both_known = hold.repository_id is not None and repository_id is not None
        goes_on = hold.repository_id == repository_id if both_known else hold.name.lower() == name.lower()
    if hold is None or not goes_on:
        hold = Hold(said.at, owner, name, user, creator, package_owner)
        hold.windows.append((said.at, said.at + rules.window))
    if name != hold.name:
        hold.former.append((hold.name, said.at))
    hold.name, hold.user, hold.creator, hold.package_owner = name, user, creator, package_owner
    if visibility is not None:
        hold.declared.append((said.at, visibility))
    if repository_id is not None and hold.repository_id is None:
        hold.repository_id, hold.known_since = repository_id, said.at
    return hold


def _was_public(story: Sequence[Observation], hold: Hold, rules: Rules) -> bool:
    if hold.repository_id is None:
        return False
    scope = scopes.repository(hold.owner, hold.repository_id)
    heard = [o for o in story if o.scope == scope and o.aspect == "visibility"]
    if rules.proof_required:
        heard = [o for o in heard if o.basis is Basis.PROOF or o.value != "public"]
    declared = [] if rules.proof_required else hold.declared
    told = [*declared, *((o.at, str(o.value)) for o in heard)]
    for start, end in hold.windows:
        for instant in range(max(start, hold.known_since), end):
            latest = max((at for at, _ in told if at <= instant), default=None)
            if any(at == latest and value == "public" for at, value in told):
                return True
    return False


def _true(story: Sequence[Observation], scope: str, aspect: str, rules: Rules) -> bool | None:
    """What is known at the end: the newest that counts, and what blocks before what clears; None if nothing is."""
    told = [o for o in story if (o.scope, o.aspect) == (scope, aspect)]
    if rules.proof_required:
        told = [o for o in told if o.basis is Basis.PROOF or o.value is True]
    latest = max((o.at for o in told), default=None)
    return None if latest is None else any(o.value is True for o in told if o.at == latest)


def _reasons(story: Sequence[Observation], hold: Hold, rules: Rules) -> set[str]:
    by_name = scopes.unbound(hold.owner, hold.name)
    where = by_name if hold.repository_id is None else scopes.repository(hold.owner, hold.repository_id)
    creator, package_owner = scopes.account(hold.creator), scopes.account(hold.package_owner)
    asked = {
        "repository_deleted": (where, "deleted"),
        "repository_archived": (where, "archived"),
        "repository_unreachable": (where, "unreachable"),
        "repository_transferred": (where, "transferred"),
        "owner_deleted": (scopes.owner(hold.owner), "deleted"),
        "creator_left_package_owner": (scopes.package_member(hold.package_owner, hold.creator), "left"),
        "creator_locked": (creator, "locked"),
        "creator_deleted": (creator, "deleted"),
        "package_owner_locked": (package_owner, "locked"),
        "package_owner_deleted": (package_owner, "deleted"),
    }
    reasons = {reason for reason, (scope, aspect) in asked.items() if _true(story, scope, aspect, rules)}
    if any(_true(story, o.scope, "held", rules) for o in story if o.aspect == "held"):
        reasons.add("held_by_operator")
    if hold.user is not None:
        left = _true(story, scopes.member(hold.owner, hold.user), "left", rules)
        if left:
            reasons.add("creator_left_organization")
        if left is not False and _true(story, scopes.collaborator(where, hold.user), "lost", rules):
            reasons.add("creator_lost_repository_access")
    if _replaced(story, hold, rules):
        reasons.add("repository_replaced")
    return reasons


def _replaced(story: Sequence[Observation], hold: Hold, rules: Rules) -> bool:
    """Whether its name is taken, or, where GitHub can be asked and was not yet, a former one was while it had it."""
    if hold.repository_id is None:
        return False
    place = scopes.repository(hold.owner, hold.repository_id)
    proven = max((o.at for o in story if o.scope == place and o.aspect == "verified"), default=-1)
    former = hold.former if rules.proof_required else []
    return bool(_taken(story, hold, hold.name, rules)) or any(
        proven < at < end for name, end in former for at in _taken(story, hold, name, rules)
    )


def _taken(story: Sequence[Observation], hold: Hold, held_name: str, rules: Rules) -> list[Micros]:
    scope = scopes.name(hold.owner, held_name)
    holders: dict[str, Micros] = {}
    for aspect in {o.aspect for o in story if o.scope == scope}:
        mine = aspect == f"held_by:{hold.repository_id}"
        told = [o for o in story if (o.scope, o.aspect) == (scope, aspect)]
        if mine and rules.proof_required:
            told = [o for o in told if o.basis is Basis.PROOF]
        if _true(told, scope, aspect, rules):
            holders[aspect] = max(o.at for o in told if o.value is True)
    since = holders.pop(f"held_by:{hold.repository_id}", -1)
    return [at for at in holders.values() if at > since]


def _lapse(story: Sequence[Observation], hold: Hold, rules: Rules) -> Micros | None:
    if hold.repository_id is None:
        where = scopes.unbound(hold.owner, hold.name)
    else:
        where = scopes.repository(hold.owner, hold.repository_id)
    proofs = [o.at for o in story if o.scope == where and o.aspect == "verified"]
    if rules.proof_required:
        return max([hold.since, *proofs]) + rules.proof_max_age
    blindness = [o for o in story if o.scope == scopes.owner(hold.owner) and o.aspect == "blind"]
    latest = max((o.at for o in blindness), default=None)
    if latest is None or not any(o.value is True for o in blindness if o.at == latest):
        return None
    return max([latest, *proofs]) + rules.proof_max_age
