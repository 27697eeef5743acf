"""Look at policies, and act on them."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from tests.cli.running import OWNER_ID, REPOSITORY_ID, Tenure, archived, left, logged_in
from tests.store.making import login, refusal, settle_all
from tests.support import JSON
from worker.app import App

HOSTILE = "\x1b]0;owned\x07\x1b[31m[red]rot[/red]\tx\u202e\x9b2J"


def test_register_then_look(tenure: Tenure) -> None:
    registered = tenure.register("p1")
    assert registered.out == ""
    assert registered.err.startswith("p1: registered; provisional, may publish until 20")

    listed = tenure.done("policy", "list")
    assert listed.err == ""
    (row,) = listed.rows
    assert row[:2] == ["p1", "provisional"]
    assert re.fullmatch(r"[-0-9T:]+\.[0-9]{6}Z", row[2])
    assert row[3:] == ["-", "octo/widgets", "release.yml", "-", "acme"]

    (view,) = tenure.done("policy", "list", "--json").objects
    assert (view["repository_owner_id"], view["repository_id"]) == (OWNER_ID, REPOSITORY_ID)

    (shown,) = tenure.done("policy", "show", "p1", "--json").objects
    assert shown["view"] == view
    (fact,) = shown["facts"]
    assert (fact["scope"], fact["aspect"], fact["source"]["kind"]) == ("policy:p1", "registration", "operator")
    (entry,) = shown["history"]
    assert (entry["revision"], entry["type"]) == (1, "policy.provisioned")

    sections = {row[0] for row in tenure.done("policy", "show", "p1").rows}
    assert sections == {"view", "fact", "history"}


def test_show_tells_of_logins(tenure: Tenure, app: App) -> None:
    """Given tokens that were accepted and refused, when the policy is shown, then the last and the counts are."""
    tenure.register("p1")
    assert tenure.done("policy", "show", "p1", "--json").objects[0]["logins"] == {"succeeded": None, "refused": None}
    settle_all(app, login(app, "p1", owner=OWNER_ID, repository_id=REPOSITORY_ID))
    settle_all(app, refusal(app, "p1", "r-1", code="environment"))
    settle_all(app, refusal(app, "p1", "r-2", code="workflow_file", ref=HOSTILE, run_id=4711))
    (shown,) = tenure.done("policy", "show", "p1", "--json").objects
    assert (shown["logins"]["succeeded"]["count"], shown["logins"]["refused"]["count"]) == (1, 2)
    told = tenure.done("policy", "show", "p1")
    assert "\x1b" not in told.out
    rows = [row[1:] for row in told.rows if row[0] == "login"]
    assert [(row[0], row[1], row[2], row[5]) for row in rows] == [
        ("succeeded", "-", "1", "-"),
        ("refused", "workflow_file", "2", "4711"),
        ("by code", "workflow_file", "1", "-"),
        ("by code", "environment", "1", "-"),
    ]
    history = [row[3] for row in told.rows if row[0] == "history"]
    assert history == ["login.refused", "policy.activated", "login.succeeded", "policy.provisioned"]


def test_register_from_json(tenure: Tenure) -> None:
    data = {
        "policy_id": "p1",
        "name": "Release",
        "package_owner": {"account": "acme", "kind": "user"},
        "created_by": {"account": "alice"},
        "github": {
            "repository_owner": "octo",
            "repository_owner_id": str(OWNER_ID),
            "repository": "octo/widgets",
            "workflow_file": "release.yml",
        },
    }
    (view,) = tenure.done("policy", "register", "--from", "-", "--json", stdin="\ufeff" + json.dumps(data)).objects
    assert (view["repository_owner_id"], view["repository_id"]) == (OWNER_ID, None)

    path = tenure.directory / "policy.json"
    path.write_text(json.dumps({**data, "name": "Other"}))
    updated = tenure.done("policy", "register", "--from", str(path))
    assert updated.err.startswith("p1: updated; ")

    both = tenure("policy", "register", "--from", str(path), "--id", "p2")
    assert both.code == 2


def test_register_names_each_bad_field(tenure: Tenure) -> None:
    ended = tenure("policy", "register", "--id", "p1", "--owner-id", "canary", "--package-owner-kind", "robot")
    assert (ended.code, ended.out) == (2, "")
    assert {"--owner-id:", "--package-owner-kind:", "--name:", "--workflow:"} <= set(ended.err.split())
    assert "canary" not in ended.err

    ended = tenure("policy", "register", "--from", "-", stdin='{"policy_id": "p1", "github": {}}')
    assert ended.code == 2
    assert "github.repository_owner_id: Field required" in ended.err
    assert tenure("policy", "register", "--from", "/nowhere").code == 2
    assert tenure("policy", "list").code == 3


def test_hold_release_renew_remove(tenure: Tenure) -> None:
    tenure.register("p1")
    held = tenure.done("policy", "hold", "p1", "--reason", "incident 7")
    assert held.err == "p1: held; disabled (held_by_operator), may not publish\n"
    assert re.search(r"^Held by \S+@\S+: incident 7$", tenure.done("policy", "explain", "p1").out, re.MULTILINE)
    (released,) = tenure.done("policy", "release", "p1", "--reason", "over", "--json").objects
    assert (released["state"], released["usable"]) == ("provisional", True)
    before = released["usable_until"]
    (renewed,) = tenure.done("policy", "renew", "p1", "--reason", "asked for", "--json").objects
    assert renewed["usable_until"] > before
    tenure.done("policy", "remove", "p1", "--yes", "--reason", "gone")

    assert tenure("policy", "list").code == 3
    (shown,) = tenure.done("policy", "show", "p1", "--json").objects
    assert shown["view"]["state"] == "removed"
    changes = [entry["type"] for entry in reversed(shown["history"])]
    assert changes == [
        "policy.provisioned", "policy.disabled", "policy.reenabled", "policy.renewed", "policy.removed",
    ]  # fmt: skip
    assert {entry["cause"]["kind"] for entry in shown["history"]} == {"operator"}
    ended = tenure("policy", "hold", "p1", "--reason", "too late")
    assert (ended.code, ended.out) == (1, "")
    assert "final" in ended.err
    data = ["--name", "n", "--package-owner", "a", "--package-owner-kind", "user", "--created-by", "b", "--owner", "o"]
    data += ["--owner-id", "1", "--repository", "r", "--workflow", "w.yml"]
    ended = tenure("policy", "register", "--id", "p1", *data)
    assert ended.code == 1
    assert "was removed" in ended.err


@pytest.mark.parametrize("command", ["show", "explain", "hold", "remove"])
def test_an_unknown_policy(tenure: Tenure, command: str) -> None:
    more = {"show": (), "explain": (), "remove": ("--reason", "x", "--yes")}.get(command, ("--reason", "x"))
    ended = tenure("policy", command, "nobody", *more)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == "tenure: no policy has the id nobody\n"


def test_filters(tenure: Tenure) -> None:
    tenure.register("p1")
    tenure.register("p2", owner="other", owner_id="5", repository="tools", repository_id="6", package_owner="umbrella")
    tenure.done("policy", "hold", "p2", "--reason", "x")

    def ids(*options: str) -> list[str]:
        ended = tenure("policy", "list", *options)
        assert ended.code == (0 if ended.out else 3)
        return sorted(row[0] for row in ended.rows)

    assert ids("--owner", "OCTO") == ["p1"]
    assert ids("--owner", "5", "--repository", "6") == ["p2"]
    assert ids("--repository", "other/tools") == ["p2"]
    assert ids("--package-owner", "umbrella", "--state", "disabled", "--reason", "held_by_operator") == ["p2"]
    assert ids("--owner", "7") == []
    some = tenure.done("policy", "list", "--limit", "1")
    assert len(some.rows) == 1
    assert "--limit" in some.err


def test_an_owner_of_many_is_listed_whole(tenure: Tenure) -> None:
    github = {"repository_owner": "octo", "repository_owner_id": 8, "repository": "w", "workflow_file": "w.yml"}
    common = {"name": "n", "package_owner": {"account": "a", "kind": "user"}, "created_by": {"account": "b"}}
    lines = [json.dumps({"policy_id": f"p{n}", **common, "github": github}) for n in range(603)]
    tenure.done("policy", "import", "-", stdin="\n".join(lines))
    assert len(tenure.done("policy", "list", "--owner", "8", "--json").objects) == 603


def test_explain(tenure: Tenure, app: App) -> None:
    tenure.register("p1")
    told = tenure.done("policy", "explain", "p1").out
    assert "It is provisional: it may publish until" in told
    assert "remind its owner" in told
    (explained,) = tenure.done("policy", "explain", "p1", "--json").objects
    # A program is told when, not how far that is away.
    assert re.search(r"until [-0-9T:]+Z\.$", str(explained["sentence"]))

    archived(app)
    left(app)
    told = tenure.done("policy", "explain", "p1").out
    assert "repository_archived: the repository is archived, as github said with repository.archived at" in told
    assert "creator_left_organization" in told
    (explained,) = tenure.done("policy", "explain", "p1", "--json").objects
    assert explained["state"] == explained["published_state"] == "disabled"
    assert [reason["name"] for reason in explained["reasons"]] == ["repository_archived", "creator_left_organization"]
    assert all(reason["clears"] and reason["since"] for reason in explained["reasons"])
    assert explained["window"]["closes"] == explained["next"][-1]["at"]

    logged_in(app, "p1")
    (explained,) = tenure.done("policy", "explain", "p1", "--json").objects
    assert (explained["window"], explained["next"]) == (None, [])


def test_explain_proposes_what_all_logins_would_have_passed_as_one_command(tenure: Tenure, app: App) -> None:
    """Given releases from tags, when the policy is explained, then the command that is proposed makes it ask for them."""
    tenure.register("p1")
    assert "logins" not in tenure.done("policy", "explain", "p1").out
    for n in range(3):
        path = f"octo/widgets/.github/workflows/release.yml@refs/tags/v1.{n}"
        run = {"ref": f"refs/tags/v1.{n}", "caller": path, "called": path, "runner": "github-hosted"}
        told: dict[str, JSON] = dict(run)
        settle_all(app, login(app, "p1", f"l-{n}", owner=OWNER_ID, repository_id=REPOSITORY_ID, at=None, **told))
    (explained,) = tenure.done("policy", "explain", "p1", "--json").objects
    proposal = explained["proposal"]
    assert (proposal["logins"], proposal["untold"]) == (3, [])
    assert proposal["members"] == {
        "refs": ["refs/tags/v*"], "workflow_binds": "caller", "runner": "github-hosted",
    }  # fmt: skip
    told_so = tenure.done("policy", "explain", "p1").out
    assert "All logins of the last 90 days (3) would also pass if it asked for refs refs/tags/v*" in told_so
    command = next(line for line in told_so.splitlines() if line.startswith("To ask for that: "))
    printf, _, written, *rest = shlex.split(command.removeprefix("To ask for that: "))
    assert (printf, rest) == ("printf", ["|", "tenure", "policy", "register", "--from", "-"])
    assert json.loads(written) == proposal["data"]
    (view,) = tenure.done(*rest[2:], "--json", stdin=written).objects
    assert (view["refs"], view["workflow_binds"], view["runner"]) == (["refs/tags/v*"], "caller", "github-hosted")
    assert "share nothing that it could ask for" in tenure.done("policy", "explain", "p1").out


def test_explain_proposes_nothing_of_logins_that_it_does_not_know_well(tenure: Tenure, app: App) -> None:
    tenure.register("p1")
    logged_in(app, "p1")
    assert "some logins are from before Tenure kept what they were like" in tenure.done("policy", "explain", "p1").out
    tenure.register("p2")
    settle_all(app, login(app, "p2", owner=OWNER_ID, repository_id=REPOSITORY_ID))
    assert (
        "The exchange does not tell ref, caller, called, runner of every login."
        in tenure.done("policy", "explain", "p2").out
    )
    tenure.register("p3")
    many = [
        login(app, "p3", f"l3-{n}", owner=OWNER_ID, repository_id=REPOSITORY_ID, ref=f"refs/heads/b{n}") for n in range(70)
    ]  # fmt: skip
    settle_all(app, *many)
    assert "its logins differ too much to be kept apart" in tenure.done("policy", "explain", "p3").out
    found = app.logins.of(app.policies.load(["p3"])["p3"].read("p3")).succeeded  # type: ignore[arg-type]
    assert found is not None
    assert (found.every.times, len(found.named)) == (70, 64)
    tenure.done("policy", "remove", "p3", "--reason", "over", "--yes")
    assert "logins" not in tenure.done("policy", "explain", "p3").out


def test_explain_says_that_the_clock_is_behind(tenure: Tenure) -> None:
    tenure.register("p1")
    # A window of a tenth of a millisecond: it is over before any command has begun.
    told = tenure.done("policy", "explain", "p1", TENURE_PROVISIONAL_DAYS="0.000000001")
    assert "It is expired" in told.out
    assert "still says provisional" in told.out


def test_hostile_names_are_shown_as_text(tenure: Tenure) -> None:
    tenure.register("p1", name=HOSTILE, package_owner="[bold]\x1b[2J")
    commands = (["policy", "list"], ["policy", "show", "p1"], ["policy", "explain", "p1"], ["changes"])
    for command in commands:
        plain = tenure.done(*command).out
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(plain)
    shown = tenure.done("policy", "show", "p1")
    assert ["view", "name", "\ufffd]0;owned\ufffd\ufffd[31m[red]rot[/red]\ufffdx\ufffd\ufffd2J"] in shown.rows
    (view,) = tenure.done("policy", "list", "--json").objects
    assert view["name"] == HOSTILE
    assert tenure.done("policy", "show", "p1", "--json").out.isascii()

    code, sent = tenure.on_terminal("policy", "list")
    assert code == 0
    assert "USABLE UNTIL" in sent
    assert "[bold]\ufffd[2J" in sent
    _, sent = tenure.on_terminal("policy", "show", "p1")
    assert "\x1b]0;" not in sent
    assert "[red]rot[/red]" in sent


def test_removing_asks_on_a_terminal(tenure: Tenure) -> None:
    tenure.register("p1")
    code, sent = tenure.on_terminal("policy", "remove", "p1", "--reason", "x", answer=b"n\n")
    assert code == 1
    assert "Remove p1 for good?" in sent
    assert len(tenure.done("policy", "list").rows) == 1
    code, _ = tenure.on_terminal("policy", "remove", "p1", "--reason", "x", answer=b"y\n")
    assert code == 0
    assert tenure("policy", "list").code == 3
