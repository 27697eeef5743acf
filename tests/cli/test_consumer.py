"""`tenure consumer`: who follows the feed by name, and what the doctor says of those that do not keep up."""

from __future__ import annotations

import json

from tests.cli.running import Tenure, alive, archived
from worker.app import App
from worker.lifecycle.facts import HOUR
from worker.store.client import Command
from worker.store.sessions import TokenRole


def follow(app: App, name: str = "keys") -> None:
    app.consumers.acknowledge(name, TokenRole.READER, "sam", cursor=app.feed.end(), now=app.status.now())


def of_doctor(tenure: Tenure) -> dict[str, str]:
    (finding,) = (found for found in tenure("doctor", "--json").objects if found["check"] == "consumers")
    return {name: str(value) for name, value in finding.items()}


def test_nobody_follows_by_name(tenure: Tenure) -> None:
    assert tenure("consumer", "list").code == 3
    assert tenure("consumer", "forget", "keys", "--reason", "x").code == 3
    assert of_doctor(tenure)["level"] == "ok"


def test_consumers_are_listed_with_how_far_they_are_behind(tenure: Tenure, app: App) -> None:
    follow(app)
    tenure.register("pol-1")
    archived(app)
    follow(app, "other")
    keys, other = tenure.done("consumer", "list", "--json").objects
    assert (keys["consumer"], keys["token"], keys["role"], keys["changes_left"], keys["gone"]) == (
        "keys", "sam", "reader", 2, False,
    )  # fmt: skip
    assert keys["behind_seconds"] > 0
    assert (other["consumer"], other["changes_left"], other["behind_seconds"]) == ("other", 0, 0)
    assert [row[:3] for row in tenure.done("consumer", "list").rows] == [
        ["keys", "reader sam", "2"], ["other", "reader sam", "0"],
    ]  # fmt: skip


def test_a_consumer_is_forgotten_and_the_audit_trail_says_so(tenure: Tenure, app: App) -> None:
    follow(app)
    assert tenure("consumer", "forget", "keys").code == 2
    tenure.done("consumer", "forget", "keys", "--reason", "moved to the mirror")
    assert app.consumers.all() == []
    (entry,) = tenure.done("audit", "--json").objects
    assert (entry["action"], entry["subjects"], entry["reason"]) == (
        "consumer.forgotten", ["keys"], "moved to the mirror",
    )  # fmt: skip


def test_the_doctor_names_who_does_not_keep_up(tenure: Tenure, app: App) -> None:
    alive(app, "worker", "scheduler")
    key = app.keyspace.all()[3].changes
    follow(app)
    long_ago = (app.status.now() - HOUR) // 1000
    app.client.one(Command(("XADD", key, f"{long_ago}-0", "event", json.dumps({}))))
    late = of_doctor(tenure)
    assert (late["level"], "keys" in late["finding"]) == ("warning", True)
    assert str(late["runbook"]).endswith("/console/runbooks/consumers")
    app.client.one(Command(("XTRIM", key, "MAXLEN", 0)))
    gone = of_doctor(tenure)
    assert (gone["level"], "keys" in gone["finding"]) == ("problem", True)
