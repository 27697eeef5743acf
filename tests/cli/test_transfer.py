"""Policies move from one store to another and stand where they stood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.running import OWNER_ID, REPOSITORY_ID, Tenure, archived, happens, left, logged_in
from tests.engines import plain_client
from worker.app import App
from worker.lifecycle.facts import SECOND
from worker.local.valkey import EmbeddedStore

PLAIN: dict[str, Any] = {
    "name": "Release",
    "package_owner": {"account": "acme", "kind": "organization"},
    "created_by": {"account": "alice", "github_user_id": 77},
    "github": {
        "repository_owner": "octo",
        "repository_owner_id": OWNER_ID,
        "repository": "widgets",
        "repository_id": str(REPOSITORY_ID),
        "visibility": "private",
        "workflow_file": "release.yml",
    },
}


def lines(*objects: object) -> str:
    return "".join(json.dumps(each) + "\n" for each in objects)


def emptied(store: EmbeddedStore) -> None:
    with plain_client(store.url) as plain:
        plain.flushall()


def stored(store: EmbeddedStore) -> dict[bytes, bytes]:
    """Every record of a policy, with its revision and its edition."""
    with plain_client(store.url) as plain:
        return {key: plain.get(key) for key in plain.scan_iter("tenure:{p*}:policy:*")}


def views(app: App, *policy_ids: str) -> dict[str, dict[str, object]]:
    """What was published, without what a new store counts and dates anew."""
    found = {}
    for policy_id, located in app.policies.load(policy_ids).items():
        assert located.policy is not None
        assert located.policy.view is not None
        found[policy_id] = {k: v for k, v in located.policy.view.items() if k not in ("revision", "updated_at")}
    return found


def a_life(tenure: Tenure, app: App) -> list[str]:
    """One policy in each state, with facts of its own, of its owner and of accounts."""
    ids = ["permanent", "provisional", "held", "unbound", "removed", "moved"]
    moved = {**PLAIN["github"], "repository": "old", "repository_id": 5}
    unbound = {k: v for k, v in PLAIN["github"].items() if k != "repository_id"}
    policies: list[dict[str, object]] = [{"policy_id": policy_id, **PLAIN} for policy_id in ids]
    policies[3]["github"] = {**unbound, "repository": "unknown", "environment": "production"}
    policies[5]["github"] = moved
    tenure.done("policy", "import", "-", stdin=lines(*policies))
    elsewhere = {**PLAIN["github"], "repository": "new", "repository_id": 6}
    happens(app, "operator", "policy.registered", {"policy_id": "moved", **PLAIN, "github": elsewhere})
    logged_in(app, "permanent")
    archived(app, repository_id=6)
    happens(app, "registry", "account.locked", {"account": "acme"})
    happens(app, "github", "installation.suspend", {"installation": {"account": {"id": OWNER_ID, "login": "octo"}}})
    left(app)
    happens(app, "operator", "policy.held", {"policy_id": "held"})
    happens(app, "operator", "policy.removed", {"policy_id": "removed"})
    return ids


def test_a_round_trip_restores_every_standing(tenure: Tenure, app: App, store: EmbeddedStore) -> None:
    ids = a_life(tenure, app)
    before = views(app, *ids)
    assert {view["state"] for view in before.values()} == {"disabled", "removed"}
    path = tenure.directory / "all.jsonl"
    exported = tenure.done("policy", "export", str(path))
    assert (exported.out, exported.err) == ("", f"exported {len(ids)} policies\n")
    assert not Path(f"{path}.part").exists()
    text = path.read_text()
    assert text.isascii()

    emptied(store)
    imported = tenure.done("policy", "import", str(path))
    assert imported.err == f"imported {len(ids)} lines: {len(ids)} new, 0 updated, 0 unchanged\n"
    assert views(app, *ids) == before

    # What comes later meets the same facts as it would have in the old store.
    happens(app, "registry", "account.unlocked", {"account": "acme"})
    added = {"action": "member_added", "organization": {"id": OWNER_ID}, "membership": {"user": {"id": 77}}}
    happens(app, "github", "organization.member_added", added)
    states = {policy_id: view["state"] for policy_id, view in views(app, *ids).items()}
    assert states == {
        "permanent": "active", "provisional": "provisional", "held": "disabled", "unbound": "provisional",
        "removed": "removed", "moved": "disabled",
    }  # fmt: skip
    assert views(app, "permanent")["permanent"]["reasons"] == []


def test_importing_twice_changes_nothing(tenure: Tenure, app: App, store: EmbeddedStore) -> None:
    ids = a_life(tenure, app)
    text = tenure.done("policy", "export").out
    before = stored(store)
    again = tenure.done("policy", "import", "-", stdin=text)
    assert f"{len(ids)} unchanged" in again.err
    assert stored(store) == before

    emptied(store)
    tenure.done("policy", "import", "-", stdin=text)
    before = stored(store)
    tenure.done("policy", "import", "-", stdin=text)
    assert stored(store) == before
    assert len(before) == len(ids)


def test_a_fact_of_many_is_brought_once(tenure: Tenure, app: App, store: EmbeddedStore) -> None:
    """Given an owner of more policies than one event settles at once, an import that was cut short needs no worker."""
    tenure.done("policy", "import", "-", stdin=lines(*({"policy_id": f"p{n}", **PLAIN} for n in range(120))))
    happens(app, "registry", "account.locked", {"account": "acme"})
    text = tenure.done("policy", "export").out
    emptied(store)
    tenure.done("policy", "import", "-", stdin="".join(text.splitlines(keepends=True)[:110]))
    finished = tenure.done("policy", "import", "-", stdin=text)
    assert finished.err == "imported 120 lines: 10 new, 0 updated, 110 unchanged\n"
    found = views(app, *(f"p{n}" for n in range(120)))
    assert all(view["reasons"] == ["package_owner_locked"] for view in found.values())


def test_a_line_gives_nothing_to_other_policies(tenure: Tenure, app: App) -> None:
    """Given a line that names another policy's owner, repository and creator, and says that he is a member again."""
    tenure.done("policy", "import", "-", stdin=lines({"policy_id": "theirs", **PLAIN}))
    left(app)
    closed = views(app, "theirs")
    assert closed["theirs"]["usable"] is False
    written = tenure.done("policy", "export").out
    line = json.loads(written.replace("policy:theirs", "policy:forged").replace('"theirs"', '"forged"'))
    at = max(fact[1] for fact in line["facts"]) + 60 * SECOND
    line["facts"].append([False, at, f"member:{OWNER_ID}:77", "left", "proof", "github", "d", "members"])

    assert "1 new" in tenure.done("policy", "import", "-", stdin=lines(line)).err
    assert views(app, "forged")["forged"]["usable"] is True
    assert views(app, "theirs") == closed
    tenure.done("policy", "import", "-", stdin=lines({"policy_id": "later", **PLAIN}))
    assert views(app, "later")["later"]["reasons"] == closed["theirs"]["reasons"]


