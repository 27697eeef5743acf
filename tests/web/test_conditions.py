"""From `POST /events` to `POST /evaluate`: what a policy asks of a token, told over HTTP and kept by everybody who decides."""

from __future__ import annotations

from contextlib import closing

import pytest

from tenure_reader import Mirror, Reader
from tenure_reader.grants import Conditions
from tests.docs.test_schemas import validator
from tests.engines import plain_client
from tests.reader.first_version import FirstMirror, found
from tests.web.site import OPERATOR, Site, until
from tests.web.test_events import REGISTERED, cloud_event, in_
from tests.web.test_reads import GITHUB, HEADERS, failed

A, B = "a" * 40, "b" * 40
TAG = "refs/tags/v1.0"
OWN = "octo/widgets/.github/workflows"
SHARED = "labs/shared/.github/workflows/publish.yml"
CLAIMS: dict[str, object] = {
    "repository_owner": "octo", "repository_owner_id": "7", "repository": "octo/widgets", "repository_id": "11",
    "job_workflow_ref": f"{SHARED}@refs/tags/v3", "job_workflow_sha": B, "workflow_ref": f"{OWN}/release.yml@{TAG}",
    "workflow_sha": A, "ref": TAG, "ref_protected": "true", "runner_environment": "github-hosted", "event_name": "push",
    "environment": "production",
}  # fmt: skip
ASKED: dict[str, object] = {
    "refs": ["refs/heads/main", "refs/tags/v*"], "ref_protected": True, "workflow_binds": "caller",
    "called_workflow": f"{SHARED}@refs/tags/v*", "runner": "github-hosted", "events": ["push", "release"],
}  # fmt: skip
OF_PACKAGES: dict[str, object] = {"packages": ["Acme.*"], "actions": ["publish"]}


def send(site: Site, number: int, asked: dict[str, object], of_packages: dict[str, object]) -> None:
    data = {**REGISTERED, "policy_id": "p-1", "github": {**GITHUB, **asked}, **of_packages}
    event = cloud_event("policy.registered", id=f"r-{number}", data=data, time=in_(number - 60))
    assert site.send(event).status_code == 202
    site.settle()


def evaluate(site: Site, claims: dict[str, object], **more: object) -> dict[str, object]:
    response = site.http.post("/evaluate", json={"claims": claims, **more}, headers=HEADERS)
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


def view(site: Site) -> dict[str, object]:
    response = site.http.get("/policies/p-1", headers={"Authorization": f"Bearer {OPERATOR}"})
    found: dict[str, object] = response.json()["view"]
    return found


def test_what_is_registered_is_in_the_view_and_kept(site: Site) -> None:
    send(site, 0, ASKED, OF_PACKAGES)
    shown = view(site)
    assert {name: shown[name] for name in Conditions.__annotations__ if name in shown} == {**ASKED, **OF_PACKAGES}
    validator("view.json").validate(shown)
    answer = evaluate(site, CLAIMS)
    assert answer["matched"]
    assert answer["granted"] == [{"policy_id": "p-1", **OF_PACKAGES}]
    for more in ({"package": "acme.core"}, {"action": "publish"}, {"package": "ACME.x", "action": "publish"}):
        assert evaluate(site, CLAIMS, **more)["matched"]
    for changed, more, stage in (
        ({"ref": "refs/heads/snapshot-7", "event_name": "workflow_dispatch"}, {}, "refs"),
        ({"ref": "refs/pull/7/merge", "event_name": "pull_request"}, {}, "refs"),
        ({"ref_protected": "false"}, {}, "ref_protected"),
        ({"workflow_ref": f"{OWN}/ci.yml@{TAG}"}, {}, "workflow_file"),
        ({"job_workflow_ref": f"{SHARED}@refs/heads/evil"}, {}, "called_workflow"),
        ({"job_workflow_ref": f"{OWN}/other.yml@{TAG}"}, {}, "called_workflow"),
        ({"runner_environment": "self-hosted"}, {}, "runner"),
        ({"event_name": "schedule"}, {}, "events"),
        ({}, {"package": "other"}, "packages"),
        ({}, {"package": "acme.core", "action": "yank"}, "actions"),
    ):
        answer = evaluate(site, {**CLAIMS, **changed}, **more)
        assert (answer["matched"], answer["granted"]) == (False, [])
        assert failed(answer) == [("p-1", stage)], changed


