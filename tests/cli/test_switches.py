"""`tenure hold` and `tenure release`: a look at whom a switch is over, and then the switch."""

from __future__ import annotations

import pytest

from tenure_reader.matching import Matching
from tests.cli.running import OWNER_ID, REPOSITORY_ID, Tenure
from worker.app import App
from worker.store.placement import publish


def test_a_look_does_nothing_and_the_act_holds(tenure: Tenure, app: App) -> None:
    """Given two policies, when their owner is held and released, then first it is shown whom that concerns, and all tell of it."""
    tenure.register("pol-1")
    tenure.register("pol-2")
    looked = tenure.done("hold", "--owner", str(OWNER_ID), "--json").objects
    assert looked == [{"scope": f"owner:{OWNER_ID}", "policies": 2, "held": False, "first": ["pol-1", "pol-2"]}]
    assert app.switches.all() == []
    ended = tenure.done("hold", "--owner", str(OWNER_ID), "--apply", "--reason", "a stolen token")
    assert [row[0] for row in ended.rows] == ["pol-1", "pol-2"]
    assert "held; 2 policies" in ended.err
    (switch,) = tenure.done("hold", "--json").objects
    assert (switch["scope"], switch["reason"]) == (f"owner:{OWNER_ID}", "a stolen token")
    (shown,) = tenure.done("policy", "show", "pol-1", "--json").objects
    assert shown["switches"] == [switch]
    assert shown["view"]["state"] == "provisional"
    assert any(
        row[1:2] == ["held"] and "a stolen token" in row[2] for row in tenure.done("policy", "show", "pol-1").rows
    )
    assert f"owner:{OWNER_ID} is held by" in tenure.done("policy", "explain", "pol-1").out
    assert tenure.done("policy", "explain", "pol-1", "--json").objects[0]["switches"] == [switch]
    again = tenure("hold", "--owner", str(OWNER_ID), "--apply", "--reason", "twice")
    assert (again.code, "is held already" in again.err) == (1, True)
    assert tenure.done("release", "--owner", str(OWNER_ID), "--json").objects[0]["released"] is False
    assert tenure.done("release", "--owner", str(OWNER_ID), "--apply", "--reason", "rotated", "--json").objects[0][
        "released"
    ]
    assert tenure("hold").code == 3
    assert tenure("release", "--owner", str(OWNER_ID)).code == 3
    acts = [(entry["action"], entry["subjects"], entry["reason"]) for entry in tenure.done("audit", "--json").objects]
    assert acts[-2:] == [
        ("switch.closed", [f"owner:{OWNER_ID}"], "a stolen token"), ("switch.opened", [f"owner:{OWNER_ID}"], "rotated"),
    ]  # fmt: skip
    told = [row[1:3] for row in tenure.done("changes").rows]
    assert told[-2:] == [["switch.closed", f"owner:{OWNER_ID}"], ["switch.opened", f"owner:{OWNER_ID}"]]


@pytest.mark.parametrize(("arguments", "count"), [
    (("--all",), 2),
    (("--issuer", "github"), 2),
    (("--repository", f"{OWNER_ID}:{REPOSITORY_ID}"), 2),
    (("--creator", "alice"), 2),
    (("--package-owner", "acme"), 2),
    (("--package-owner", "alice"), 0),
    (("--owner", "42"), 0),
])  # fmt: skip
def test_every_scope_finds_its_policies(tenure: Tenure, arguments: tuple[str, ...], count: int) -> None:
    tenure.register("pol-1")
    tenure.register("pol-2")
    ended = tenure("hold", *arguments, "--json")
    assert (ended.code, ended.objects[0]["policies"]) == (0 if count else 3, count)


@pytest.mark.parametrize("arguments", [
    ("--all", "--owner", "1"), ("--owner", "octo"), ("--repository", "1"), ("--issuer", "ghe"), ("--creator", " "),
    ("--creator", "a\tb"), ("--all", "--apply"), ("--owner", str(2**63)), ("--all", "--apply", "--reason", "x" * 501),
])  # fmt: skip
def test_what_is_no_scope_is_wrong_usage(tenure: Tenure, arguments: tuple[str, ...]) -> None:
    assert tenure("hold", *arguments).code == 2


def test_a_release_leaves_what_is_held_by_itself(tenure: Tenure) -> None:
    tenure.register("pol-1")
    tenure.done("policy", "hold", "pol-1", "--reason", "by itself")
    tenure.done("hold", "--all", "--apply", "--reason", "everything")
    tenure.done("release", "--all", "--apply", "--reason", "over")
    (shown,) = tenure.done("policy", "show", "pol-1", "--json").objects
    assert (shown["view"]["reasons"], shown["switches"]) == (["held_by_operator"], [])
    assert tenure("release").code == 2


def test_the_doctor_tells_of_switches_and_of_settings_that_readers_do_not_have(tenure: Tenure, app: App) -> None:
    tenure.done("hold", "--all", "--apply", "--reason", "everything")
    publish(app.client, app.keyspace, Matching(workflow_binds="caller"), app.status.now(), only_new=False)
    found = {finding["check"]: finding for finding in tenure("doctor", "--json").objects}
    assert (found["switches"]["level"], "everything" in found["switches"]["finding"]) == ("warning", True)
    assert found["matching"]["level"] == "warning"
    assert "workflow_binds is caller there and job here" in found["matching"]["finding"]
    app.client.redis.hset(app.keyspace.all()[0].settings, "workflow_binds", "neither")
    found = {finding["check"]: finding for finding in tenure("doctor", "--json").objects}
    assert found["matching"]["level"] == "problem"
