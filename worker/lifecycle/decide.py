"""Facts and the clock in, standing out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from worker.lifecycle import scopes
from worker.lifecycle.facts import DAY, HOUR, Basis, Facts, Micros, holds, settled
from worker.lifecycle.tenure import Tenure, tenure_of


class State(StrEnum):
    PROVISIONAL = "provisional"
    ACTIVE = "active"
    DISABLED = "disabled"
    EXPIRED = "expired"
    REMOVED = "removed"


USABLE = frozenset({State.PROVISIONAL, State.ACTIVE})


@dataclass(frozen=True, slots=True)
class Rules:
    """What an installation of Tenure decides for itself. All durations in microseconds."""

    window: Micros = 7 * DAY
    """How long a policy may be used before it has proven itself."""
    reminder: Micros = 48 * HOUR
    """How long before a window closes its owner is reminded."""
    proof_max_age: Micros = 72 * HOUR
    """How old the last proof may be before the policy lapses."""
    proof_required: bool = False
    """Whether GitHub can be asked. If so, a hint never gives access back."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the facts and the clock add up to."""

    state: State
    reasons: tuple[str, ...]
    advisories: tuple[str, ...]
    usable_until: Micros | None
    """Set only while usable: from then on the policy is closed, whether or not anybody has written that down."""
    window: tuple[Micros, Micros] | None
    """The newest window of a policy that has not proven itself yet."""
    due: Micros | None
    """When the clock alone changes this standing."""
    reminder_due: Micros | None
    """When the owner should hear that the window closes; None if there is nothing to be reminded of."""
    tenure: Tenure
    repository_owner: str
    visibility: str | None
    verified_at: Micros | None


@dataclass(frozen=True, slots=True)
class _Known:
    """The facts of one policy, in the words that the rules use."""

    facts: Facts
    tenure: Tenure
    now: Micros
    rules: Rules
    own_scope: str
    owner_scope: str
    creator_scope: str
    package_owner_scope: str

    def holds(self, scope: str, aspect: str) -> bool:
        return holds(self.facts, scope, aspect, proof_required=self.rules.proof_required)

    def repository(self, aspect: str) -> bool:
        return self.holds(self.tenure.repository_scope, aspect)

    def owner(self, aspect: str) -> bool:
        return self.holds(self.owner_scope, aspect)

    def creator(self, aspect: str) -> bool:
        return self.holds(self.creator_scope, aspect)

    def package_owner(self, aspect: str) -> bool:
        return self.holds(self.package_owner_scope, aspect)

    def left_organization(self) -> bool | None:
        """Whether the creator left the GitHub organisation; None where nobody has said either."""
        user = self.tenure.registration.creator_github_id
        if user is None:
            return None
        scope = scopes.member(self.tenure.owner_id, user)
        known = settled(self.facts, scope, "left", proof_required=self.rules.proof_required)
        return None if known is None else known.value is True

    def lost_repository(self) -> bool:
        """Losing direct access matters only to those who do not have it as a member of the organisation."""
        user = self.tenure.registration.creator_github_id
        if user is None or self.left_organization() is False:
            return False
        return self.holds(scopes.collaborator(self.tenure.repository_scope, user), "lost")

    def replaced(self) -> bool:
        """Whether the name is known to have gone to a repository with another id. Ids decide, names never do."""
        mine = self.tenure.repository_id
        scope = self.tenure.name_scope
        aspects = {key.split(" ")[1] for key in self.facts if key.startswith(f"{scope} held_by:")}
        claims = {
            aspect: settled(self.facts, scope, aspect, proof_required=self.rules.proof_required) for aspect in aspects
        }
        own = claims.pop(f"held_by:{mine}", None)
        if own is not None and self.rules.proof_required and own.basis is not Basis.PROOF:
            own = None
        others = [claim.at for claim in claims.values() if claim is not None and claim.value is True]
        mine_since = own.at if own is not None and own.value is True else -1
        return mine is not None and any(at > mine_since for at in others)

    def left_package_owner(self) -> bool:
        registration = self.tenure.registration
        return self.holds(scopes.package_member(registration.package_owner, registration.creator), "left")

    def lapsed(self) -> bool:
        deadline = self.lapse_deadline()
        return deadline is not None and self.now >= deadline

    def lapse_deadline(self) -> Micros | None:
        """When the last proof is too old: only where proofs can be had, or once GitHub can no longer be heard."""
        proof = self.last_proof()
        if self.rules.proof_required:
            return (proof if proof is not None else self.tenure.since) + self.rules.proof_max_age
        blind = settled(self.facts, self.owner_scope, "blind", proof_required=False)
        if blind is None or blind.value is not True:
            return None
        return max(blind.at, proof or 0) + self.rules.proof_max_age

    def last_proof(self) -> Micros | None:
        proof = self.facts.get(f"{self.tenure.repository_scope} verified =")
        return None if proof is None else proof.at

    def visibility(self) -> str | None:
        """The newest that is known, the registration's word included."""
        prefix = f"{self.tenure.repository_scope} visibility @"
        seen = [fact for key, fact in self.facts.items() if key.startswith(prefix)]
        newest = max(seen, key=lambda fact: fact.at, default=None)
        said = self.tenure.registration.visibility
        if newest is None or (said is not None and newest.at < self.tenure.registered_at):
            return said
        return str(newest.value)

    def repository_owner(self) -> str:
        """The owner's login, after the renames that are newer than the registration."""
        rename = self.facts.get(f"{self.owner_scope} login -")
        if rename is not None and rename.at > self.tenure.registered_at:
            return str(rename.value)
        return self.tenure.registration.repository_owner

    def renamed(self) -> bool:
        registration = self.tenure.registration
        names = (self.tenure.repository, self.repository_owner())
        return names != (registration.repository, registration.repository_owner)

    def visibility_changed(self) -> bool:
        said = self.tenure.registration.visibility
        return said is not None and self.visibility() != said


