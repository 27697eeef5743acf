"""`GET /policies/{policy_id}` and `POST /evaluate`: what is known of a policy, and whether a token would match."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from starlette.requests import Request
from starlette.responses import Response

from handlers.models import MAX_ID
from worker.app import App
from worker.lifecycle.claims import RULES, Match, Stage, best, integer, match, repository_name
from worker.lifecycle.views import View, described
from worker.web.access import Tokens
from worker.web.bodies import MIB, parse_object, read_body, require_type
from worker.web.problems import ProblemError, answer
from worker.web.shared import Web

MAX_CLAIMS = MIB
LONGEST_CLAIM = 4096


class Reads:
    """Answers the registry's and the operators' questions."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._tokens = Tokens.readers(web.app.settings)

    async def policy(self, request: Request) -> Response:
        self._tokens.check(dict(request.scope["headers"]))
        policy_id: str = request.path_params["policy_id"]
        return answer(await self._web.aside(partial(self._describe, policy_id)))

    def _describe(self, policy_id: str) -> dict[str, object]:
        policies = self._web.app.policies
        located = policies.load([policy_id])[policy_id]
        policy = located.read(policy_id)
        if policy is None or policy.view is None:
            raise ProblemError(404, "unknown_policy", "No policy has this id. Look it up with `tenure policy list`.")
        return {
            "view": policy.view,
            "revision": policy.revision,
            "facts": [described(fact) for fact in sorted(policy.facts.values(), key=lambda fact: fact.at)],
            "history": [entry._asdict() for entry in policies.history(policy_id, located.home)],
        }

    async def evaluate(self, request: Request) -> Response:
        headers = dict(request.scope["headers"])
        self._tokens.check(headers)
        with self._web.room.share() as share:
            body = await read_body(headers, request.receive, share, limit=MAX_CLAIMS)
        require_type(headers, "application/json")
        claims = parse_object(body).get("claims")
        if not isinstance(claims, dict):
            raise ProblemError(
                422, "fields", "Send the token's claims as an object.",
                extensions={"errors": [{"field": "claims", "message": "is not an object"}]},
            )  # fmt: skip
        if any(isinstance(claim, str) and len(claim) > LONGEST_CLAIM for claim in claims.values()):
            message = f"has a claim of more than {LONGEST_CLAIM} characters"
            raise ProblemError(
                422, "fields", "No token of GitHub's has claims this long.",
                extensions={"errors": [{"field": "claims", "message": message}]},
            )  # fmt: skip
        matches = await self._web.aside(partial(matches_of, self._web.app, claims))
        found = best(matches)
        return answer({
            "matched": found is not None and found.matched,
            "policy_id": found.policy_id if found is not None and found.matched else None,
            "candidates": [_candidate(m.policy_id, m.stages) for m in matches] or [_candidate(None, alone(claims))],
        })  # fmt: skip


def matches_of(app: App, claims: Mapping[str, object]) -> list[Match]:
    """Every policy of the token's repository, asked."""
    owner_id, repository_id = (_id(claims.get(name)) for name in ("repository_owner_id", "repository_id"))
    if owner_id is None:
        return []
    views = app.policies.views_of(owner_id, repository_id, repository_name(claims))
    now = app.status.now()
    return [match(view, claims, now) for view in views]


def _id(claim: object) -> int | None:
    if isinstance(claim, str) and len(claim) > len(str(MAX_ID)):
        return None
    found = integer(claim)
    return found if found is not None and 0 <= found <= MAX_ID else None


def _candidate(policy_id: str | None, stages: Sequence[Stage]) -> dict[str, object]:
    return {
        "policy_id": policy_id,
        "matched": all(stage.outcome == "passed" for stage in stages),
        "stages": [stage._asdict() for stage in stages],
    }


def alone(claims: Mapping[str, object]) -> list[Stage]:
    """How far a token comes for whose repository there is no policy: the first two rules look at the token alone."""
    stages: list[Stage] = []
    for name, rule in RULES.items():
        if stages and stages[-1].outcome != "passed":
            stages.append(Stage(name, "skipped", ""))
        elif name in ("claims", "event"):
            problem = rule(cast("View", {}), claims, 0)
            stages.append(Stage(name, "failed", problem) if problem else Stage(name, "passed", ""))
        else:
            stages.append(Stage(name, "failed", "no policy names this repository of this owner"))
    return stages
