"""Dead letters at the console, by plain HTTP: filters, choosing, replaying once, dropping, stopping and going on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import httpx
import pytest

from tests.console.calling import Caller
from tests.console.scene import at_work, dies, scene
from tests.store.making import about_repository, ping
from tests.web.site import READER, Site, until
from worker import dead_letters
from worker.cli.replay import DEFAULT_RATE
from worker.console.letters import REHEARSED, SHOWN, body_text
from worker.dead_letters import DryRun
from worker.dead_letters.dry_run import SILENT

OWNER = 600613
GEARS = 71


@pytest.fixture
def caller(site: Site) -> Iterator[Caller]:
    scene(site)
    caller = Caller(site.url)
    with caller.http:
        yield caller.logged_in()


def archived(site: Site, number: int, error: str = "ContentionError") -> str:
    letter = about_repository(site.app, "archived", f"d-{number}", owner=OWNER, repository_id=GEARS, name="gears")
    return dies(site, letter, error, f"number {number}")


def form_of(page: httpx.Response, **more: str | list[str]) -> Mapping[str, str | list[str]]:
    """What the form of a page carries, and what somebody fills in."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.text)
    chosen = [value for name, value in found if name == "chosen"]
    return {**{name: value for name, value in found if name != "csrf"}, "chosen": chosen, **more}


def rows(page: httpx.Response) -> int:
    return page.text.partition("Last replays")[0].count('name="chosen" value=')


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 3), ("?text=number+1", 1), ("?event=repository.*", 3), ("?event=policy.*", 0), ("?kind=github", 3),
        ("?kind=operator", 0), ("?policy=gears-nightly", 3), ("?policy=widgets-release", 0), ("?error=Odd", 1),
        ("?since=1h", 3), ("?until=1h", 0), ("?error=Odd&text=number+1", 0), ("?text=%22id%22%3A+71", 3),
    ],
)  # fmt: skip
def test_letters_are_found(site: Site, caller: Caller, query: str, found: int) -> None:
    for number in range(3):
        archived(site, number, "Odd" if number == 2 else "ContentionError")
    page = caller.get(f"/console/letters{query}")
    assert (page.status_code, rows(page)) == (200, found)
    assert "3 in all" in page.text


@pytest.mark.parametrize(
    ("query", "field"), [("owner=octo", "Owner"), ("since=yesterday", "Since"), ("until=2026-01-01", "Until")]
)
def test_a_filter_that_makes_no_sense_names_its_field(caller: Caller, query: str, field: str) -> None:
    page = caller.get(f"/console/letters?{query}")
    assert (page.status_code, f"{field}: give" in page.text) == (422, True)
    assert caller.get("/console/letters?after=nonsense").status_code == 400


def test_a_form_that_is_sent_twice_replays_once(site: Site, caller: Caller) -> None:
    event_id = archived(site, 1)
    page = caller.get(f"/console/letter?id={event_id}")
    form = form_of(page, act="replay", reason="mended")
    first, second = (caller.post("/console/letters", form) for _ in range(2))
    assert first.status_code == second.status_code == 303
    assert first.headers["location"] == second.headers["location"]
    site.settle()
    assert site.app.dead.find(event_id) is None
    until(lambda: dead_letters.replays(site.app)[0].state == "ended")
    assert [entry.action for entry in site.app.audit.newest(10)] == ["replay.ended", "replay.started"]
    assert "1 settled" in caller.get(first.headers["location"]).text


def test_all_that_fit_are_tried_and_dropped_and_no_others(site: Site, caller: Caller) -> None:
    kept = archived(site, 1, "Odd")
    for number in range(2, 5):
        archived(site, number)
    page = caller.post("/console/letters/preview", {"error": "ContentionError", "all": "yes"})
    assert "What replaying 3 letters would do" in page.text
    answer = caller.post("/console/letters", form_of(page, act="drop", reason="moot"))
    assert answer.headers["location"] == "/console/letters?dropped=3"
    assert [letter.event_id for letter in dead_letters.find(site.app)] == [kept]