REASONS: dict[str, Callable[[_Known], bool]] = {
    "repository_deleted": lambda known: known.repository("deleted"),
    "repository_archived": lambda known: known.repository("archived"),
    "repository_unreachable": lambda known: known.repository("unreachable"),
    "repository_transferred": lambda known: known.repository("transferred"),
    "repository_replaced": _Known.replaced,
    "owner_deleted": lambda known: known.owner("deleted"),
    "creator_left_organization": lambda known: known.left_organization() is True,
    "creator_lost_repository_access": _Known.lost_repository,
    "creator_left_package_owner": _Known.left_package_owner,
    "creator_locked": lambda known: known.creator("locked"),
    "creator_deleted": lambda known: known.creator("deleted"),
    "package_owner_locked": lambda known: known.package_owner("locked"),
    "package_owner_deleted": lambda known: known.package_owner("deleted"),
    "verification_lapsed": _Known.lapsed,
    "held_by_operator": lambda known: known.holds(known.own_scope, "held"),
}
"""Every reason that blocks (contract, section 2), and when it holds. All that hold are listed, always."""

ADVISORIES: dict[str, Callable[[_Known], bool]] = {
    "workflow_missing": lambda known: known.repository(f"workflow_missing:{known.tenure.registration.workflow_file}"),
    "visibility_changed": _Known.visibility_changed,
    "renamed": _Known.renamed,
}
"""What an owner should know, and what never blocks."""


def decide(facts: Facts, policy_id: str, now: Micros, rules: Rules) -> Standing | None:
    """The standing of a policy at `now`, or None if it was never registered.

    Precedence (contract, section 2): removed, expired, disabled, then active or provisional.
    """
    tenure = tenure_of(facts, policy_id, window=rules.window, proof_required=rules.proof_required)
    if tenure is None:
        return None
    known = _Known(
        facts,
        tenure,
        now,
        rules,
        own_scope=scopes.policy(policy_id),
        owner_scope=scopes.owner(tenure.owner_id),
        creator_scope=scopes.account(tenure.registration.creator),
        package_owner_scope=scopes.account(tenure.registration.package_owner),
    )
    reasons = tuple(reason for reason, applies in REASONS.items() if applies(known))
    advisories = tuple(advisory for advisory, applies in ADVISORIES.items() if applies(known))
    window = None if tenure.proven else max(tenure.windows)

    if known.holds(known.own_scope, "removed"):
        state = State.REMOVED
    elif window is not None and now >= window[1]:
        state = State.EXPIRED
    elif reasons:
        state = State.DISABLED
    else:
        state = State.ACTIVE if tenure.proven else State.PROVISIONAL

    lapse = known.lapse_deadline()
    closing = min(_present(window and window[1], lapse), default=None)
    to_come = [] if state is State.REMOVED else [at for at in _present(window and window[1], lapse) if at > now]
    return Standing(
        state=state,
        reasons=reasons,
        advisories=advisories,
        usable_until=closing if state in USABLE else None,
        window=window,
        due=min(to_come, default=None),
        reminder_due=window[1] - rules.reminder if window and state is State.PROVISIONAL else None,
        tenure=tenure,
        repository_owner=known.repository_owner(),
        visibility=known.visibility(),
        verified_at=known.last_proof(),
    )


def _present(*moments: Micros | None) -> Iterator[Micros]:
    return (moment for moment in moments if moment is not None)


def watched_scopes(tenure: Tenure, policy_id: str) -> frozenset[str]:
    """Every scope whose facts can bear on this policy."""
    registration = tenure.registration
    watched = {
        scopes.policy(policy_id),
        scopes.owner(tenure.owner_id),
        tenure.repository_scope,
        scopes.account(registration.creator),
        scopes.account(registration.package_owner),
        scopes.package_member(registration.package_owner, registration.creator),
    }
    if tenure.repository_id is None:
        watched.add(scopes.unbound(tenure.owner_id, registration.repository))
    else:
        watched.add(tenure.name_scope)
    if registration.creator_github_id is not None:
        watched.add(scopes.member(tenure.owner_id, registration.creator_github_id))
        watched.add(scopes.collaborator(tenure.repository_scope, registration.creator_github_id))
    return frozenset(watched)


def index_scopes(watched: frozenset[str]) -> frozenset[str]:
    """The scopes by which the store finds this policy; its own id needs none."""
    return frozenset(scopes.index_of(scope) for scope in watched if not scope.startswith("policy:"))
