"""The claims of GitHub Actions: https://docs.github.com/en/actions/reference/security/oidc#oidc-token-claims.

Signature, issuer, audience and times are the exchange's business and are taken as checked here.
"""

from __future__ import annotations

from typing import NamedTuple

from tenure_reader.claims import Claims, Difference, Job, Provider, Workflow, integer, text

_IDS = ("repository_owner_id", "repository_id")
_TEXTS = ("repository", "repository_owner", "job_workflow_ref", "event_name")


def workflow(reference: str | None) -> Workflow | None:
    """The parts of `owner/name/.github/workflows/release.yml@refs/heads/main`.

    A file's name may hold an `@`, and so may a ref; a file's name holds no slash, so the first `@refs/` ends it. Where there
    is none, a commit is named, and the last `@` does.
    """
    if reference is None:
        return None
    repository, marker, rest = reference.partition("/.github/workflows/")
    file, at, ref = rest.partition("@refs/")
    if at:
        ref = f"refs/{ref}"
    else:
        file, at, ref = rest.rpartition("@")
    return Workflow(repository, file, ref) if marker and at and file else None


class GitHubRun(NamedTuple):
    claims: Claims

    @property
    def caller(self) -> Workflow | None:
        return workflow(text(self.claims, "workflow_ref"))

    @property
    def caller_commit(self) -> str:
        return text(self.claims, "workflow_sha") or ""

    @property
    def commit(self) -> str:
        return text(self.claims, "job_workflow_sha") or ""

    @property
    def ref(self) -> str:
        return text(self.claims, "ref") or ""

    @property
    def ref_protected(self) -> bool:
        """GitHub writes the word, not the value of JSON."""
        return self.claims.get("ref_protected") == "true"

    @property
    def runner(self) -> str:
        return text(self.claims, "runner_environment") or ""


def _job(claims: Claims) -> Job:
    owner_id, repository_id = integer(claims.get("repository_owner_id")), integer(claims.get("repository_id"))
    repository, event = text(claims, "repository"), text(claims, "event_name")
    reference = text(claims, "job_workflow_ref")
    whole = (
        owner_id is not None
        and repository_id is not None
        and repository is not None
        and event is not None
        and reference is not None
        and text(claims, "repository_owner") is not None
    )
    return Job(
        owner_id=owner_id,
        repository_id=repository_id,
        repository=repository or "",
        workflow=workflow(reference),
        environment=text(claims, "environment") or "",
        malformed=None if whole else _malformed(claims),
        event=event or "",
        run=GitHubRun(claims),
        issuer=None if claims.get("iss") is None else text(claims, "iss") or "",
    )


def _malformed(claims: Claims) -> Difference:
    """What the required claims lack, one of which is missing or has another form than it must."""
    missing = [name for name in GITHUB_ACTIONS.required if claims.get(name) in (None, "")]
    if missing:
        return Difference("claims_missing", f"the token has no {', '.join(missing)}")
    odd = next((name for name in _IDS if integer(claims[name]) is None), None)
    if odd is not None:
        return Difference("claims_malformed", f"the claim {odd} is not an id")
    odd = next(name for name in _TEXTS if text(claims, name) is None)
    return Difference("claims_malformed", f"the claim {odd} is not a text")


GITHUB_ACTIONS = Provider(
    required=(*_IDS, *_TEXTS),
    optional=frozenset({
        "environment", "iss", "job_workflow_sha", "ref", "ref_protected", "runner_environment", "workflow_ref", "workflow_sha",
    }),
    # `sub` is among them: its format is the customer's to choose.
    unchecked=frozenset({
        "actor", "actor_id", "aud", "base_ref", "check_run_id", "enterprise", "enterprise_id", "environment_node_id", "exp",
        "head_ref", "iat", "issuer_scope", "jti", "nbf", "ref_type", "repository_visibility", "run_attempt", "run_id",
        "run_number", "sha", "sub", "workflow",
    }),
    # Custom properties, which an organisation names as it likes.
    unchecked_prefixes=("repo_property_",),
    job=_job,
)  # fmt: skip
