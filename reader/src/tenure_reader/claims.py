"""Would this token match? One table of rules, asked in order; the first that differs is the answer.

The claims are those of GitHub's OIDC tokens:
https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims. Their signature, issuer, audience and
times are the exchange's business and are taken as checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple, TypedDict

from tenure_reader.times import Micros, utc

Claims = Mapping[str, object]

REQUIRED = ("repository_owner_id", "repository_id", "repository", "repository_owner", "job_workflow_ref", "event_name")
"""Claims without which no token can match."""

FORBIDDEN_EVENTS = frozenset({"pull_request_target", "workflow_run"})
"""Events that run a repository's workflow on somebody else's behalf, with its secrets."""

UNCHECKED = frozenset({
    "actor", "actor_id", "aud", "base_ref", "check_run_id", "enterprise", "enterprise_id", "environment_node_id", "exp", "head_ref", "iat",
    "iss", "issuer_scope", "job_workflow_sha", "jti", "nbf", "ref", "ref_protected", "ref_type", "repository_visibility",
    "run_attempt", "run_id", "run_number", "runner_environment", "sha", "sub", "workflow", "workflow_ref",
    "workflow_sha",
})  # fmt: skip
"""Claims that are known and deliberately not looked at. `sub` is among them: its format is the customer's to choose."""

_NOBODY = "no policy lets this repository publish"

DIFFERENCES: dict[str, str] = {
    "claims_missing": "the token lacks claims that every token of GitHub Actions has",
    "claims_malformed": "a claim of the token has another form than GitHub gives it",
    "event_forbidden": "a run that was started by this event may not publish",
    "owner_id": _NOBODY,
    "repository_id": _NOBODY,
    "repository_name": _NOBODY,
    "name_reused": _NOBODY,
    "name_contradicted": _NOBODY,
    "workflow_unreadable": "the token names no workflow file",
    "workflow_repository": "the job ran a workflow of a repository that the policy does not name",
    "workflow_file": "the job ran another workflow file than the policy names",
    "environment": "the job did not run in the environment that the policy names",
    "window_closed": "the policy's time is over; its owner can renew it",
    "expired": "the policy's time is over; its owner can renew it",
    "disabled": "the policy is disabled; its owner can look up why",
    "removed": "the policy was removed",
}
"""What can differ → what may be told to whoever presents the token. It quotes no policy, and it does not tell a
repository that is not the policy's that there is one."""


class PackageOwner(TypedDict):
    account: str
    kind: str


class Creator(TypedDict):
    account: str
    github_user_id: int | None


class Grant(TypedDict):
    """The part of a view that decides, and that says for whom. A view is one, too."""

    policy_id: str
    revision: int
    state: str
    usable: bool
    usable_until: str | None
    reasons: list[str]
    package_owner: PackageOwner
    created_by: Creator
    repository_owner_id: int
    repository: str
    repository_id: int | None
    workflow_file: str
    environment: str | None


class Difference(NamedTuple):
    """Why a rule fails. `code` is one of `DIFFERENCES`; `detail` is for operators."""

    code: str
    detail: str


class Stage(NamedTuple):
    """One question that was asked, and its answer.

    `detail` may name what the policy wants, and why it is disabled: keep it from strangers. `told` may be shown to
    whoever presented the token.
    """

    stage: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    code: str = ""
    told: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """The answer for one policy, with every stage up to the first that failed. No id: there was no policy to ask."""

    policy_id: str | None
    matched: bool
    stages: tuple[Stage, ...]


class Asked(NamedTuple):
    """What every rule but the standing is asked about."""

    claims: Claims
    now: Micros
    known_as: str | None
    """Another name, by which policies with the token's repository id know it."""


# Reading claims

DIGITS = 20
"""As many as the largest number of 64 bits has."""
_MORE_THAN_ANY_ID = 10**DIGITS