def test_a_reader_of_the_first_version_finds_it_closed_until_nothing_is_asked(site: Site) -> None:
    plain = {**CLAIMS, "job_workflow_ref": f"{OWN}/release.yml@{TAG}", "job_workflow_sha": A}
    with closing(plain_client(site.app.settings.store_url())) as redis:
        send(site, 0, {}, {})
        assert len(found(redis, 7, 11, "widgets")) == 1
        mirror = FirstMirror(redis)
        assert mirror.lets("p-1", site.app.status.now())
        assert not set(view(site)) & set(Conditions.__annotations__)
        for number, (name, value) in enumerate({**ASKED, "workflow_binds": "job", **OF_PACKAGES}.items(), 1):
            asked = {name: value}
            send(site, number, {} if name in OF_PACKAGES else asked, asked if name in OF_PACKAGES else {})
            mirror.follow()
            assert found(redis, 7, 11, "widgets") == [], name
            assert not mirror.lets("p-1", site.app.status.now()), name
            assert evaluate(site, plain)["matched"], name
        send(site, 20, {}, {})
        mirror.follow()
        assert len(found(redis, 7, 11, "widgets")) == 1
        assert mirror.lets("p-1", site.app.status.now())


def test_mirror_and_reader_decide_as_the_door_does(site: Site) -> None:
    send(site, 0, ASKED, OF_PACKAGES)
    url = site.app.settings.store_url()
    with Mirror(url) as mirror, closing(Reader.connect(url)) as reader:
        assert mirror.wait(20)
        for evaluator in (mirror, reader):
            assert evaluator.evaluate(CLAIMS).allowed
            assert evaluator.evaluate(CLAIMS, package="acme.core", action="publish").allowed
            assert not evaluator.evaluate(CLAIMS, package="other").allowed
            assert not evaluator.evaluate(CLAIMS, action="yank").allowed
            assert not evaluator.evaluate({**CLAIMS, "ref": "refs/heads/x"}).allowed
        # What the feed tells of it is kept as well.
        send(site, 1, {"refs": ["refs/heads/main"]}, {})
        plain = {**CLAIMS, "job_workflow_ref": f"{OWN}/release.yml@{TAG}", "job_workflow_sha": A}
        until(lambda: any(stage.stage == "refs" for stage in [mirror.evaluate(plain).difference] if stage))
        assert mirror.evaluate({**plain, "ref": "refs/heads/main"}).allowed


@pytest.mark.parametrize(("asked", "of_packages", "field"), [
    ({"refs": ["main"]}, {}, "data.github.refs"),
    ({"refs": ["refs/heads/a b"]}, {}, "data.github.refs"),
    ({"events": []}, {}, "data.github.events"),
    ({"ref_protected": "yes"}, {}, "data.github.ref_protected"),
    ({"workflow_binds": "both"}, {}, "data.github.workflow_binds"),
    ({"called_workflow": "publish.yml"}, {}, "data.github.called_workflow"),
    ({"runner": "linux"}, {}, "data.github.runner"),
    ({}, {"packages": [""]}, "data.packages"),
    ({}, {"actions": "publish"}, "data.actions"),
])  # fmt: skip
def test_what_is_wrong_is_named(
    site: Site, asked: dict[str, object], of_packages: dict[str, object], field: str
) -> None:
    data = {**REGISTERED, "policy_id": "p-1", "github": {**GITHUB, **asked}, **of_packages}
    response = site.send(cloud_event("policy.registered", id="wrong", data=data, time=in_(-60)))
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == field
    assert error["message"]
    assert "main" not in error["message"] or "refs/heads/main" in error["message"]
