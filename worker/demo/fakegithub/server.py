"""A small GitHub on loopback: the part of its REST API that Tenure asks, with a world behind it that tests change."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from worker.demo.fakegithub.admin import PREFIX, Admin
from worker.demo.fakegithub.answers import Request, ResponseRecord
from worker.demo.fakegithub.api import Api, PlannedResponse, RequestRecord
from worker.demo.fakegithub.auth import Auth, key_pair
from worker.demo.fakegithub.faults import Faults
from worker.demo.fakegithub.hooks import Redelivered
from worker.demo.fakegithub.limits import DEFAULT_LIMIT, BudgetRecords
from worker.demo.fakegithub.wire import FakeGitHubServer
from worker.demo.fakegithub.world import World

APP_ID = 4711


class FakeGitHub:
    """A context manager. Before it is entered, its world can be filled; its `url` exists only inside.

    `clock` gives seconds since 1970: it decides when tokens and budgets end and how old a delivery is. With `admin`,
    the routes of `admin` are served, too.
    """

    def __init__(
        self,
        app_id: int = APP_ID,
        *,
        base_path: str = "",
        port: int = 0,
        limit: int = DEFAULT_LIMIT,
        clock: Callable[[], float] = time.time,
        admin: bool = False,
    ) -> None:
        self.app_id = app_id
        self.private_key_pem = key_pair()[0]
        self.world = World(app_id, clock)
        self.faults = Faults()
        self.limits = BudgetRecords(clock, limit)
        self._base_path = base_path.rstrip("/")
        self._port = port
        self._auth = Auth(app_id, clock)
        self._api = Api(self.world, self._auth, self.limits, self.faults)
        self._admin = Admin(self.world, self.faults, self._api.calls) if admin else None
        self._server: FakeGitHubServer | None = None

    def __enter__(self) -> Self:
        self._server = FakeGitHubServer(self._port, self._answer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.end()

    @property
    def url(self) -> str:
        """The API's base, without a slash at its end."""
        assert self._server is not None, "enter the context first: with FakeGitHub() as fake"
        return f"http://127.0.0.1:{self._server.server_port}{self._base_path}"

    @property
    def calls(self) -> Counter[str]:
        """How often each route was asked, such as `GET /repositories/{id}`."""
        return self._api.calls.count()

    @property
    def requests(self) -> list[RequestRecord]:
        """Every request, oldest first, noted before it is answered."""
        return self._api.calls.all()

    def forget_calls(self) -> None:
        """Count anew from here on."""
        self._api.calls.clear()

    def rotate_tokens(self) -> None:
        """All tokens issued so far are bad from now on."""
        self._auth.forget_tokens()

    def webhook_target(self, url: str, secret: str) -> None:
        """Where the world's webhooks go, and redeliveries."""
        self.world.webhook_target(url, secret)

    def on_redelivery(self, call: Redelivered | None) -> None:
        """Called in place of sending again; gives the status code that is recorded."""
        self.world.hooks.on_redelivery = call

    def _answer(self, request: Request) -> PlannedResponse:
        if self._admin is not None and request.path.startswith(PREFIX):
            return PlannedResponse(self._admin.answer(request))
        if not request.path.startswith(f"{self._base_path}/"):
            return PlannedResponse(ResponseRecord(404, {"message": "Not Found", "status": "404"}))
        inside = replace(
            request, path=request.path[len(self._base_path) :], base_url=request.base_url + self._base_path
        )
        return self._api.answer(inside)
