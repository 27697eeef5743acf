"""A policy's page tells how its tokens fared, and what it could ask for."""

from __future__ import annotations

from tests.console.calling import Caller
from tests.console.scene import HOSTILE, put, scene
from tests.store.making import login, refusal
from tests.web.site import Site
from worker.lifecycle.facts import SECOND

OWNER, REPOSITORY = 600613, 9007199254740993


def page_of(site: Site, policy_id: str) -> str:
    caller = Caller(f"http://127.0.0.1:{site.port}").logged_in()
    text = caller.get(f"/console/policy?id={policy_id}").text
    caller.http.close()
    return text


def test_the_last_use_and_the_last_refusal_are_on_the_page(site: Site) -> None:
    scene(site)
    put(site, [
        refusal(site.app, "widgets-release", "r-3", ref="refs/heads/snapshot", run_id=4713, at=site.app.status.now()),
        login(site.app, "widgets-release", "l-3", owner=OWNER, repository_id=REPOSITORY, run_id=4714),
    ])  # fmt: skip
    text = page_of(site, "widgets-release")
    assert "refs/heads/snapshot" in text
    assert "run 4713" in text
    assert "3 counted, first" in text
    assert "the last of 3" in text
    assert "the last of 2 · run 4714" in text
    assert "not known of" in page_of(site, "gears-nightly")


def test_what_it_could_ask_for_is_on_the_page_with_the_command(site: Site) -> None:
    scene(site)
    now = site.app.status.now()
    put(site, [
        login(site.app, "sprockets", f"l-{n}", owner=OWNER, repository_id=72, at=now - n * SECOND,
              runner="self-hosted", environment="production")
        for n in range(2)
    ])  # fmt: skip
    text = page_of(site, "sprockets")
    assert (
        "All logins of the last 90 days (2) would also pass if it asked for environment production, runner self-hosted."
        in text
    )
    assert "tenure policy register --from -" in text
    assert "Ask for that" not in page_of(site, "bolts-publish")


def test_what_an_exchange_tells_is_shown_as_text(site: Site) -> None:
    scene(site)
    hostile = HOSTILE.replace("\u0000", "")
    put(site, [
        refusal(site.app, "gears-nightly", "r-1", ref=hostile),
        login(site.app, "gears-nightly", "l-1", owner=OWNER, repository_id=71, ref=hostile, runner=hostile, environment=hostile),
    ])  # fmt: skip
    text = page_of(site, "gears-nightly")
    assert "<img src=x" not in text
    assert "\u202e" not in text
    assert "what its logins share is nothing that a policy may ask for" in text
