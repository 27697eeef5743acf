"""From a request to its answer: which route, who asks, how often yet, and what goes wrong on the way."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from worker.demo.fakegithub.answers import RefusalError, Request, ResponseRecord, Who, missing
from worker.demo.fakegithub.auth import Auth
from worker.demo.fakegithub.faults import Fault, Faults
from worker.demo.fakegithub.limits import BudgetRecord, BudgetRecords
from worker.demo.fakegithub.records import InstallationRecord, NotThereError
from worker.demo.fakegithub.routes import FOR_THE_APP, ROUTES, RoutedRequest
from worker.demo.fakegithub.world import World

NO_ROUTE = "no such route"
NO_ANSWER = ResponseRecord(200, {})
_PATTERNS = {route: re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(route))) for route in ROUTES}


class RequestRecord(NamedTuple):
    """One request as it came in."""

    method: str
    path: str
    """Without the base path and without the query."""
    route: str
    """Method and template, such as `GET /repositories/{id}`; `no such route` where there is none."""
    who: Who
    query: Mapping[str, str]


@dataclass(frozen=True)
class PlannedResponse:
    """What is to be sent, and what goes wrong with it."""

    answer: ResponseRecord
    fault: Fault | None = None


class RequestLog:
    """Every request since the start, or since `clear`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[RequestRecord] = []

    def add(self, call: RequestRecord) -> None:
        with self._lock:
            self._calls.append(call)

    def clear(self) -> None:
        with self._lock:
            self._calls.clear()

    def all(self) -> list[RequestRecord]:
        with self._lock:
            return list(self._calls)

    def count(self) -> Counter[str]:
        return Counter(call.route for call in self.all())


class Api:
    def __init__(self, world: World, auth: Auth, limits: BudgetRecords, faults: Faults) -> None:
        self.calls = RequestLog()
        self._world = world
        self._auth = auth
        self._limits = limits
        self._faults = faults

    def answer(self, request: Request) -> PlannedResponse:
        who: Who
        refusal: ResponseRecord | None
        route, params = _find(f"{request.method} {request.path}")
        try:
            who, refusal = self._who(request), None
        except RefusalError as error:
            who, refusal = None, error.answer
        self.calls.add(RequestRecord(request.method, request.path, route, who, request.query))
        budget, allowed = self._limits.spend(who)
        fault = self._faults.meet(route, request.path, _concerned(route, params, who))
        answer = self._planned(fault, request) or refusal
        if answer is None and not allowed:
            whose = f" for installation ID {who}" if isinstance(who, int) else ""
            answer = ResponseRecord(403, {"message": f"API rate limit exceeded{whose}.", "status": "403"})
        if answer is None:
            try:
                answer = self._real(request, route, params, who)
            except RefusalError as error:
                answer = error.answer
        return PlannedResponse(_with_headers(answer, budget), fault)

    def _who(self, request: Request) -> Who:
        """Raises RefusalError: nobody that may ask this."""
        if request.path == FOR_THE_APP[0] or request.path.startswith(FOR_THE_APP[1]):
            self._auth.check_app(request.authorization)
            return "jwt"
        return self._auth.installation(request.authorization)

    def _real(self, request: Request, route: str, params: Mapping[str, str], who: Who) -> ResponseRecord:
        """Raises RefusalError."""
        if route == NO_ROUTE:
            raise missing()
        installation = self._usable(who) if isinstance(who, int) else None
        return ROUTES[route](RoutedRequest(request, params, self._world, self._auth, installation))

    def _usable(self, installation_id: int) -> InstallationRecord:
        """Raises RefusalError: it is there no more, or suspended."""
        try:
            installation = self._world.installation(installation_id)
        except NotThereError:
            raise RefusalError(401, "Bad credentials") from None
        if installation.suspended:
            raise RefusalError(403, "This installation has been suspended")
        return installation

    def _planned(self, fault: Fault | None, request: Request) -> ResponseRecord | None:
        """The answer of a fault that does not begin with the true one."""
        if fault is None:
            return None
        wait = {"retry-after": str(fault.retry_after)}
        match fault.kind:
            case "status":
                headers = wait if fault.status == 429 else {}
                return ResponseRecord(
                    fault.status, {"message": "Something went wrong", "status": str(fault.status)}, headers
                )
            case "redirect_loop":
                return ResponseRecord(
                    301, {"message": "Moved Permanently"}, {"location": request.base_url + request.path}
                )
            case "primary_limit":
                resets_at = int(self._world.clock()) + fault.retry_after
                spent = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(resets_at)}
                return ResponseRecord(403, {"message": "API rate limit exceeded."}, spent)
            case "secondary_limit":
                return ResponseRecord(403, {"message": "You have exceeded a secondary rate limit."}, wait)
            case "wrong_shape":
                return ResponseRecord(200, fault.body)
            case "stall" | "reset" | "wrong_type":
                return NO_ANSWER
            case "slow" | "truncated":
                return None


def _find(line: str) -> tuple[str, dict[str, str]]:
    for route, pattern in _PATTERNS.items():
        if (match := pattern.fullmatch(line)) is not None:
            return route, {name: unquote(value) for name, value in match.groupdict().items()}
    return NO_ROUTE, {}


def _concerned(route: str, params: Mapping[str, str], who: Who) -> int | None:
    """The installation that asks, or whose token is asked for."""
    if isinstance(who, int):
        return who
    installation_id = params.get("id", "") if route.startswith("POST /app/installations/") else ""
    return int(installation_id) if installation_id.isdecimal() else None


def _with_headers(answer: ResponseRecord, budget: BudgetRecord) -> ResponseRecord:
    return ResponseRecord(answer.status, answer.body, {**budget.headers(), **answer.headers})
