"""What there is to ask of one GitHub owner, and what its policies hold for true so far. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from zlib import crc32

from worker.lifecycle import scopes
from worker.lifecycle.decide import State
from worker.lifecycle.facts import Basis, Facts, Micros, Observation, newest, series
from worker.lifecycle.owners import DEFAULT, OwnerRef, id_of, issuer_of
from worker.lifecycle.policy import Policy
from worker.lifecycle.policy_facts import BELONGED, once_a_member
from worker.lifecycle.registration import own_file
from worker.lifecycle.rules import Rules
from worker.lifecycle.tenure import Tenure, public_too_early, tenure_of

RENAMES = frozenset({"owner_login", "name", "renamed_to"})
ADVISED = ("tokenless", "open", "unprotected")
"""What an answer may say of a workflow file, of an environment, or of refs, beside that it is missing."""
MAX_MOMENT: Micros = 2**63 - 1
GONE = frozenset({"repository_deleted", "repository_transferred", "repository_unreachable"})


class WorkflowReference(NamedTuple):
    """What policies know of a workflow file, an environment, or refs of their repository."""

    heard_at: Micros = 0
    """When somebody last said something of it: a registration named it, or a push touched it."""
    pushed_at: Micros = 0
    """When a push last touched it."""
    read_at: Micros = MAX_MOMENT
    """When GitHub last told of it, for the policy that heard of that the longest ago; 0 if one never did."""
    believed: frozenset[str] = frozenset()
    """What GitHub's answers let some policy believe of it, beside that it is missing: `tokenless`."""

    def joined(self, other: WorkflowReference) -> WorkflowReference:
        return WorkflowReference(
            max(self.heard_at, other.heard_at),
            max(self.pushed_at, other.pushed_at),
            min(self.read_at, other.read_at),
            self.believed | other.believed,
        )


@dataclass(slots=True)
class RepositorySubject:
    """One repository, as the policies know it that stand for it."""

    scope: str
    """`repository:` if its id is known, else `unbound:`."""
    repository_id: int | None
    name: str
    """The newest that a policy knows."""
    names: set[str] = field(default_factory=set)
    """All that policies know it by now; more than one if some have not heard of a rename."""
    visibilities: set[str | None] = field(default_factory=set)
    """What was last proven of it, by policy; None where nothing was, or a hint said otherwise since."""
    lost: bool = False
    """Out of reach, by proof."""
    blocked: bool = False
    """Policies are closed already because it is gone, whoever said so: that it is missing takes nothing away."""
    creators: set[int] = field(default_factory=set)
    contested: set[int] = field(default_factory=set)
    """Those of them about whose own access to it something was said."""
    shut_out: set[int] = field(default_factory=set)
    """Those of them who are known to have lost it."""
    strangers: set[int] = field(default_factory=set)
    """Those of them who were never known to have it, nor to be members."""
    unasked: dict[int, Micros] = field(default_factory=dict)
    """Those of them of whom GitHub does not let us ask → since when."""
    verified_at: Micros | None = None
    """When all was last asked."""
    files: dict[str, WorkflowReference] = field(default_factory=dict)
    """Its workflow files that policies name."""
    environments: dict[str, WorkflowReference] = field(default_factory=dict)
    """Its environments that policies name, in lower case."""
    refs: dict[str, WorkflowReference] = field(default_factory=dict)
    """Its refs that policies name: patterns."""


@dataclass(slots=True)
class Person:
    """A creator of policies, by GitHub user id."""

    user_id: int
    member: bool = False
    """Once was a member: GitHub said so, or a webhook that told of the beginning or the end of it."""
    known_to_have_been: bool = False
    """And every policy of this person's here keeps that."""
    works_here: bool = False
    """May write to one of the owner's repositories, by proof."""
    denied: bool = False
    """By proof, no member."""
    blocked: bool = False
    """Policies are closed already because this person left."""


class Shared(NamedTuple):
    """A repository of another owner, whose workflow policies call, where it is and as far as it is known by its ids."""

    login: str
    name: str
    owner_id: int | None
    repository_id: int | None
    issuer: str = DEFAULT
    """The alias of the instance of GitHub where it is."""

    @property
    def scope(self) -> str:
        return scopes.called(self.login, self.name, self.issuer)