@pytest.mark.parametrize("act", ["drop", "replay"])
def test_a_group_is_dropped_or_replayed_as_one(site: Site, caller: Caller, act: str) -> None:
    kept = archived(site, 1, "Odd")
    for number in range(2, 6):
        archived(site, number)
    page = caller.get("/console/letters")
    assert page.text.count("<tr data-group>") == 2
    assert re.search(r'data-label="Letters">4</td>', page.text)
    form = re.search(
        r"<form[^>]*letters/preview\"><input(?:(?!</form>).)*value=\"ContentionError\".*?</form>", page.text
    )
    assert form is not None
    asked = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form[0]))
    dry = caller.post("/console/letters/preview", asked)
    assert "What replaying 4 letters would do" in dry.text
    assert caller.post("/console/letters", form_of(dry, act=act, reason="mended")).status_code == 303
    until(lambda: [letter.event_id for letter in dead_letters.find(site.app)] == [kept])


def test_many_letters_are_tried_in_the_background_and_shown_as_groups(site: Site, caller: Caller) -> None:
    """Given more letters than one page waits for, then all are tried, equal effects are one row, and nothing is changed."""
    for number in range(REHEARSED + 20):
        archived(site, number)
    dies(site, ping(site.app, "d-ping", owner=OWNER), "ContentionError")
    total = REHEARSED + 21
    answer = caller.post("/console/letters/preview", {"error": "ContentionError", "all": "yes"})
    assert answer.status_code == 303
    where = answer.headers["location"]
    until(lambda: f"All {total} were tried" in caller.get(where).text)
    page = caller.get(where)
    # The first changes the policy, the others tell it what it knows by then.
    assert re.findall(r'data-label="Letters">(\d+)</td>', page.text) == [str(REHEARSED + 19), "1", "1"]
    assert page.text.count("policy.disabled") == 1
    assert "data-refresh" not in page.text
    assert 'name="untried"' not in page.text
    assert site.app.inbox.depth()["dead"] == total
    answer = caller.post("/console/letters", form_of(page, act="drop", reason="moot"))
    assert answer.headers["location"] == f"/console/letters?dropped={total}"


def test_what_was_not_tried_is_not_acted_on_unless_that_is_said(site: Site, caller: Caller) -> None:
    """Given a dry run whose process was lost, then its page says how far it came, and acting on the rest has to be said."""
    for number in range(3):
        archived(site, number)
    page = caller.post("/console/letters/preview", {"all": "yes"})
    form = form_of(page, act="drop", reason="moot")
    lost = DryRun(3, 1, ended=False, noted_at=site.app.status.now() - SILENT, groups=())
    site.app.dead.note_dry_run(str(form["batch"]), lost.written())
    page = caller.get(f"/console/letters/dry-run?batch={form['batch']}")
    assert "interrupted: 1 of 3 were tried" in page.text
    assert "Also the 2 that were not tried" in page.text
    refused = caller.post("/console/letters", form)
    assert (refused.status_code, "were not tried" in refused.text) == (422, True)
    assert site.app.inbox.depth()["dead"] == 3
    assert caller.post("/console/letters", {**form, "untried": "yes"}).status_code == 303
    assert site.app.inbox.depth()["dead"] == 0


def test_a_dry_run_that_goes_on_offers_no_act(site: Site, caller: Caller) -> None:
    going = DryRun(300, 120, ended=False, noted_at=site.app.status.now(), groups=())
    site.app.dead.note_dry_run("0" * 12, going.written())
    page = caller.get(f"/console/letters/dry-run?batch={'0' * 12}")
    assert "120 of 300 tried so far" in page.text
    assert 'data-refresh="1"' in page.text
    assert "Drop for good" not in page.text
    assert caller.get("/console/letters/dry-run?batch=gone").status_code == 404


def test_the_pace_of_the_console_is_that_of_the_command_line(site: Site, caller: Caller) -> None:
    for number in range(2):
        archived(site, number)
    page = caller.post("/console/letters/preview", {"all": "yes"})
    shown = re.search(r'name="rate"[^>]*value="([^"]*)"', page.text)
    assert shown is not None
    assert f"{shown[1]}/s" == DEFAULT_RATE


@pytest.mark.parametrize("act", ["drop", "replay"])
def test_what_came_after_the_dry_run_is_not_acted_on(site: Site, caller: Caller, act: str) -> None:
    """Given a dry run of all that fit, when more come that fit too, then sending its form leaves those alone."""
    archived(site, 1)
    page = caller.post("/console/letters/preview", {"error": "ContentionError", "until": "0s", "all": "yes"})
    unseen = {archived(site, number) for number in range(2, 6)}
    form = form_of(page, act=act, reason="seen")
    assert caller.post("/console/letters", form).status_code == 303
    until(lambda: len(list(dead_letters.find(site.app))) <= len(unseen))
    assert {letter.event_id for letter in dead_letters.find(site.app)} == unseen
    if act == "replay":
        chosen = dead_letters.replays(site.app)[0].replay.selection
        assert str(chosen["until"]).endswith("Z")


