"""Answers: JSON, and problems as RFC 9457 has them."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal, TypeAlias

import orjson
from starlette.responses import Response

from worker.logs import frames

PROBLEM_JSON = "application/problem+json"
RETRY_SECONDS = 5
"""When a sender may try again what could not be stored."""


Kind: TypeAlias = Literal[
    "behind",
    "body",
    "busy",
    "conflict",
    "content_type",
    "fields",
    "github",
    "gone",
    "headers",
    "internal",
    "no_such_route",
    "role",
    "signature",
    "slow",
    "store",
    "token",
    "too_long",
    "too_many",
    "unknown_consumer",
    "unknown_policy",
    "unready",
]
"""What the API answers with, as the contract lists it."""
PageKind: TypeAlias = Literal[
    "attempts",
    "csrf",
    "not_asked",
    "preview",
    "removed",
    "replay",
    "session",
    "stands",
    "unknown_dry_run",
    "unknown_letter",
    "unknown_replay",
    "unreadable",
    "unsettled",
]
"""What only a page of the console is answered with."""


class ProblemError(Exception):
    """A request that is answered with an error.

    `kind` names the problem for machines and for the counters; `detail` tells the sender what to do next. Neither ever
    quotes what was sent.
    """

    def __init__(
        self,
        status: int,
        kind: Kind | PageKind,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(kind)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.extensions = dict(extensions or {})

    def response(self) -> Response:
        content = {
            "type": f"urn:tenure:problem:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            **self.extensions,
        }
        return Response(orjson.dumps(content), self.status, self.headers, PROBLEM_JSON)


class ServiceUnavailableError(ProblemError):
    """What was asked cannot be done now, and can be later."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(503, kind, detail, headers={"Retry-After": str(RETRY_SECONDS)})


def error_fields(error: Exception) -> dict[str, str]:
    """What a log may know of an unexpected error: its kind and place. Its message may quote what was sent."""
    return {"error": type(error).__name__, "trace": frames(error.__traceback__)}


def answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")
