"""Which repository a policy stands for, since when, and the windows it was given to prove itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

from worker.lifecycle import scopes
from worker.lifecycle.facts import Basis, Facts, Micros, Observation, precedence, series, too_early
from worker.lifecycle.owners import DEFAULT, OwnerRef, owner_at, owner_from
from worker.lifecycle.registration import Called, Registration, called, decode


class BindingScope(NamedTuple):
    """Where facts about a policy's repository are found, and from when on they are about it."""

    scope: str
    since: Micros
    until: Micros | None = None
    """From when on they may be about somebody else."""


class Name(NamedTuple):
    """A name of a policy's repository, and from when on it had it."""

    name: str
    since: Micros


class Elsewhere(NamedTuple):
    """The repository of a reusable workflow, under each address that it has had since the registration."""

    places: tuple[BindingScope, ...]
    """Where facts about it are found."""
    owners: tuple[BindingScope, ...]
    """And those about its owner, where that is another one than the policy's."""
    owner: str | None
    """The login that its owner has now; None: it is the policy's owner's."""
    repository: str
    """What it is called now."""
    file: str
    """The workflow's, below `.github/workflows/`."""
    ref: str | None = None
    """A pattern of the refs that it may be taken from."""
    lost: bool = False
    """Its name went to another repository, and nobody told us how."""
    owner_id: OwnerRef | None = None
    """Of another owner's, once GitHub was asked, or a rename told it."""
    repository_id: int | None = None
    """The same."""


class Tenure(NamedTuple):
    """A policy's hold on one repository: from the registration that named it until one that names another."""

    registration: Registration
    """The newest one."""
    registered_at: Micros
    """When that one was made."""
    since: Micros
    """When this repository was first named."""
    repository_id: int | None
    """Known from the registration, or bound by the first login inside a window, or by GitHub's own answer."""
    names: tuple[Name, ...]
    """As registered, and after each rename that GitHub told of."""
    places: tuple[BindingScope, ...]
    """One, under its id; before that is known, one under each of its names."""
    called: Elsewhere | None
    """The repository of a reusable workflow; None where the workflow is a file of the policy's own repository."""
    watched: frozenset[str]
    """Every scope that can bear on which repository this is, those of former registrations included."""
    windows: tuple[tuple[Micros, Micros], ...]
    """Start (inclusive) and end (exclusive) of each window, oldest first."""
    proven: bool
    """A login inside a window, or a known repository that was public inside one: permanent."""

    @property
    def owner_id(self) -> OwnerRef:
        return self.registration.owner

    @property
    def repository(self) -> str:
        """The name it has now."""
        return self.names[-1].name


def login_value(repository_id: int, owner_id: OwnerRef) -> str:
    """What a login observation carries: the ids that the token named, at the instance that issued it."""
    return f"{repository_id}:{owner_id}"


def login_ids(login: Observation) -> tuple[int, OwnerRef]:
    """The reverse of `login_value`."""
    repository_id, owner_id = str(login.value).split(":")
    return int(repository_id), owner_from(owner_id)


def _renames(facts: Facts, hold: _Binding, until: Micros | None, lag: Micros) -> list[Name]:
    """The names that a repository was given after its newest registration, and before the next.

    With an id, by the renames of that id. Without one, names are followed: the first rename of each name since we came
    to it, since whoever has that name later is somebody else.
    """
    after = hold.registered_at
    if hold.repository_id is not None:
        renames = series(facts, scopes.repository(hold.owner_id, hold.repository_id), "name")
        valid = [
            t for t in renames if t.at > after and (until is None or t.at < until) and not too_early(t, renames, lag)
        ]
        return [Name(str(t.value), t.at) for t in valid]
    name, known_since = hold.names[-1]
    return _followed(facts, hold.owner_id, name, max(after, known_since), until)


def _followed(facts: Facts, owner_id: OwnerRef, name: str, after: Micros, until: Micros | None) -> list[Name]:
    """The names that a repository was given that is known by its name only: the first rename of each."""
    names: list[Name] = []
    while True:
        renames = series(facts, scopes.unbound(owner_id, name), "renamed_to")
        step = next((t for t in renames if t.at > after and (until is None or t.at < until)), None)
        if step is None:
            return names
        name, after = str(step.value), step.at
        names.append(Name(name, after))


