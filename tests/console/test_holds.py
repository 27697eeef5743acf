"""Holding many policies at once: a look first, by operators only, and told on the policy's page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import pytest

from tests.console.calling import Caller
from tests.console.scene import scene
from tests.web.site import READER, Site

OWNER = "600613"


@pytest.fixture
def caller(site: Site) -> Iterator[Caller]:
    somebody = Caller(f"http://127.0.0.1:{site.port}")
    yield somebody
    somebody.http.close()


def hidden(page: str) -> dict[str, str]:
    """What the form of a page that acts carries."""
    form = page.partition('action="/console/holds"')[2].partition("</form>")[0]
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)}


def test_a_hold_is_looked_at_then_made_then_released(site: Site, caller: Caller) -> None:
    """Given an operator, when an owner is held and released, then its policies are named first, and the page tells who holds."""
    scene(site)
    caller.logged_in().get("/console/holds")
    asked = {"act": "hold", "kind": "owner", "name": OWNER, "reason": "a stolen <token>"}
    look = caller.post("/console/holds/preview", asked)
    assert look.status_code == 200
    assert "widgets-release" in look.text
    assert site.app.switches.all() == []
    form = hidden(look.text)
    for _ in range(2):
        # The same form sent twice is one act.
        assert caller.post("/console/holds", form).headers["location"] == "/console/holds?done=hold"
    (switch,) = site.app.switches.all()
    assert (switch.scope, switch.reason, switch.by) == (f"owner:{OWNER}", "a stolen <token>", "operator@console")
    page = caller.get("/console/policy?id=widgets-release").text
    assert "It may not publish now, whatever else" in page
    assert "a stolen &lt;token&gt;" in page
    assert (
        caller.post("/console/holds", {**form, "request_id": "8a6e0804-2bd0-4672-b79d-d97027f9071a"}).status_code == 409
    )
    look = caller.post("/console/holds/preview", {"act": "release", "scope": switch.scope, "reason": "rotated"})
    assert "widgets-release" in look.text
    assert caller.post("/console/holds", hidden(look.text)).headers["location"] == "/console/holds?done=release"
    assert site.app.switches.all() == []
    assert "whatever else" not in caller.get("/console/policy?id=widgets-release").text


def test_only_operators_hold(site: Site, caller: Caller) -> None:
    scene(site)
    caller.logged_in(READER).get("/console/holds")
    for path in ("/console/holds/preview", "/console/holds"):
        assert caller.post(path, {"act": "hold", "kind": "all", "name": "", "reason": "x"}).status_code == 403
    assert "Hold many at once" not in caller.get("/console/holds").text


@pytest.mark.parametrize("form", [
    {"act": "hold", "kind": "owner", "name": "octo", "reason": "x"},
    {"act": "hold", "kind": "all", "name": "octo", "reason": "x"},
    {"act": "hold", "kind": "person", "name": "octo", "reason": "x"},
    {"act": "hold", "kind": "all", "name": "", "reason": ""},
    {"act": "remove", "kind": "all", "name": "", "reason": "x"},
])  # fmt: skip
def test_what_is_no_scope_is_refused(site: Site, caller: Caller, form: dict[str, str]) -> None:
    caller.logged_in().get("/console/holds")
    assert caller.post("/console/holds/preview", form).status_code == 422
    assert site.app.switches.all() == []
