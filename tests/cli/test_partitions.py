"""`tenure partitions`: looked at, refused, done, and nothing left to do."""

from __future__ import annotations

from tests.cli.running import Tenure, alive
from tests.store.making import registration, settle_all
from worker.app import App
from worker.cli.session import Exit
from worker.store import keys


def test_it_is_shown_refused_done_and_done_no_second_time(tenure: Tenure, app: App) -> None:
    settle_all(app, registration(app, "pol-1"))
    assert tenure.done("partitions").rows == [
        ["partitions  16"],
        ["policies    1"],
        ["waiting     0"],
        ["dead        0"],
    ]
    alive(app, "worker")
    ended = tenure("partitions", "5", "--apply", "--reason", "to see")
    assert (ended.code, "processes are alive (here:1)" in ended.err) == (1, True)
    assert "end all processes and the API (here:1 live)" in tenure.done("partitions", "5").err
    app.client.redis.delete(keys.alive("worker"))
    assert tenure("partitions", "5", "--apply").code == 2
    done = tenure.done("partitions", "5", "--apply", "--reason", "to see")
    assert "copied: 1 policies. Set TENURE_PARTITIONS=5" in done.err
    try:
        refused = tenure("policy", "list")
        assert (refused.code, "but this store has 5" in refused.err) == (Exit.USAGE, True)
        assert len(tenure.done("policy", "list", TENURE_PARTITIONS="5").rows) == 1
        assert tenure.done("audit", TENURE_PARTITIONS="5").out.count("partitions.changed") == 1
        assert tenure("partitions", "5", "--apply", "--reason", "again").code == 3
    finally:
        tenure.done("partitions", "16", "--apply", "--reason", "back")
