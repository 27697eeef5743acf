"""The fake GitHub does what is told of GitHub. Other tests stand on it, so it has some of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import jwt
import pytest

from handlers.table import handle, webhook_handler
from tests.github.receiver import SECRET, Receiver, receiving
from tests.support import incoming
from tests.web.site import until
from worker.demo.fakegithub import APP_ID, FakeGitHub, Fault
from worker.demo.fakegithub.auth import key_pair
from worker.demo.fakegithub.hooks import KEPT_SECONDS
from worker.demo.fakegithub.limits import WINDOW_SECONDS
from worker.demo.fakegithub.records import MAX_ID, InstallationRecord, NotPossibleError, NotThereError
from worker.demo.fakegithub.world import World

ROOT = Path(__file__).parents[2]
BY_ID = "GET /repositories/{id}"


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def app_jwt(now: float | None = None, *, key: str | None = None, algorithm: str = "RS256", **claims: object) -> str:
    start = int(time.time() if now is None else now)
    whole = {"iss": str(APP_ID), "iat": start - 60, "exp": start + 540, **claims}
    return jwt.encode(whole, key or key_pair()[0], algorithm)


@contextmanager
def client(url: str, token: str = "") -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, verify=False, timeout=5) as made:
        yield made


def token(fake: FakeGitHub, installation: InstallationRecord) -> str:
    with client(fake.url, app_jwt(fake.world.clock())) as app:
        answer = app.post(f"/app/installations/{installation.id}/access_tokens")
        assert answer.status_code == 201
        return str(answer.json()["token"])


@pytest.fixture
def http(fake: FakeGitHub) -> Iterator[httpx.Client]:
    """What the App at Octo may ask: the organization 42 with all its repositories, one of them with the id 77."""
    fake.world.add_org("octo", account_id=42)
    fake.world.add_repository(42, "widgets", repository_id=77)
    with client(fake.url, token(fake, fake.world.install(42, installation_id=7001))) as made:
        yield made


def test_a_whole_account_is_read_page_by_page(fake: FakeGitHub, http: httpx.Client) -> None:
    ids = [77, MAX_ID, *(fake.world.add_repository(42, f"r{n}").id for n in range(3))]
    last = fake.world.add_repository(42, "last", repository_id=MAX_ID)
    first = http.get("/installation/repositories?per_page=2")
    pages = [first]
    while "next" in pages[-1].links:
        pages.append(http.get(pages[-1].links["next"]["url"]))
    assert [each["id"] for page in pages for each in page.json()["repositories"]] == sorted(ids)
    assert (len(pages), last.id) == (3, 2**63 - 1)
    assert {page.json()["total_count"] for page in pages} == {5}
    assert pages[2].url == first.links["last"]["url"]
    assert first.headers["content-type"] == "application/json; charset=utf-8"
    assert fake.calls["GET /installation/repositories"] == 3
    assert fake.requests[0].who == "jwt"
    assert {call.who for call in fake.requests[1:]} == {7001}


@pytest.mark.parametrize(
    "made",
    [
        lambda: app_jwt(iss="1"),
        lambda: app_jwt(iat=int(time.time()) + 100),
        lambda: app_jwt(exp=int(time.time()) - 1),
        lambda: app_jwt(exp=int(time.time()) + 700),
        lambda: app_jwt(key="0" * 64, algorithm="HS256"),
        lambda: "nonsense",
    ],
)
def test_the_app_must_show_a_jwt_that_is_good(fake: FakeGitHub, made: Callable[[], str]) -> None:
    with client(fake.url, made()) as app:
        assert app.get("/app/installations").status_code == 401


def test_installations_and_their_tokens(fake: FakeGitHub, http: httpx.Client) -> None:
    chosen = fake.world.install(fake.world.add_user("ada").id, repositories=[])
    with client(fake.url, app_jwt()) as app:
        listed = app.get("/app/installations").json()
        assert [(each["id"], each["account"]["login"], each["repository_selection"]) for each in listed] == [
            (7001, "octo", "all"),
            (chosen.id, "ada", "selected"),
        ]
        fake.rotate_tokens()
        assert http.get("/repositories/77").json()["message"] == "Bad credentials"
        fake.world.suspend(7001)
        assert app.post("/app/installations/7001/access_tokens").status_code == 403
        assert app.get("/app/installations").json()[0]["suspended_at"] is not None
        fake.world.uninstall(7001)
        assert app.post("/app/installations/7001/access_tokens").status_code == 404
        assert http.get("/repositories/77").status_code == 401
        assert app.get("/repositories/77").status_code == 401


def test_an_old_name_leads_to_the_repository_until_it_is_taken(fake: FakeGitHub, http: httpx.Client) -> None:
    world, lost = fake.world, f"{fake.url}/repositories/77"
    assert http.get("/repos/OCTO/Widgets").json()["id"] == 77
    world.rename_repository(77, "gadgets")
    answer = http.get("/repos/octo/widgets")
    assert (answer.status_code, answer.headers["location"]) == (301, lost)
    world.rename_account(42, "octopus")
    assert http.get("/repos/octo/gadgets").headers["location"] == lost
    assert http.get("/repos/octo/widgets").headers["location"] == lost
    assert http.get("/repositories/77").json()["full_name"] == "octopus/gadgets"
    assert world.add_repository(42, "widgets").id == http.get("/repos/octopus/widgets").json()["id"]
    world.add_org("octo")
    assert http.get("/repos/octo/gadgets").status_code == 404
    new = world.recreate(77)
    assert http.get("/repositories/77").status_code == 404
    assert http.get("/repos/octopus/gadgets").json()["id"] == new.id


def test_an_installation_sees_its_own_and_what_is_public(fake: FakeGitHub, http: httpx.Client) -> None:
    world, other = fake.world, fake.world.add_org("other")
    world.transfer(77, other.id)
    assert http.get("/repositories/77").status_code == 404
    assert http.get("/repos/octo/widgets").status_code == 404
    world.set_visibility(77, "public")
    assert http.get("/repositories/77").json()["owner"]["id"] == other.id
    assert http.get("/repos/octo/widgets").status_code == 301
    world.transfer(77, 42)
    world.set_visibility(77, "internal")
    assert http.get("/repositories/77").json()["visibility"] == "internal"
    world.archive(77)
    assert http.get("/repositories/77").json()["archived"] is True
    world.take_repository_away(7001, 77)
    assert http.get("/repositories/77").status_code == 404
    world.give_repository(7001, 77)
    world.block(77)
    assert http.get("/repositories/77").status_code == 451
    world.delete_account(42)
    assert world.repository(77).deleted
    with pytest.raises(NotThereError, match="recreate"):
        world.archive(77)


def test_members(fake: FakeGitHub, http: httpx.Client) -> None:
    world = fake.world
    ada, grace = world.add_user("ada"), world.add_user("grace")
    world.add_member(42, ada.id)
    world.add_member(42, grace.id, state="pending")
    assert [each["login"] for each in http.get("/orgs/octo/members").json()] == ["ada"]
    assert http.get("/orgs/octo/memberships/grace").json()["state"] == "pending"
    assert http.get("/orgs/octo/memberships/ADA").json()["user"]["id"] == ada.id
    assert http.get(f"/user/{ada.id}").json()["login"] == "ada"
    world.rename_account(ada.id, "countess")
    assert http.get("/orgs/octo/memberships/ada").status_code == 404
    world.delete_account(ada.id)
    assert http.get(f"/user/{ada.id}").status_code == 404
    assert http.get("/orgs/octo/members").json() == []
    world.permit_members(7001, permitted=False)
    for path in ("/orgs/octo/members", "/orgs/octo/memberships/grace"):
        assert http.get(path).json()["message"] == "Resource not accessible by integration"


def test_what_somebody_may_do(fake: FakeGitHub, http: httpx.Client) -> None:
    world, ada = fake.world, fake.world.add_user("ada")

    def may() -> tuple[str, str]:
        answer = http.get("/repos/octo/widgets/collaborators/ada/permission").json()
        assert answer["user"]["id"] == ada.id
        return answer["permission"], answer["role_name"]

    assert may() == ("none", "")
    world.add_member(42, ada.id)
    assert may() == ("write", "write")
    for role, permission in {"triage": "read", "maintain": "write", "admin": "admin", "releaser": "write"}.items():
        world.add_collaborator(77, ada.id, role)
        assert may() == (permission, role)
    world.add_collaborator(77, ada.id, "looker", permission="read")
    assert may() == ("read", "looker")
    world.remove_collaborator(77, ada.id)
    world.remove_member(42, ada.id)
    assert may() == ("none", "")
    assert http.get("/repos/octo/widgets/collaborators/nobody/permission").status_code == 404


def test_a_budget_ends_and_comes_back() -> None:
    clock = Clock()
    with FakeGitHub(base_path="/api/v3", limit=2, clock=clock) as fake:
        assert fake.url.endswith("/api/v3")
        first, second = (fake.world.install(fake.world.add_org(login).id) for login in ("one", "two"))
        tokens = token(fake, first), token(fake, second)
        with client(fake.url, tokens[0]) as http, client(fake.url, tokens[1]) as other:
            seen = [http.get("/installation/repositories") for _ in range(3)]
            assert [answer.status_code for answer in seen] == [200, 200, 403]
            assert [answer.headers["x-ratelimit-remaining"] for answer in seen] == ["1", "0", "0"]
            assert seen[2].json()["message"].startswith("API rate limit exceeded")
            assert float(seen[2].headers["x-ratelimit-reset"]) == clock.now + WINDOW_SECONDS
            assert other.get("/installation/repositories").status_code == 200
            fake.limits.set(second.id, remaining=0, reset_in=5)
            assert other.get("/installation/repositories").status_code == 403
            clock.now += 5
            assert other.get("/installation/repositories").headers["x-ratelimit-remaining"] == "1"
            clock.now += WINDOW_SECONDS
            assert http.get("/installation/repositories").status_code == 401, "the token is too old"


def test_faults_that_are_answers(fake: FakeGitHub, http: httpx.Client) -> None:
    def met(fault: Fault) -> httpx.Response:
        fake.faults.add(fault)
        answer = http.get("/repositories/77")
        fake.faults.heal()
        assert http.get("/repositories/77").json()["id"] == 77
        return answer

    for status in (404, 429, 451, 502):
        assert met(Fault(kind="status", status=status)).status_code == status
    loop = met(Fault(kind="redirect_loop", path="/repositories/"))
    assert (loop.status_code, loop.headers["location"]) == (301, f"{fake.url}/repositories/77")
    spent = met(Fault(kind="primary_limit", installation=7001))
    assert (spent.status_code, spent.headers["x-ratelimit-remaining"]) == (403, "0")
    assert met(Fault(kind="secondary_limit", retry_after=7)).headers["retry-after"] == "7"
    assert met(Fault(kind="wrong_shape", body=[1])).json() == [1]
    assert met(Fault(kind="wrong_type")).headers["content-type"] == "text/html; charset=utf-8"
    assert met(Fault(kind="slow", delay=0)).json()["id"] == 77
    assert met(Fault(kind="status", route="GET /user/{id}")).status_code == 200
    assert met(Fault(kind="status", installation=7002)).status_code == 200
    with pytest.raises(NotPossibleError, match="kind"):
        Fault(kind="earthquake")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind="reset", route=BY_ID, times=2), httpx.ReadError),
        (Fault(kind="truncated", route=BY_ID, times=2), httpx.RemoteProtocolError),
        (Fault(kind="stall", route=BY_ID, times=2), httpx.ReadTimeout),
        (Fault(kind="stall", route=BY_ID, times=2, seconds=0.01), httpx.RemoteProtocolError),
        (Fault(kind="slow", route=BY_ID, times=2, delay=1), httpx.ReadTimeout),
        (Fault(kind="slow", route=BY_ID, times=2, delay=0.01, seconds=0.05), httpx.RemoteProtocolError),
    ],
    ids=["reset", "truncated", "stall", "stall to its end", "slow", "slow to its end"],
)
def test_faults_of_the_connection_heal_after_so_many(
    fake: FakeGitHub, http: httpx.Client, fault: Fault, error: type[Exception]
) -> None:
    fake.faults.add(fault)
    for _ in range(2):
        with pytest.raises(error):
            http.get("/repositories/77", timeout=0.1 if error is httpx.ReadTimeout else 10)
    assert http.get("/repositories/77").json()["id"] == 77


def test_the_end_waits_for_no_stalled_answer() -> None:
    with FakeGitHub() as fake:
        fake.faults.add(Fault(kind="stall", seconds=60))
        asking = socket.create_connection(("127.0.0.1", httpx.URL(fake.url).port or 0))
        asking.sendall(b"GET /user/1 HTTP/1.1\r\n\r\n")
        until(lambda: len(fake.requests) == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 20
    with asking:
        assert asking.recv(1) == b""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


TOLD: list[tuple[Callable[[World], object], list[str]]] = [
    (lambda world: world.archive(77, tell=True), ["repository.archived"]),
    (lambda world: world.archive(77, archived=False, tell=True), ["repository.unarchived"]),
    (lambda world: world.delete_repository(77, tell=True), ["repository.deleted"]),
    (lambda world: world.add_repository(42, "new", tell=True), ["repository.created"]),
    (lambda world: world.recreate(77, tell=True), ["repository.deleted", "repository.created"]),
    (lambda world: world.rename_repository(77, "new", tell=True), ["repository.renamed"]),
    (lambda world: world.transfer(77, 43, tell=True), ["repository.transferred"]),
    (lambda world: world.transfer(77, 51, tell=True), []),
    (lambda world: world.set_visibility(77, "private", tell=True), ["repository.privatized"]),
    (lambda world: world.put_workflow(77, "release.yml", "on: push", tell=True), ["push"]),
    (lambda world: world.set_visibility(77, "public", tell=True), ["public", "repository.publicized"]),
    (lambda world: world.add_member(42, 51, tell=True), ["organization.member_added"]),
    (lambda world: world.remove_member(42, 52, tell=True), ["organization.member_removed"]),
    (
        lambda world: world.rename_account(42, "new", tell=True),
        ["organization.renamed", "installation_target.renamed"],
    ),
    (lambda world: world.delete_account(42, tell=True), ["organization.deleted"]),
    (lambda world: world.add_collaborator(77, 51, tell=True), ["member.added"]),
    (lambda world: world.add_collaborator(77, 52, "read", tell=True), ["member.edited"]),
    (lambda world: world.remove_collaborator(77, 52, tell=True), ["member.removed"]),
    (lambda world: world.install(51, tell=True), ["installation.created"]),
    (lambda world: world.suspend(7001, tell=True), ["installation.suspend"]),
    (lambda world: world.suspend(7001, suspended=False, tell=True), ["installation.unsuspend"]),
    (lambda world: world.uninstall(7001, tell=True), ["installation.deleted"]),
    (lambda world: world.take_repository_away(7001, 77, tell=True), ["installation_repositories.removed"]),
    (lambda world: world.give_repository(7001, 77, tell=True), ["installation_repositories.added"]),
    (lambda world: world.permit_members(7001, permitted=True, tell=True), ["installation.new_permissions_accepted"]),
    (lambda world: world.archive(77), []),
]


@pytest.mark.parametrize(("does", "names"), TOLD)
def test_what_happens_is_told_as_tenure_reads_it(
    fake: FakeGitHub, receiver: Receiver, does: Callable[[World], object], names: list[str]
) -> None:
    world = fake.world
    world.add_org("octo", account_id=42)
    world.add_org("other", account_id=43)
    world.add_user("ada", account_id=51)
    world.add_user("grace", account_id=52)
    world.add_repository(42, "widgets", repository_id=77)
    world.add_member(42, 52)
    world.add_collaborator(77, 52)
    world.install(42, installation_id=7001)
    world.install(43)
    fake.webhook_target(receiver.url, SECRET)
    does(world)
    assert [letter.name for letter in receiver.letters] == names
    for letter in receiver.letters:
        assert letter.signed
        assert webhook_handler(letter.name) is not None
        learnt = handle(incoming(letter.name, letter.payload))
        assert learnt.observations or learnt.checks
    assert {delivery.status_code for delivery in world.hooks.deliveries()} <= {202}
    assert len(world.hooks.deliveries()) == len(names)


def test_a_delivery_that_failed_is_sent_again(fake: FakeGitHub, receiver: Receiver, http: httpx.Client) -> None:
    fake.webhook_target(receiver.url, SECRET)
    receiver.status = 503
    fake.world.archive(77, tell=True)
    with client(fake.url, app_jwt()) as app:
        (failed,) = app.get("/app/hook/deliveries?status=failure").json()
        assert (failed["event"], failed["action"], failed["status_code"]) == ("repository", "archived", 503)
        assert (failed["installation_id"], failed["repository_id"], failed["redelivery"]) == (7001, 77, False)
        receiver.status = 202
        assert app.post(f"/app/hook/deliveries/{failed['id']}/attempts").status_code == 202
        (good,) = app.get("/app/hook/deliveries?status=success").json()
        assert (good["guid"], good["redelivery"]) == (failed["guid"], True)
        first, second = receiver.letters
        assert first == second
        fake.on_redelivery(lambda delivery: 500 if delivery.id == failed["id"] else 200)
        app.post(f"/app/hook/deliveries/{failed['id']}/attempts")
        assert app.get("/app/hook/deliveries").json()[0]["status_code"] == 500
        assert app.post("/app/hook/deliveries/1/attempts").status_code == 404


def test_the_log_of_deliveries_is_read_page_by_page_and_forgets() -> None:
    clock = Clock()
    with FakeGitHub(clock=clock) as fake:
        ids = [fake.world.record_delivery("push", 502 if n % 2 else 200).id for n in range(7)]
        old = fake.world.record_delivery("push", 502, delivered_at=clock.now - KEPT_SECONDS - 1)
        with client(fake.url, app_jwt(clock.now)) as app:
            found, url = [], "/app/hook/deliveries?per_page=2&status=failure"
            while url:
                answer = app.get(url)
                found += [each["id"] for each in answer.json()]
                # What comes in between does not move the pages.
                fake.world.record_delivery("push", 502)
                url = answer.links.get("next", {}).get("url", "")
            assert found == [ids[5], ids[3], ids[1]]
            assert app.post(f"/app/hook/deliveries/{old.id}/attempts").status_code == 422


@pytest.mark.processes
def test_it_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    key_file = tmp_path / "key.pem"
    command = [sys.executable, "-m", "worker.demo.fakegithub", "--app-id", "12", "--key-file", str(key_file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            assert (said["app_id"], said["key_file"], key_file.stat().st_mode & 0o777) == (12, str(key_file), 0o600)
            with client(said["url"], app_jwt(key=key_file.read_text(), iss="12")) as app:
                org = app.post("/_world", json={"do": "add_org", "with": {"login": "octo", "account_id": MAX_ID}})
                assert org.json()["id"] == MAX_ID
                asked = {"do": "install", "with": {"account_id": MAX_ID, "repositories": []}}
                assert app.post("/_world", json=asked).json()["selection"] == []
                assert app.get("/app/installations").json()[0]["account"]["id"] == MAX_ID
                assert app.get("/_calls").json() == {"GET /app/installations": 1}
                assert app.post("/_faults", json={"kind": "status", "status": 502}).status_code == 200
                assert app.get("/app/installations").status_code == 502
                assert app.post("/_heal").status_code == 200
                assert app.get("/app/installations").status_code == 200
                assert "_put_account" not in app.post("/_world", json={"do": "_put_account"}).json()["message"]
                for wrong in ({"where": 1}, {"repository_id": 1}):
                    assert app.post("/_world", json={"do": "archive", "with": wrong}).status_code == 422
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
