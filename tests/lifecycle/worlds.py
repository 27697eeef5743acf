"""Strategies: small worlds in which a policy's observations meet, tie and race."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support import (
    CREATOR,
    NAME,
    OWNER,
    PACKAGE_OWNER,
    POLICY,
    REPOSITORY,
    USER,
    WINDOW,
    WORKFLOW,
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
from worker.lifecycle.conditions import NOTHING, RegisteredConditions
from worker.lifecycle.facts import THICK, Basis, Micros, Observation, subject

OTHER_OWNER = 42
OTHER_REPOSITORY = 8
OTHER_NAME = "gadgets"
THIRD_NAME = "sprockets"
ENVIRONMENT, TAGS = "release", "refs/tags/v*"
LATEST: Micros = 30

times = st.integers(0, LATEST)
names = st.sampled_from([NAME, NAME, NAME, OTHER_NAME])
all_names = st.sampled_from([NAME, OTHER_NAME, THIRD_NAME])
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
    environment=st.sampled_from([None, None, ENVIRONMENT]),
    asked=st.sampled_from([NOTHING, NOTHING, RegisteredConditions(refs=(TAGS,))]),
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
    st.builds(said, times, st.just(scopes.policy(POLICY)), st.just("self_hosted"), st.just(value=True)),
)
removals = st.builds(removed, times)

renames = st.one_of(
    st.builds(hint, times, st.builds(scopes.unbound, owners, all_names), st.just("renamed_to"), all_names),
    st.builds(either, times, st.builds(scopes.repository, owners, ids), st.just("name"), all_names, bases),
)
_advised = st.one_of(
    st.builds(scopes.environment, places, st.just(ENVIRONMENT)), st.builds(scopes.refs, places, st.just(TAGS))
)
_protections = st.sampled_from(["missing", "open", "unprotected"])
advice = st.one_of(
    st.builds(proof, times, _advised, _protections, st.booleans()),
    st.builds(hint, times, st.builds(scopes.workflow, places, st.just(WORKFLOW)), st.just("missing"), st.booleans()),
    st.builds(hint, times, st.builds(scopes.owner, owners), st.just("owner_login"), st.sampled_from(["octo", "labs"])),
)

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

nobody_renames = st.one_of(registrations, renewals, logins, visibilities, github_says, registry_says, github_says)
anything = st.one_of(nobody_renames, renames, advice)


def told(of: st.SearchStrategy[Observation] = anything) -> st.SearchStrategy[list[Observation]]:
    """A registration, up to a dozen other observations, and now and then a removal, in any order."""
    end: st.SearchStrategy[list[Observation]] = st.one_of(
        st.just([]), st.just([]), st.just([]), st.lists(removals, min_size=1, max_size=2)
    )
    return st.builds(lambda first, others, last: [first, *others, *last], registrations, st.lists(of, max_size=12), end)


renamed = told(
    st.one_of(
        st.builds(registered, times, all_names, st.one_of(st.none(), ids), owner=owners), renames, logins, github_says
    )
)
"""Little but names that come and go, and who is registered under them."""

_OFTEN = THICK + 5
_once_each = st.lists(st.integers(0, _OFTEN - 1), min_size=THICK + 1, max_size=_OFTEN, unique=True)
_dense = st.one_of(
    st.builds(lambda moments, which: [login(at, which) for at in moments], _once_each, ids),
    st.builds(
        lambda moments, which, value, basis: [
            either(at, scopes.repository(OWNER, which), "visibility", value, basis) for at in moments
        ],
        _once_each,
        ids,
        st.sampled_from(["public", "private"]),
        bases,
    ),
)
_later = st.builds(registered, st.integers(_OFTEN, LATEST), names, st.one_of(st.none(), ids), owner=owners)


def clear_cut(observations: list[Observation]) -> bool:
    """Not a set whose meaning is left open.

    Of many logins or words on visibility, the middle one of three within a window may be forgotten. Only another
    registration that falls between the outer two could tell.
    """
    turns = sorted(o.at for o in observations if o.aspect == "registration")[1:]
    series: dict[tuple[str, str], set[str]] = {}
    alike: dict[tuple[str, str], dict[tuple[object, Basis], set[Micros]]] = {}
    for o in observations:
        if o.aspect in ("login", "visibility"):
            series.setdefault((o.scope, o.aspect), set()).add(subject(o))
            alike.setdefault((o.scope, o.aspect), {}).setdefault((o.value, o.basis), set()).add(o.at)
    thick = [moments for key, kinds in alike.items() if len(series[key]) > THICK for moments in kinds.values()]
    return not any(
        after - before <= WINDOW and any(before < turn <= after for turn in turns)
        for moments in map(sorted, thick)
        for before, after in zip(moments, moments[2:], strict=False)
    )


crowded = st.builds(
    lambda first, dense, others, later: [first, *dense, *others, *later],
    registrations,
    _dense,
    st.lists(st.one_of(renewals, logins, visibilities, github_says, renames), max_size=6),
    st.lists(_later, max_size=1),
).filter(clear_cut)
"""So much of one kind that some of it is forgotten."""

whatever = st.one_of(told(), told(), renamed, crowded)