def integer(value: object) -> int | None:
    """An id as GitHub writes it, a string of digits, or as a number; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < _MORE_THAN_ANY_ID else None
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > DIGITS:
        return None
    # 007 is no way to write 7.
    return None if value[0] == "0" and len(value) > 1 else int(value)


def text(claims: Claims, name: str) -> str | None:
    """A claim that is a text, and not an empty one. Half a surrogate pair is none: it cannot be written in UTF-8."""
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        return None
    return value if value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value) else None


def same(one: str, other: str) -> bool:
    """Equal but for the case of letters.

    Both ways, because there are letters that only one way maps onto others: the Kelvin sign becomes a k. Whoever may
    name an environment could otherwise make one that is protected by nothing and passes for another.
    """
    return one == other or (one.lower() == other.lower() and one.upper() == other.upper())


def repository_name(claims: Claims) -> str | None:
    """`widgets` of the claim `octo/widgets`."""
    full = text(claims, "repository")
    return full.partition("/")[2] or None if full else None


def workflow(claims: Claims) -> tuple[str, str] | None:
    """Repository (`owner/name`) and file of `owner/name/.github/workflows/release.yml@refs/heads/main`.

    A file's name may hold an `@`, and so may a ref; a file's name holds no slash, so the first `@refs/` ends it.
    """
    repository, marker, rest = (text(claims, "job_workflow_ref") or "").partition("/.github/workflows/")
    file, found, _ = rest.partition("@refs/")
    if not found:
        file, found, _ = rest.rpartition("@")
    return (repository, file) if marker and found and file else None


# The rules


def _required(_: Grant, asked: Asked) -> Difference | None:
    claims = asked.claims
    missing = [name for name in REQUIRED if claims.get(name) in (None, "")]
    if missing:
        return Difference("claims_missing", f"the token has no {', '.join(missing)}")
    for name in REQUIRED:
        if name.endswith("_id") and integer(claims[name]) is None:
            return Difference("claims_malformed", f"the claim {name} is not an id")
        if not name.endswith("_id") and text(claims, name) is None:
            return Difference("claims_malformed", f"the claim {name} is not a text")
    return None


def _event(_: Grant, asked: Asked) -> Difference | None:
    event = text(asked.claims, "event_name")
    if event in FORBIDDEN_EVENTS:
        return Difference("event_forbidden", f"a run started by {event} may not publish")
    return None


def _owner(grant: Grant, asked: Asked) -> Difference | None:
    theirs = asked.claims.get("repository_owner_id")
    if integer(theirs) == grant["repository_owner_id"]:
        return None
    return Difference("owner_id", f"the policy is for owner id {grant['repository_owner_id']}, the token from {theirs}")


def _repository(grant: Grant, asked: Asked) -> Difference | None:
    name, wanted = repository_name(asked.claims) or "", grant["repository_id"]
    if wanted is None:
        return _named(grant["repository"], name, asked)
    theirs = asked.claims.get("repository_id")
    if integer(theirs) == wanted:
        return None
    if same(name, grant["repository"]):
        return Difference(
            "name_reused", f"another repository has the name {grant['repository']} now; the policy is for id {wanted}"
        )
    return Difference("repository_id", f"the policy is for repository id {wanted}, the token from {theirs}")


def _named(wanted: str, name: str, asked: Asked) -> Difference | None:
    if not same(name, wanted):
        return Difference("repository_name", f"the policy is for repository {wanted}, the token from {name or 'none'}")
    if asked.known_as is not None:
        return Difference(
            "name_contradicted",
            f"policies with the token's repository id know it as {asked.known_as}; give this policy its repository id",
        )
    return None


def _workflow(grant: Grant, asked: Asked) -> Difference | None:
    ran = workflow(asked.claims)
    if ran is None:
        return Difference("workflow_unreadable", "the claim job_workflow_ref names no workflow file")
    repository, file = ran
    named, marker, wanted = grant["workflow_file"].rpartition("/.github/workflows/")
    home = named if marker else text(asked.claims, "repository") or ""
    if not same(repository, home):
        wants = f"the policy wants {grant['workflow_file']}" if marker else "which the policy does not name"
        return Difference("workflow_repository", f"the job ran a workflow of {repository}, {wants}")
    if file == wanted:
        return None
    return Difference("workflow_file", f"the policy wants the workflow {wanted}, the job ran {file}")


def _environment(grant: Grant, asked: Asked) -> Difference | None:
    wanted = grant["environment"]
    ran = text(asked.claims, "environment") or ""
    if not wanted or same(wanted, ran):
        return None
    return Difference("environment", f"the policy wants the environment {wanted}, the job ran in {ran or 'none'}")


def closed(grant: Grant, now: Micros) -> Difference | None:
    """Why a policy may not be used at this moment; None if it may. The reader's rule."""
    if grant["usable"] is not True:
        reasons = f": {', '.join(grant['reasons'])}" if grant["reasons"] else ""
        code = grant["state"] if grant["state"] in DIFFERENCES else "disabled"
        return Difference(code, f"the policy is {grant['state']}{reasons}")
    until = grant["usable_until"]
    if until is not None and datetime.fromisoformat(until) <= utc(now):
        return Difference("window_closed", f"the policy's window closed at {until}")
    return None


RULES: dict[str, Callable[[Grant, Asked], Difference | None]] = {
    "claims": _required,
    "event": _event,
    "repository_owner": _owner,
    "repository": _repository,
    "workflow_file": _workflow,
    "environment": _environment,
    "standing": lambda grant, asked: closed(grant, asked.now),
}
"""Stage → rule: None if the token passes, else why not."""

TOKEN_ALONE = ("claims", "event")
"""Stages that look at no policy."""


# Asking them


_PASSED = {name: Stage(name, "passed", "") for name in RULES}
_SKIPPED = {name: Stage(name, "skipped", "") for name in RULES}


def ask_in_order(policy_id: str | None, ask: Callable[[str], Difference | None]) -> Match:
    """Ask about every stage, up to the first that fails."""
    stages: list[Stage] = []
    failed = False
    for name in RULES:
        difference = None if failed else ask(name)
        if difference is not None:
            failed = True
            stages.append(Stage(name, "failed", difference.detail, difference.code, DIFFERENCES[difference.code]))
        else:
            stages.append(_SKIPPED[name] if failed else _PASSED[name])
    return Match(policy_id, not failed, tuple(stages))


def match(grant: Grant, claims: Claims, now: Micros, known_as: str | None = None) -> Match:
    """Ask every rule of one policy, up to the first that fails."""
    asked = Asked(claims, now, known_as)
    return ask_in_order(grant["policy_id"], lambda name: RULES[name](grant, asked))


def best(matches: Sequence[Match]) -> Match | None:
    """The one that matched, or else the one that came furthest."""
    return max(matches, key=lambda m: (m.matched, sum(stage.outcome == "passed" for stage in m.stages)), default=None)
