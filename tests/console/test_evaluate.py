"""What can be pasted: claims, an API request's body, a token with or without what stands around it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator

import pytest

from tenure_reader.rules import Wanted
from tests.console.calling import Caller
from tests.console.scene import scene
from tests.web.site import READER, Site
from tests.web.test_events import REGISTERED, cloud_event, in_
from worker.console.evaluate import read
from worker.web.problems import ProblemError

CLAIMS = {
    "repository_owner": "octo", "repository_owner_id": "600613", "repository": "octo/widgets",
    "repository_id": "9007199254740993", "event_name": "push", "jti": "é?>~",
    "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main",
}  # fmt: skip


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, ensure_ascii=False).encode()).decode().rstrip("=")


TOKEN = f"{part({'alg': 'RS256'})}.{part(CLAIMS)}.canary-signature"


@pytest.mark.parametrize(
    ("pasted", "token"),
    [
        (json.dumps(CLAIMS), False),
        ("  " + json.dumps({"claims": CLAIMS}) + "\n", False),
        (TOKEN, True),
        (f"Bearer {TOKEN}", True),
        (f"Authorization: bearer {TOKEN}\n", True),
        ("\n".join(TOKEN[i : i + 64] for i in range(0, len(TOKEN), 64)), True),
    ],
)
def test_claims_are_read(pasted: str, token: bool) -> None:
    assert read(pasted) == (CLAIMS, token, Wanted())


def test_a_request_to_the_api_may_ask_about_a_package() -> None:
    asked = {"claims": CLAIMS, "package": "acme.core", "action": "publish"}
    assert read(json.dumps(asked)) == (CLAIMS, False, Wanted("acme.core", "publish"))
    with pytest.raises(ProblemError):
        read(json.dumps({**asked, "package": 7}))


@pytest.mark.parametrize(
    "pasted",
    [
        "", "   ", "[]", "{", '{"a": NaN}', "one.two", "a.b.c", "a.!!!.c", f"a.{part([])}.c", f"a.{part('x')}.c",
        "Bearer", json.dumps({"sub": "x" * 5000}), "ü.ü.ü", "{" * 100_000,
    ],
)  # fmt: skip
def test_what_is_neither_is_said_to_be_so(pasted: str) -> None:
    with pytest.raises(ProblemError) as raised:
        read(pasted)
    assert raised.value.status == 422
    assert len(raised.value.detail) > 20


@pytest.fixture
def reader(site: Site) -> Iterator[Caller]:
    scene(site)
    caller = Caller(site.url)
    with caller.http:
        caller.logged_in(READER)
        caller.get("/console/evaluate")
        yield caller


def test_a_token_is_not_shown_again_and_its_signature_is_said_to_be_unchecked(reader: Caller) -> None:
    page = reader.post("/console/evaluate", {"claims": TOKEN}).text
    assert "signature was not checked" in page
    assert "It matches widgets-release." in page
    assert "canary" not in page
    assert part(CLAIMS) not in page


def test_what_no_policy_is_for_is_told_as_far_as_it_goes(reader: Caller) -> None:
    page = reader.post("/console/evaluate", {"claims": json.dumps({**CLAIMS, "repository_owner_id": "1"})}).text
    assert "No policy is for this repository." in page
    assert "No policy is for owner id 1." in page
    answer = reader.post("/console/evaluate", {"claims": "nonsense"})
    assert (answer.status_code, "Paste it whole" in answer.text) == (422, True)


def test_what_a_policy_asks_is_on_its_page_and_asked_about(site: Site, reader: Caller) -> None:
    github = {
        "repository_owner": "octo", "repository_owner_id": 600613, "repository": "widgets", "repository_id": 9007199254740993,
        "visibility": "public", "workflow_file": "release.yml", "refs": ["refs/tags/v*", "refs/heads/main"],
    }  # fmt: skip
    data = {**REGISTERED, "policy_id": "asking", "github": github, "packages": ["acme.*"]}
    assert site.send(cloud_event("policy.registered", id="asking", data=data, time=in_(-60))).status_code == 202
    site.settle()
    page = reader.get("/console/policy?id=asking").text
    assert "refs/tags/v*, refs/heads/main" in page
    assert "acme.*" in page
    run = {**CLAIMS, "ref": "refs/heads/main", "job_workflow_sha": "a" * 40, "workflow_sha": "a" * 40}
    asked = reader.post("/console/evaluate", {"claims": json.dumps({"claims": run, "package": "other"})}).text
    assert "the policy is for acme.*; the package is other" in asked.lower()
    asked = reader.post("/console/evaluate", {"claims": json.dumps(run | {"ref": "refs/heads/x"})}).text
    assert "Was the run for a branch or tag that the policy admits?" in asked


@pytest.mark.parametrize(
    ("claim", "says"),
    [("ref_type", "not looked at"), ("repo_property_team", "not looked at"), ("a_claim_of_next_year", "not known")],
)
def test_a_claim_that_no_rule_looks_at_says_whether_that_was_decided(reader: Caller, claim: str, says: str) -> None:
    page = reader.post("/console/evaluate", {"claims": json.dumps({**CLAIMS, claim: "the value"})}).text
    shown = re.search(rf"<dt>{claim}</dt><dd[^>]*>the value <small>([^<]*)</small>", page)
    assert shown is not None
    assert shown[1] == says