def test_a_dry_run_that_is_too_old_is_not_acted_on(site: Site, caller: Caller) -> None:
    event_id = archived(site, 1)
    page = caller.post("/console/letters/preview", {"all": "yes"})
    form = form_of(page, act="drop", reason="late")
    site.redis.delete(f"tenure:{{all}}:selection:{form['batch']}")
    answer = caller.post("/console/letters", form)
    assert (answer.status_code, "too old" in answer.text) == (409, True)
    assert site.app.dead.find(event_id) is not None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"reason": " "}, "Say why"),
        ({"reason": "x" * 501}, "Say why"),
        ({"act": "burn"}, "no such act"),
        ({"rate": "-1"}, "Rate: give a number"),
        ({"rate": "fast"}, "Rate: give a number"),
        ({"rate": "nan"}, "Rate: give a number"),
        ({"batch": "../x"}, "incomplete"),
        ({"chosen": []}, "Choose some letters"),
        ({"chosen": ["nobody"]}, "None of these"),
    ],
)
def test_a_wrong_form_says_what_is_wrong_and_does_nothing(
    site: Site, caller: Caller, wrong: dict[str, str | list[str]], told: str
) -> None:
    event_id = archived(site, 1)
    form = form_of(caller.get(f"/console/letter?id={event_id}"), act="replay", reason="why")
    answer = caller.post("/console/letters", {**form, **wrong})
    assert (answer.status_code, told in answer.text) == (422, True), answer.text
    assert site.app.dead.find(event_id) is not None
    assert dead_letters.replays(site.app) == []


def test_a_replay_is_stopped_and_goes_on(site: Site, caller: Caller) -> None:
    """Given a slow replay, when it is stopped, nothing more is put back; when it goes on, the rest is."""
    at_work(site)
    for number in range(6):
        archived(site, number)
    page = caller.post("/console/letters/preview", {"all": "yes"})
    where = caller.post("/console/letters", form_of(page, act="replay", reason="why", rate="1")).headers["location"]
    batch = where.partition("batch=")[2]
    until(lambda: dead_letters.status(site.app, batch).replay.done > 0)
    assert "1 a second" in caller.get(where).text
    steer = {"batch": batch, "reason": "why"}
    assert caller.post("/console/replay", {"batch": batch, "act": "stop"}).status_code == 303
    until(lambda: not dead_letters.status(site.app, batch).running)
    stopped = dead_letters.status(site.app, batch)
    assert stopped.state == "stopped"
    assert stopped.left > 0
    assert "was stopped" in caller.get(where).text
    assert caller.post("/console/replay", {**steer, "act": "resume"}).status_code == 303
    until(lambda: dead_letters.status(site.app, batch).left < stopped.left)
    caller.post("/console/replay", {**steer, "act": "stop"})
    until(lambda: not dead_letters.status(site.app, batch).running)
    reader = Caller(site.url)
    with reader.http:
        reader.logged_in(READER)
        assert reader.post("/console/replay", {"batch": batch, "act": "resume", "reason": "x"}).status_code == 403
    assert caller.post("/console/replay", {"batch": "0" * 12, "act": "stop", "reason": "x"}).status_code == 404


def test_a_letter_that_is_none_any_more_says_where_it_may_be(caller: Caller) -> None:
    page = caller.get("/console/letter?id=gone")
    assert (page.status_code, "see the audit trail" in page.text) == (404, True)


@pytest.mark.parametrize("before", ["0-0", "00-0", "nonsense", "-1", "٣-1"])
def test_before_no_entry_the_audit_trail_begins_anew(site: Site, caller: Caller, before: str) -> None:
    archived(site, 1)
    dead_letters.drop(site.app, list(dead_letters.find(site.app)), reason="moot", by="maria")
    page = caller.http.get("/console/audit", params={"before": before})
    assert (page.status_code, "letter.dropped" in page.text) == (200, True)


def test_bodies_keep_their_digits_and_have_an_end() -> None:
    assert body_text(b'{"id":9223372036854775807123}') == '{\n  "id": 9223372036854775807123\n}'
    assert body_text(b"\xff{") == "\\xff{"
    assert body_text(b"[" * 100_000).startswith("[[[")
    long = body_text(b'"' + b"x" * SHOWN + b'"')
    assert len(long) < SHOWN + 100
    assert "bytes more" in long