def _windows(since: Micros, renewals: Sequence[Micros], width: Micros) -> list[tuple[int, int]]:
    starts = {since, *(max(at, since) for at in renewals)}
    return [(start, start + width) for start in sorted(starts)]


def _inside(at: Micros, windows: Sequence[tuple[Micros, Micros]]) -> bool:
    return any(start <= at < end for start, end in windows)


def public_too_early(answer: Observation, observations: Iterable[Observation], lag: Micros) -> bool:
    """Whether an answer that a repository is public came less than `lag` after a hint that it is not."""
    return answer.value == "public" and too_early(answer, observations, lag)


def _public_inside(
    facts: Facts,
    repository_scope: str,
    declared: Sequence[tuple[Micros, bool]],
    windows: Sequence[tuple[Micros, Micros]],
    *,
    proof: bool,
    lag: Micros,
) -> bool:
    """Whether the repository was known to be public at any instant of any window.

    `declared` is what its registrations said, and when. Where GitHub can be asked, a hint cannot say that it is public; nor
    can an answer less than `lag` after a hint that it is not: that proves a policy for good, and may come from a replica
    that has not heard.
    """
    visibilities = series(facts, repository_scope, "visibility")
    learnt = [
        (fact.at, fact.value == "public")
        for fact in visibilities
        if fact.value != "public"
        or not proof
        or (fact.basis is Basis.PROOF and not public_too_early(fact, visibilities, lag))
    ]
    visible = sorted([*declared, *learnt])
    for start, end in windows:
        before = [public for at, public in visible if at <= start]
        if (before and before[-1]) or any(public for at, public in visible if start < at < end):
            return True
    return False


@dataclass(slots=True)
class _Binding:
    """The walk so far: the hold on one repository, from the registration that first named it."""

    since: Micros
    registration: Registration = field(init=False)
    """The newest that was taken, and when it was made."""
    registered_at: Micros = field(init=False)
    repository_id: int | None = None
    id_since: Micros | None = None
    names: list[Name] = field(default_factory=list)
    declared: list[tuple[Micros, bool]] = field(default_factory=list)
    """What its registrations said of being public, and when."""
    nameless: list[BindingScope] = field(default_factory=list)
    """Where it is looked for while its id is not known."""

    @property
    def owner_id(self) -> OwnerRef:
        return self.registration.owner

    def goes_on(self, registration: Registration) -> bool:
        """Whether a newer registration names the same repository. Ids decide; names only where an id is missing."""
        if self.owner_id != registration.owner:
            return False
        if self.repository_id is not None and registration.repository_id is not None:
            return self.repository_id == registration.repository_id
        return registration.repository.lower() in (self.names[-1].name.lower(), self.registration.repository.lower())

    def take(self, registration: Registration, at: Micros) -> None:
        """Go on with a newer registration. One that only repeats the name of the last does not undo a rename."""
        repeats = bool(self.names) and registration.repository == self.registration.repository
        self.registration, self.registered_at = registration, at
        if registration.visibility is not None:
            self.declared.append((at, registration.visibility == "public"))
        if registration.repository_id is not None and self.repository_id is None:
            self.repository_id, self.id_since = registration.repository_id, at
        if not repeats and (not self.names or self.names[-1].name != registration.repository):
            self.names.append(Name(registration.repository, at if self.names else 0))

    def bind(
        self,
        facts: Facts,
        logins: Sequence[Observation],
        windows: Sequence[tuple[Micros, Micros]],
        until: Micros | None,
        lag: Micros,
    ) -> None:
        """What first said which repository it is: a login inside a window, of the right owner, or GitHub's own answer
        to who has its name. Whoever comes later with another id is refused.
        """
        if self.repository_id is not None:
            return
        self.nameless = _nameless(self.owner_id, [*self.names, *_renames(facts, self, until, lag)])
        ids = [
            (login.at, repository_id)
            for login in logins
            for repository_id, owner_id in [login_ids(login)]
            if owner_id == self.owner_id and _inside(login.at, windows)
        ]
        ids += [
            (fact.at, int(fact.value))
            for place in self.nameless
            for fact in series(facts, place.scope, "repository_id")
            if isinstance(fact.value, int)
            and fact.at >= max(place.since, self.since)
            and (place.until is None or fact.at < place.until)
        ]
        in_time = [(at, repository_id) for at, repository_id in ids if until is None or at < until]
        if in_time:
            self.id_since, self.repository_id = min(in_time)

    def places(self) -> tuple[BindingScope, ...]:
        if self.repository_id is not None:
            return (BindingScope(scopes.repository(self.owner_id, self.repository_id), 0),)
        return tuple(self.nameless)

    def watched(self) -> Iterator[str]:
        # Also where it was looked for before its id was known: an answer from then may yet come, and bind it earlier.
        for place in (*self.places(), *self.nameless):
            yield place.scope
        if self.repository_id is not None:
            yield from (scopes.name(self.owner_id, name) for name, _ in self.names)