@dataclass(slots=True)
class Inquiry:
    """Everything that there is to ask of an owner."""

    owner: OwnerRef
    subjects: dict[str, RepositorySubject] = field(default_factory=dict)
    people: dict[int, Person] = field(default_factory=dict)
    shared: dict[Shared, bool] = field(default_factory=dict)
    """Repositories of others, and whether a policy holds them for gone."""
    siblings: set[str] = field(default_factory=set)
    """The owner's own repositories whose workflows other ones call, by name."""
    logins: set[str] = field(default_factory=set)
    """What policies call the owner."""
    registered_as: set[str] = field(default_factory=set)
    """What registrations called the owner."""
    deleted: bool = False
    """A policy holds the owner for deleted."""
    policies: int = 0
    fresh: dict[tuple[str, str], Micros] = field(default_factory=dict)
    """Scope and aspect of what webhooks said last to take access away, or to tell of a new name → when."""

    @property
    def owner_id(self) -> int:
        """The owner's id, as answers of its instance have it."""
        return id_of(self.owner)

    def add(self, policies: Iterable[Policy], rules: Rules) -> None:
        """Take in what these policies depend on."""
        for policy in policies:
            view = policy.view
            tenure = tenure_of(
                policy.facts,
                policy.policy_id,
                window=rules.window,
                proof_required=rules.proof_required,
                lag=rules.replica_lag,
            )
            if view is None or tenure is None or view["state"] == State.REMOVED or tenure.owner_id != self.owner:
                continue
            self.policies += 1
            self.logins.add(view["repository_owner"])
            self.registered_as.add(tenure.registration.repository_owner)
            owner = scopes.owner(self.owner)
            self.deleted |= any(_true(policy.facts, owner, "deleted", channel) for channel in "-=")
            self._add_shared(policy.facts, tenure)
            self._add_subject(policy.facts, tenure, frozenset(view["reasons"]), rules.replica_lag)
            for fact in policy.facts.values():
                if fact.basis is Basis.HINT and (takes_away(fact) or fact.aspect in RENAMES):
                    key = (fact.scope, fact.aspect.partition(":")[0])
                    self.fresh[key] = max(fact.at, self.fresh.get(key, 0))

    def _add_shared(self, facts: Facts, tenure: Tenure) -> None:
        there = tenure.called
        if there is None or there.lost:
            return
        if there.owner is None:
            self.siblings.add(there.repository)
            return
        shared = Shared(
            there.owner.lower(),
            there.repository.lower(),
            None if there.owner_id is None else id_of(there.owner_id),
            there.repository_id,
            issuer_of(self.owner),
        )
        gone = any(
            _true(facts, shared.scope, aspect, channel) for aspect in ("deleted", "transferred") for channel in "-="
        )
        self.shared[shared] = gone or self.shared.get(shared, False)

    def _add_subject(self, facts: Facts, tenure: Tenure, reasons: frozenset[str], lag: Micros) -> None:
        scope, name = tenure.places[-1].scope, tenure.repository
        subject = self.subjects.setdefault(scope, RepositorySubject(scope, tenure.repository_id, name))
        subject.name = name
        subject.names.add(name)
        subject.visibilities.add(_proven_visibility(facts, scope, tenure.registered_at, lag))
        subject.lost |= _true(facts, scope, "unreachable", "=")
        verified = facts.get(f"{scope} verified =")
        if verified is not None:
            subject.verified_at = max(verified.at, subject.verified_at or 0)
        subject.blocked |= not reasons.isdisjoint(GONE)
        file = own_file(tenure.registration)
        if file is not None:
            told = _reading(facts, scopes.workflow(scope, file), tenure.registered_at)
            subject.files[file] = told.joined(subject.files.get(file, WorkflowReference()))
        environment = tenure.registration.environment
        if environment is not None:
            told = _reading(facts, scopes.environment(scope, environment), tenure.registered_at)
            name = environment.lower()
            subject.environments[name] = told.joined(subject.environments.get(name, WorkflowReference()))
        for pattern in tenure.registration.asked.refs:
            told = _reading(facts, scopes.refs(scope, pattern), tenure.registered_at)
            subject.refs[pattern] = told.joined(subject.refs.get(pattern, WorkflowReference()))
        creator = tenure.registration.creator_github_id
        if creator is None:
            return
        subject.creators.add(creator)
        access = scopes.collaborator(scope, creator)
        if any(f"{access} lost {channel}" in facts for channel in "-+="):
            subject.contested.add(creator)
        if "creator_lost_repository_access" in reasons:
            subject.shut_out.add(creator)
        membership = scopes.member(self.owner, creator)
        belonged = f"{membership} {BELONGED} =" in facts
        if _true(facts, access, "stranger", "="):
            subject.strangers.add(creator)
        if _true(facts, access, "unasked", "="):
            since = facts[f"{access} unasked ="].at
            subject.unasked[creator] = min(since, subject.unasked.get(creator, since))
        person = self.people.setdefault(creator, Person(creator, known_to_have_been=True))
        proven = facts.get(f"{membership} left =")
        person.known_to_have_been &= belonged
        self._recall(person, facts)
        person.denied |= proven is not None and proven.value is True
        person.blocked |= "creator_left_organization" in reasons

    @property
    def unknown(self) -> list[int]:
        """Creators of whom these policies do not know that they once were members."""
        return [person.user_id for person in self.people.values() if not person.member]

    def recall(self, policies: Iterable[Policy]) -> None:
        """Learn what other policies of the same creators know of them: what was seen on the occasion of one counts for all."""
        for policy in policies:
            for user_id in self.unknown:
                self._recall(self.people[user_id], policy.facts)

    def _recall(self, person: Person, facts: Facts) -> None:
        person.member |= once_a_member(facts, scopes.member(self.owner, person.user_id))
        access = f"collaborator:{person.user_id}:"
        person.works_here |= any(
            fact.value is False
            for key, fact in facts.items()
            if key.startswith(access) and key.endswith(" lost =") and scopes.owner_id_of(fact.scope) == self.owner
        )

    def narrow(self, user_ids: Iterable[int]) -> None:
        """Ask about these people only, and about repositories where their own access was spoken of."""
        ids = set(user_ids)
        self.shared = {}
        self.siblings = set()
        self.people = {user_id: person for user_id, person in self.people.items() if user_id in ids}
        # Whoever is not known to be a member may work from outside: then access to the repository is what counts.
        outside = {user_id for user_id, person in self.people.items() if not person.member}
        self.subjects = {
            scope: subject
            for scope, subject in self.subjects.items()
            if not ids.isdisjoint(subject.contested) or not outside.isdisjoint(subject.creators)
        }

    def shuffle(self, at: Micros) -> None:
        """Begin with others than at another time: what one check cannot get through, and what stands in its way, is not
        always the same.
        """

        def turn(about: str) -> int:
            return crc32(f"{at}:{about}".encode())

        self.subjects = dict(sorted(self.subjects.items(), key=lambda item: turn(item[0])))
        self.people = dict(sorted(self.people.items(), key=lambda item: turn(str(item[0]))))


