"""Would this token match? Claims, or a token of which they are read; nothing of it is kept."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import NamedTuple

import orjson
from starlette.responses import Response

from tenure_reader.github import GITHUB_ACTIONS
from tenure_reader.rules import ANYTHING, Wanted, best
from worker.console.session import Visit
from worker.web.bodies import parse_object
from worker.web.problems import ProblemError
from worker.web.reads import LONGEST_CLAIM, decided, wanted_of

QUESTIONS = {
    "claims": "Are all claims there that are needed?",
    "issuer": "Did the policy's GitHub issue it?",
    "event": "Was the run started by something that may publish?",
    "repository_owner": "Is the owner's id the policy's?",
    "repository": "Is it the policy's repository?",
    "workflow_file": "Did the policy's workflow run?",
    "called_workflow": "May that workflow have called the one that the job ran?",
    "workflow_commit": "Was the job's workflow taken from the commit that the run is of?",
    "refs": "Was the run for a branch or tag that the policy admits?",
    "ref_protected": "Was it for a protected one?",
    "environment": "Did it run in the environment that the policy wants?",
    "runner": "Did it run on a runner that the policy admits?",
    "events": "Did an event that the policy admits start it?",
    "packages": "Is the policy for the package?",
    "actions": "Is it for the action?",
    "standing": "May the policy be used now?",
}
"""Stage → what it asks."""
CHECKED = (*GITHUB_ACTIONS.required, *sorted(GITHUB_ACTIONS.optional))


class PastedClaims(NamedTuple):
    """What was pasted."""

    claims: Mapping[str, object]
    token: bool
    """Whether they were read from a token, whose signature nobody has checked."""
    wanted: Wanted
    """What else a request to the API asks about."""


def show(visit: Visit) -> Response:
    return visit.page("evaluate.html", {"pasted": "", "wrong": "", "given": None, "example": _example()})


def evaluate(visit: Visit) -> Response:
    """Ask every rule of every policy of the token's repository."""
    pasted = visit.form.get("claims")
    try:
        pasted_claims = read(pasted)
    except ProblemError as error:
        return visit.page(
            "evaluate.html",
            {"pasted": pasted, "wrong": error.detail, "given": None, "example": _example()},
            status=error.status,
        )
    decision = decided(visit.app, pasted_claims.claims, pasted_claims.wanted)
    nearest = best(decision.matches)
    return visit.page(
        "evaluate.html",
        {  # Not the token: it may still be good for something.
            "pasted": json.dumps(pasted_claims.claims, indent=2, ensure_ascii=False),
            "wrong": "",
            "given": pasted_claims,
            "matches": sorted(decision.matches, key=lambda match: match is not nearest),
            "matched": decision.allowed,
            "questions": QUESTIONS,
            "looked_at": [(name, pasted_claims.claims[name]) for name in CHECKED if name in pasted_claims.claims],
            "passed_over": [
                (name, value, GITHUB_ACTIONS.knows(name))
                for name, value in pasted_claims.claims.items()
                if not GITHUB_ACTIONS.checks(name)
            ],
            "example": _example(),
        },
    )


def read(pasted: str) -> PastedClaims:
    """
    Raises:
        ProblemError: they are neither claims nor a token.
    """
    text = pasted.strip().removeprefix("Authorization:").strip()
    text = text[7:].strip() if text[:7].lower() == "bearer " else text
    if not text:
        raise ProblemError(422, "fields", "Paste the claims of a token as JSON, or a token.")
    token = not text.startswith("{")
    written = _payload(text) if token else text.encode()
    try:
        claims = parse_object(written)
    except ProblemError:
        raise ProblemError(422, "fields", "This is no JSON object, and no token. Paste it whole.") from None
    wanted, inner = ANYTHING, claims.get("claims")
    if not token and isinstance(inner, dict) and claims.keys() <= {"claims", "package", "action"}:
        wanted, claims = wanted_of(claims), inner
    if any(isinstance(claim, str) and len(claim) > LONGEST_CLAIM for claim in claims.values()):
        raise ProblemError(422, "fields", f"It has a claim of more than {LONGEST_CLAIM} characters. GitHub's have not.")
    return PastedClaims(claims, token, wanted)


def _payload(token: str) -> bytes:
    """The claims of a JSON Web Token, of which nothing is checked."""
    parts = "".join(token.split()).split(".")
    if len(parts) != 3:
        raise ProblemError(422, "fields", "This is neither a JSON object nor a token of three parts. Paste it whole.")
    try:
        return base64.b64decode(parts[1] + "=" * (-len(parts[1]) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ProblemError(422, "fields", "The second part of this token is not base64url. Paste it whole.") from None


def _example() -> str:
    claims = {
        "repository_owner": "octo", "repository_owner_id": "600613", "repository": "octo/widgets",
        "repository_id": "9007199254740993", "event_name": "push",
        "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main",
    }  # fmt: skip
    return orjson.dumps(claims, option=orjson.OPT_INDENT_2).decode()
