"""`tenure dead` and `tenure audit`: what an operator sees, what is done, and how the commands end."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.running import Tenure
from tests.conftest import wait_until
from tests.dead_letters.test_finding import LISTED_WITHIN, MANY, fill, wrong
from tests.store.making import about_repository, everything, give_up_on, ping, registration, settle_all, state
from tests.support import OWNER
from worker.app import App
from worker.store.inbox import Envelope

HOSTILE = "<b>\x1b[2J\u202etxt\tx"


def archived(app: App, delivery: str = "d-1") -> Envelope:
    return about_repository(app, "archived", delivery)._replace(owner=OWNER)


def test_list_and_show(tenure: Tenure, app: App) -> None:
    settle_all(app, wrong(app, "d-wrong", HOSTILE))
    give_up_on(app, archived(app), message=HOSTILE)
    listed = tenure.done("dead", "list")
    assert [row[4] for row in listed.rows] == ["d-1", "d-wrong"]
    assert all(re.fullmatch(r"[-0-9]{10}T[:0-9]{8}\.[0-9]{6}Z", row[1]) for row in listed.rows)
    # What is hostile is text, in its cell.
    assert listed.rows[0][8:] == ["ValueError", "<b>\ufffd[2J\ufffdtxt\ufffdx"]
    objects = tenure.done("dead", "list", "--json", "--event=repository.*", f"--owner={OWNER}").objects
    assert [found["delivery"] for found in objects] == ["d-1", "d-wrong"]
    assert tenure.done("dead", "list", "--error=UnusableEventError", "--since=1h", "--limit=1").rows[0][4] == "d-wrong"
    assert tenure("dead", "list", "--until=2000-01-01T00:00:00Z").code == 3

    letter = objects[1]
    shown = tenure.done("dead", "show", letter["id"], "--json").objects[0]
    assert shown["body"].encode() == wrong(app, text=HOSTILE).body
    assert [attempt["error"] for attempt in shown["failed"]] == ["UnusableEventError"]
    told = tenure.done("dead", "show", letter["id"])
    assert "\x1b" not in told.out
    assert {row[0] for row in told.rows} == {"letter", "failed", "body"}
    code, seen = tenure.on_terminal("dead", "list")
    assert code == 0
    assert HOSTILE[:4] not in seen
    assert tenure("dead", "show", "nobody").code == 3


def used_by(tenure: Tenure, *arguments: str) -> tuple[str, float]:
    """What a command says, and the processor's time that it used."""
    with tenure.start(*arguments) as process:
        said, _ = process.communicate()
    return said, process.processor_seconds


def test_ten_thousand_letters_fit_into_a_list(tenure: Tenure, app: App, measured: Callable[[str], None]) -> None:
    """By the processor's time of the command: what else this machine does must not count."""

    _, alone = used_by(tenure, "dead", "list", "--json")
    fill(app, MANY, b"{}")
    listed, took = used_by(tenure, "dead", "list", "--json")
    assert len(listed.splitlines()) == MANY
    measured(f"`tenure dead list` of {MANY:,} letters used {took:.2f} s, of which {alone:.2f} s to start")
    assert took - alone < LISTED_WITHIN


def test_replay_shows_what_it_would_do_and_does_nothing(tenure: Tenure, app: App) -> None:
    settle_all(app, registration(app, "pol-1"), wrong(app))
    give_up_on(app, archived(app))
    before = everything(app)
    told = tenure.done("dead", "replay", "--all")
    assert "1 would fail again, 1 would change policies. Nothing was changed" in told.err
    letters = [row for row in told.rows if row[0] == "letter"]
    assert [row[4] for row in letters] == ["fails", "changes"]
    assert [row[2:] for row in told.rows if row[0] == "policy"] == [["pol-1", "policy.disabled", "-"]]
    assert ["pol-1", "state", "provisional", "disabled"] in [row[2:] for row in told.rows if row[0] == "field"]
    (effect,) = tenure.done("dead", "replay", "--json", "--policy=pol-1").objects
    assert effect["policies"][0]["differences"]["state"] == {"before": "provisional", "after": "disabled"}
    dropped = tenure.done("dead", "drop", "--event=repository.*")
    assert len(dropped.rows) == 2
    assert "2 would be dropped for good; nothing was changed" in dropped.err
    assert everything(app) == before


