"""A plain client of `GET /policies` and `GET /changes`, which knows what the contract says and nothing of Tenure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import orjson

from tests.support import NO_TLS
from tests.web.site import PATIENCE, READER, Site


class Heard(NamedTuple):
    """A server-sent event."""

    id: str
    event: str
    data: dict[str, Any]


def heard(answer: httpx.Response) -> Iterator[Heard]:
    identity = event = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            identity = value
        elif name == "event":
            event = value
        elif name == "data":
            yield Heard(identity, event, orjson.loads(value))


class Client:
    """Somebody with a token."""

    def __init__(self, site: Site, token: str = READER) -> None:
        self.http = httpx.Client(
            base_url=site.url, verify=NO_TLS, timeout=PATIENCE + 30, headers={"Authorization": f"Bearer {token}"}
        )

    def get(self, path: str, **query: object) -> httpx.Response:
        params = {name: value for name, value in query.items() if value is not None}
        return self.http.get(path, params=params)  # type: ignore[arg-type]

    def answer(self, path: str, **query: object) -> dict[str, Any]:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def cursor(self) -> str:
        return str(self.answer("/policies", limit=1)["cursor"])

    @contextmanager
    def stream(
        self, last: str | None = None, query: Mapping[str, str] | None = None
    ) -> Iterator[tuple[httpx.Response, Iterator[Heard]]]:
        headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
        with self.http.stream("GET", "/changes", params=dict(query or {}), headers=headers) as answer:
            yield answer, heard(answer)


class Copy:
    """All views, as the contract says that they are kept: of one policy the highest revision counts."""

    def __init__(self, client: Client, **query: object) -> None:
        self._client = client
        self._query = query
        self.views: dict[str, dict[str, Any]] = {}
        self.removed: dict[str, int] = {}
        self.cursor = ""

    def load(self, limit: int, between: Any = lambda: None) -> None:
        page: str | None = None
        while True:
            answer = self._client.answer("/policies", limit=limit, page=page, **self._query)
            for view in answer["policies"]:
                self.take(view)
            self.cursor = answer["cursor"]
            page = answer["next"]
            if page is None:
                return
            between()

    def take(self, view: dict[str, Any]) -> None:
        policy_id, revision = view["policy_id"], view["revision"]
        known = self.views.get(policy_id, {"revision": self.removed.get(policy_id, 0)})
        if revision <= known["revision"]:
            return
        if view["state"] == "removed" or self._query.get("owner") not in (None, view["repository_owner_id"]):
            self.views.pop(policy_id, None)
            self.removed[policy_id] = revision
        else:
            self.views[policy_id] = view

    def follow(self, limit: int = 500, wait: int = 0) -> str | None:
        """One answer; until when nothing is missing now."""
        answer = self._client.answer("/changes", cursor=self.cursor, limit=limit, wait=wait, **self._query)
        for change in answer["changes"]:
            if "view" in change["data"]:
                self.take(change["data"]["view"])
        self.cursor = answer["cursor"]
        if answer["complete_at"] is not None:
            self.removed.clear()
        at: str | None = answer["complete_at"]
        return at

    def catch_up(self, limit: int = 500) -> None:
        while self.follow(limit) is None:
            pass