def _nameless(owner_id: OwnerRef, names: Sequence[Name]) -> list[BindingScope]:
    """Where a repository is found that is known by its names only, one after the other."""
    return [
        BindingScope(scopes.unbound(owner_id, name), since, later and later.since)
        for (name, since), later in zip_longest(names, names[1:])
    ]


def instance_of(facts: Facts, policy_id: str) -> str:
    """The alias of the instance of GitHub that a policy's newest registration names."""
    registrations = series(facts, scopes.policy(policy_id), "registration")
    return decode(str(registrations[-1].value)).issuer if registrations else DEFAULT


def tenure_of(facts: Facts, policy_id: str, *, window: Micros, proof_required: bool, lag: Micros) -> Tenure | None:
    """The hold a policy has now, or None if nobody registered it.

    Registrations are walked in the order of their times. One that names another owner, or another repository, begins
    a new tenure with a new window (contract: "a change of repository or owner starts a new window"); one that only
    adds an id, or follows a rename, goes on with the old one.
    """
    me = scopes.policy(policy_id)
    registrations = series(facts, me, "registration")
    logins = series(facts, me, "login")
    renewals = [renewal.at for renewal in series(facts, me, "renewal")]
    hold: _Binding | None = None
    watched: set[str] = set()
    for fact, until in zip_longest(registrations, [later.at for later in registrations[1:]]):
        registration = decode(str(fact.value))
        if hold is None or not hold.goes_on(registration):
            if hold is not None and hold.owner_id != registration.owner:
                # What bears on another owner's repositories is not found from this owner's partition; and coming back
                # begins anew, so that what was observed meanwhile is read.
                watched.clear()
            hold = _Binding(fact.at)
        hold.take(registration, fact.at)
        hold.bind(facts, logins, _windows(hold.since, renewals, window), until, lag)
        hold.names += _renames(facts, hold, until, lag)
        watched.update(hold.watched())
    if hold is None:
        return None

    windows = _windows(hold.since, renewals, window)
    return Tenure(
        registration=hold.registration,
        registered_at=hold.registered_at,
        since=hold.since,
        repository_id=hold.repository_id,
        names=tuple(hold.names),
        places=hold.places(),
        called=elsewhere(facts, hold.registration, hold.registered_at, lag),
        watched=frozenset(watched),
        windows=tuple(windows),
        proven=_proven(facts, hold, logins, windows, proof_required=proof_required, lag=lag),
    )


def elsewhere(facts: Facts, registration: Registration, after: Micros, lag: Micros) -> Elsewhere | None:
    """The repository of the reusable workflow that a registration names, followed from `after` on."""
    named = called(registration)
    if named is None:
        return None
    if named.owner.lower() != registration.repository_owner.lower():
        return _of_another(facts, named, registration.issuer, after, lag)
    owner_id = registration.owner
    names = [Name(named.repository, after), *_followed(facts, owner_id, named.repository, after, None)]
    return Elsewhere(tuple(_nameless(owner_id, names)), (), None, names[-1].name, named.file, named.ref)


