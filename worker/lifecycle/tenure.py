"""Which repository a policy stands for, since when, and the windows it was given to prove itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from worker.lifecycle import scopes
from worker.lifecycle.facts import Basis, Facts, Micros, Observation, series
from worker.lifecycle.registration import Registration, decode


@dataclass(frozen=True, slots=True)
class Tenure:
    """A policy's hold on one repository: from the registration that named it until one that names another."""

    registration: Registration
    """The newest one."""
    registered_at: Micros
    """When that one was made."""
    since: Micros
    """When this repository was first named."""
    repository_id: int | None
    """Known from the registration, or bound by the first login inside a window."""
    repository: str
    """The name, after the renames GitHub told of."""
    windows: tuple[tuple[Micros, Micros], ...]
    """Start (inclusive) and end (exclusive) of each window, oldest first."""
    proven: bool
    """A login inside a window, or a known repository that was public inside one: permanent."""

    repository_scope: str
    """Where facts about the repository are: under its id, or, before that is known, under its name."""

    @property
    def owner_id(self) -> int:
        return self.registration.repository_owner_id

    @property
    def name_scope(self) -> str:
        return scopes.name(self.owner_id, self.repository)


def login_value(repository_id: int, owner_id: int) -> str:
    """What a login observation carries: the ids that the token named."""
    return f"{repository_id}:{owner_id}"


def _login_ids(login: Observation) -> tuple[int, int]:
    repository_id, _, owner_id = str(login.value).partition(":")
    return int(repository_id), int(owner_id)


def _current_name(facts: Facts, owner_id: int, repository_id: int | None, said: str, said_at: Micros) -> str:
    """The name after the renames that are newer than the registration.

    With an id, the newest rename of that id counts. Without one, names are followed from one to the next, each step
    later than the one before, so that a name that is taken again cannot lead in a circle.
    """
    if repository_id is not None:
        scope = scopes.repository(owner_id, repository_id)
        # A name is never empty, so a hint of one lies in the "-" channel.
        names = (facts.get(f"{scope} name -"), facts.get(f"{scope} name ="))
        renames = [fact for fact in names if fact is not None and fact.at > said_at]
        return str(max(renames, key=lambda fact: fact.at).value) if renames else said
    while True:
        step = facts.get(f"{scopes.unbound(owner_id, said)} renamed_to -")
        if step is None or step.at <= said_at:
            return said
        said, said_at = str(step.value), step.at


def _windows(since: Micros, until: Micros | None, renewals: Sequence[Micros], width: Micros) -> list[tuple[int, int]]:
    starts = [since, *(at for at in renewals if at >= since and (until is None or at < until))]
    return [(start, start + width) for start in sorted(set(starts))]


def _inside(at: Micros, windows: Sequence[tuple[Micros, Micros]]) -> bool:
    return any(start <= at < end for start, end in windows)


def _public_inside(
    facts: Facts,
    repository_scope: str,
    declared: Sequence[tuple[Micros, bool]],
    windows: Sequence[tuple[Micros, Micros]],
    *,
    proof: bool,
) -> bool:
    """Whether the repository was known to be public at any instant of any window.

    `declared` is what its registrations said, and when. Where GitHub can be asked, a hint cannot say that it is public.
    """
    learnt = [
        (fact.at, fact.value == "public")
        for fact in series(facts, repository_scope, "visibility")
        if fact.value != "public" or fact.basis is Basis.PROOF or not proof
    ]
    seen = sorted([*declared, *learnt])
    for start, end in windows:
        before = [public for at, public in seen if at <= start]
        if (before and before[-1]) or any(public for at, public in seen if start < at < end):
            return True
    return False


@dataclass(slots=True)
class _Hold:
    """The walk so far: the hold on one repository, from the registration that first named it."""

    registration: Registration
    registered_at: Micros
    since: Micros
    repository_id: int | None = None
    id_since: Micros | None = None
    name: str = ""
    declared: list[tuple[Micros, bool]] = field(default_factory=list)
    """What its registrations said of being public, and when."""

    def goes_on(self, wanted: Registration) -> bool:
        """Whether a newer registration names the same repository. Ids decide; names only where an id is missing."""
        if self.registration.repository_owner_id != wanted.repository_owner_id:
            return False
        if self.repository_id is not None and wanted.repository_id is not None:
            return self.repository_id == wanted.repository_id
        return wanted.repository.lower() in (self.name.lower(), self.registration.repository.lower())

    def take(self, wanted: Registration, at: Micros) -> None:
        """Go on with a newer registration."""
        self.registration, self.registered_at = wanted, at
        if wanted.visibility is not None:
            self.declared.append((at, wanted.visibility == "public"))
        if wanted.repository_id is not None and self.repository_id is None:
            self.repository_id, self.id_since = wanted.repository_id, at

    def bind(
        self, logins: Sequence[Observation], windows: Sequence[tuple[Micros, Micros]], until: Micros | None
    ) -> None:
        """The first login inside a window, of the right owner, says which repository it is."""
        for login in logins if self.repository_id is None else ():
            repository_id, owner_id = _login_ids(login)
            in_time = _inside(login.at, windows) and (until is None or login.at < until)
            if in_time and owner_id == self.registration.repository_owner_id:
                self.repository_id, self.id_since = repository_id, login.at
                return


def tenure_of(facts: Facts, policy_id: str, *, window: Micros, proof_required: bool) -> Tenure | None:
    """The hold a policy has now, or None if nobody registered it.

    Registrations are walked in the order of their times. One that names another owner, or another repository, begins
    a new tenure with a new window (contract: "a change of repository or owner starts a new window"); one that only
    adds an id, or follows a rename, goes on with the old one.
    """
    me = scopes.policy(policy_id)
    registrations = series(facts, me, "registration")
    logins = series(facts, me, "login")
    renewals = [renewal.at for renewal in series(facts, me, "renewal")]
    hold: _Hold | None = None
    for said, until in zip_longest(registrations, [later.at for later in registrations[1:]]):
        wanted = decode(str(said.value))
        if hold is None or not hold.goes_on(wanted):
            hold = _Hold(wanted, said.at, said.at)
        hold.take(wanted, said.at)
        hold.bind(logins, _windows(hold.since, until, renewals, window), until)
        hold.name = _current_name(facts, wanted.repository_owner_id, hold.repository_id, wanted.repository, said.at)
    if hold is None:
        return None

    owner_id, bound = hold.registration.repository_owner_id, hold.repository_id
    windows = _windows(hold.since, None, renewals, window)
    if bound is None:
        where, proven = scopes.unbound(owner_id, hold.name), False
    else:
        where = scopes.repository(owner_id, bound)
        logged_in = (login for login in logins if _login_ids(login) == (bound, owner_id))
        known_since = hold.id_since or hold.since
        known_windows = [(max(start, known_since), end) for start, end in windows if known_since < end]
        proven = any(_inside(login.at, windows) for login in logged_in) or _public_inside(
            facts, where, hold.declared, known_windows, proof=proof_required
        )
    return Tenure(
        registration=hold.registration,
        registered_at=hold.registered_at,
        since=hold.since,
        repository_id=bound,
        repository=hold.name,
        windows=tuple(windows),
        proven=proven,
        repository_scope=where,
    )
