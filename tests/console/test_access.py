"""Who may look, who may act, and what protects both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import httpx
import pytest
from pydantic import SecretStr
from starlette.routing import Route

from tests.console.calling import PAGES, Caller
from tests.console.scene import about_to_hold, scene
from tests.docs.markdown import table, text, ticked
from tests.web.site import OPERATOR, READER, REGISTRY, Site, serve
from worker.console.login import OVERALL, PER_ADDRESS
from worker.console.session import inside
from worker.console.templating import POLICY, VERSION
from worker.http.app import create_app
from worker.settings import SettingsError, load
from worker.settings.proxies import networks
from worker.settings.values import named
from worker.store.sessions import Session, Sessions, TokenRole

EVERYWHERE = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
}
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|\bstyle\s*=|<style|\son\w+\s*=|javascript:", re.IGNORECASE)


def protected(answer: httpx.Response) -> None:
    assert {name: answer.headers.get(name) for name in EVERYWHERE} == EVERYWHERE
    assert answer.headers.get_list("content-security-policy") == [POLICY]
    assert not INLINE.search(answer.text)


Arrive = Callable[..., Caller]


@pytest.fixture
def arrive(site: Site) -> Iterator[Arrive]:
    """Each call is another person."""
    with ExitStack() as here:

        def somebody(port: int = site.port, **headers: str) -> Caller:
            caller = Caller(f"http://127.0.0.1:{port}", **headers)
            here.enter_context(caller.http)
            return caller

        yield somebody


@pytest.fixture
def caller(arrive: Arrive) -> Caller:
    return arrive()


def test_the_policy_allows_nothing_but_what_is_served_here() -> None:
    allowed = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert allowed.pop("default-src") == "'none'"
    assert allowed.pop("frame-ancestors") == allowed.pop("base-uri") == "'none'"
    assert allowed.pop("img-src") == "'self' data:"
    assert set(allowed.values()) == {"'self'"}


@pytest.mark.parametrize("path", PAGES)
def test_without_a_session_there_is_only_the_login(caller: Caller, path: str) -> None:
    answer = caller.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/login")
    protected(answer)


@pytest.mark.parametrize("path", [*PAGES, "/console/nothing", "/console/policy?id=nobody", "/console/replay?batch=x"])
def test_every_page_is_protected_and_runs_nothing_inline(site: Site, caller: Caller, path: str) -> None:
    scene(site)
    answer = caller.logged_in().get(path)
    assert answer.status_code == (404 if path not in PAGES else 200)
    protected(answer)


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(site: Site, caller: Caller) -> None:
    answer = caller.tries(OPERATOR)
    (cookie,) = [line for line in answer.headers.get_list("set-cookie") if line.startswith("tenure=")]
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie
    secret = cookie.partition("=")[2].partition(";")[0]
    stored = [str(key) + str(site.redis.get(key)) for key in site.redis.scan_iter("tenure:{all}:session:*")]
    assert len(stored) == 1
    assert secret not in stored[0]
    assert OPERATOR not in stored[0]


def test_behind_tls_cookies_go_no_other_way(site: Site, arrive: Arrive) -> None:
    settings = site.app.settings.model_copy(update={"public_url": "https://tenure.example.org"})
    with serve(create_app(replace(site.app, settings=settings))) as port:
        caller = arrive(port)
        page = caller.get("/console/login")
        form = dict(page.cookies)
        answer = caller.http.post(
            "/console/login",
            data={"csrf": caller.csrf, "token": OPERATOR},
            headers={"Cookie": "; ".join(f"{name}={value}" for name, value in form.items())},
        )
    made = answer.headers.get_list("set-cookie")
    assert [line for line in made if line.startswith("__Host-tenure=") and "Secure" in line and "Path=/" in line]


@pytest.mark.parametrize("token", ["", "wrong", OPERATOR + "x", OPERATOR[:-1], REGISTRY, "tökén"])
def test_a_wrong_token_lets_nobody_in(caller: Caller, token: str) -> None:
    answer = caller.tries(token)
    assert answer.status_code == 401
    assert "Nobody has this token" in answer.text
    assert not token or len(token) < 10 or token not in answer.text
    assert caller.get("/").status_code == 303


def test_attempts_are_limited_and_the_right_token_must_wait_too(site: Site, caller: Caller) -> None:
    """Given as many wrong attempts as are allowed, when the right token comes, then it has to wait as well."""
    for _ in range(PER_ADDRESS):
        assert caller.tries("wrong").status_code == 401
    answer = caller.tries(OPERATOR)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 300
    protected(answer)
    site.redis.delete("tenure:{all}:login-attempts:from:127.0.0.1")
    assert caller.tries(OPERATOR).status_code == 303


def test_a_good_login_forgives_what_came_before(caller: Caller) -> None:
    for _ in range(3):
        for _ in range(PER_ADDRESS - 1):
            assert caller.tries("wrong").status_code == 401
        assert caller.tries(OPERATOR).status_code == 303


def test_all_attempts_together_are_limited(site: Site, caller: Caller) -> None:
    site.redis.set("tenure:{all}:login-attempts:all", OVERALL - 1, ex=100)
    assert caller.tries("wrong").status_code == 401
    answer = caller.tries("wrong")
    assert (answer.status_code, int(answer.headers["retry-after"]) <= 100) == (429, True)


def test_nobody_is_kept_out_by_what_others_try(site: Site, caller: Caller, arrive: Arrive) -> None:
    """Given far too many attempts of strangers, when a right token or link comes from elsewhere, then it is let in."""
    for _ in range(PER_ADDRESS + 3):
        caller.tries("wrong")
    assert site.redis.get("tenure:{all}:login-attempts:all") == str(PER_ADDRESS).encode()
    site.redis.set("tenure:{all}:login-attempts:all", 10 * OVERALL, ex=100)
    site.redis.delete("tenure:{all}:login-attempts:from:127.0.0.1")
    assert caller.tries(OPERATOR).status_code == 303
    assert arrive().tries("", code=Sessions(site.app.client).make_code()).status_code == 303


def test_behind_a_proxy_the_last_address_of_the_last_header_counts(site: Site, arrive: Arrive) -> None:
    """Given a proxy that adds a header of its own, when a stranger sends one, then it does not hide them."""
    settings = site.app.settings.model_copy(update={"public_url": "http://tenure.example.org"})
    with serve(create_app(replace(site.app, settings=settings))) as port:
        caller, answered = arrive(port), []
        for number in range(PER_ADDRESS + 1):
            caller.get("/console/login")
            headers = [("X-Forwarded-For", f"192.0.2.{number}"), ("X-Forwarded-For", "198.51.100.7")]
            form = {"csrf": caller.csrf, "token": "wrong"}
            answered.append(caller.http.post("/console/login", data=form, headers=headers).status_code)
    assert answered == [401] * PER_ADDRESS + [429]
    assert site.redis.exists("tenure:{all}:login-attempts:from:198.51.100.7")


def test_a_stranger_beside_the_proxy_is_counted_by_its_own_address(site: Site, arrive: Arrive) -> None:
    """Given a proxy elsewhere, when a stranger who reaches the API itself makes up addresses, then they do not count."""
    given = {"public_url": "http://tenure.example.org", "trusted_proxies": networks("192.0.2.1")}
    settings = site.app.settings.model_copy(update=given)
    with serve(create_app(replace(site.app, settings=settings))) as port:
        caller, answered = arrive(port), []
        for number in range(PER_ADDRESS + 1):
            caller.get("/console/login")
            form = {"csrf": caller.csrf, "token": "wrong"}
            headers = {"X-Forwarded-For": f"198.51.100.{number}"}
            answered.append(caller.http.post("/console/login", data=form, headers=headers).status_code)
    assert answered == [401] * PER_ADDRESS + [429]
    assert site.redis.exists("tenure:{all}:login-attempts:from:127.0.0.1")


@pytest.mark.parametrize(
    ("named", "peer", "forwarded", "sender"),
    [
        ("", "10.0.0.7", ["198.51.100.7"], "198.51.100.7"),
        ("", "::ffff:10.0.0.7", ["192.0.2.9", "198.51.100.7"], "198.51.100.7"),
        ("", "10.0.0.7", ["192.0.2.9, 10.0.0.8"], "10.0.0.8"),
        ("", "203.0.113.5", [], "203.0.113.5"),
        ("", "8.8.8.8", ["198.51.100.7"], "8.8.8.8"),
        ("", "", ["198.51.100.7"], ""),
        ("10.0.0.0/8", "10.0.0.7", ["192.0.2.9, 198.51.100.7, 10.0.0.8"], "198.51.100.7"),
        ("10.0.0.0/8", "10.0.0.7", ["10.0.0.9", "10.0.0.8"], "10.0.0.9"),
        ("10.0.0.0/8", "192.168.0.1", ["198.51.100.7"], "192.168.0.1"),
        ("10.0.0.0/8, 2001:db8::/32", "2001:db8::1", ["garbage, 10.0.0.1"], "garbage"),
    ],
)
def test_a_sender_is_whom_the_outermost_trusted_proxy_saw(
    named: str, peer: str, forwarded: list[str], sender: str
) -> None:
    given = {"TENURE_PUBLIC_URL": "https://tenure.example.org", "TENURE_TRUSTED_PROXIES": named}
    assert load(given).proxies.sender(peer, forwarded) == sender


def test_without_a_proxy_no_address_is_trusted() -> None:
    assert load({}).proxies.sender("127.0.0.1", ["198.51.100.7"]) == "127.0.0.1"


@pytest.mark.parametrize("given", ["nginx", "10.0.0.1/8", "10.0.0.0/8;::1"])
def test_what_is_no_address_of_a_proxy_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match=r"^TENURE_TRUSTED_PROXIES: .*write addresses and networks"):
        load({"TENURE_TRUSTED_PROXIES": given})


def test_a_forwarded_address_counts_only_where_a_proxy_is_told_of(site: Site, arrive: Arrive) -> None:
    """Given no proxy, when a stranger makes up addresses, then they are counted as the one that they have."""
    for number in range(PER_ADDRESS):
        arrive(**{"X-Forwarded-For": f"192.0.2.{number}"}).tries("wrong")
    assert arrive(**{"X-Forwarded-For": "192.0.2.99"}).tries(OPERATOR).status_code == 429


@pytest.mark.parametrize(
    ("where", "leads_to"),
    [
        ("/console/policies?owner=1", "/console/policies?owner=1"),
        ("//evil.example/console/", "/"),
        ("https://evil.example/console/", "/"),
        ("/console/\\evil", "/"),
        ("/console//evil.example", "/"),
        ("/webhooks/github", "/"),
        ("http://[", "/"),
        ("/console/\r\nx: y", "/"),
        ("", "/"),
    ],
)
def test_after_the_login_one_stays_here(where: str, leads_to: str) -> None:
    assert inside(where) == leads_to


def test_a_click_on_another_sites_link_comes_in(site: Site, caller: Caller, arrive: Arrive) -> None:
    """Given that the cookie stays away from other sites' links, then the page asks for itself once more."""
    caller.logged_in()
    stranger = arrive()
    answer = stranger.get("/console/policies", **{"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, 'http-equiv="refresh"' in answer.text) == (200, True)
    assert stranger.get("/console/policies", **{"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_a_form_wants_what_its_page_carried(site: Site, caller: Caller, arrive: Arrive) -> None:
    """Given a session, when a form comes without its token, with another's, or from another site: nothing is done."""
    scene(site)
    caller.logged_in()
    form = about_to_hold("widgets-release")
    other = arrive().logged_in()
    for wrong in ({"csrf": ""}, {"csrf": other.csrf}, {"csrf": "ü"}):
        answer = caller.post("/console/policy", {**form, **wrong})
        assert answer.status_code == 403
        protected(answer)
    assert caller.post("/console/policy", form, **{"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert caller.http.post("/console/policy", json=form).status_code == 415
    assert arrive().post("/console/policy", form).status_code == 401
    assert state(site) == "active"
    assert caller.post("/console/policy", form).status_code == 303
    assert state(site) == "disabled"


def state(site: Site, policy_id: str = "widgets-release") -> str:
    policy = site.app.policies.load([policy_id])[policy_id].policy
    assert policy is not None
    assert policy.view is not None
    return policy.view["state"]


def test_the_routes_are_those_of_the_contract_and_for_whom_it_says(site: Site, caller: Caller) -> None:
    """Given a reader, when each form is sent, then those that are for operators are refused, and the others are not."""
    told = {ticked(route)[0]: who for route, who, _ in table(text("docs/contract.md"), "console")}
    routes = [route for route in create_app(site.app).routes if isinstance(route, Route)]
    there = {
        f"{'POST' if 'POST' in (route.methods or ()) else 'GET'} {route.path}"
        for route in routes
        if (route.path == "/" or route.path.startswith("/console")) and not route.path.endswith("{rest:path}")
    }
    assert set(told) == there
    caller.logged_in(READER)
    for route, who in told.items():
        method, path = route.split()
        if method == "POST" and path not in {"/console/login", "/console/logout"}:
            assert (caller.post(path, {}).status_code == 403) == (who == "operators"), route


def test_a_reader_looks_and_does_not_act(site: Site, caller: Caller) -> None:
    scene(site)
    caller.logged_in(READER)
    page = caller.get("/console/policy?id=widgets-release")
    assert page.status_code == 200
    assert "sam" in page.text
    assert 'name="act"' not in page.text
    for path in ("/console/policy", "/console/letters", "/console/replay"):
        answer = caller.post(path, about_to_hold("widgets-release"))
        assert answer.status_code == 403, path
        assert "may look, and not act" in answer.text
    assert state(site) == "active"
    assert caller.post("/console/evaluate", {"claims": "{}"}).status_code == 200
    assert caller.post("/console/logout", {}).status_code == 303


def test_logging_out_ends_the_session_in_the_store(site: Site, caller: Caller) -> None:
    caller.logged_in()
    cookies = dict(caller.http.cookies)
    assert caller.post("/console/logout", {}).status_code == 303
    assert list(site.redis.scan_iter("tenure:{all}:session:*")) == []
    caller.http.cookies.update(cookies)
    assert caller.get("/").status_code == 303


def test_a_token_that_is_taken_away_ends_its_sessions(site: Site, caller: Caller) -> None:
    caller.logged_in()
    other = site.app.settings.model_copy(update={"operator_tokens": (SecretStr("another"),)})
    with serve(create_app(replace(site.app, settings=other))) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", cookies=dict(caller.http.cookies)).status_code == 303
        demoted = replace(site.app, settings=other.model_copy(update={"reader_tokens": (SecretStr(OPERATOR),)}))
    with serve(create_app(demoted)) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", cookies=dict(caller.http.cookies)).status_code == 303


def test_a_link_is_good_once(site: Site, caller: Caller, arrive: Arrive) -> None:
    sessions = Sessions(site.app.client)
    code = sessions.make_code()
    assert code not in str([site.redis.get(key) for key in site.redis.scan_iter()]) + str(list(site.redis.scan_iter()))
    assert caller.tries("", code=code).status_code == 303
    assert caller.get("/").status_code == 200
    again = arrive().tries("", code=code)
    assert again.status_code == 401
    assert "used already" in again.text
    assert sessions.take_code(sessions.make_code())
    assert not sessions.take_code("")


def test_sessions_and_codes_end_by_themselves(site: Site) -> None:
    sessions = Sessions(site.app.client)
    sessions.begin(Session("maria", TokenRole.OPERATOR, ""))
    sessions.make_code()
    keys = [*site.redis.scan_iter("tenure:{all}:session:*"), *site.redis.scan_iter("tenure:{all}:login-code:*")]
    assert [0 < int(str(site.redis.ttl(key))) <= 12 * 3600 for key in keys] == [True, True]


def test_names_of_tokens() -> None:
    assert named(SecretStr("maria:s3cret")) == ("maria", "s3cret")
    assert named(SecretStr("s3cret")) == ("", "s3cret")
    assert named(SecretStr("9:x")) == ("", "9:x")
    settings = load({"TENURE_OPERATOR_TOKENS": "maria:canary", "TENURE_PUBLIC_URL": "https://tenure.example.org/"})
    assert settings.public_url == "https://tenure.example.org"
    assert "canary" not in repr(settings)
    with pytest.raises(SettingsError, match="TENURE_PUBLIC_URL: is like https"):
        load({"TENURE_PUBLIC_URL": "tenure.example.org/console"})


def test_the_bearer_interface_takes_everybodys_tokens_without_their_names(site: Site) -> None:
    for token in (OPERATOR, READER, REGISTRY):
        answer = site.http.get("/policies/nobody", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 404
    assert site.http.get("/policies/nobody", headers={"Authorization": f"Bearer sam:{READER}"}).status_code == 401


def test_static_files_may_be_kept_and_nothing_else_is_served(site: Site, caller: Caller) -> None:
    page = caller.get("/console/login").text
    files = set(re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page))
    assert len(files) > 3
    for path in files:
        answer = caller.get(path)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    other = next(iter(files)).replace(VERSION, "0" * len(VERSION))
    for path in (
        other,
        f"/console/static/{VERSION}/pages.py",
        "/console/static/x/..%2Fpages.py",
        "/console/static/x/pages.py",
        "/console/static/x/base.html",
    ):
        assert caller.get(path).status_code in {303, 404}, path