def _of_another(facts: Facts, named: Called, issuer: str, after: Micros, lag: Micros) -> Elsewhere:
    """A repository of an owner of whom the registration tells the login only. At any time just one repository has an
    address, so what GitHub first answers since we came to it is about our repository, and so is the first rename: either
    tells ids. Where another id has the address later, or gives it up, a rename of ours was never heard of, and its address
    is somebody else's. Just after a rename was heard of, an answer may come from a replica that has not heard of it yet.
    """
    login, name = named.owner, named.repository
    addresses = [(login, name, after)]
    early = after
    ids: dict[bool, str] = {}
    while True:
        renames = [(rename, True) for rename in series(facts, scopes.called_owner(login, issuer), "renamed_to")]
        renames += [(rename, False) for rename in series(facts, scopes.called(login, name, issuer), "renamed_to")]
        later = [t for t in renames if t[0].at > after and not (t[0].basis is Basis.PROOF and t[0].at < early)]
        step = min(later, key=lambda t: (precedence(t[0]), t[1]), default=None)
        answers = (
            str(answer.value).split(":")
            for answer in series(facts, scopes.called(login, name, issuer), "identity")
            if answer.at > after and (step is None or answer.at <= step[0].at)
        )
        lost = any(
            [ids.setdefault(True, owner_id), ids.setdefault(False, repository_id)] != [owner_id, repository_id]
            for owner_id, repository_id in answers
        )
        if step is None or lost:
            break
        rename, of_owner = step
        identity, _, new = str(rename.value).partition(":")
        if ids.setdefault(of_owner, identity) != identity:
            lost = True
            break
        login, name = (new, name) if of_owner else (login, new)
        after = rename.at
        early = after + lag if rename.basis is Basis.HINT else after
        addresses.append((login, name, after))
    spans = [(o, n, since, later and later[2]) for (o, n, since), later in zip_longest(addresses, addresses[1:])]
    owner_id, repository_id = (int(ids[of_owner]) if of_owner in ids else None for of_owner in (True, False))
    return Elsewhere(
        places=tuple(BindingScope(scopes.called(o, n, issuer), since, until) for o, n, since, until in spans),
        owners=tuple(BindingScope(scopes.called_owner(o, issuer), since, until) for o, _, since, until in spans),
        owner=login,
        repository=name,
        file=named.file,
        ref=named.ref,
        lost=lost,
        owner_id=None if owner_id is None else owner_at(issuer, owner_id),
        repository_id=repository_id,
    )


def _proven(
    facts: Facts,
    hold: _Binding,
    logins: Sequence[Observation],
    windows: Sequence[tuple[Micros, Micros]],
    *,
    proof_required: bool,
    lag: Micros,
) -> bool:
    """Whether the repository logged in inside a window, or was public inside one while its id was known."""
    if hold.repository_id is None:
        return False
    ids = (hold.repository_id, hold.owner_id)
    if any(login_ids(login) == ids and _inside(login.at, windows) for login in logins):
        return True
    known_since = hold.id_since or hold.since
    windows_known = [(max(start, known_since), end) for start, end in windows if known_since < end]
    where = scopes.repository(hold.owner_id, hold.repository_id)
    # Where GitHub can be asked, a registration's word on visibility is as good as a hint.
    declared = [] if proof_required else hold.declared
    return _public_inside(facts, where, declared, windows_known, proof=proof_required, lag=lag)


def contradictions(facts: Facts, policy_id: str, tenure: Tenure) -> list[Observation]:
    """Logins of this tenure that name another owner, or another repository than is bound: they prove nothing."""
    ids = (tenure.repository_id, tenure.owner_id)
    return [
        login
        for login in series(facts, scopes.policy(policy_id), "login")
        if login.at >= tenure.since
        for repository_id, owner_id in [login_ids(login)]
        if (repository_id if tenure.repository_id is not None else None, owner_id) != ids
    ]
