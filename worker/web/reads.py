"""`GET /policies/{policy_id}`, `GET /dead-letters` and `POST /evaluate`: what is known of a policy, what could not be
handled, and whether a token would match.

Both reads of policies take `at_least`: a revision that whoever asks has heard of. Until it is there they look again, for a
second at most, and then say so: they answer nothing that is older.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar, cast

from starlette.requests import Request
from starlette.responses import Response

from tenure_reader import BehindError, Grant, UnavailableError
from tenure_reader.claims import Claims
from tenure_reader.decision import Decision
from tenure_reader.freshness import WAIT_SECONDS, AtLeast, wrong
from tenure_reader.rules import ANYTHING, Match, Wanted
from worker.app import App
from worker.dead_letters import describe, groups
from worker.lifecycle.views import described
from worker.store.client import StoreError
from worker.store.logins import with_logins
from worker.web.access import PEOPLE, READERS, BearerTokens
from worker.web.bodies import MIB, parse_object, read_body, require_type
from worker.web.problems import ProblemError, answer
from worker.web.threads import Web

MAX_CLAIMS = MIB
LONGEST_CLAIM = 4096
LONGEST_PACKAGE = 500
LONGEST_ACTION = 100
"""Characters. No registry's names are as long."""
BETWEEN_SECONDS = 0.02
"""Between two looks for a revision. They take no thread of those that read."""

AnswerT = TypeVar("AnswerT")


class Reads:
    """Answers the registry's and the operators' questions."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._tokens = BearerTokens(web.rotation)

    async def policy(self, request: Request) -> Response:
        who = self._tokens.check(dict(request.scope["headers"]), READERS)
        policy_id: str = request.path_params["policy_id"]
        at_least = _revision(request.query_params.getlist("at_least"))
        return answer(await self._fresh(who.key, partial(self._describe, policy_id, at_least)))

    async def _fresh(self, key: str, read: Callable[[], AnswerT]) -> AnswerT:
        """What is read, once the revisions are there that it must know of.

        Raises:
            ProblemError: they are not there in time (503).
        """
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return await self._web.read(key, read)
            except BehindError as error:
                if time.monotonic() >= end:
                    detail = "A revision that you ask for is not there: it is not settled yet, or was lost. Try again."
                    raise ProblemError(503, "behind", detail, headers={"Retry-After": "1"}) from error
            await asyncio.sleep(BETWEEN_SECONDS)

    def _describe(self, policy_id: str, at_least: int) -> dict[str, object]:
        policies = self._web.app.policies
        located = policies.load([policy_id])[policy_id]
        policy = located.read(policy_id)
        if (0 if policy is None else policy.revision) < at_least:
            raise BehindError(policy_id)
        if policy is None or policy.view is None:
            raise ProblemError(404, "unknown_policy", "No policy has this id. Look it up with `tenure policy list`.")
        logins = self._web.app.logins.of(policy)
        history = with_logins(policies.history(policy_id, located.home), logins)
        return {
            "view": policy.view,
            "switches": [switch.shown() for switch in self._web.app.switches.over(policy.view)],
            "revision": policy.revision,
            "facts": [described(fact) for fact in sorted(policy.facts.values(), key=lambda fact: fact.at)],
            "history": [entry.as_json() for entry in history],
            "logins": logins.as_json(),
        }

    async def dead_letters(self, request: Request) -> Response:
        who = self._tokens.check(dict(request.scope["headers"]), PEOPLE)
        rows = await self._web.read(who.key, partial(groups, self._web.app))
        return answer({"letters": sum(x.letters for x in rows), "groups": [describe.group(x) for x in rows]})

    async def evaluate(self, request: Request) -> Response:
        headers = dict(request.scope["headers"])
        who = self._tokens.check(headers, READERS)
        with self._web.room.share() as share:
            body = await read_body(headers, request.receive, share, limit=MAX_CLAIMS)
        require_type(headers, "application/json")
        asked = parse_object(body)
        claims = asked.get("claims")
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
        wanted = Wanted(_named(asked, "package", LONGEST_PACKAGE), _named(asked, "action", LONGEST_ACTION))
        at_least = asked.get("at_least")
        problem = None if at_least is None else wrong(at_least)
        if problem is not None:
            raise ProblemError(
                422, "fields", "Name up to 100 policies by their ids, each with a revision.",
                extensions={"errors": [{"field": "at_least", "message": problem}]},
            )  # fmt: skip
        known = cast("AtLeast | None", at_least)
        decision = await self._fresh(who.key, partial(decided, self._web.app, claims, wanted, known))
        return answer({
            "matched": decision.allowed,
            "policy_id": decision.grant["policy_id"] if decision.grant else None,
            "granted": [_granted(grant) for grant in decision.granted],
            "candidates": [_candidate(match) for match in decision.matches],
        })  # fmt: skip


def wanted_of(asked: Mapping[str, object]) -> Wanted:
    """What a token is to be used for, as far as a request says.

    Raises:
        ProblemError: it says it by something else than a name.
    """
    return Wanted(_named(asked, "package", LONGEST_PACKAGE), _named(asked, "action", LONGEST_ACTION))


def _named(asked: Mapping[str, object], field: str, longest: int) -> str | None:
    """
    Raises:
        ProblemError: what is given is no name.
    """
    given = asked.get(field)
    if given is None or (isinstance(given, str) and 0 < len(given) <= longest):
        return given
    raise ProblemError(
        422, "fields", f"Send the {field} as the registry names it, or leave it out.",
        extensions={"errors": [{"field": field, "message": f"is not a text of 1 to {longest} characters"}]},
    )  # fmt: skip


def _revision(given: list[str]) -> int:
    """
    Raises:
        ProblemError: it is none (422).
    """
    if not given:
        return 0
    if len(given) > 1 or not (given[0].isascii() and given[0].isdigit() and len(given[0]) < 19):
        raise ProblemError(
            422, "fields", "Ask for one revision, such as ?at_least=3.",
            extensions={"errors": [{"field": "at_least", "message": "is no revision"}]},
        )  # fmt: skip
    return int(given[0])


def decided(app: App, claims: Claims, wanted: Wanted = ANYTHING, at_least: AtLeast | None = None) -> Decision:
    """What a token exchange decides, by the same code.

    Raises:
        BehindError: the store does not know of a revision that is asked for.
        StoreError: nothing can be said now.
    """
    try:
        return app.reader.evaluate(claims, package=wanted.package, action=wanted.action, at_least=at_least, wait=0)
    except BehindError:
        raise
    except UnavailableError as error:
        raise StoreError(str(error)) from error


def _granted(grant: Grant) -> dict[str, object]:
    return {
        "policy_id": grant["policy_id"],
        "packages": grant.get("packages"),
        "actions": grant.get("actions"),
    }


def _candidate(match: Match) -> dict[str, object]:
    return {
        "policy_id": match.policy_id,
        "matched": match.matched,
        "stages": [stage._asdict() for stage in match.stages],
    }
