"""The console by plain HTTP, as somebody without a browser would use it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx

from tests.support import NO_TLS
from tests.web.site import OPERATOR, PATIENCE

PAGES = (
    "/", "/?span=day", "/console/policies", "/console/holds", "/console/letters", "/console/changes", "/console/evaluate",
    "/console/audit", "/console/find",
)  # fmt: skip
"""Every page that wants nothing but a session."""


class Caller:
    """Keeps cookies and sends forms back with what they carried."""

    def __init__(self, url: str, **headers: str) -> None:
        self.http = httpx.Client(base_url=url, verify=NO_TLS, timeout=PATIENCE, headers=headers)
        self.csrf = ""

    def get(self, path: str, **headers: str) -> httpx.Response:
        answer = self.http.get(path, headers=headers)
        found = re.search(r'name="csrf" value="(\w+)"', answer.text)
        if found:
            self.csrf = found[1]
        return answer

    def post(self, path: str, form: Mapping[str, str | list[str]], **headers: str) -> httpx.Response:
        return self.http.post(path, data={"csrf": self.csrf, **form}, headers=headers)

    def tries(self, token: str, **form: str) -> httpx.Response:
        """Ask for a login form, and send it."""
        self.get("/console/login")
        return self.post("/console/login", {"token": token, **form})

    def logged_in(self, token: str = OPERATOR) -> Caller:
        answer = self.tries(token)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
        self.get("/")
        return self
