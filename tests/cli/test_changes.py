"""The change feed, as it is and as it grows."""

from __future__ import annotations

import json
import signal

from tests.cli.running import Tenure
from worker.app import App


def test_nothing_was_published(tenure: Tenure) -> None:
    ended = tenure("changes")
    assert (ended.code, ended.out) == (3, "")
    assert "nothing was published since" in ended.err


def test_what_was_published(tenure: Tenure) -> None:
    tenure.register("p1")
    tenure.done("policy", "hold", "p1", "--reason", "x")
    rows = tenure.done("changes", "--since", "10m").rows
    assert [row[1:5] for row in rows] == [
        ["policy.provisioned", "p1", "provisional", "-"],
        ["policy.disabled", "p1", "disabled", "held_by_operator"],
    ]
    assert rows[1][5].startswith("operator policy.held ")
    events = tenure.done("changes", "--json", "--since", rows[1][0]).objects
    assert [event["id"] for event in events] == ["p1:2"]
    assert events[0]["specversion"] == "1.0"
    assert tenure("changes", "--since", "2999-01-01T00:00:00Z").code == 3


def test_following(tenure: Tenure) -> None:
    tenure.register("p1")
    process = tenure.start("changes", "--follow", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["id"] == "p1:1"
    tenure.register("p2", owner_id="5")
    tenure.done("policy", "hold", "p1", "--reason", "x")
    assert [json.loads(process.stdout.readline())["id"] for _ in range(2)] == ["p2:1", "p1:2"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


def test_following_ends_where_the_feed_does_not_go_on(tenure: Tenure, app: App) -> None:
    """Given a follower, when another store answers than before, then it says so, and does not go on as if nothing were."""
    tenure.register("p1")
    process = tenure.start("changes", "--follow", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["id"] == "p1:1"
    app.client.redis.flushall()
    app.client.redis.set("tenure:partitions", app.keyspace.partitions)
    tenure.register("p2")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, "does not go on" in err) == (1, "", True)
