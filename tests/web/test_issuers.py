"""Two instances of GitHub side by side, over HTTP: the same ids at both, and neither touches what is the other's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import cast

import httpx
import orjson
import pytest

from tenure_reader import Mirror, Reader, UntrustedError
from tenure_reader.lookup import RepositoryRef
from tests.docs.test_schemas import validator
from tests.reader.first_version import FirstMirror, found
from tests.web.site import OPERATOR, SECRET, Site, sign, site_on, until
from tests.web.test_conditions import CLAIMS, evaluate
from tests.web.test_events import REGISTERED, cloud_event, in_
from tests.web.test_reads import GITHUB
from tests.web.test_webhooks import ARCHIVED
from worker.local.valkey import EmbeddedStore
from worker.settings.issuers import instances_from

GHES = "https://ghes.example.org/_services/token"
COMMON = "https://token.actions.githubusercontent.com"
ENTERPRISE = f"{COMMON}/octo-inc"
GHES_SECRET = "canary-secret-of-the-other"
OWNER, REPOSITORY = 7, 11
PRIVATE: dict[str, object] = {**GITHUB, "visibility": "private"}
PLAIN = {
    name: value for name, value in CLAIMS.items() if name not in ("workflow_ref", "workflow_sha", "job_workflow_sha")
}
TOKEN = {**PLAIN, "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main"}


@pytest.fixture(scope="module")
def both(store: EmbeddedStore, tmp_path_factory: pytest.TempPathFactory, lines: object) -> Iterator[Site]:
    issuers = instances_from({
        "ghes": {"issuers": [GHES], "webhook_secrets": [GHES_SECRET]}, "github": {"issuers": [COMMON, ENTERPRISE]},
    })  # fmt: skip
    with site_on(store, tmp_path_factory.mktemp("both"), issuers=issuers) as site:
        yield site


@pytest.fixture
def sides(both: Site) -> Site:
    """Both instances configured, and a policy of each for the very same ids."""
    both.clear()
    both.app.publish_settings()
    register(both, "here")
    register(both, "there", issuer="ghes")
    return both


def register(site: Site, policy_id: str, **github: object) -> None:
    data = {**REGISTERED, "policy_id": policy_id, "github": {**PRIVATE, **github}}
    event = cloud_event("policy.registered", id=f"r-{policy_id}", data=data, time=in_(-60))
    response = site.send(event)
    assert response.status_code == 202, response.text
    site.settle()


def deliver(site: Site, path: str, payload: object, secret: str, delivery: str = "d-1") -> httpx.Response:
    body = orjson.dumps(payload)
    headers = {
        "Content-Type": "application/json", "X-GitHub-Event": "repository", "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": sign(body, secret),
    }  # fmt: skip
    return site.http.post(path, content=body, headers=headers)


def state(site: Site, policy_id: str) -> str:
    response = site.http.get(f"/policies/{policy_id}", headers={"Authorization": f"Bearer {OPERATOR}"})
    return str(response.json()["view"]["state"])


def matched(site: Site, **claims: object) -> object:
    answer = evaluate(site, {**TOKEN, **claims})
    if answer["matched"]:
        return answer["policy_id"]
    (candidate,) = cast("list[dict[str, list[dict[str, object]]]]", answer["candidates"])
    return next(stage["code"] for stage in candidate["stages"] if stage["outcome"] == "failed")


def test_the_issuer_of_a_token_chooses_the_instance(sides: Site) -> None:
    assert matched(sides, iss=COMMON) == "here"
    assert matched(sides, iss=ENTERPRISE) == "here"
    assert matched(sides, iss=GHES) == "there"
    assert matched(sides) == "issuer_missing"
    for stranger in (f"{GHES}/", GHES.upper(), "https://evil.example.org", "", 7, None, ["x"]):
        assert matched(sides, iss=stranger) == ("issuer_missing" if stranger is None else "issuer_unknown")


def test_a_webhook_is_about_its_own_instance(sides: Site) -> None:
    assert deliver(sides, "/webhooks/github/ghes", ARCHIVED, GHES_SECRET).status_code == 202
    sides.settle()
    assert (state(sides, "here"), state(sides, "there")) == ("provisional", "disabled")
    assert matched(sides, iss=COMMON) == "here"
    assert matched(sides, iss=GHES) == "disabled"
    unarchived = {**ARCHIVED, "action": "unarchived"}
    deliver(sides, "/webhooks/github", unarchived, SECRET, "d-2")
    sides.settle()
    assert state(sides, "there") == "disabled"
    deliver(sides, "/webhooks/github", ARCHIVED, SECRET, "d-3")
    deliver(sides, "/webhooks/github/ghes/", unarchived, GHES_SECRET, "d-4")
    sides.settle()
    assert (state(sides, "here"), state(sides, "there")) == ("disabled", "provisional")


def test_the_very_same_delivery_of_two_instances_is_two_events(sides: Site) -> None:
    first = deliver(sides, "/webhooks/github", ARCHIVED, SECRET)
    second = deliver(sides, "/webhooks/github/ghes", ARCHIVED, GHES_SECRET)
    assert [answer.json()["status"] for answer in (first, second)] == ["queued", "queued"]
    assert sorted(held["kind"] for held in sides.held()) == [b"github", b"github/ghes"]
    sides.settle()
    again = deliver(sides, "/webhooks/github/ghes", ARCHIVED, GHES_SECRET)
    assert (again.status_code, again.json()["status"]) == (200, "duplicate")
    assert (state(sides, "here"), state(sides, "there")) == ("disabled", "disabled")


@pytest.mark.parametrize(("path", "secret", "status"), [
    ("/webhooks/github/ghes", SECRET, 401), ("/webhooks/github", GHES_SECRET, 401), ("/webhooks/github/other", GHES_SECRET, 404),
    ("/webhooks/github/github", SECRET, 404), ("/webhooks/github/GHES", GHES_SECRET, 404), ("/webhooks/github/ghes/x", GHES_SECRET, 404),
])  # fmt: skip
def test_a_secret_is_good_for_its_own_address_alone(sides: Site, path: str, secret: str, status: int) -> None:
    assert deliver(sides, path, ARCHIVED, secret).status_code == status
    assert sides.held() == []


def test_a_login_of_the_other_proves_nothing(sides: Site) -> None:
    ids: dict[str, object] = {"repository_id": REPOSITORY, "repository_owner_id": OWNER}
    for number, (policy_id, issuer) in enumerate([("here", "ghes"), ("there", None), ("there", "github")]):
        login: dict[str, object] = {"policy_id": policy_id, **ids, "issuer": issuer, "jti": f"j-{number}"}
        assert sides.send(cloud_event("login.succeeded", id=f"l-{number}", data=login, time=in_(-1))).status_code == 202
    sides.settle()
    assert (state(sides, "here"), state(sides, "there")) == ("provisional", "provisional")
    login = {"policy_id": "there", **ids, "issuer": "ghes", "jti": "j-9"}
    sides.send(cloud_event("login.succeeded", id="l-9", data=login, time=in_(-1)))
    sides.settle()
    assert (state(sides, "here"), state(sides, "there")) == ("provisional", "active")


def test_an_instance_that_is_not_configured_is_a_wrong_field(sides: Site) -> None:
    data = {**REGISTERED, "policy_id": "p-9", "github": {**GITHUB, "issuer": "other"}}
    login = {"policy_id": "p-9", "repository_id": 1, "repository_owner_id": 1, "issuer": "other", "jti": "j"}
    events = [cloud_event("policy.registered", id="a", data=data), cloud_event("login.succeeded", id="b", data=login)]
    response = sides.send(events)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [
        "events[0].data.github.issuer", "events[1].data.issuer",
    ]  # fmt: skip
    assert sides.held() == []


def test_all_readers_choose_alike(sides: Site) -> None:
    with Mirror(sides.store.url) as mirror, closing(Reader.connect(sides.store.url)) as reader:
        assert mirror.wait(20)
        for claims in ({**TOKEN, "iss": COMMON}, {**TOKEN, "iss": GHES}, {**TOKEN, "iss": "https://x.example"}, TOKEN):
            told = [each.evaluate(claims) for each in (reader, mirror)]
            assert [d.grant and d.grant["policy_id"] for d in told] == [
                told[0].grant and told[0].grant["policy_id"]
            ] * 2
            assert [d.difference for d in told] == [told[0].difference] * 2
        there = RepositoryRef(OWNER, REPOSITORY, "widgets", "ghes")
        assert not reader.standing("there", there).closed
        assert reader.standing("there", there._replace(issuer="github")).grant is None
        assert reader.standing("here", there).grant is None


def test_a_reader_that_knows_of_one_learns_of_the_other(sides: Site) -> None:
    """Given a reader that has asked already, when instances are configured, then its next answer is made of them."""
    with closing(Reader.connect(sides.store.url)) as reader:
        assert reader.evaluate({**TOKEN, "iss": GHES}).allowed
        keys = [partition.settings for partition in sides.app.keyspace.all()]
        for key in keys:
            sides.redis.hset(key, "issuers", "{}")
        assert reader.evaluate({**TOKEN, "iss": GHES}).grant == reader.evaluate(TOKEN).grant
        sides.app.publish_settings()
        decision = reader.evaluate({**TOKEN, "iss": GHES})
        assert decision.grant is not None
        assert decision.grant["policy_id"] == "there"


def test_a_reader_of_the_first_version_finds_both_closed(sides: Site) -> None:
    """It looks at no `iss`: what it let through could be anybody's with the same numbers."""
    while sides.app.placement.waiting():
        sides.app.placement.run(1.0, sides.app.status.now())
    assert found(sides.redis, OWNER, REPOSITORY, "widgets") == []
    mirror, now = FirstMirror(sides.redis), sides.app.status.now()
    deliver(sides, "/webhooks/github/ghes", ARCHIVED, GHES_SECRET)
    sides.settle()
    deliver(sides, "/webhooks/github/ghes", {**ARCHIVED, "action": "unarchived"}, GHES_SECRET, "d-2")
    sides.settle()
    mirror.follow()
    assert state(sides, "there") == "provisional"
    assert not any(mirror.lets(policy_id, now) for policy_id in ("here", "there"))


