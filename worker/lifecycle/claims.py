"""Would this token match this policy? One table of rules, asked in order; the first that differs is the answer.

The claims are those of GitHub's OIDC tokens:
https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims. Their signature, issuer, audience and
times are the exchange's business and are taken as checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from worker.lifecycle.facts import Micros
from worker.lifecycle.views import View, rfc3339

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


class Stage(NamedTuple):
    """One question that was asked, and its answer. `detail` may name what the policy wants; keep it from strangers."""

    stage: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str


@dataclass(frozen=True, slots=True)
class Match:
    """The answer for one policy, with every stage up to the first that failed."""

    policy_id: str
    matched: bool
    stages: tuple[Stage, ...]


def integer(value: object) -> int | None:
    """An id as GitHub writes it, a string of digits, or as a number; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20
    return int(str(value)) if digits else None


def text(claims: Claims, name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None


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


def _required(_: View, claims: Claims, __: Micros) -> str | None:
    missing = [name for name in REQUIRED if claims.get(name) in (None, "")]
    if missing:
        return f"the token has no {', '.join(missing)}"
    for name in REQUIRED:
        if name.endswith("_id") and integer(claims[name]) is None:
            return f"the claim {name} is not an id"
        if not name.endswith("_id") and text(claims, name) is None:
            return f"the claim {name} is not a text"
    return None


def _event(_: View, claims: Claims, __: Micros) -> str | None:
    event = text(claims, "event_name")
    return f"a run started by {event} may not publish" if event in FORBIDDEN_EVENTS else None


def _owner(view: View, claims: Claims, _: Micros) -> str | None:
    if integer(claims.get("repository_owner_id")) == view["repository_owner_id"]:
        return None
    return (
        f"the policy is for owner id {view['repository_owner_id']}, the token from {claims.get('repository_owner_id')}"
    )


def _repository(view: View, claims: Claims, _: Micros) -> str | None:
    if view["repository_id"] is not None:
        if integer(claims.get("repository_id")) == view["repository_id"]:
            return None
        if (repository_name(claims) or "").lower() == view["repository"].lower():
            return f"another repository has the name {view['repository']} now; the policy is for id {view['repository_id']}"
        return f"the policy is for repository id {view['repository_id']}, the token from {claims.get('repository_id')}"
    if (repository_name(claims) or "").lower() == view["repository"].lower():
        return None
    return f"the policy is for repository {view['repository']}, the token from {claims.get('repository')}"


def _workflow(view: View, claims: Claims, _: Micros) -> str | None:
    ran = workflow(claims)
    if ran is None:
        return "the claim job_workflow_ref names no workflow file"
    repository, file = ran
    wanted = view["workflow_file"]
    if "/" in wanted:
        named, _marker, wanted_file = wanted.partition("/.github/workflows/")
        same = repository.lower() == named.lower() and file == wanted_file
        return None if same else f"the policy wants {wanted}"
    if repository.lower() != str(claims.get("repository", "")).lower():
        return f"the job ran a workflow of {repository}, which the policy does not name"
    return None if file == wanted else f"the policy wants the workflow {wanted}, the job ran {file}"


def _environment(view: View, claims: Claims, _: Micros) -> str | None:
    wanted = view["environment"]
    ran = text(claims, "environment") or ""
    if not wanted or wanted.lower() == ran.lower():
        return None
    return f"the policy wants the environment {wanted}, the job ran in {ran or 'none'}"


def _usable(view: View, _: Claims, now: Micros) -> str | None:
    if not view["usable"]:
        reasons = f": {', '.join(view['reasons'])}" if view["reasons"] else ""
        return f"the policy is {view['state']}{reasons}"
    until = view["usable_until"]
    if until is not None and datetime.fromisoformat(until) <= datetime.fromisoformat(rfc3339(now)):
        return f"the policy's window closed at {until}"
    return None


RULES: dict[str, Callable[[View, Claims, Micros], str | None]] = {
    "claims": _required,
    "event": _event,
    "repository_owner": _owner,
    "repository": _repository,
    "workflow_file": _workflow,
    "environment": _environment,
    "standing": _usable,
}
"""Stage → rule: None if the token passes, else why not."""


def match(view: View, claims: Claims, now: Micros) -> Match:
    """Ask every rule of one policy, up to the first that fails."""
    stages: list[Stage] = []
    for name, rule in RULES.items():
        if stages and stages[-1].outcome != "passed":
            stages.append(Stage(name, "skipped", ""))
            continue
        problem = rule(view, claims, now)
        stages.append(Stage(name, "failed", problem) if problem else Stage(name, "passed", ""))
    return Match(view["policy_id"], all(stage.outcome == "passed" for stage in stages), tuple(stages))


def best(matches: Sequence[Match]) -> Match | None:
    """The one that matched, or else the one that came furthest."""
    return max(matches, key=lambda m: (m.matched, sum(stage.outcome == "passed" for stage in m.stages)), default=None)
