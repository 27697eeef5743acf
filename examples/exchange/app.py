"""The service: a token in, a key out; and whether a key is good."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.exchange.issuer import IssuerError, IssuerKeys
from examples.exchange.metrics import exposed
from examples.exchange.reporting import Reporter, login, refusal
from examples.exchange.revoking import Revoker
from examples.exchange.settings import ExchangeSettings
from examples.exchange.tokens import TokenRefusedError, WorkflowToken, verified
from examples.exchange.vault import Record, Vault, record_of
from tenure_reader import (
    AsyncFallback,
    AsyncReader,
    Decision,
    Grant,
    GrantStatus,
    Mirror,
    UnavailableError,
    UnknownClaims,
    UntrustedError,
)
from tenure_reader.claims import integer
from tenure_reader.nodes import Nodes
from tenure_reader.rules import best
from tenure_reader.times import SECOND, rfc3339

LOGIN_PATH = "/api/v2/token"
CHECK_PATH = "/keys/check"
LARGEST_BODY = 64 * 1024
TIMEOUT = 5.0
USER = "user"
"""Why a token is refused that a policy lets publish, but none of the user who is named with it."""
STOP_SECONDS = 2.0
"""For each part, to come to its end."""

log = logging.getLogger("exchange")


class AnswerError(Exception):
    """A request that is refused: the status, and what its sender may know."""

    def __init__(self, status: int, message: str, reason: str, *, policy_id: str | None = None, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.told = message
        self.reason = reason
        """For the counters."""
        self.policy_id = policy_id
        """Of a token: the policy under which it was refused, where one is known."""
        self.code = code
        """And why, in a word for Tenure."""


@dataclass(slots=True)
class TokenExchange:
    settings: ExchangeSettings
    mirror: Mirror
    reader: AsyncReader
    evaluator: AsyncFallback
    vault: Vault
    redis: AsyncRedis
    keys: IssuerKeys
    reporter: Reporter
    logins: Counter[str] = field(default_factory=Counter)
    """Answers to tokens, by outcome."""
    checks: Counter[str] = field(default_factory=Counter)

    # A token in, a key out

    async def exchange(self, request: Request) -> Response:
        try:
            answer = await self._exchange(request)
        except AnswerError as error:
            self.logins[error.reason] += 1
            headers = {"WWW-Authenticate": "Bearer"} if error.status == httpx.codes.UNAUTHORIZED else {}
            if error.status == httpx.codes.SERVICE_UNAVAILABLE:
                headers["Retry-After"] = "5"
            return JSONResponse({"error": error.told}, error.status, headers)
        self.logins["granted"] += 1
        return answer

    async def _exchange(self, request: Request) -> Response:
        user = _user(await _body(request))
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not presented.strip():
            raise AnswerError(401, "send the token as Authorization: Bearer", "no token")
        try:
            token = await verified(
                presented.strip(), self.keys, issuer=self.settings.issuer, audience=self.settings.audience
            )
            decision = await self.evaluator.evaluate(token.claims)
            return await self._granted(token, user, decision)
        except TokenRefusedError as error:
            raise AnswerError(401, str(error), "token") from None
        except (IssuerError, UnavailableError, RedisError) as error:
            log.warning("a token cannot be judged now: %s", type(error).__name__)
            raise AnswerError(503, "this cannot be decided now; try again", "unavailable") from None

    async def _granted(self, token: WorkflowToken, user: str, decision: Decision) -> Response:
        try:
            return await self._mint(token, _granted(decision, user), decision)
        except AnswerError as error:
            if error.policy_id is not None:
                self.reporter.refused(refusal(token, error.policy_id, error.code, decision.at))
            raise

    async def _mint(self, token: WorkflowToken, grant: Grant, decision: Decision) -> Response:
        life = self.settings.key_seconds
        expires_at = decision.at + life * SECOND
        repository_id = integer(token.claims["repository_id"])
        assert repository_id is not None  # Else nothing is granted.
        key = await self.vault.mint(
            record_of(grant, repository_id, decision.at, expires_at), use=token.use, remembered_ms=token.remembered_ms, life_ms=life * 1000,
            event=login(token, grant, decision.at),
        )  # fmt: skip
        if key is None:
            told = "the token was used before"
            raise AnswerError(401, told, "replayed", policy_id=grant["policy_id"], code="replayed")
        self.reporter.wake()
        log.info("minted a key for %s by policy %s", grant["package_owner"]["account"], grant["policy_id"])
        return JSONResponse({"tokenType": "ApiKey", "expires": rfc3339(expires_at), "apiKey": key})

    # Whether a key is good

    async def check(self, request: Request) -> Response:
        """For the package index."""
        try:
            record = await self._good(request)
        except AnswerError as error:
            self.checks[error.reason] += 1
            return JSONResponse({"error": error.told}, error.status)
        self.checks["bad" if record is None else "good"] += 1
        if record is None:
            return JSONResponse({"good": False})
        owner = {"account": record.package_owner, "kind": record.package_owner_kind}
        expires = rfc3339(record.expires_at)
        return JSONResponse({"good": True, "packageOwner": owner, "policyId": record.policy_id, "expires": expires})

    async def _good(self, request: Request) -> Record | None:
        presented = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(presented, f"Bearer {self.settings.index_token}".encode()):
            raise AnswerError(401, "send the index's token as Authorization: Bearer", "no token")
        body = await _body(request)
        key, package, action = (body.get(name) for name in ("apiKey", "package", "action"))
        if not isinstance(key, str):
            raise AnswerError(400, "apiKey: is not a text", "body")
        if not isinstance(package, str | None) or not isinstance(action, str | None):
            raise AnswerError(400, "package, action: each is a text, or left out", "body")
        try:
            record = await self.vault.record(key)
            if record is None or not record.lets(package, action):
                return None
            standing = await self._standing(record)
        except (UnavailableError, RedisError) as error:
            log.warning("a key cannot be judged now: %s", type(error).__name__)
            raise AnswerError(503, "this cannot be decided now; try again", "unavailable") from None
        grant = standing.grant
        return None if grant is None or standing.closed or not record.still_is(grant) else record

    async def _standing(self, record: Record) -> GrantStatus:
        """The key's policy as it stands.

        Raises:
            UnavailableError: nobody can tell whether it was closed since.
        """
        with contextlib.suppress(UntrustedError):
            standing = self.mirror.standing(record.policy_id)
            if standing.grant is not None and standing.grant["revision"] >= record.revision:
                return standing
        standing = await self.reader.standing(record.policy_id, record.place)
        if standing.grant is not None and standing.grant["revision"] != record.revision:
            # It changed, and who has not read the feed does not know whether it was closed in between.
            raise UnavailableError("the mirror is not trusted")
        return standing

    # Health

    async def ready(self, _: Request) -> Response:
        status = self.mirror.status()
        try:
            stored = bool(await self.redis.ping())
        except RedisError:
            stored = False
        parts = {"mirror": status.trusted, "redis": stored}
        return JSONResponse(parts, 200 if all(parts.values()) else 503)

    async def metrics(self, _: Request) -> Response:
        with contextlib.suppress(RedisError):
            return exposed(self, await self.vault.waiting())
        return exposed(self, None)


async def _body(request: Request) -> dict[str, object]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise AnswerError(415, "send application/json", "body")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise AnswerError(413, "the body is too long", "body")
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise AnswerError(400, "the body is not JSON", "body") from None
    if not isinstance(parsed, dict):
        raise AnswerError(400, "the body is not an object", "body")
    return parsed


def _user(body: dict[str, object]) -> str:
    """Whose policies are asked: the account that created them, or that owns the packages."""
    user, kind = body.get("username"), body.get("tokenType", "ApiKey")
    if not isinstance(user, str) or not user:
        raise AnswerError(400, "username: is missing", "body")
    if not isinstance(kind, str) or kind.lower() != "apikey":
        raise AnswerError(400, "tokenType: only ApiKey can be had", "body")
    return user


def _granted(decision: Decision, user: str) -> Grant:
    """The policy of this user that counts: of those for whose packages, or else of those that this user created.

    Raises:
        AnswerError: there is none, or it is not clear for whom. Only what may be told is told; the rest is logged.
    """
    user_name = user.lower()
    owned = [grant for grant in decision.granted if grant["package_owner"]["account"].lower() == user_name]
    created = [grant for grant in decision.granted if grant["created_by"]["account"].lower() == user_name]
    if owned:
        return owned[0]
    if len({grant["package_owner"]["account"].lower() for grant in created}) > 1:
        told = "this user's policies are for several package owners; give the one as username"
        raise AnswerError(403, told, "user", policy_id=created[0]["policy_id"], code=USER)
    if created:
        return created[0]
    difference = decision.difference
    if difference is None:
        told = "no policy of this user lets this repository publish"
        raise AnswerError(403, told, "user", policy_id=decision.granted[0]["policy_id"], code=USER)
    closest = best(decision.matches)
    log.info("refused at %s: %s (%s)", difference.stage, difference.code, difference.detail)
    policy_id = closest.policy_id if closest else None
    raise AnswerError(403, difference.told, difference.stage, policy_id=policy_id, code=difference.code)


def create_app(settings: ExchangeSettings) -> Starlette:
    """Its lifespan connects, follows Tenure's feed and reports logins."""

    @contextlib.asynccontextmanager
    async def lifespan(starlette: Starlette) -> AsyncIterator[None]:
        redis = AsyncRedis.from_url(settings.redis_url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)
        # Without repetition: the mirror, whose thread uses it, begins again by itself.
        once = Retry(NoBackoff(), 0)
        marks = Redis.from_url(settings.redis_url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=once)
        tenure = Nodes.at(settings.tenure_redis_url)
        unknown = UnknownClaims()
        mirror = Mirror(settings.tenure_redis_url, listener=Revoker(marks, tenure), unknown_claims=unknown)
        reader = AsyncReader.connect(settings.tenure_redis_url, unknown_claims=unknown)
        vault = Vault(redis)
        async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as http:
            reporter = Reporter(vault, http, settings.tenure_url, settings.tenure_token)
            starlette.state.exchange = TokenExchange(
                settings, mirror, reader, AsyncFallback(mirror, reader), vault, redis,
                IssuerKeys(settings.jwks_url, http), reporter,
            )  # fmt: skip
            mirror.start()
            reporter.start()
            try:
                yield
            finally:
                # A store that does not answer keeps nobody from ending: what is left ends with the process.
                await asyncio.gather(reporter.stop(STOP_SECONDS), asyncio.to_thread(mirror.stop, STOP_SECONDS))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STOP_SECONDS):
                        await asyncio.gather(redis.aclose(), reader.close(), return_exceptions=True)
                marks.close()
                tenure.close()

    def exchange(request: Request) -> TokenExchange:
        found: TokenExchange = request.app.state.exchange
        return found

    async def token(request: Request) -> Response:
        return await exchange(request).exchange(request)

    async def check(request: Request) -> Response:
        return await exchange(request).check(request)

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(request: Request) -> Response:
        return await exchange(request).ready(request)

    async def metrics(request: Request) -> Response:
        return await exchange(request).metrics(request)

    return Starlette(
        routes=[
            Route(LOGIN_PATH, token, methods=["POST"]),
            Route(CHECK_PATH, check, methods=["POST"]),
            Route("/livez", live),
            Route("/readyz", ready),
            Route("/metrics", metrics),
        ],
        lifespan=lifespan,
    )
