"""What is known of one policy, in the words that the rules of reasons use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from worker.lifecycle import scopes
from worker.lifecycle.facts import (
    Basis,
    Facts,
    Micros,
    Observation,
    effective,
    holds,
    newest,
    outweighs,
    precedence,
    series,
    too_early,
)
from worker.lifecycle.registration import own_file
from worker.lifecycle.rules import Rules
from worker.lifecycle.sight import Sight
from worker.lifecycle.tenure import BindingScope, Elsewhere, Tenure

BELONGED = "belonged"
"""Of a membership: that somebody once was a member. Nothing takes it back."""


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """The facts of one policy, in the words that the rules use."""

    facts: Facts
    tenure: Tenure
    now: Micros
    rules: Rules
    own_scope: str
    owner_scope: str
    creator_scope: str
    package_owner_scope: str
    sight: Sight
    asserted: frozenset[str]
    """Aspects that some fact says are true, of whatever scope. No other can hold, so no rule looks any further: of most
    policies nothing is asserted, and every one is asked twenty questions at every step."""

    def holds(self, scope: str, aspect: str) -> bool:
        if aspect not in self.asserted:
            return False
        rules = self.rules
        return holds(self.facts, scope, aspect, proof_required=rules.proof_required, lag=rules.replica_lag)

    def repository(self, aspect: str) -> bool:
        """Whether something holds of the repository, under its id or under any name it had while that was not known."""
        return self.anywhere(self.tenure.places, aspect, proof_required=self.rules.proof_required)

    def anywhere(self, places: Sequence[BindingScope], aspect: str, *, proof_required: bool = False) -> bool:
        if aspect not in self.asserted:
            return False
        facts, lag = self.facts, self.rules.replica_lag
        if len(places) == 1:
            # Nearly always; and the last place has no end.
            (place,) = places
            fact = effective(facts, place.scope, aspect, proof_required=proof_required, lag=lag)
            return fact is not None and fact.value is True and fact.at >= place.since
        facts_there = (
            (effective(facts, p.scope, aspect, proof_required=proof_required, lag=lag, until=p.until), p)
            for p in places
        )
        return self._blocks(fact for fact, place in facts_there if fact and fact.at >= place.since)

    def _blocks(self, facts: Iterable[Observation]) -> bool:
        """Whether what is known of several places, one fact of each, says that something holds."""
        observed = list(facts)
        if not observed:
            return False
        last = max(observed, key=precedence)
        if last.value is True or last.basis is Basis.HINT:
            return last.value is True
        hints = (fact for fact in observed if fact.basis is Basis.HINT)
        return any(outweighs(hint, last, self.rules.replica_lag) for hint in hints)

    def _asserts(self, family: str) -> bool:
        """Whether some fact says that an aspect is true whose name begins so."""
        return any(aspect.startswith(family) for aspect in self.asserted)

    def below(self, scope_of: Callable[[str], str]) -> list[BindingScope]:
        """The same places for something that belongs to the repository."""
        return [place._replace(scope=scope_of(place.scope)) for place in self.tenure.places]

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
        rules = self.rules
        fact = effective(self.facts, scope, "left", proof_required=rules.proof_required, lag=rules.replica_lag)
        if fact is None:
            return None
        if fact.value is None:
            # A proof may say that somebody never was one, and works from outside: whoever asked did not know better.
            return True if once_a_member(self.facts, scope) else None
        return fact.value is True

    def has_no_part(self) -> bool:
        """Whether the creator left the organisation, or never was in it nor allowed to write to this repository."""
        left = self.left_organization()
        return left is True or (left is None and self.access("stranger"))

    def lost_repository(self) -> bool:
        """Losing direct access matters only to those who do not have it as a member of the organisation."""
        return self.left_organization() is not False and self.access("lost")

    def access(self, aspect: str) -> bool:
        """Whether something holds of the creator's own access to the repository."""
        user = self.tenure.registration.creator_github_id
        if user is None:
            return False
        where = self.below(lambda scope: scopes.collaborator(scope, user))
        return self.anywhere(where, aspect, proof_required=self.rules.proof_required)

    def workflow_missing(self) -> bool:
        """Gives and takes nothing, so the newest push counts, whether or not GitHub can be asked. Of a reusable workflow also
        whether its repository came to an end since the registration.
        """
        there = self.tenure.called
        if there is not None:
            where = [place._replace(scope=scopes.workflow(place.scope, there.file)) for place in there.places]
            if self._gone(there) or self.anywhere(where, "missing"):
                return True
        return self._own_workflow("missing")

    def workflow_cannot_publish(self) -> bool:
        """Whether GitHub's last answer was that no job of the policy's own file gets a token."""
        return self._own_workflow("tokenless") and not self._own_workflow("missing")

    def _own_workflow(self, aspect: str) -> bool:
        file = own_file(self.tenure.registration)
        if file is None or aspect not in self.asserted:
            return False
        return self.anywhere(self.below(lambda scope: scopes.workflow(scope, file)), aspect)

    def _gone(self, there: Elsewhere) -> bool:
        """Whether what has the address of a reusable workflow's repository now, if anything, is another."""
        return there.lost or any(
            self._ended(place, aspect)
            for place in (*there.places, *there.owners)
            for aspect in ("deleted", "transferred")
        )

    def environment_missing(self) -> bool:
        return self._environment("missing")

    def environment_unprotected(self) -> bool:
        return self._environment("unprotected") and not self._environment("missing")

    def _environment(self, aspect: str) -> bool:
        name = self.tenure.registration.environment
        if name is None or aspect not in self.asserted:
            return False
        return self.anywhere(self.below(lambda scope: scopes.environment(scope, name)), aspect)

    def any_ref(self) -> bool:
        """Whether a run for any branch or tag may publish. Of a policy that names no environment it is said once its file was
        read: so it reaches policies of a former release with their first look, and not all at once.
        """
        registration = self.tenure.registration
        if registration.asked.refs or registration.asked.ref_protected:
            return False
        if registration.environment is not None:
            return self._environment("missing") or self._environment("open")
        file = own_file(registration)
        return file is not None and any(
            f"{place.scope} missing =" in self.facts for place in self.below(lambda s: scopes.workflow(s, file))
        )

    def refs_unprotected(self) -> bool:
        """Whether some ref that the policy names is protected by nothing: no rule on GitHub, no environment that restricts it,
        and no `ref_protected`.
        """
        registration = self.tenure.registration
        if registration.asked.ref_protected or "unprotected" not in self.asserted:
            return False
        if registration.environment is not None and not (self._environment("missing") or self._environment("open")):
            return False
        return any(self._ref_unprotected(pattern) for pattern in registration.asked.refs)

    def _ref_unprotected(self, pattern: str) -> bool:
        return self.anywhere(self.below(lambda scope: scopes.refs(scope, pattern)), "unprotected")

    def any_caller(self) -> bool:
        return self.tenure.registration.asked.called_workflow == "*"

    def self_hosted_runner(self) -> bool:
        """Whether it is for self-hosted runners, or a login since its registration ran on one that it admits."""
        runner = self.tenure.registration.asked.runner
        if runner is not None or "self_hosted" not in self.asserted:
            return runner == "self-hosted"
        login = self.facts.get(f"{self.own_scope} self_hosted =")
        return login is not None and login.at >= self.tenure.registered_at

    def _ended(self, place: BindingScope, aspect: str) -> bool:
        """Whether the repository of a reusable workflow came to an end while it was there. What has its address later is
        another, so only an answer by its id says otherwise.
        """
        fact = effective(
            self.facts, place.scope, aspect, proof_required=True, lag=self.rules.replica_lag, until=place.until
        )
        return (
            fact is not None
            and fact.value is True
            and fact.at >= place.since
            and (place.until is None or fact.at < place.until)
        )

    def unreachable(self) -> bool:
        """Out of reach, and not because it was deleted or went to somebody else: that is said already."""
        if not self._asserts("unreachable"):
            return False
        seen_at = ((self.sight.of(place.scope, place.until), place) for place in self.tenure.places)
        if not self._blocks(fact for fact, place in seen_at if fact and fact.at >= place.since):
            return False
        return not (self.rules.proof_required and (self.repository("deleted") or self.repository("transferred")))

    def replaced(self) -> bool:
        """Whether the name is known to have gone to a repository with another id. Ids decide, names never do.

        Where proof can be had, a rename that was only heard of does not take us out of the way: a name that was taken
        while we had it still counts, until there is proof.
        """
        if self.tenure.repository_id is None or not self._asserts("held_by:"):
            return False
        if self._taken(self.tenure.repository):
            return True
        if not self.rules.proof_required:
            return False
        proof = self.last_proof() or -1
        return any(
            claim.at < later.since and self._reaches(claim, proof)
            for former, later in pairwise(self.tenure.names)
            for claim in self._taken(former.name)
        )

    def _reaches(self, claim: Observation, proof: Micros) -> bool:
        """Whether a claim counts beside a proof of that moment: as `outweighs`."""
        return claim.at + (self.rules.replica_lag if claim.basis is Basis.HINT else 0) > proof

    def _taken(self, name: str) -> list[Observation]:
        """By whom else the name was seen to be held, later than we were."""
        scope = scopes.name(self.tenure.owner_id, name)
        proof_required = self.rules.proof_required
        aspects = {key.split()[1] for key in self.facts if key.startswith(f"{scope} held_by:")}
        lag = self.rules.replica_lag
        claims = {
            aspect: effective(self.facts, scope, aspect, proof_required=proof_required, lag=lag) for aspect in aspects
        }
        own = claims.pop(f"held_by:{self.tenure.repository_id}", None)
        if own is not None and (own.value is not True or (proof_required and own.basis is not Basis.PROOF)):
            own = None
        since = own.at if own is not None else -1
        if not proof_required:
            # The registry, or a rename, gave it to us later than they were heard of.
            since = max(since, self.tenure.names[-1].since or self.tenure.since)
        proven = own is not None and own.basis is Basis.PROOF and own.at == since
        return [
            claim
            for claim in claims.values()
            if claim is not None
            and claim.value is True
            and (claim.at > since or (proven and self._reaches(claim, since)))
        ]

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
            unasked = self.unasked_since()
            last = proof or 0 if unasked is None else min(proof or 0, unasked)
            return max(last, self.tenure.since) + self.rules.proof_max_age
        blind = self.sight.blind_since
        return None if blind is None else max(blind, proof or 0) + self.rules.proof_max_age

    def unasked_since(self) -> Micros | None:
        """Since when GitHub does not let us ask whether the creator, who is no member, may write to the repository: what is
        seen of that renews no lease.
        """
        user = self.tenure.registration.creator_github_id
        if user is None or "unasked" not in self.asserted or self.left_organization() is False:
            return None
        last_proof = newest(
            self.facts.get(f"{place.scope} unasked =") for place in self.below(lambda s: scopes.collaborator(s, user))
        )
        return last_proof.at if last_proof is not None and last_proof.value is True else None

    def last_proof(self) -> Micros | None:
        proof = newest(self.facts.get(f"{place.scope} verified =") for place in self.tenure.places)
        return None if proof is None else proof.at

    def visibility(self) -> str | None:
        """The newest that is known, the registration's word included."""
        last = newest(
            fact
            for place in self.tenure.places
            for fact in series(self.facts, place.scope, "visibility")
            if fact.at >= place.since and (place.until is None or fact.at < place.until)
        )
        registered = self.tenure.registration.visibility
        if last is None or (registered is not None and last.at < self.tenure.registered_at):
            return registered
        return str(last.value)

    def repository_owner(self) -> str:
        """The owner's login, after the renames that are newer than the registration."""
        logins = [self.facts.get(f"{self.owner_scope} owner_login {channel}") for channel in "-="]
        lag = self.rules.replica_lag
        rename = newest(fact for fact in logins if fact is not None and not too_early(fact, logins, lag))
        if rename is not None and rename.at > self.tenure.registered_at:
            return str(rename.value)
        return self.tenure.registration.repository_owner

    def workflow_file(self) -> str:
        """The workflow; a reusable one under the names that its owner and repository have now."""
        registration = self.tenure.registration
        return own_file(registration) or self._elsewhere() or registration.workflow_file

    def called_workflow(self) -> str | None:
        """The workflow that the policy's own may call, named likewise, with the pattern of its refs. None, too, where its
        repository came to an end: what has its address since is somebody else's.
        """
        said = self.tenure.registration.asked.called_workflow
        there = self.tenure.called
        if said is None or there is None:
            return said
        if self._gone(there):
            return None
        return f"{self._elsewhere()}@{there.ref}" if there.ref else self._elsewhere()

    def _elsewhere(self) -> str | None:
        there = self.tenure.called
        if there is None:
            return None
        return f"{there.owner or self.repository_owner()}/{there.repository}/.github/workflows/{there.file}"

    def renamed(self) -> bool:
        registration = self.tenure.registration
        names = (self.tenure.repository.lower(), self.repository_owner().lower())
        # Another spelling is no other name: GitHub's names are the same whatever their case.
        return names != (registration.repository.lower(), registration.repository_owner.lower())

    def visibility_changed(self) -> bool:
        registered = self.tenure.registration.visibility
        return registered is not None and self.visibility() != registered


def once_a_member(facts: Facts, membership: str) -> bool:
    """Whether somebody was ever seen to be a member, by whatever: GitHub's answer, or a webhook that told of the beginning
    or the end of it. `membership`: the scope.
    """
    proven = facts.get(f"{membership} left =")
    return (
        (proven is not None and proven.value is False)
        or f"{membership} {BELONGED} =" in facts
        or any(f"{membership} left {channel}" in facts for channel in ("-", "+"))
    )
