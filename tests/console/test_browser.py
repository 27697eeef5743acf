"""The console in a real browser: every page, by mouse, by keyboard and on a phone, in both themes."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from handlers.base import REGISTRY
from tests.console.conftest import PHONE, Visit
from tests.console.scene import HOSTILE, at_work, dies, hours, put, scene
from tests.store.making import about_repository, login, registration, webhook
from tests.store.making import letter as made
from tests.support import JSON, registration_data
from tests.web.site import OPERATOR, Site
from worker.console import changes
from worker.console.login import PER_ADDRESS
from worker.lifecycle.facts import DAY
from worker.store.sessions import Sessions, TokenRole
from worker.store.switches import Scope
from worker.web import hub, threads

OWNER = 600613
GEARS = 71


@pytest.fixture
def letter(site: Site) -> str:
    """Everything that there is to look at, with three dead letters; one of them would disable `gears-nightly`."""
    scene(site)
    at_work(site)
    app = site.app
    repository: dict[str, JSON] = {"id": GEARS, "name": HOSTILE}
    hostile: dict[str, JSON] = {"action": "transferred", "repository": repository}
    dies(site, webhook(app, "repository.transferred", hostile, f"hostile-{HOSTILE}", owner=OWNER), message=HOSTILE)
    widgets = about_repository(app, "unarchived", "72d3162e-cc78-11e3", owner=OWNER, repository_id=9007199254740993)
    dies(site, widgets, "ContentionError", "policy widgets-release changed too often")
    gears = about_repository(app, "archived", "83d3162e-cc78-11e3", owner=OWNER, repository_id=GEARS, name="gears")
    return dies(site, gears, "ContentionError", "policy gears-nightly changed too often")


PAGES = {
    "overview": "/",
    "policies": "/console/policies",
    "policy": "/console/policy?id=bolts-publish",
    "policy-logins": "/console/policy?id=widgets-release",
    "holds": "/console/holds",
    "letters": "/console/letters",
    "letter": "/console/letter?id={letter}",
    "changes": "/console/changes",
    "evaluate": "/console/evaluate",
    "audit": "/console/audit",
}


def test_every_page_can_be_looked_at(letter: str, site: Site, visit: Visit) -> None:
    hours(site)
    followed = site.app.consumers.acknowledge
    followed("exchange-keys", TokenRole.EXCHANGE, "tex", cursor=site.app.feed.end(), now=site.app.status.now())
    put(site, [about_repository(site.app, "archived", "d-behind", owner=OWNER, repository_id=GEARS, name="gears")])
    hold, now = site.app.switches.close, site.app.status.now()
    hold(Scope("owner", str(OWNER)), reason="a maintainer's token was stolen", by="maria@ops", at=now, request_id="s-1")
    for phone in (False, True):
        me = visit(phone=phone)
        tail = "-phone" if phone else ""
        me.goes("/")
        me.keeps(f"login{tail}")
        page = me.logs_in()
        for name, path in PAGES.items():
            me.goes(path.format(letter=letter))
            expect(page.locator("h1")).to_be_visible()
            expect(page.locator("html")).to_have_attribute("lang", "en")
            fits(page)
            me.keeps(f"{name}{tail}")


def test_many_policies_are_held_after_a_look_and_released(letter: str, site: Site, visit: Visit) -> None:
    me = visit()
    page = me.is_in()
    me.goes("/console/holds")
    page.get_by_label("What", exact=True).select_option("owner")
    page.get_by_label("Which").fill(str(OWNER))
    page.get_by_label("Reason").fill("a maintainer's token was stolen")
    page.get_by_role("button", name="See what that holds").click()
    expect(page.locator("main")).to_contain_text("bolts-publish")
    me.keeps("hold")
    page.get_by_role("button", name="Hold", exact=True).click()
    expect(page.get_by_role("status").first).to_have_text("It is held.")
    page.get_by_label("Reason").first.fill("the token is revoked")
    page.get_by_role("button", name="See what that releases").click()
    page.get_by_role("button", name="Release", exact=True).click()
    expect(page.locator("main")).to_contain_text("Nothing is held.")


def fits(page: Page) -> None:
    """Nothing sticks out to the right, so nobody has to scroll there."""
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.evaluate("innerWidth"), page.url


def test_a_wrong_token_is_told_and_limited(site: Site, visit: Visit) -> None:
    me = visit()
    page = me.goes("/console/policies?state=disabled")
    site.redis.set("tenure:{all}:login-attempts:from:127.0.0.1", PER_ADDRESS - 1, ex=60)
    page.get_by_label("token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("Nobody has this token.")
    me.keeps("wrong-token")
    page.get_by_label("token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("main")).to_contain_text("too many attempts")
    me.keeps("limited")
    assert any("429" in told for told in me.wrong)
    me.wrong.clear()  # The browser tells of each answer 401 and 429.


def test_after_the_login_one_is_where_one_wanted_to_be(site: Site, visit: Visit) -> None:
    page = visit().goes("/console/policies?state=disabled")
    page.get_by_label("token").fill(OPERATOR)
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/policies?state=disabled")


def test_a_link_logs_in_and_leaves_nothing_in_the_address(site: Site, visit: Visit) -> None:
    code = Sessions(site.app.client).make_code()
    me = visit()
    asked: list[str] = []
    me.page.on("request", lambda request: asked.append(request.url))
    me.page.goto(f"{site.url}/console/login#{code}")
    me.page.wait_for_url(site.url + "/")
    expect(me.page.locator("h1")).to_be_visible()
    assert code not in "".join(asked)
    again = visit()
    again.page.goto(f"{site.url}/console/login#{code}")
    expect(again.page.get_by_role("alert")).to_contain_text("used already")
    assert code not in again.page.url
    again.wrong.clear()


ACTS = re.compile("^(Apply|Replay|Drop for good|Stop|Resume)$")


def test_a_reader_sees_no_buttons_that_act(letter: str, visit: Visit) -> None:
    me = visit()
    page = me.is_in("sam", TokenRole.READER)
    for path in ("/console/policy?id=gears-nightly", f"/console/letter?id={letter}"):
        me.goes(path)
        expect(page.locator(".who")).to_contain_text("sam")
        expect(page.get_by_role("button", name=ACTS)).to_have_count(0)
    me.goes("/console/letters")
    page.get_by_role("button", name="Dry run of all").click()
    expect(page.locator("main")).to_contain_text("You may look, and not act")
    expect(page.get_by_role("button", name=ACTS)).to_have_count(0)


def test_from_a_dead_letter_to_a_changed_policy(letter: str, site: Site, visit: Visit) -> None:
    """Given a letter that would disable a policy, when it is tried, replayed and settled, then it is disabled."""
    me = visit()
    page = me.is_in()
    me.goes("/console/letters")
    page.get_by_label("Text").fill("gears-nightly changed")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody [data-row]")).to_have_count(1)
    page.get_by_role("checkbox", name="Choose repository.archived").check()
    page.get_by_role("button", name="Dry run of the chosen").click()
    effect = page.locator("article")
    expect(effect).to_have_count(1)
    expect(effect.locator(".diff > div").filter(has_text=re.compile("^state"))).to_have_text(
        "stateprovisional → disabled"
    )
    expect(effect.locator(".diff > div").filter(has_text=re.compile("^reasons"))).to_contain_text("repository_archived")
    me.keeps("preview")
    page.get_by_label("Reason for the replay").fill("the policy is quiet again")
    page.get_by_role("button", name="Replay", exact=True).click()
    page.wait_for_url("**/console/replay?batch=*")
    site.settle()
    expect(page.locator("#fresh")).to_contain_text("1 settled", timeout=10_000)
    me.keeps("replay")
    me.goes("/console/policy?id=gears-nightly")
    expect(page.locator("h1")).to_contain_text("disabled")
    expect(page.locator(".timeline li").first).to_contain_text("GitHub: repository.archived")
    me.goes("/console/audit")
    expect(page.locator("tbody")).to_contain_text("the policy is quiet again")
    expect(page.locator("tbody")).to_contain_text("operator@console")
    me.goes("/console/letters")
    expect(page.locator(".head")).to_contain_text("2 in all")


def test_a_letter_is_dropped(letter: str, site: Site, visit: Visit) -> None:
    me = visit()
    page = me.is_in()
    me.goes(f"/console/letter?id={letter}")
    page.get_by_label("Reason for dropping").fill("nobody wants it")
    page.get_by_role("button", name="Drop for good").click()
    expect(page.get_by_role("status").first).to_have_text("1 dropped.")
    assert site.app.dead.find(letter) is None
    me.goes("/console/audit")
    expect(page.locator("tbody")).to_contain_text("nobody wants it")


def test_an_operator_acts_on_a_policy(site: Site, visit: Visit) -> None:
    scene(site)
    me = visit()
    page = me.is_in()
    for act, state, told in (
        ("Hold", "disabled", "It is held."),
        ("Release", "provisional", "The hold has ended."),
        ("Renew", "provisional", "It has a new window."),
    ):
        me.goes("/console/policy?id=gears-nightly")
        page.get_by_role("radio", name=act).check()
        page.get_by_label("Reason", exact=True).fill(f"{act} was asked for")
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("p[role=status]")).to_have_text(told)
        expect(page.locator("h1")).to_contain_text(state)
        held = page.get_by_text("Held by operator@console: Hold was asked for")
        expect(held).to_have_count(1 if act == "Hold" else 0)
    me.goes("/console/audit")
    for number, act in enumerate(("Renew", "Release", "Hold")):
        expect(page.locator("tbody tr").nth(number)).to_contain_text(f"{act} was asked for")
    page.get_by_label("Action").fill("policy.held")
    page.get_by_label("Subject").fill("gears-nightly")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("Hold was asked for")
    page.get_by_label("By").fill("somebody else")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("tbody")).to_contain_text("Nothing fits.")


def test_what_is_hostile_is_text(letter: str, site: Site, visit: Visit) -> None:
    """Given markup and hidden characters in names, payloads, errors and searches: all of it is seen, none is run."""
    data = registration(site.app, "hostile", owner=OWNER, repository_id=99, at=site.app.status.now() - DAY)
    body = data.body.replace(b'"name": "publish"', b'"name": ' + _json(HOSTILE))
    put(site, [data._replace(body=body)])
    me = visit()
    page = me.is_in()
    shown = HOSTILE.replace("\u202e", "\ufffd").replace("\u0000", "\ufffd")
    me.goes("/console/policy?id=hostile")
    expect(page.locator("main")).to_contain_text(shown)
    me.goes("/console/letters")
    expect(page.locator("tbody").first).to_contain_text(shown)
    page.get_by_role("link", name="repository.transferred").last.click()
    expect(page.locator(".lead")).to_contain_text(shown)
    me.keeps("hostile")
    me.goes("/console/evaluate")
    page.get_by_role("textbox").fill(_json({"repository": HOSTILE}).decode())
    page.get_by_role("button", name="Ask").click()
    page.locator("summary").click()
    expect(page.locator("details")).to_contain_text(shown)
    me.goes("/console/changes")
    put(site, [login(site.app, "hostile", f"login-{HOSTILE}", owner=OWNER, repository_id=99)])
    expect(page.locator("#feed tr").first).to_contain_text("activated")
    assert page.locator("main img").count() == 0
    assert "\u202e" not in page.content()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def test_the_keyboard_alone_is_enough(site: Site, visit: Visit) -> None:
    """Given no mouse, when somebody logs in, finds a policy, and holds it, then it is held."""
    scene(site)
    me = visit()
    page, key = me.goes("/"), me.page.keyboard
    key.type(OPERATOR)
    key.press("Enter")
    page.wait_for_url(site.url + "/")
    key.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    me.keeps("skip-link")
    key.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    key.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    me.keeps("keys")
    key.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    key.press("g")
    key.press("p")
    page.wait_for_url("**/console/policies")
    key.press("/")
    expect(page.get_by_label("Policy id")).to_be_focused()
    key.press("Escape")
    key.press("j")
    key.press("j")
    expect(page.locator("[data-row]").nth(1).locator("a").first).to_be_focused()
    key.press("k")
    key.press("j")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    key.press("Enter")
    page.wait_for_url("**/console/policy?id=gears-nightly")
    while page.evaluate("document.activeElement.name") != "act":
        key.press("Tab")
    key.press("Space")
    key.press("Tab")
    key.type("by keyboard")
    key.press("Enter")
    expect(page.locator("p[role=status]")).to_have_text("It is held.")


def test_a_theme_is_kept(site: Site, visit: Visit) -> None:
    me = visit()
    page = me.goes("/")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark
    button = page.get_by_role("button", name="Theme")
    button.click()
    assert page.evaluate(ground) == light
    button.click()
    page.emulate_media(color_scheme="light")
    page.reload()
    assert page.evaluate(ground) == dark
    expect(button).to_have_text("Theme: dark")


def test_the_feed_is_live_can_be_paused_and_forgets_nothing(site: Site, visit: Visit, quick: None) -> None:
    """Given an open feed, when it is paused, and when the store stalls, then what was published meanwhile follows."""
    scene(site)
    me = visit()
    page = me.is_in()
    me.goes("/console/changes")
    state, first = page.locator("#live-state"), page.locator("#feed tr").first
    expect(state).to_have_text("Live")
    put(site, [about_repository(site.app, "archived", "d-1", owner=OWNER, repository_id=GEARS, name="gears")])
    expect(first).to_contain_text("gears-nightly")
    expect(first).to_contain_text("repository_archived")
    page.keyboard.press("p")
    put(site, [about_repository(site.app, "unarchived", "d-2", owner=OWNER, repository_id=GEARS, name="gears")])
    expect(state).to_have_text("Paused, 1 waiting")
    expect(first).to_contain_text("disabled")
    page.get_by_role("button", name="Resume").click()
    expect(first).to_contain_text("reenabled")
    assert site.store.pid is not None
    os.kill(site.store.pid, signal.SIGSTOP)
    try:
        expect(state).to_contain_text("The store does not answer")
        me.keeps("changes-stalled")
    finally:
        os.kill(site.store.pid, signal.SIGCONT)
    put(site, [about_repository(site.app, "archived", "d-3", owner=OWNER, repository_id=GEARS, name="gears")])
    expect(state).to_have_text("Live")
    expect(first).to_contain_text("disabled")
    events = page.locator("#feed tr").evaluate_all("rows => rows.map(row => row.dataset.event)")
    assert len(events) == len(set(events))
    newest = [f"gears-nightly:{number}" for number in (6, 5, 4)]
    assert events[:3] == newest


def test_a_live_page_whose_session_ended_says_so(
    site: Site, visit: Visit, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "SESSION_SECONDS", 0.1)
    me = visit()
    page = me.is_in()
    me.goes("/console/changes")
    expect(page.locator("#live-state")).to_have_text("Live")
    site.redis.delete(*site.redis.scan_iter("tenure:{all}:session:*"))
    expect(page.locator("#live-state")).to_contain_text("session has ended")
    assert all("401" in said for said in me.wrong)
    me.wrong.clear()


def test_a_page_that_is_not_read_again_says_so(visit: Visit) -> None:
    """Given an overview that somebody is in, when it would be read again, then it says that it is not, and why."""
    me = visit()
    page = me.is_in()
    page.clock.install()
    me.goes("/")
    page.locator("[data-refresh] a").first.focus()
    page.clock.fast_forward(11_000)
    expect(page.locator("#freshness")).to_contain_text("while you are in it")
    page.locator("[data-refresh] a").first.blur()
    page.clock.fast_forward(11_000)
    expect(page.locator("#freshness")).to_be_empty()


def test_a_long_name_without_spaces_wraps(site: Site, visit: Visit) -> None:
    data = registration_data() | {"name": "x" * 200, "policy_id": "long"}
    put(site, [made(site.app, "policy.registered", data, "d-long", kind=REGISTRY)])
    for phone in (False, True):
        me = visit(phone=phone)
        page = me.is_in()
        me.goes("/console/policy?id=long")
        expect(page.locator("h1")).to_be_visible()
        fits(page)


LONG = "n" * 200
WIDTHS = (320, 390, 600, 768, 1024, 1280, 1920)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_long_names_push_nothing_off_the_screen(site: Site, visit: Visit, theme: Literal["light", "dark"]) -> None:
    """Given names of 200 characters everywhere, then at any width nothing has to be scrolled to the side, nor is cut."""
    data = registration_data() | {"name": LONG, "policy_id": LONG, "created_by": {"account": LONG, "github_user_id": 7}}
    data |= {"package_owner": {"account": LONG, "kind": "organization"}}
    put(site, [made(site.app, "policy.registered", data, "d-long", kind=REGISTRY)])
    letter = dies(site, made(site.app, "policy.renewed", {"policy_id": LONG}, LONG, kind=REGISTRY), "E" * 200, LONG)
    site.app.audit.record("replay.started", by=LONG, reason=LONG, subjects=(LONG,))
    me = visit()
    page = me.is_in(LONG)
    page.emulate_media(color_scheme=theme)
    paths = (
        *(path.format(letter=letter) for path in PAGES.values() if not path.startswith("/console/policy?")),
        f"/console/policy?id={LONG}",
    )
    for path in paths:
        me.goes(path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            fits(page)
            found = page.evaluate(STICKS_OUT, width)
            assert found == [], f"{path} at {width}"
    me.keeps("long-names")
    me.goes(f"/console/policy?id={LONG}")
    # An id may be wrapped, and is whole for whoever copies it.
    assert (
        page.evaluate("getSelection().selectAllChildren(document.querySelector('h1 .id')) ?? `${getSelection()}`")
        == LONG
    )


STICKS_OUT = """width => [...document.querySelectorAll("main *, nav a, .who *")]
  .filter(one => one.getClientRects().length > 0 && !one.closest(".out, svg, pre, thead"))
  .filter(one => one.getBoundingClientRect().right > width + 1)
  .map(one => `${one.tagName} ${one.className} ${one.textContent.slice(0, 20)}`)"""
"""What has its right edge outside of the window, be it that it can be scrolled to."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stalled store is noticed sooner."""
    monkeypatch.setattr(changes, "BEAT_SECONDS", 0.3)
    monkeypatch.setattr(hub, "SILENT_SECONDS", 0.8)
    monkeypatch.setattr(hub, "BLOCK_MS", 100)


