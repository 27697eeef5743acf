"""The claims of GitHub Actions: https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims.

Signature, issuer, audience and times are the exchange's business and are taken as checked here.
"""

from __future__ import annotations

from tenure_reader.claims import Claims, Difference, Job, Provider, Workflow, integer, text

_IDS = ("repository_owner_id", "repository_id")
_TEXTS = ("repository", "repository_owner", "job_workflow_ref", "event_name")

FORBIDDEN_EVENTS = frozenset({"pull_request_target", "workflow_run"})
"""Events that run a repository's workflow on somebody else's behalf, with its secrets."""


def workflow(claims: Claims) -> Workflow | None:
    """Repository and file of `owner/name/.github/workflows/release.yml@refs/heads/main`.

    A file's name may hold an `@`, and so may a ref; a file's name holds no slash, so the first `@refs/` ends it.
    """
    reference = text(claims, "job_workflow_ref")
    if reference is None:
        return None
    repository, marker, rest = reference.partition("/.github/workflows/")
    file, at, _ = rest.partition("@refs/")
    if not at:
        file, at, _ = rest.rpartition("@")
    return Workflow(repository, file) if marker and at and file else None


def _job(claims: Claims) -> Job:
    return Job(
        owner_id=integer(claims.get("repository_owner_id")),
        repository_id=integer(claims.get("repository_id")),
        repository=text(claims, "repository") or "",
        workflow=workflow(claims),
        environment=text(claims, "environment") or "",
        malformed=_malformed(claims),
        forbidden=_forbidden(claims),
    )


def _malformed(claims: Claims) -> Difference | None:
    missing = [name for name in GITHUB_ACTIONS.required if claims.get(name) in (None, "")]
    if missing:
        return Difference("claims_missing", f"the token has no {', '.join(missing)}")
    for name in _IDS:
        if integer(claims[name]) is None:
            return Difference("claims_malformed", f"the claim {name} is not an id")
    for name in _TEXTS:
        if text(claims, name) is None:
            return Difference("claims_malformed", f"the claim {name} is not a text")
    return None


def _forbidden(claims: Claims) -> Difference | None:
    event = text(claims, "event_name")
    return (
        Difference("event_forbidden", f"a run started by {event} may not publish")
        if event in FORBIDDEN_EVENTS
        else None
    )


GITHUB_ACTIONS = Provider(
    required=(*_IDS, *_TEXTS),
    optional=frozenset({"environment"}),
    # `sub` is among them: its format is the customer's to choose.
    unchecked=frozenset({
        "actor", "actor_id", "aud", "base_ref", "check_run_id", "enterprise", "enterprise_id", "environment_node_id", "exp",
        "head_ref", "iat", "iss", "issuer_scope", "job_workflow_sha", "jti", "nbf", "ref", "ref_protected", "ref_type",
        "repository_visibility", "run_attempt", "run_id", "run_number", "runner_environment", "sha", "sub", "workflow",
        "workflow_ref", "workflow_sha",
    }),
    # Custom properties, which an organisation names as it likes.
    unchecked_prefixes=("repo_property_",),
    job=_job,
)  # fmt: skip
