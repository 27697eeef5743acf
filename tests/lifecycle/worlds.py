"""Strategies: small worlds in which a policy's observations meet, tie and race."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support import (
    CREATOR,
    NAME,
    OWNER,
    PACKAGE_OWNER,
    REPOSITORY,
    USER,
    WINDOW,
    held,
    hint,
    login,
    proof,
    registered,
    removed,
    renewed,
    said,
)
from worker.lifecycle import scopes
from worker.lifecycle.facts import Basis, Micros, Observation

OTHER_OWNER = 42
OTHER_REPOSITORY = 8
OTHER_NAME = "gadgets"
LATEST: Micros = 30

times = st.integers(0, LATEST)
names = st.sampled_from([NAME, NAME, NAME, OTHER_NAME])
owners = st.sampled_from([OWNER, OWNER, OWNER, OTHER_OWNER])
ids = st.sampled_from([REPOSITORY, REPOSITORY, OTHER_REPOSITORY])

places = st.one_of(
    st.builds(scopes.repository, owners, ids),
    st.builds(scopes.unbound, owners, names),
)

registrations = st.builds(
    registered,
    times,
    names,
    st.one_of(st.none(), ids),
    owner=owners,
    visibility=st.sampled_from([None, None, "public", "private"]),
)
renewals = st.builds(renewed, times)
logins = st.builds(login, times, ids, owners)


def either(at: Micros, scope: str, aspect: str, value: str | bool, basis: Basis) -> Observation:
    return (proof if basis is Basis.PROOF else hint)(at, scope, aspect, value)


bases = st.sampled_from([Basis.HINT, Basis.PROOF])
visibilities = st.builds(
    either,
    times,
    st.builds(scopes.repository, owners, ids),
    st.just("visibility"),
    st.sampled_from(["public", "private"]),
    bases,
)

_flags = st.sampled_from(["archived", "deleted", "transferred", "unreachable"])
_accounts = st.sampled_from([scopes.account(CREATOR), scopes.account(PACKAGE_OWNER)])
_collaborators = st.builds(scopes.collaborator, places, st.just(USER))
_holders = st.builds(lambda holder: f"held_by:{holder}", ids)
_member = scopes.package_member(PACKAGE_OWNER, CREATOR)

github_says = st.one_of(
    st.builds(either, times, places, _flags, st.booleans(), bases),
    st.builds(either, times, st.builds(scopes.name, owners, names), _holders, st.booleans(), bases),
    st.builds(either, times, st.builds(scopes.owner, owners), st.just("deleted"), st.booleans(), bases),
    st.builds(either, times, st.builds(scopes.member, owners, st.just(USER)), st.just("left"), st.booleans(), bases),
    st.builds(either, times, _collaborators, st.just("lost"), st.booleans(), bases),
    st.builds(hint, times, st.builds(scopes.owner, owners), st.just("blind"), st.booleans()),
    st.builds(proof, times, places, st.just("verified"), st.just(value=True)),
)
registry_says = st.one_of(
    st.builds(said, times, _accounts, st.sampled_from(["locked", "deleted"]), st.booleans()),
    st.builds(said, times, st.just(_member), st.just("left"), st.booleans()),
    st.builds(held, times, st.booleans()),
)
removals = st.builds(removed, times)

clearing_hints = st.one_of(
    st.builds(hint, times, places, _flags, st.just(value=False)),
    st.builds(hint, times, st.builds(scopes.name, owners, names), _holders, st.just(value=False)),
    st.builds(
        hint, times, st.builds(scopes.name, owners, names), st.just(f"held_by:{REPOSITORY}"), st.just(value=True)
    ),
    st.builds(
        hint, times, st.builds(scopes.owner, owners), st.sampled_from(["deleted", "blind"]), st.just(value=False)
    ),
    st.builds(hint, times, st.builds(scopes.member, owners, st.just(USER)), st.just("left"), st.just(value=False)),
    st.builds(hint, times, _collaborators, st.just("lost"), st.just(value=False)),
    st.builds(hint, times, st.builds(scopes.repository, owners, ids), st.just("visibility"), st.just("public")),
)

anything = st.one_of(registrations, renewals, logins, visibilities, github_says, registry_says, github_says)


def told(also: st.SearchStrategy[Observation] = anything) -> st.SearchStrategy[list[Observation]]:
    """A registration, up to a dozen other observations, and now and then a removal, in any order."""
    rest = st.lists(st.one_of(anything, also), max_size=12)
    end: st.SearchStrategy[list[Observation]] = st.one_of(
        st.just([]), st.just([]), st.just([]), st.lists(removals, min_size=1, max_size=2)
    )
    return st.builds(lambda first, others, last: [first, *others, *last], registrations, rest, end).filter(clear_cut)


def clear_cut(observations: list[Observation]) -> bool:
    """Not a set whose meaning is left open.

    A repository cannot be public and private at one instant; and of three logins within a window, or three words on
    visibility, the middle one may be forgotten, which a registration that falls between the outer two could tell.
    """
    shown = {(o.scope, o.at, o.value) for o in observations if o.aspect == "visibility"}
    if len({(scope, at) for scope, at, _ in shown}) < len(shown):
        return False
    turns = [o.at for o in observations if o.aspect == "registration"]
    alike: dict[tuple[str, str, object, object], set[Micros]] = {}
    for o in observations:
        if o.aspect in ("login", "visibility"):
            alike.setdefault((o.scope, o.aspect, o.value, o.basis), set()).add(o.at)
    for moments in map(sorted, alike.values()):
        for before, after in zip(moments, moments[2:], strict=False):
            if after - before <= WINDOW and any(before < turn <= after for turn in turns):
                return False
    return True
