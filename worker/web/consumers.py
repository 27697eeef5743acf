"""`PUT /consumers/{name}`: up to where a named consumer of the feed has done what it was told."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from worker.store.consumers import MOST, MOST_EACH, ForeignConsumerError, TooManyConsumersError, is_name
from worker.store.cursors import LONGEST, Cursor, cursor_of
from worker.web.access import READERS, BearerTokens, Identity
from worker.web.bodies import parse_object, read_body, require_type
from worker.web.problems import ProblemError, answer
from worker.web.query import CONSUMER_NAMES
from worker.web.threads import Web

SNAPSHOT = "/policies"
LONGEST_BODY = 2 * LONGEST


def no_way_on() -> ProblemError:
    """The feed does not go on from a cursor."""
    return ProblemError(
        410, "gone",
        "The feed does not go on from this cursor: what follows it was trimmed, or cannot be read, or this store is another. "
        f"Load GET {SNAPSHOT} again, and go on from its cursor.",
        extensions={"snapshot": SNAPSHOT},
    )  # fmt: skip


class ConsumerDoor:
    """Keeps positions for those who do not keep them themselves."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._tokens = BearerTokens(web.rotation)

    async def acknowledge(self, request: Request) -> Response:
        headers = dict(request.scope["headers"])
        who = self._tokens.check(headers, READERS)
        with self._web.room.share() as share:
            body = await read_body(headers, request.receive, share, limit=LONGEST_BODY)
        require_type(headers, "application/json")
        name: str = request.path_params["name"]
        given = parse_object(body).get("cursor")
        cursor = cursor_of(given) if isinstance(given, str) else None
        errors = [] if is_name(name) else [{"field": "consumer", "message": CONSUMER_NAMES}]
        if cursor is None:
            errors.append(
                {"field": "cursor", "message": "is no cursor of Tenure's, or not all of it: send it as it was given"}
            )
        if cursor is None or errors:
            raise ProblemError(
                422,
                "fields",
                'Send {"cursor": …}, as GET /policies or GET /changes gave it.',
                extensions={"errors": errors},
            )
        return answer(await self._web.read(who.key, partial(self._acknowledged, name, who, cursor)))

    def _acknowledged(self, name: str, who: Identity, cursor: Cursor) -> dict[str, object]:
        app = self._web.app
        _, (behind,) = app.feed.behind([cursor])
        if behind is None:
            raise no_way_on()
        try:
            app.consumers.acknowledge(name, who.role, who.name, cursor=cursor, now=app.status.now())
        except ForeignConsumerError:
            raise _foreign() from None
        except TooManyConsumersError:
            raise ProblemError(
                409, "too_many",
                f"There are {MOST} named consumers, or {MOST_EACH} of this token. Use one that is there, or have one that nobody "
                "needs forgotten: `tenure consumer forget`.",
            ) from None  # fmt: skip
        return {"consumer": name, "changes_left": behind.changes}

    async def position(self, who: Identity, name: str) -> Cursor:
        """Up to where a consumer acknowledged.

        Raises:
            ProblemError: there is none of this name (404), it is another's (403), or its position cannot be read (410).
        """
        return await self._web.read(who.key, partial(self._position, who, name))

    def _position(self, who: Identity, name: str) -> Cursor:
        try:
            found = self._web.app.consumers.find(name, who.role, who.name)
        except ForeignConsumerError:
            raise _foreign() from None
        if found is None:
            raise ProblemError(
                404, "unknown_consumer",
                f"No consumer has this name. Load GET {SNAPSHOT}, and make one by PUT /consumers/NAME with its cursor.",
            )  # fmt: skip
        if found.cursor is None:
            raise no_way_on()
        return found.cursor


def _foreign() -> ProblemError:
    return ProblemError(403, "role", "Another token made the consumer of this name. Choose another name.")
