"""`GET /livez` and `GET /readyz`: is it alive, and can it do its work?"""

from __future__ import annotations

from typing import TypedDict

from redis import RedisError
from starlette.requests import Request
from starlette.responses import Response

from worker.app import App
from worker.doctor.diagnostics import clock
from worker.doctor.finding import OK
from worker.store.client import StoreError
from worker.web.problems import ProblemError, ServiceUnavailableError, answer
from worker.web.threads import Web


class ComponentHealth(TypedDict):
    ok: bool
    detail: str


ComponentsHealth = dict[str, ComponentHealth]

TOLD = ("durable", "clock", "queue")
"""Parts that are reported, and without which the work goes on."""
PARTS = ("store", "durable", "clock", "queue", "workers", "scheduler")
UNREACHABLE = ComponentHealth(ok=False, detail="the store cannot be reached")


def parts_of(app: App) -> ComponentsHealth:
    """How each part of the installation is. Never raises for a store that cannot be reached: that is an answer."""
    names = {"workers": "worker", "scheduler": "scheduler"}
    try:
        durable, problem, _ = app.status.durability()
        alive_by_part = {part: app.status.alive(role) for part, role in names.items()}
        finding = clock(app)
    except StoreError:
        return dict.fromkeys(PARTS, UNREACHABLE)
    parts: ComponentsHealth = {
        "store": ComponentHealth(ok=True, detail="reachable"),
        "durable": ComponentHealth(ok=durable, detail=problem),
    }
    parts["clock"] = ComponentHealth(ok=finding.level == OK, detail=finding.finding)
    parts["queue"] = _queue(app)
    for part, processes in alive_by_part.items():
        detail = f"{len(processes)} seen in the last seconds" if processes else "none seen in the last seconds"
        parts[part] = ComponentHealth(ok=bool(processes), detail=detail)
    return parts


def _queue(app: App) -> ComponentHealth:
    """Whether wake-ups can be sent: without them, workers look by themselves."""
    try:
        app.broker.client.ping()
    except RedisError as error:
        return ComponentHealth(
            ok=False, detail=f"cannot be reached ({type(error).__name__}); workers look by themselves"
        )
    return ComponentHealth(ok=True, detail="reachable")


class HealthEndpoints:
    def __init__(self, web: Web) -> None:
        self._web = web

    @staticmethod
    async def live(_: Request) -> Response:
        return answer({"status": "alive"})

    async def ready(self, _: Request) -> Response:
        """Ready, or 503 with the parts that are not. A store that is not durable, or whose clock is wrong, and a broker that is
        away are reported, but the work goes on.
        """
        try:
            parts = await self._web.aside(lambda: parts_of(self._web.app), vital=True)
        except ServiceUnavailableError:
            parts = dict.fromkeys(PARTS, UNREACHABLE)
        missing = [name for name, part in parts.items() if not part["ok"] and name not in TOLD]
        if missing:
            raise ProblemError(
                503, "unready", f"Not ready: {', '.join(missing)}. See `parts`.", extensions={"parts": parts}
            )
        return answer({"status": "ready", "parts": parts})