def test_replay_and_what_is_told_of_it(tenure: Tenure, app: App) -> None:
    settle_all(app, registration(app, "pol-1"))
    give_up_on(app, archived(app))
    applied = tenure("dead", "replay", "--all", "--apply", "--reason", HOSTILE, "--json")
    # Nobody is there to settle it.
    assert (applied.code, applied.objects[0]["waiting"]) == (4, 1)
    batch = applied.objects[0]["batch"]
    settle_all(app)
    assert state(app, "pol-1") == "disabled"
    (status,) = tenure.done("dead", "replay", "--status", batch, "--json").objects
    assert (status["state"], status["settled"], status["left"]) == ("ended", 1, 0)
    assert tenure("dead", "replay", "--resume", batch).code == 1
    assert tenure("dead", "replay", "--status", "nobody").code == 3
    assert tenure("dead", "replay", "--all").code == 3
    entries = tenure.done("audit", "--json").objects
    assert [(found["action"], found["reason"]) for found in entries] == [
        ("replay.started", HOSTILE.strip()), ("replay.ended", HOSTILE.strip()),
    ]  # fmt: skip
    assert "\x1b" not in tenure.done("audit").out


def test_a_replay_is_stopped_by_another_command_and_by_ctrl_c(tenure: Tenure, app: App) -> None:
    give_up_on(app, *(ping(app, f"d-{n}") for n in range(30)))
    process = tenure.start("dead", "replay", "--all", "--apply", "--reason=x", "--rate=10/s", "--json")
    wait_until(lambda: app.inbox.depth()["events"], "the first letter went")
    (batch,) = app.replays.newest(2)
    tenure.done("dead", "replay", "--stop", batch, "--reason", "y")
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, json.loads(out)["state"]) == (4, "stopped")
    left = json.loads(out)["left"]
    assert left == app.inbox.depth()["dead"] > 0

    process = tenure.start("dead", "replay", "--resume", batch)
    wait_until(lambda: app.inbox.depth()["dead"] < left, "it goes on")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 4
    assert f"tenure dead replay --resume {batch}" in err
    actions = [entry.action for entry in app.audit.since(0)]
    assert actions == ["replay.started", "replay.stopped", "replay.resumed", "replay.stopped"]


def test_drop(tenure: Tenure, app: App) -> None:
    give_up_on(app, ping(app, "d-1"), ping(app, "d-2"))
    first, second = (found["id"] for found in tenure.done("dead", "list", "--json").objects)
    partly = tenure("dead", "drop", first, "nobody", "--apply", "--reason", "a test")
    assert partly.code == 4
    assert "no dead letter has the id nobody" in partly.err
    assert "dropped 1 of 2" in partly.err
    assert [found["id"] for found in tenure.done("dead", "list", "--json").objects] == [second]
    tenure.done("dead", "drop", "--all", "--apply", "--reason", "a test")
    assert [entry.subjects for entry in app.audit.since(0)] == [(first,), (second,)]


@pytest.mark.parametrize(
    "wrongly",
    [
        ("replay", "some-id", "--all"),
        ("replay", "--all", "--apply", "--reason= "),
        ("replay", "--all", "--rate=0/s"),
        ("replay", "--status=x", "--all"),
        ("drop",),
        ("drop", "--all", "--apply"),
        ("list", "--until=2026-01-31"),
        ("list", "--kind=letter"),
    ],
    ids=" ".join,
)
def test_wrong_usage(tenure: Tenure, wrongly: tuple[str, ...]) -> None:
    assert tenure("dead", *wrongly).code == 2


