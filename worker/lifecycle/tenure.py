"""Which repository a policy stands for, since when, and the windows it was given to prove itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    id_since: Micros | None
    """When that id became known."""
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


def tenure_of(facts: Facts, policy_id: str, *, window: Micros, proof_required: bool) -> Tenure | None:
    """The hold a policy has now, or None if nobody registered it.

    Registrations are walked in the order of their times. One that names another owner, or another repository, begins
    a new tenure with a new window (contract: "a change of repository or owner starts a new window"); one that only
    adds an id, or follows a rename, goes on with the old one.
    """
    me = scopes.policy(policy_id)
    registrations = series(facts, me, "registration")
    if not registrations:
        return None
    logins = series(facts, me, "login")
    renewals = [renewal.at for renewal in series(facts, me, "renewal")]

    since, registered_at, bound, id_since = 0, 0, None, None
    declared: list[tuple[Micros, bool]] = []
    former: Registration | None = None
    former_name = ""
    told = [(said, decode(str(said.value))) for said in registrations]
    _, wanted = told[0]
    for (said, wanted), following in zip(told, [*registrations[1:], None], strict=True):
        if former is None or not _same(former, bound, former_name, wanted):
            since, bound, id_since, declared = said.at, None, None, []
        if wanted.visibility is not None:
            declared.append((said.at, wanted.visibility == "public"))
        if wanted.repository_id is not None and bound != wanted.repository_id:
            bound, id_since = wanted.repository_id, said.at
        until = following.at if following else None
        if bound is None:
            spans = _windows(since, until, renewals, window)
            for login in logins:
                repository_id, owner_id = _login_ids(login)
                in_time = _inside(login.at, spans) and (until is None or login.at < until)
                if in_time and owner_id == wanted.repository_owner_id:
                    bound, id_since = repository_id, login.at
                    break
        former, registered_at = wanted, said.at
        former_name = _current_name(facts, wanted.repository_owner_id, bound, wanted.repository, said.at)

    windows = _windows(since, None, renewals, window)
    proven = bound is not None and (
        any(_login_ids(login) == (bound, wanted.repository_owner_id) and _inside(login.at, windows) for login in logins)
        or _public_inside(
            facts,
            scopes.repository(wanted.repository_owner_id, bound),
            declared,
            [(max(start, id_since or start), end) for start, end in windows if (id_since or start) < end],
            proof=proof_required,
        )
    )
    owner_id = wanted.repository_owner_id
    where = scopes.unbound(owner_id, former_name) if bound is None else scopes.repository(owner_id, bound)
    return Tenure(wanted, registered_at, since, bound, id_since, former_name, tuple(windows), proven, where)


def _same(former: Registration, bound: int | None, former_name: str, wanted: Registration) -> bool:
    """Whether a newer registration goes on with the same repository. Ids decide; names only where an id is missing."""
    if former.repository_owner_id != wanted.repository_owner_id:
        return False
    if bound is not None and wanted.repository_id is not None:
        return bound == wanted.repository_id
    return wanted.repository.lower() in (former_name.lower(), former.repository.lower())