def takes_away(observation: Observation) -> bool:
    """Whether it takes access away, or tells of a repository that is not public."""
    return observation.value is True or (observation.aspect == "visibility" and observation.value != "public")


def _true(facts: Facts, scope: str, aspect: str, channel: str) -> bool:
    fact = facts.get(f"{scope} {aspect} {channel}")
    return fact is not None and fact.value is True


def _reading(facts: Facts, scope: str, registered_at: Micros) -> WorkflowReference:
    """What a policy knows of a workflow file, an environment or refs."""
    pushed = newest(facts.get(f"{scope} missing {channel}") for channel in "-+")
    pushed_at = 0 if pushed is None else pushed.at
    read = facts.get(f"{scope} missing =")
    believed = frozenset(aspect for aspect in ADVISED if _true(facts, scope, aspect, "="))
    return WorkflowReference(max(registered_at, pushed_at), pushed_at, 0 if read is None else read.at, believed)


def _proven_visibility(facts: Facts, scope: str, registered_at: Micros, lag: Micros) -> str | None:
    """What was proven of it last, unless a hint or a registration has said something since, or too little before."""
    visibilities = series(facts, scope, "visibility")
    last = newest(visibilities)
    if (
        last is None
        or last.basis is not Basis.PROOF
        or last.at < registered_at
        or public_too_early(last, visibilities, lag)
    ):
        return None
    return str(last.value)
