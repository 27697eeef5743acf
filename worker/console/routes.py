"""The console's addresses, in one table."""

from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.console import acts, audit, evaluate, find, holds, letters, policies, templating
from worker.console.changes import ChangesPage
from worker.console.dry_runs import DryRuns
from worker.console.login import Login
from worker.console.overview import Overview
from worker.console.replays import ReplaysPage
from worker.console.session import ACT_SECONDS, Endpoint, Frame, Visit, problem_page
from worker.console.templating import CONSOLE, PROTECTION, PageContext, page
from worker.doctor import runbooks
from worker.web.hub import Hub
from worker.web.problems import ProblemError
from worker.web.threads import Web

PULSE_SECONDS = 2.0
"""How long a page waits to be told that the store answers: it has given that up before."""


class Console(NamedTuple):
    """The console of one process."""

    routes: list[Route]
    hub: Hub
    replays: ReplaysPage
    dry_runs: DryRuns

    def close(self) -> None:
        """End what would not end by itself: the process is about to."""
        self.hub.close()
        self.replays.close()
        self.dry_runs.close()


def console_of(web: Web, hub: Hub) -> Console:
    """Everything below `/console`, and the overview at `/`."""
    replays, dry_runs = ReplaysPage(web.app), DryRuns(web.app)
    return Console(_routes(web, hub, replays, dry_runs), hub, replays, dry_runs)


def _routes(web: Web, hub: Hub, replays: ReplaysPage, dry_runs: DryRuns) -> list[Route]:
    frame = Frame.of(web)
    login, overview, changes = Login(frame), Overview(web.app), ChangesPage(frame, hub)
    reading, acting = frame.reading, frame.acting

    def get(path: str, endpoint: Endpoint) -> Route:
        return Route(path, endpoint, methods=["GET"])

    def post(path: str, endpoint: Endpoint) -> Route:
        return Route(path, endpoint, methods=["POST"])

    return [
        get("/", reading(overview.show)),
        get(f"{CONSOLE}/pulse", reading(_pulse, PULSE_SECONDS)),
        get(f"{CONSOLE}/login", login.show),
        post(f"{CONSOLE}/login", login.enter),
        post(f"{CONSOLE}/logout", reading(login.leave)),
        get(f"{CONSOLE}/find", reading(find.show)),
        get(f"{CONSOLE}/policies", reading(policies.policies)),
        get(f"{CONSOLE}/policy", reading(policies.policy)),
        post(f"{CONSOLE}/policy", acting(acts.act)),
        get(f"{CONSOLE}/holds", reading(holds.show)),
        post(f"{CONSOLE}/holds/preview", acting(holds.preview)),
        post(f"{CONSOLE}/holds", acting(holds.act)),
        get(f"{CONSOLE}/letters", reading(letters.show_all)),
        get(f"{CONSOLE}/letter", reading(letters.show_one, ACT_SECONDS)),
        post(f"{CONSOLE}/letters/preview", reading(dry_runs.preview, ACT_SECONDS)),
        get(f"{CONSOLE}/letters/dry-run", reading(dry_runs.show)),
        post(f"{CONSOLE}/letters", acting(replays.act)),
        get(f"{CONSOLE}/replay", reading(replays.show)),
        post(f"{CONSOLE}/replay", acting(replays.steer)),
        get(f"{CONSOLE}/audit", reading(audit.show)),
        get(f"{CONSOLE}/evaluate", reading(evaluate.show)),
        post(f"{CONSOLE}/evaluate", reading(evaluate.evaluate)),
        get(f"{CONSOLE}/changes", reading(changes.show)),
        get(f"{CONSOLE}/changes/stream", changes.stream),
        get(f"{CONSOLE}/runbooks/{{name}}", _runbook),
        get(f"{CONSOLE}/static/{{version}}/{{name}}", _static),
        get(f"{CONSOLE}/{{rest:path}}", reading(_nothing)),
    ]


async def _static(request: Request) -> Response:
    asset = templating.serve(request.path_params["version"], request.path_params["name"])
    if asset is None:
        return problem_page(ProblemError(404, "no_such_route", "There is no such file."), request)
    return asset


async def _runbook(request: Request) -> Response:
    """For everybody, and without the store: it may be what is away."""
    found = runbooks.read(request.path_params["name"])
    if found is None:
        return problem_page(ProblemError(404, "no_such_route", "There is no such runbook."), request)
    return page("runbook.html", PageContext(request.url.path, 0), {"runbook": templating.runbook(found)})


def _pulse(_: Visit) -> Response:
    """The session was found, so the store answers: that is all a page wants to know."""
    return Response(status_code=204, headers=PROTECTION)


def _nothing(_: Visit) -> Response:
    raise ProblemError(404, "no_such_route", "There is no such page. The overview is at /.")