def test_plain_lines(tenure: Tenure, app: App, store: EmbeddedStore) -> None:
    text = lines(
        {"policy_id": "now", **PLAIN},
        {"policy_id": "then", **PLAIN, "time": "2020-01-31T12:00:00+01:00"},
        {"policy_id": "now", **PLAIN, "name": "Later"},
    )
    imported = tenure.done("policy", "import", "-", stdin=f"\ufeff\n{text}\n")
    assert imported.err == "imported 3 lines: 2 new, 1 updated, 0 unchanged\n"
    found = views(app, "now", "then")
    assert (found["now"]["state"], found["now"]["name"]) == ("provisional", "Later")
    assert found["then"]["state"] == "expired"

    before = stored(store)
    text = lines(
        {"policy_id": "then", **PLAIN, "time": "2020-01-31T11:00:00Z"}, {"policy_id": "now", **PLAIN, "name": "Later"}
    )
    tenure.done("policy", "import", "-", stdin=text)
    assert stored(store) == before


def test_every_bad_line_is_named_and_nothing_is_imported(tenure: Tenure) -> None:
    good = {"policy_id": "good", **PLAIN}
    fact = [True, 1, "policy:p", "held", "proof", "operator", "id", "policy.held"]
    registration = [json.dumps(["n", "a", "user", "c", None, "o", 1, "r", None, None, "w", None]), 1, "policy:p"]
    registered = [*registration, "registration", "proof", "operator", "id", "policy.registered"]
    text = lines(
        good,
        {"policy_id": "p", **PLAIN, "github": {**PLAIN["github"], "repository_owner_id": "canary"}},
        {"policy_id": "p", **PLAIN, "time": "2200-01-01T00:00:00Z"},
        {"policy_id": "p", "facts": []},
        {"policy_id": "p", "facts": [registered, [*fact[:2], "policy:other", *fact[3:]]]},
        {"policy_id": "p", "facts": [registered, [True, "1", *fact[2:]]]},
        {"policy_id": "p", "facts": [registered, [True, 1, "owner:x", *fact[3:]]]},
        {"policy_id": "p", "facts": [["canary", *registered[1:]]]},
        {"policy_id": "p", "facts": [registered, ["1:x", 1, "policy:p", "login", *fact[4:]]]},
        {"policy_id": "p", "facts": [registered, [True, 1, *fact[2:4], "rumour", *fact[5:]]]},
        {"policy_id": "p", "facts": [registered, [1.5, *fact[1:]]]},
    )
    ended = tenure("policy", "import", "-", stdin=text + "not JSON\n[]\n\n")
    assert (ended.code, ended.out) == (1, "")
    named = dict(line.split(": ", 1) for line in ended.err.splitlines())
    assert named.pop("tenure").startswith("12 of 13 lines are bad; nothing was imported")
    assert {line: told.split(":")[0] for line, told in named.items()} == {
        "line 2": "github.repository_owner_id",
        "line 3": "time",
        "line 4": "the object",
        "line 5": "the object",
        "line 6": "facts.1.1",
        "line 7": "facts.1.2",
        "line 8": "the object",
        "line 9": "the object",
        "line 10": "facts.1.4",
        "line 11": "facts.1.0.bool",
        "line 12": "not JSON",
        "line 13": "the object",
    }
    assert "canary" not in ended.err
    assert tenure("policy", "list").code == 3

    part = tenure("policy", "import", "-", "--skip-bad", stdin=text)
    assert part.code == 4
    assert part.err.endswith("imported 11 lines: 1 new, 0 updated, 0 unchanged, 10 bad\n")
    assert [row[0] for row in tenure.done("policy", "list").rows] == ["good"]


def test_a_removed_policy_is_not_brought_back(tenure: Tenure) -> None:
    one, two = {"policy_id": "one", **PLAIN}, {"policy_id": "two", **PLAIN}
    tenure.done("policy", "import", "-", stdin=lines(one))
    tenure.done("policy", "remove", "one", "--yes", "--reason", "x")
    ended = tenure("policy", "import", "-", stdin=lines({**one, "name": "Other"}, two))
    assert ended.code == 4
    assert "line 1: policy_id: was removed" in ended.err
    assert tenure("policy", "import", "-", stdin=lines({**one, "name": "Other"})).code == 1


def test_files_that_are_not_there(tenure: Tenure) -> None:
    assert tenure("policy", "import", "/nowhere/all.jsonl").code == 1
    ended = tenure("policy", "export", "/nowhere/all.jsonl")
    assert ended.code == 1
    assert "cannot write /nowhere/all.jsonl" in ended.err
