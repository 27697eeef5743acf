"""The search box of every page: a delivery, a policy, a letter, a replay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.console.calling import Caller
from tests.console.conftest import Visit
from tests.console.scene import HOSTILE, dies, put, scene
from tests.store.making import about_repository, ping
from tests.web.site import Site

OWNER = 600613


@pytest.fixture
def caller(site: Site) -> Iterator[Caller]:
    scene(site)
    caller = Caller(site.url)
    with caller.http:
        yield caller.logged_in()


def archived(site: Site, delivery: str) -> None:
    put(site, [about_repository(site.app, "archived", delivery, owner=OWNER, repository_id=71, name="gears")])


def test_a_delivery_says_what_came_of_it_and_where_it_is_at_github(site: Site, caller: Caller) -> None:
    archived(site, "d-100")
    assert "Deliveries at GitHub" not in caller.get("/console/find?id=d-100").text
    site.app.directory.note_deliveries_page("https://github.example/settings/apps/tenure/advanced")
    page = caller.get("/console/find?id=d-100").text
    assert "gears-nightly" in page
    assert "revision " in page
    assert 'href="https://github.example/settings/apps/tenure/advanced"' in page


def test_a_delivery_that_changed_nothing_says_so(site: Site, caller: Caller) -> None:
    put(site, [ping(site.app, "d-101")])
    assert "It changed no policy." in caller.get("/console/find?id=d-101").text


def test_a_dead_letter_leads_to_its_page(site: Site, caller: Caller) -> None:
    event_id = dies(site, about_repository(site.app, "archived", "d-102", owner=OWNER))
    for sought in ("d-102", event_id):
        assert f"/console/letter?id={event_id}" in caller.get(f"/console/find?id={sought}").text


@pytest.mark.parametrize("sought", ["gears-nightly", "71", "octo/gears", "gears"])
def test_a_policy_is_found(caller: Caller, sought: str) -> None:
    assert "/console/policy?id=gears-nightly" in caller.get(f"/console/find?id={sought}").text


def test_what_nothing_has_is_said_with_the_horizon(caller: Caller) -> None:
    page = caller.get("/console/find?id=d-nobody").text
    assert "Nothing has this id or name." in page
    assert "The ledger has every event since" in page


def test_what_is_looked_for_is_shown_as_text(caller: Caller) -> None:
    page = caller.http.get("/console/find", params={"id": HOSTILE})
    assert (page.status_code, "<img" in page.text) == (200, False)


def test_it_is_in_the_head_of_every_page(visit: Visit, site: Site) -> None:
    scene(site)
    archived(site, "d-100")
    for phone in (False, True):
        visitor = visit(phone=phone)
        page = visitor.is_in()
        visitor.goes("/console/audit")
        page.keyboard.press("/")
        page.keyboard.type("d-100")
        page.keyboard.press("Enter")
        page.wait_for_url("**/console/find?id=d-100")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        visitor.keeps(f"find{'-phone' if phone else ''}")
