"""`GET /policies/{policy_id}`, `POST /evaluate`, and what is not there."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.console.scene import dies
from tests.store.making import ping
from tests.web.site import OPERATOR, REGISTRY, Site
from tests.web.test_events import REGISTERED, cloud_event, in_
from worker.web.inbox_writer import InboxWriter
from worker.web.threads import Web

HEADERS = {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json"}
GITHUB = {
    "repository_owner": "octo",
    "repository_owner_id": 7,
    "repository": "widgets",
    "repository_id": 11,
    "visibility": "public",
    "workflow_file": "release.yml",
    "environment": "production",
}
CLAIMS = {
    "repository_owner": "octo",
    "repository_owner_id": "7",
    "repository": "octo/widgets",
    "repository_id": "11",
    "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main",
    "event_name": "push",
    "environment": "production",
}


def register(site: Site, policy_id: str = "p-1", **github: object) -> None:
    data = {**REGISTERED, "policy_id": policy_id, "github": {**GITHUB, **github}}
    assert site.send(cloud_event("policy.registered", id=policy_id, data=data, time=in_(-60))).status_code == 202
    site.settle()


def evaluate(site: Site, claims: object) -> dict[str, object]:
    response = site.http.post("/evaluate", json={"claims": claims}, headers=HEADERS)
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


def failed(answer: dict[str, object]) -> list[tuple[str | None, str]]:
    candidates = answer["candidates"]
    assert isinstance(candidates, list)
    return [
        (candidate["policy_id"], stage["stage"])
        for candidate in candidates
        for stage in candidate["stages"]
        if stage["outcome"] == "failed"
    ]


@pytest.mark.parametrize("policy_id", ["p-1", "a/b c", "Ω?#%"])
def test_a_policy_is_shown_with_its_facts_and_history(site: Site, policy_id: str) -> None:
    register(site, policy_id)
    site.deliver({"action": "archived", "repository": {"id": 11, "name": "widgets", "owner": {"id": 7}}})
    site.settle()
    response = site.http.get(f"/policies/{quote(policy_id, safe='')}", headers=HEADERS)
    assert response.status_code == 200
    shown = response.json()
    assert (shown["view"]["policy_id"], shown["view"]["state"], shown["revision"]) == (policy_id, "disabled", 2)
    archived = [fact for fact in shown["facts"] if fact["aspect"] == "archived"]
    assert len(archived) == 1
    assert archived[0]["value"] is True
    assert archived[0]["basis"] == "hint"
    assert archived[0]["source"] == {"kind": "github", "id": "d-1", "event": "repository.archived"}
    assert archived[0]["observed_at"].endswith("Z")
    assert [entry["type"] for entry in shown["history"]] == ["policy.disabled", "policy.activated"]
    assert shown["history"][0]["cause"] == {"kind": "github", "id": "d-1", "event": "repository.archived"}


def test_a_policy_is_shown_with_its_last_use_its_last_refusal_and_how_many_there_were(site: Site) -> None:
    """Given logins that were accepted and refused, when their policy is read, then both are told, and in its history."""
    register(site)
    url = "/policies/p-1"
    assert site.http.get(url, headers=HEADERS).json()["logins"] == {"succeeded": None, "refused": None}
    ids = {"repository_id": 11, "repository_owner_id": 7, "jti": "j-1"}
    times = [in_(seconds).replace("+00:00", "Z") for seconds in range(1, 5)]
    events = [
        cloud_event("login.succeeded", id="l-1", data={"policy_id": "p-1", **ids, "run_id": 8}, time=times[0]),
        *(
            cloud_event("login.refused", id=f"r-{n}", time=times[n - 1],
                        data={"policy_id": "p-1", "code": code, "ref": "refs/heads/main", "run_id": 2**63 - n})
            for n, code in ((2, "environment"), (3, "environment"), (4, "workflow_file"))
        ),
    ]  # fmt: skip
    assert site.send(events).json() == {"accepted": 4}
    site.settle()
    shown = site.http.get(url, headers=HEADERS).json()
    succeeded, refused = shown["logins"]["succeeded"], shown["logins"]["refused"]
    assert (succeeded["count"], succeeded["last_at"], succeeded["last"]) == (
        1,
        times[0],
        {"id": "l-1", "run_id": 8},
    )
    assert (refused["count"], refused["first_at"], refused["last_at"]) == (3, times[1], times[3])
    assert refused["last"] == {"id": "r-4", "code": "workflow_file", "ref": "refs/heads/main", "run_id": 2**63 - 4}
    assert [(code["code"], code["count"]) for code in refused["codes"]] == [("workflow_file", 1), ("environment", 2)]
    assert [entry["type"] for entry in shown["history"]] == ["login.refused", "login.succeeded", "policy.activated"]
    assert shown["revision"] == 1


@pytest.mark.parametrize("code", ["No Such Code", "", 7, None, ...])
def test_a_refusal_without_a_code_is_a_wrong_field(site: Site, code: object) -> None:
    data = {"policy_id": "p-1", "code": code} if code is not ... else {"policy_id": "p-1"}
    response = site.send(cloud_event("login.refused", data=data))
    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (422, ["data.code"])


def test_a_revision_that_is_asked_for_is_waited_for_and_then_said_to_be_missing(site: Site) -> None:
    """Given a policy, when more than it has is asked for, then nothing older is answered, and it is as soon as it is there."""
    register(site)
    evaluating = {"claims": CLAIMS, "at_least": {"p-1": 2}}
    assert site.http.get("/policies/p-1?at_least=1", headers=HEADERS).json()["revision"] == 1
    for response in (
        site.http.get("/policies/p-1?at_least=2", headers=HEADERS),
        site.http.get("/policies/nobody?at_least=1", headers=HEADERS),
        site.http.post("/evaluate", json=evaluating, headers=HEADERS),
        site.http.post("/evaluate", json={"claims": CLAIMS, "at_least": {"nobody": 1}}, headers=HEADERS),
    ):
        assert (response.status_code, response.json()["type"]) == (503, "urn:tenure:problem:behind")
        assert response.headers["retry-after"] == "1"
    with ThreadPoolExecutor(2) as pool:
        read = pool.submit(lambda: site.http.get("/policies/p-1?at_least=2", headers=HEADERS))
        judged = pool.submit(lambda: site.http.post("/evaluate", json=evaluating, headers=HEADERS))
        site.deliver({"action": "archived", "repository": {"id": 11, "name": "widgets", "owner": {"id": 7}}})
        site.settle()
        assert read.result().json()["view"]["state"] == "disabled"
        assert (judged.result().json()["matched"], failed(judged.result().json())) == (False, [("p-1", "standing")])


@pytest.mark.parametrize(
    "at_least", [[], 1, "p-1", {"p-1": "1"}, {"p-1": 1.5}, {"p-1": -1}, {str(n): 1 for n in range(101)}]
)
def test_what_are_no_revisions_is_a_wrong_field(site: Site, at_least: object) -> None:
    response = site.http.post("/evaluate", json={"claims": CLAIMS, "at_least": at_least}, headers=HEADERS)
    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (422, ["at_least"])


@pytest.mark.parametrize(
    "query", ["at_least=x", "at_least=", "at_least=-1", "at_least=1&at_least=2", "at_least=" + "9" * 30]
)
def test_what_is_no_revision_is_a_wrong_field(site: Site, query: str) -> None:
    response = site.http.get(f"/policies/p-1?{query}", headers=HEADERS)
    assert (response.status_code, [error["field"] for error in response.json()["errors"]]) == (422, ["at_least"])


def test_a_policy_that_nobody_registered_is_not_found(site: Site) -> None:
    response = site.http.get("/policies/p-1", headers=HEADERS)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("token", [OPERATOR, REGISTRY])
def test_operators_and_the_registry_may_read(site: Site, token: str) -> None:
    headers = {"Authorization": f"bearer {token}"}
    assert site.http.get("/policies/p-1", headers=headers).status_code == 404
    assert site.http.post("/evaluate", json={"claims": {}}, headers=headers).status_code == 200


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer canary-of-nobody"}, {"Authorization": OPERATOR}])
def test_nobody_else_may_read(site: Site, headers: dict[str, str]) -> None:
    for response in (
        site.http.get("/policies/p-1", headers=headers),
        site.http.post("/evaluate", json={"claims": {}}, headers=headers),
    ):
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


def test_a_token_that_matches(site: Site) -> None:
    register(site)
    register(site, "p-2", workflow_file="other.yml")
    answer = evaluate(site, CLAIMS)
    assert (answer["matched"], answer["policy_id"]) == (True, "p-1")
    assert failed(answer) == [("p-2", "workflow_file")]


def test_a_policy_whose_repository_id_is_not_known_is_found_by_name(site: Site) -> None:
    register(site, repository_id=None, visibility="private")
    assert evaluate(site, CLAIMS)["policy_id"] == "p-1"
    assert failed(evaluate(site, {**CLAIMS, "repository": "octo/others"})) == [(None, "repository")]


@pytest.mark.parametrize(
    ("changed", "stage"),
    [
        ({"environment": "staging"}, "environment"),
        ({"job_workflow_ref": "octo/widgets/.github/workflows/x.yml@refs/heads/main"}, "workflow_file"),
        ({"event_name": "pull_request_target"}, "event"),
        ({"job_workflow_ref": None}, "claims"),
    ],
)
def test_a_token_that_does_not_match_is_told_where_it_fails(site: Site, changed: dict[str, object], stage: str) -> None:
    register(site)
    answer = evaluate(site, {**CLAIMS, **changed})
    assert (answer["matched"], answer["policy_id"]) == (False, None)
    assert failed(answer) == [("p-1", stage)]


@pytest.mark.parametrize(
    ("owner", "stage"),
    [
        (None, "claims"),
        ("", "claims"),
        ("octo", "claims"),
        (1.5, "claims"),
        (True, "claims"),
        ([7], "claims"),
        ({}, "claims"),
        ("8", "repository_owner"),
        (-7, "repository_owner"),
        (2**63, "repository_owner"),
        ("9" * 4000, "claims"),
    ],
)
def test_an_odd_owner_is_an_answer_too(site: Site, owner: object, stage: str) -> None:
    register(site)
    answer = evaluate(site, {**CLAIMS, "repository_owner_id": owner})
    assert (answer["matched"], answer["policy_id"], failed(answer)) == (False, None, [(None, stage)])


def test_what_the_token_may_be_used_for_is_told(site: Site) -> None:
    register(site)
    answer = evaluate(site, CLAIMS)
    assert answer["granted"] == [{"policy_id": "p-1", "packages": None, "actions": None}]
    assert evaluate(site, {**CLAIMS, "event_name": "workflow_run"})["granted"] == []
    for named in ({"package": "acme.core"}, {"action": "publish"}, {"package": None, "action": None}):
        response = site.http.post("/evaluate", json={"claims": CLAIMS, **named}, headers=HEADERS)
        assert (response.status_code, response.json()["matched"]) == (200, True)


@pytest.mark.parametrize("field", ["package", "action"])
@pytest.mark.parametrize("value", ["", "x" * 501, 7, ["acme.core"], {}, True])
def test_what_a_token_is_to_be_used_for_is_a_name(site: Site, field: str, value: object) -> None:
    response = site.http.post("/evaluate", json={"claims": CLAIMS, field: value}, headers=HEADERS)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == field
    assert error["message"].startswith("is not a text of 1 to ")


@pytest.mark.parametrize("body", [b"{}", b'{"claims": []}', b'{"claims": "canary"}', b'{"claims": null}'])
def test_without_claims_there_is_nothing_to_evaluate(site: Site, body: bytes) -> None:
    response = site.http.post("/evaluate", content=body, headers=HEADERS)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "claims")


def test_claims_of_any_length_are_not_taken(site: Site) -> None:
    assert site.http.post("/evaluate", json={"claims": {"x": "9" * 5000}}, headers=HEADERS).status_code == 422
    assert site.http.post("/evaluate", content=b" " * (2**20 + 1), headers=HEADERS).status_code == 413
    assert site.http.post("/evaluate", content=b"{", headers=HEADERS).status_code == 400
    assert site.http.post("/evaluate", content=b"{}", headers={**HEADERS, "Content-Type": "x/y"}).status_code == 415


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing-here", 404),
        ("GET", "/livez/now", 404),
        ("PUT", "/policies", 405),
        ("GET", "/webhooks/github", 405),
        ("PUT", "/events", 405),
        ("DELETE", "/policies/p-1", 405),
    ],
)
def test_what_is_not_there_is_a_problem_too(site: Site, method: str, path: str, status: int) -> None:
    response = site.http.request(method, path, headers=HEADERS)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    problem = response.json()
    assert set(problem) >= {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert ("allow" in response.headers) == (status == 405)


def test_a_defect_is_answered_without_its_insides(site: Site) -> None:
    site.redis.hset(site.app.keyspace.directory("p-1").directory, "p-1", 0)
    site.redis.set(site.app.keyspace.all()[0].policy("p-1"), "canary")
    response = site.http.get("/policies/p-1", headers=HEADERS)
    assert (response.status_code, response.headers["content-type"]) == (500, "application/problem+json")
    assert "canary" not in response.text
    assert "int()" not in response.text
    assert site.http.get("/livez").status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/policies/p-1", "/nothing-here"])
def test_every_answer_protects_itself(site: Site, path: str) -> None:
    headers = site.http.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_what_one_reads_delays_nobody_else(site: Site) -> None:
    """Given a token whose readings all wait, when another reads, and events come in, then both are served at once."""

    async def crowded() -> tuple[str, str, int]:
        web = Web(site.app, InboxWriter(site.app))
        await web.start()
        gate = threading.Event()
        try:
            waiting = [asyncio.create_task(web.read("sam", gate.wait)) for _ in range(24)]
            await asyncio.sleep(0)
            served = await web.read("maria", lambda: "read"), await web.take_in(lambda: "taken in")
            pending = sum(not task.done() for task in waiting)
            gate.set()
            await asyncio.gather(*waiting)
            return *served, pending
        finally:
            gate.set()
            await web.stop()

    assert asyncio.run(crowded()) == ("read", "taken in", 24)


def test_dead_letters_are_told_as_groups(site: Site) -> None:
    for number in range(3):
        dies(site, ping(site.app, f"d-{number}"), message=f"no {number}")
    answer = site.http.get("/dead-letters", headers=HEADERS)
    assert answer.status_code == 200
    found = answer.json()
    (group,) = found["groups"]
    assert (found["letters"], group["letters"], group["event"], group["message"]) == (3, 3, "ping", "no 2")
    assert group["first_at"] < group["last_at"]


def test_only_people_read_dead_letters(site: Site) -> None:
    assert site.http.get("/dead-letters").status_code == 401
    assert site.http.get("/dead-letters", headers={"Authorization": f"Bearer {REGISTRY}"}).status_code == 401