def test_a_store_that_stalls_gets_an_honest_page(site: Site, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    me = visit()
    page = me.is_in()
    me.goes("/")
    monkeypatch.setattr(threads, "READ_SECONDS", 0.4)
    assert site.store.pid is not None
    os.kill(site.store.pid, signal.SIGSTOP)
    try:
        me.goes("/console/policies")
        expect(page.locator("h1")).to_have_text("Not now")
        expect(page.locator("main")).to_contain_text("The store cannot be reached")
        me.keeps("stalled")
    finally:
        os.kill(site.store.pid, signal.SIGCONT)
    assert any("503" in told for told in me.wrong)
    me.wrong.clear()
    page.get_by_role("link", name="Try again").click()
    expect(page.locator("h1")).to_have_text("Policies")


def test_an_open_overview_says_that_the_store_hangs(site: Site, visit: Visit, measured: Callable[[str], None]) -> None:
    me = visit()
    page = me.is_in()
    me.goes("/")
    told = page.locator("#pulse")
    expect(told).to_be_hidden()
    assert site.store.pid is not None
    begun = time.monotonic()
    os.kill(site.store.pid, signal.SIGSTOP)
    try:
        expect(told).to_contain_text("The store has not answered since")
        measured(f"an open overview said after {time.monotonic() - begun:.1f} s that the store hangs")
        me.keeps("hanging")
    finally:
        os.kill(site.store.pid, signal.SIGCONT)
    expect(told).to_be_hidden()
    assert all("503" in said for said in me.wrong)
    me.wrong.clear()


def test_claims_and_tokens_are_evaluated(site: Site, visit: Visit) -> None:
    scene(site)
    me = visit()
    page = me.is_in()
    me.goes("/console/evaluate")
    box = page.get_by_role("textbox")
    claims = box.get_attribute("placeholder")
    assert claims is not None
    box.fill(claims)
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("status")).to_have_text("It matches widgets-release.")
    me.keeps("evaluated")
    box.fill(claims.replace("release.yml", "other.yml"))
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("status")).to_contain_text("It does not match")
    expect(page.locator(".stages .failed")).to_contain_text("workflow_file")


def test_an_operator_acts_on_a_phone(site: Site, visit: Visit) -> None:
    scene(site)
    me = visit(phone=True)
    page = me.is_in()
    me.goes("/")
    assert page.viewport_size == PHONE
    page.get_by_role("link", name="Policies", exact=True).tap()
    page.get_by_role("link", name="gears-nightly").tap()
    page.get_by_text("Hold", exact=True).tap()
    page.get_by_label("Reason", exact=True).fill("from the train")
    page.get_by_role("button", name="Apply").tap()
    expect(page.locator("p[role=status]")).to_have_text("It is held.")
    fits(page)
    me.keeps("held-phone")
