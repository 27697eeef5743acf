"""Having GitHub asked, from the console of an installation that can."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.calling import Caller
from tests.console.scene import scene
from tests.web.site import Site, site_on
from worker.local.valkey import EmbeddedStore, free_port

ASKED = "Has GitHub asked now about its repository and its creator."


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Site]:
    """A site whose settings have GitHub credentials; nobody uses them here."""
    with (
        EmbeddedStore(tmp_path / "store", port=free_port()) as store,
        site_on(store, tmp_path / "data", github_app_id="1") as site,
    ):
        yield site


def test_a_recheck_waits_for_whoever_asks_github(asking: Site) -> None:
    scene(asking)
    for wanted in asking.app.checks.due(asking.app.status.now()):
        for check in asking.app.checks.take(wanted, "test", asking.app.status.now(), 10):
            asking.app.checks.finish(check, answered=check.scopes, earliest=0, failed=False)
    caller = Caller(f"http://127.0.0.1:{asking.port}").logged_in()
    assert ASKED in caller.get("/console/policy?id=widgets-release").text
    form = {"act": "recheck", "id": "widgets-release", "reason": "asked for", "request_id": str(uuid.uuid4())}
    for _ in range(2):  # A form that is sent twice is one act.
        assert caller.post("/console/policy", form).status_code == 303
    assert asking.app.checks.waiting() == 1
    acts = [(entry.action, entry.reason) for entry in asking.app.audit.newest(10)]
    assert acts == [("policy.rechecked", "asked for")]
    overview = caller.get("/").text
    assert "waits for a check" in overview
    assert "not every owner yet" in overview
    caller.http.close()


def test_where_nobody_can_be_asked_there_is_no_such_act(site: Site) -> None:
    scene(site)
    caller = Caller(f"http://127.0.0.1:{site.port}").logged_in()
    assert ASKED not in caller.get("/console/policy?id=widgets-release").text
    form = {"act": "recheck", "id": "widgets-release", "reason": "asked for", "request_id": str(uuid.uuid4())}
    assert caller.post("/console/policy", form).status_code == 409
    caller.http.close()
