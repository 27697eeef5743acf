"""Written, and therefore read: what the answer to an event tells of is in every answer that asks for it."""

from __future__ import annotations

import pytest

from tenure_reader import Reader
from tests.conftest import Processes
from tests.web.site import OPERATOR, Site
from tests.web.test_events import REGISTERED, cloud_event
from tests.web.test_waiting import send

HEADERS = {"Authorization": f"Bearer {OPERATOR}"}
GITHUB = {
    "repository_owner": "octo", "repository_owner_id": 7, "repository": "widgets", "repository_id": 11,
    "visibility": "public", "workflow_file": "release.yml",
}  # fmt: skip
CLAIMS = {
    "repository_owner": "octo", "repository_owner_id": "7", "repository": "octo/widgets", "repository_id": "11",
    "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main", "event_name": "push",
}  # fmt: skip


@pytest.mark.processes
def test_what_an_answer_tells_of_is_read_at_once(site: Site, processes: Processes) -> None:
    """Given a worker process, when a registry writes and waits, then whoever asks for the revisions it is told has them."""
    processes.worker(site.app)
    reader = Reader.connect(site.store.url)
    for n in range(1, 9):
        data = {**REGISTERED, "policy_id": "p-1", "name": f"name {n}", "github": GITHUB}
        (event,) = send(site, cloud_event("policy.updated", id=f"u-{n}", data=data), 30).json()["events"]
        told = {change["policy_id"]: change["revision"] for change in event["revisions"]}
        assert told == {"p-1": n}
        shown = site.http.get(f"/policies/p-1?at_least={n}", headers=HEADERS).json()
        assert (shown["revision"], shown["view"]["name"]) == (n, f"name {n}")
        asked = {"claims": CLAIMS, "at_least": told}
        assert site.http.post("/evaluate", json=asked, headers=HEADERS).json()["matched"]
        assert reader.evaluate(CLAIMS, at_least=told, wait=0).allowed
    (event,) = send(site, cloud_event("policy.removed", id="gone", data={"policy_id": "p-1"}), 30).json()["events"]
    told = {change["policy_id"]: change["revision"] for change in event["revisions"]}
    assert told == {"p-1": 9}
    assert not site.http.post("/evaluate", json={"claims": CLAIMS, "at_least": told}, headers=HEADERS).json()["matched"]
    assert not reader.evaluate(CLAIMS, at_least=told, wait=0).allowed
    reader.close()
