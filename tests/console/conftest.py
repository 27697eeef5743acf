"""One store and one web server for all tests of this folder, and one browser for those that want one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, expect, sync_playwright

from tests.conftest import ROOT
from tests.engines import store_in
from tests.web.site import OPERATOR, Site, site_on
from worker.store.sessions import Session, Sessions, TokenRole

SCREENSHOTS = ROOT / ".artifacts" / "screenshots"
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 15_000
WIDE = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=390, height=844)


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        store_in(tmp_path_factory.mktemp("store")) as store,
        site_on(store, tmp_path_factory.mktemp("data")) as site,
    ):
        yield site


@pytest.fixture
def site(running: Site) -> Site:
    """The running site with an empty store."""
    running.clear()
    return running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless. It ends with its tests: while it runs, no other loop may in this thread."""
    program = os.environ.get("TENURE_TEST_BROWSER") or shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium on the PATH: install it, and the console is tried in a real browser too")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, headless=True)
        yield started
        started.close()


class Visitor:
    """Somebody with a browser of their own, and what went wrong in it."""

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.context = context
        self.site = site
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.wrong: list[str] = []
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(f"a dialog: {dialog.message}"))
        self.page.on("request", self._outside)

    def _outside(self, request: object) -> None:
        url = getattr(request, "url", "")
        if not url.startswith((self.site.url, "data:")):
            self.wrong.append(f"asked another host: {url}")

    def goes(self, path: str) -> Page:
        self.page.goto(self.site.url + path)
        return self.page

    def logs_in(self, token: str = OPERATOR) -> Page:
        self.goes("/")
        self.page.get_by_label("token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(self.site.url + "/")
        return self.page

    def is_in(self, name: str = "operator", role: TokenRole = TokenRole.OPERATOR) -> Page:
        """With a session, without having logged in: for tests of something else."""
        secret = Sessions(self.site.app.client).begin(Session(name, role, ""))
        self.context.add_cookies([{"name": "tenure", "value": secret, "url": self.site.url}])
        return self.page

    def keeps(self, name: str) -> None:
        """A picture of the page, in both themes, among the artefacts."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        for theme in ("light", "dark"):
            self.page.emulate_media(color_scheme=theme)
            self.page.screenshot(path=SCREENSHOTS / f"{name}-{theme}.png", full_page=True)
        self.page.emulate_media(color_scheme="light")


Visit: TypeAlias = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """Opens a browser on the site: each call is another person. Nothing may go wrong in it that a test does not expect."""
    visitors: list[Visitor] = []

    def arrive(*, phone: bool = False) -> Visitor:
        context = browser.new_context(viewport=PHONE if phone else WIDE, has_touch=phone, reduced_motion="reduce")
        visitors.append(Visitor(context, site))
        return visitors[-1]

    yield arrive
    for visitor in visitors:
        visitor.context.close()
    assert [visitor.wrong for visitor in visitors if visitor.wrong] == []
