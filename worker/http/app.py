"""API and console of one process, as one ASGI application."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker.app import App
from worker.console.routes import console_of
from worker.console.session import problem_page
from worker.logs import logger
from worker.settings.issuers import WEBHOOKS, webhooks_path
from worker.web.answers import Answers
from worker.web.bodies import media_type
from worker.web.consumers import SNAPSHOT, ConsumerDoor
from worker.web.events import BATCH, SINGLE, Events
from worker.web.feed import FeedDoor
from worker.web.guard import Guard
from worker.web.health import HealthEndpoints
from worker.web.hub import Hub
from worker.web.inbox_writer import InboxWriter
from worker.web.metrics import Metrics
from worker.web.owners import OwnerLookup
from worker.web.problems import ProblemError
from worker.web.reads import Reads
from worker.web.threads import Web
from worker.web.webhooks import Webhooks

EVENTS = "/events"

SWITCH_SECONDS = 0.0005
"""How long the event loop may go on when the thread that stores letters wants its turn. With Python's default of 5 ms,
every answer of the store waits that long under load, and a fifth fewer webhooks are taken."""

ROUTING = {
    404: "There is nothing here. See the contract for what there is.",
    405: "This path takes another method: see the header Allow.",
}

log = logger("web")


def create_app(app: App) -> Starlette:
    """What `tenure web` serves (contract, section 3). Its lifespan starts and stops the way into the inbox."""
    web = Web(app, InboxWriter(app))
    hub, answers, owners = Hub(app), Answers(app), OwnerLookup(app)
    console = console_of(web, hub)
    paths = {webhooks_path(alias): alias for alias in app.settings.instances}
    reads, health, feed = Reads(web), HealthEndpoints(web), FeedDoor(web, hub)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        await web.start()
        try:
            yield
        finally:
            await asyncio.to_thread(answers.close)
            await asyncio.to_thread(owners.close)
            await web.stop()
            sys.setswitchinterval(usual)

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        path = request.scope["path"]
        if path.rstrip("/") in (*paths, EVENTS):
            web.inbox_writer.refuse(error.kind)
            log.info("request refused", path=path, status=error.status, reason=error.kind)
        return error.response()

    starlette = Starlette(
        routes=[
            *(route for path, issuer in paths.items() for route in _both(path, Webhooks(web, issuer), "POST")),
            *_both(EVENTS, Events(web, answers, owners).post, "POST"),
            *_both(SNAPSHOT, feed.policies, "GET"),
            *_both("/changes", feed.changes, "GET"),
            Route("/consumers/{name}", ConsumerDoor(web).acknowledge, methods=["PUT"]),
            Route("/policies/{policy_id:path}", reads.policy, methods=["GET"]),
            *_both("/dead-letters", reads.dead_letters, "GET"),
            *_both("/evaluate", reads.evaluate, "POST"),
            *_both("/livez", health.live, "GET"),
            *_both("/readyz", health.ready, "GET"),
            *_both("/metrics", Metrics(web).scrape, "GET"),
            *_both("/console", _to_console, "GET"),
            *console.routes,
        ],
        middleware=[Middleware(Guard)],
        exception_handlers={ProblemError: problem, HTTPException: _routing_problem},
        lifespan=lifespan,
    )
    starlette.router.redirect_slashes = False
    starlette.state.console = console
    starlette.state.answers = answers
    return starlette


def _both(path: str, endpoint: Callable[..., object], method: str) -> tuple[Route, Route]:
    """A route with and without a slash at its end: GitHub follows no redirect, and people paste either."""
    return Route(path, endpoint, methods=[method]), Route(f"{path}/", endpoint, methods=[method])


async def _to_console(_: Request) -> Response:
    """The console is at the root, where browsers may have been told otherwise."""
    return RedirectResponse("/", 303, {"Cache-Control": "no-store"})


async def _routing_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = f"{ROUTING.get(error.status_code, 'The request cannot be answered.')}{_where_to(request)}"
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return problem_page(ProblemError(error.status_code, "no_such_route", f"{detail} The console is at /."), request)
    return ProblemError(error.status_code, "no_such_route", detail, headers=error.headers).response()


def _where_to(request: Request) -> str:
    """Where a request was meant to go, as its headers show."""
    if "x-github-event" in request.headers:
        return f" GitHub's webhooks go to {WEBHOOKS}, and those of another instance to {WEBHOOKS}/<alias>, by POST."
    if media_type(dict(request.headers.raw)) in (SINGLE, BATCH):
        return f" Events go to {EVENTS}, by POST."
    return ""
