"""What GitHub's answers prove: an answer in, observations out. Pure.

`at` is always a moment just before the question was sent: whatever is heard later is newer than the answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from worker.github.answers import RepositoryAnswer
from worker.lifecycle import scopes
from worker.lifecycle.facts import Basis, Micros, Observation, ObservationSource, Value
from worker.lifecycle.owners import OwnerRef, id_of
from worker.lifecycle.policy_facts import BELONGED
from worker.verify.inquiry import Inquiry, Person, RepositorySubject, Shared, WorkflowReference

ANYBODY_S = frozenset({"transferred", "name"})
"""What a stranger's installation may tell of a repository, by its id, beside its flags."""


class EvidenceBuilder:
    """Makes observations of one check's answers."""

    def __init__(self, owner: OwnerRef, source: ObservationSource, *, own: bool) -> None:
        """`own`: the owner's own installation asked. What a stranger's shows is true, as far as it was asked for by an id;
        but anybody may show it, so it verifies nothing and gives nothing back.
        """
        self._owner = owner
        self._owner_id = id_of(owner)
        self._source = source
        self._own = own

    def _proof(self, scope: str, aspect: str, value: Value, at: Micros) -> Observation:
        return Observation(scope, aspect, value, at, Basis.PROOF, self._source)

    def _proofs(self, scope: str, at: Micros, **said: Value) -> list[Observation]:
        return [self._proof(scope, aspect, value, at) for aspect, value in said.items()]

    def seen(self, subject: RepositorySubject, repository: RepositoryAnswer, at: Micros) -> list[Observation]:
        """The repository is there, in this owner's hands or in another's."""
        learnt = self._seen(subject, repository, at)
        if self._own:
            return learnt
        return [o for o in learnt if (o.aspect in ANYBODY_S or o.aspect in repository.flags) and o.value is not False]

    def _seen(self, subject: RepositorySubject, repository: RepositoryAnswer, at: Micros) -> list[Observation]:
        here = repository.owner_id == self._owner_id
        if not here:
            gone = self._proofs(subject.scope, at, deleted=False, unreachable=False, transferred=True, verified=True)
            return [*gone, self._holds(subject.name, repository.id, at, held=False)]
        scope = scopes.repository(self._owner, repository.id)
        learnt = self._proofs(
            scope, at, deleted=False, unreachable=False, transferred=False, verified=True, **repository.flags
        )
        learnt.append(self._holds(repository.name, repository.id, at, held=True))
        if subject.repository_id is None:
            # Nobody is bound to it yet: it is the first that was found under this name.
            learnt.append(self._proof(subject.scope, "repository_id", repository.id, at))
        if subject.visibilities != {repository.visibility}:
            learnt.append(self._proof(scope, "visibility", repository.visibility, at))
        if {name.lower() for name in subject.names} != {repository.name.lower()}:
            # Another spelling is no other name.
            learnt.append(self._proof(scope, "name", repository.name, at))
        return learnt

    def sibling(self, name: str, repository: RepositoryAnswer, at: Micros) -> list[Observation]:
        """What a repository of this owner is called now, if it still is the owner's."""
        if repository.owner_id != self._owner_id or repository.name.lower() == name.lower():
            return []
        return self._proofs(scopes.unbound(self._owner, name), at, renamed_to=repository.name)

    def met(self, shared: Shared, repository: RepositoryAnswer, at: Micros) -> list[Observation]:
        """Whose workflow it is that policies call by an address, so far unknown. One that is answered from elsewhere has
        left the address before anybody asked.
        """
        if (repository.owner_login.lower(), repository.name.lower()) != (shared.login, shared.name):
            return self._proofs(shared.scope, at, transferred=True)
        return self._proofs(shared.scope, at, identity=f"{repository.owner_id}:{repository.id}")

    def followed(self, shared: Shared, repository: RepositoryAnswer, at: Micros, *, gone: bool) -> list[Observation]:
        """Where a repository is now, by whose workflow policies are known. Said only where somebody believes otherwise."""
        if repository.owner_id != shared.owner_id:
            return [] if gone else self._proofs(shared.scope, at, transferred=True)
        learnt = self._proofs(shared.scope, at, deleted=False, transferred=False) if gone else []
        if repository.owner_login.lower() != shared.login:
            moved = f"{repository.owner_id}:{repository.owner_login}"
            learnt.append(self._proof(scopes.called_owner(shared.login, shared.issuer), "renamed_to", moved, at))
        if repository.name.lower() != shared.name:
            where = scopes.called(repository.owner_login, shared.name, shared.issuer)
            # Under its owner's present login, and so after that.
            learnt.append(self._proof(where, "renamed_to", f"{repository.id}:{repository.name}", at + 1))
        return learnt

    def ended(self, shared: Shared, at: Micros) -> list[Observation]:
        """Nobody shows such a repository any more."""
        return self._proofs(shared.scope, at, deleted=True)

    def advised(
        self, scope: str, read: WorkflowReference, at: Micros, *, missing: bool, **said: bool | None
    ) -> list[Observation]:
        """What a workflow file or an environment is like, by its scope; None: that cannot be told. Beside that it is there or
        not, a thing is said only where it is so, or somebody believes it.
        """
        news = {aspect: value for aspect, value in said.items() if value or aspect in read.believed}
        return self._proofs(scope, at, missing=missing, **news)

    def lost(self, subject: RepositorySubject, at: Micros) -> list[Observation]:
        """The repository is believed to be out of reach. Whether it was deleted, nobody can tell us."""
        return self._proofs(subject.scope, at, unreachable=True, verified=True)

    def taken(self, subject: RepositorySubject, holder: RepositoryAnswer, at: Micros) -> list[Observation]:
        """Another repository has the name of one that is out of reach."""
        mine = holder.owner_id != self._owner_id or holder.id == subject.repository_id
        return [] if mine else [self._holds(holder.name, holder.id, at, held=True)]

    def _holds(self, name: str, repository_id: int, at: Micros, *, held: bool) -> Observation:
        return self._proof(scopes.name(self._owner, name), f"held_by:{repository_id}", held, at)

    def membership(self, person: Person, at: Micros, *, active: bool | None) -> list[Observation]:
        """Whether somebody is a member; None: never was one, and works from outside.

        That somebody once was a member is kept for good, beside whatever is found later: who was removed, and may still
        write to a repository, does not work from outside.
        """
        scope = scopes.member(self._owner, person.user_id)
        left = self._proof(scope, "left", None if active is None else not active, at)
        once = (person.member or active is True) and not person.known_to_have_been
        return [left, self._proof(scope, BELONGED, True, at)] if once else [left]

    def access(self, subject: RepositorySubject, user_id: int, at: Micros, *, may_write: bool) -> Observation:
        return self._proof(scopes.collaborator(subject.scope, user_id), "lost", not may_write, at)

    def unasked(self, subject: RepositorySubject, user_id: int, at: Micros, *, is_so: bool) -> Observation:
        """Whether GitHub does not let us ask of a creator's access, as of a public repository that the App was not given."""
        return self._proof(scopes.collaborator(subject.scope, user_id), "unasked", is_so, at)

    def stranger(self, subject: RepositorySubject, user_id: int, at: Micros, *, is_one: bool) -> Observation:
        """Whether a creator is no member, may not write to the repository, and was never known to be, or to write anywhere."""
        return self._proof(scopes.collaborator(subject.scope, user_id), "stranger", is_one, at)

    def owner(self, inquiry: Inquiry, login: str, at: Micros) -> list[Observation]:
        """The owner is there. Said only where somebody believes otherwise, since it touches all its policies."""
        scope = scopes.owner(self._owner)
        learnt = [self._proof(scope, "deleted", False, at)] if inquiry.deleted and self._own else []
        if {known.lower() for known in inquiry.logins} != {login.lower()}:
            learnt.append(self._proof(scope, "owner_login", login, at))
        return learnt

    def owner_gone(self, at: Micros) -> Observation:
        return self._proof(scopes.owner(self._owner), "deleted", True, at)


def touched(observations: Iterable[Observation], limit: int) -> list[list[Observation]]:
    """Observations in groups of about `limit`, in the order given, so that each group is one piece of work."""
    groups: list[list[Observation]] = []
    for observation in observations:
        if not groups or len(groups[-1]) >= limit:
            groups.append([])
        groups[-1].append(observation)
    return groups