def test_lists_and_the_feed_tell_them_apart(sides: Site) -> None:
    headers = {"Authorization": f"Bearer {OPERATOR}"}

    def listed(owner: str) -> list[str]:
        page = sides.http.get("/policies", params={"owner": owner}, headers=headers).json()
        return [view["policy_id"] for view in page["policies"]]

    assert (listed("7"), listed("ghes/7"), listed("ghes/8")) == (["here"], ["there"], [])
    assert sides.http.get("/policies", params={"owner": "github/7"}, headers=headers).status_code == 422
    page = sides.http.get("/policies", params={"owner": "ghes/7", "limit": 1}, headers=headers).json()
    view = page["policies"][0]
    validator("view.json").validate(view)
    assert (view["issuer"], view["repository_owner_id"], view["usable"], view["usable_v2"]) == ("ghes", 7, False, True)
    assert orjson.loads(page["settings"]["issuers"]) == {COMMON: "github", ENTERPRISE: "github", GHES: "ghes"}

    def changed(owner: str) -> list[tuple[str, object, object]]:
        answer = sides.http.get("/changes", params={"cursor": page["cursor"], "owner": owner}, headers=headers).json()
        for change in answer["changes"]:
            validator("change-event.json").validate(change)
        return [
            (c["subject"], c["data"].get("previous_owner_id"), c["data"].get("previous_issuer"))
            for c in answer["changes"]
        ]

    deliver(sides, "/webhooks/github/ghes", ARCHIVED, GHES_SECRET)
    sides.settle()
    assert (changed("7"), changed("ghes/7")) == ([], [("there", None, None)])
    data = {**REGISTERED, "policy_id": "there", "github": PRIVATE}
    sides.send(cloud_event("policy.updated", id="moves", data=data, time=in_(-1)))
    sides.settle()
    assert changed("7") == [("there", OWNER, "ghes")]
    assert changed("ghes/7") == [("there", None, None), ("there", OWNER, "ghes")]


def test_a_mirror_learns_of_instances_while_it_runs(sides: Site) -> None:
    """Given a mirror that nobody told of instances, when they are published, then its next answer is made of them."""
    for partition in sides.app.keyspace.all():
        sides.redis.hset(partition.settings, "issuers", "{}")
    with Mirror(sides.store.url) as mirror:
        assert mirror.wait(20)
        assert mirror.evaluate({**TOKEN, "iss": GHES}).grant == mirror.evaluate(TOKEN).grant
        sides.app.publish_settings()

        def policy() -> str | None:
            try:
                grant = mirror.evaluate({**TOKEN, "iss": GHES}).grant
            except UntrustedError:
                return None
            return grant["policy_id"] if grant else None

        until(lambda: policy() == "there")
        assert mirror.evaluate(TOKEN).difference.code == "issuer_missing"  # type: ignore[union-attr]