def test_what_operators_do_is_in_the_audit_trail(tenure: Tenure, app: App, tmp_path: Path) -> None:
    assert tenure("audit").code == 3
    tenure.register("pol-1", reason="asked for")
    tenure.done("policy", "hold", "pol-1", "--reason", "to hold")
    tenure.done("policy", "remove", "pol-1", "--reason", "to remove", "--yes")
    plain = {"policy_id": "pol-2", "name": "n", "package_owner": {"account": "acme", "kind": "user"},
             "created_by": {"account": "maria"},
             "github": {"repository_owner": "octo", "repository_owner_id": 41, "repository": "w",
                        "workflow_file": "r.yml"}}  # fmt: skip
    tenure.done("policy", "import", "-", "--reason", "moved", stdin=json.dumps(plain))
    shown = tenure.done("audit", "--json")
    told = [(found["action"], found["reason"], found["subjects"]) for found in shown.objects]
    assert told == [
        ("policy.registered", "asked for", ["pol-1"]),
        ("policy.held", "to hold", ["pol-1"]),
        ("policy.removed", "to remove", ["pol-1"]),
        ("import.started", "moved", []),
        ("import.ended", "moved", []),
    ]
    assert all("@" in entry.by for entry in app.audit.since(0))
    assert len(tenure.done("audit", "--since=1h").rows) == len(told)
    assert tenure("audit", "--since=2100-01-01T00:00:00Z").code == 3
    exported = tmp_path / "audit.jsonl"
    tenure.done("audit", "--export", str(exported))
    assert exported.read_text() == shown.out
    assert tenure("audit", "--follow", "--export=x").code == 2


def test_the_audit_trail_is_followed(tenure: Tenure, app: App) -> None:
    process = tenure.start("audit", "--follow", "--json")
    assert process.stdout is not None
    for n in range(3):
        app.audit.record("sweep.let_through", by="maria", reason=None, subjects=(str(n),))
        assert json.loads(process.stdout.readline())["subjects"] == [str(n)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_the_doctor_says_what_to_do_with_an_interrupted_replay(tenure: Tenure, app: App) -> None:
    give_up_on(app, *(ping(app, f"d-{n}") for n in range(5)))
    process = tenure.start("dead", "replay", "--all", "--apply", "--reason=x", "--rate=1/s")
    wait_until(lambda: app.inbox.depth()["events"], "the first letter went")
    process.kill()
    process.communicate()
    (batch,) = app.replays.newest(2)
    app.client.redis.delete(f"tenure:{{all}}:hold:replay:{batch}")
    (row,) = [row for row in tenure("doctor").rows if row[1] == "replays"]
    assert row[0] == "warning"
    assert f"tenure dead replay --resume {batch}" in row[3]


def test_a_letter_is_found_by_how_its_id_or_its_delivery_begins(tenure: Tenure, app: App) -> None:
    for delivery in ("4f1c0b52-0001", "4f1c0b52-0002", "9a"):
        give_up_on(app, archived(app, delivery))
    (shown,) = tenure.done("dead", "show", "4f1c0b52-0002…", "--json").objects
    assert shown["delivery"] == "4f1c0b52-0002"
    assert tenure.done("dead", "show", str(shown["id"])[:12], "--json").objects[0]["id"] == shown["id"]
    several = tenure("dead", "show", "4f1c0b52…")
    assert (several.code, {row[4] for row in several.rows}) == (2, {"4f1c0b52-0001", "4f1c0b52-0002"})
    assert "write more of it" in several.err
    assert (tenure("dead", "show", "zz").code, tenure("dead", "show", "…").code) == (3, 3)


def test_letters_are_listed_and_dropped_as_groups(tenure: Tenure, app: App) -> None:
    give_up_on(app, *(archived(app, f"d-{n}") for n in range(3)), message=HOSTILE)
    give_up_on(app, ping(app, "d-ping"))
    rows = tenure.done("dead", "list", "--groups").rows
    assert [row[:4] for row in rows] == [
        ["1", "ping", "github", "ValueError"], ["3", "repository.archived", "github", "ValueError"],
    ]  # fmt: skip
    assert rows[1][6] == "<b>\ufffd[2J\ufffdtxt\ufffdx"
    found = tenure.done("dead", "list", "--groups", "--json", "--event=repository.*").objects[0]
    assert (found["letters"], found["event"], found["message"]) == (3, "repository.archived", HOSTILE)
    assert str(found["first_at"]) <= str(found["last_at"])
    assert tenure("dead", "list", "--groups", "--error=KeyError").code == 3
    dropped = tenure.done(
        "dead", "drop", f"--event={found['event']}", f"--error={found['error']}", "--apply", "--reason=moot"
    )
    assert "dropped 3 of 3" in dropped.err
    assert [x["event"] for x in tenure.done("dead", "list", "--groups", "--json").objects] == ["ping"]


def test_the_version_is_shown(tenure: Tenure) -> None:
    assert tenure.done("--version").out == f"tenure {version('tenure')}\n"
