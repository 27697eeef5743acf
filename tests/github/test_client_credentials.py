"""Who asks: the App's signature, installations' tokens, and that neither is ever shown."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from tests.github.clients import (
    APP_ID,
    NOW,
    TOKEN,
    Asked,
    Clock,
    Handler,
    Reply,
    Server,
    app_key,
    app_pem,
    asking,
    repository,
    serving,
    token,
)
from worker.github.answers import CredentialsError, GitHubError, GoneError, LaterError, SuspendedError, UninstalledError
from worker.github.budget import APP, Budgets
from worker.github.client import GitHub
from worker.github.credentials import InstallationToken, check_private_key


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        started.says(Reply(repository()))
        yield started


# The key


def pem(key: PrivateKeyTypes, encryption: KeySerializationEncryption | None = None) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()).decode()


def test_keys_as_github_and_others_write_them_are_taken() -> None:
    check_private_key(app_pem())
    check_private_key("\n" + pem(app_key()) + "\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda: "", "is not an RSA private key in PEM", id="nothing"),
        pytest.param(lambda: "secret-words", "is not an RSA private key in PEM", id="something else"),
        pytest.param(lambda: "secret-words\ud800", "is not an RSA private key in PEM", id="not even text"),
        pytest.param(lambda: app_pem()[:500], "is not an RSA private key in PEM", id="cut off"),
        pytest.param(lambda: pem(ec.generate_private_key(ec.SECP256R1())), "is not an RSA", id="another kind"),
        pytest.param(lambda: pem(app_key(), BestAvailableEncryption(b"x")), "passphrase", id="with a passphrase"),
        pytest.param(
            lambda: app_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
            "is not an RSA private key",
            id="the public one",
        ),
        pytest.param(lambda: pem(rsa.generate_private_key(65537, 1024)), "less than 2048 bits", id="short"),
    ],
)
def test_a_key_that_cannot_sign_is_refused_in_one_line_that_does_not_hold_it(
    make: Callable[[], str], words: str
) -> None:
    given = make()
    with pytest.raises(ValueError, match=words) as caught:
        check_private_key(given)
    told = "".join(traceback.format_exception(caught.value))
    assert "\n" not in str(caught.value)
    assert not any(line in told for line in given.splitlines() if line)


# The App's signature


def test_the_app_signs_for_some_minutes_and_then_anew(server: Server) -> None:
    server.says(Reply([]))
    clock = Clock()
    with asking(server.url, clock=clock) as github:
        for later in (0, 1, 419, 1, -3600, 3600):
            clock.now += later
            github.installations()
    signatures = [asked.bearer for asked in server.asked]
    # Used again for seven minutes; made anew after that, and when the clock was set back.
    assert [signatures.index(each) for each in signatures] == [0, 0, 2, 2, 4, 5]
    claims = jwt.decode(
        signatures[0],
        app_key().public_key(),
        algorithms=["RS256"],
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims == {"iat": NOW - 60, "exp": NOW + 480, "iss": APP_ID}


# Tokens


def test_a_token_is_used_until_a_minute_before_its_end(server: Server) -> None:
    server.token = lambda _asked: Reply(token(server.tokens, "2027-01-15T09:00:00+00:00"), 201)  # An hour after NOW.
    clock = Clock()
    with asking(server.url, clock=clock) as github:
        for later in (0, 3539, 1):
            clock.now = NOW + later if later != 1 else clock.now + 1
            github.repository(900, 7, urgent=True)
    assert [asked.bearer for asked in server.asked] == [f"{TOKEN}1", f"{TOKEN}1", f"{TOKEN}2"]


def test_installations_have_tokens_of_their_own(server: Server) -> None:
    paths: list[str] = []

    def hand_out(asked: Asked) -> Reply:
        paths.append(asked.path)
        return Reply(token(server.tokens), 201)

    server.token = hand_out
    with asking(server.url) as github:
        for installation in (900, 2**62, 900):
            github.repository(installation, 7, urgent=True)
    assert paths == ["/app/installations/900/access_tokens", f"/app/installations/{2**62}/access_tokens"]
    assert [asked.bearer for asked in server.asked] == [f"{TOKEN}1", f"{TOKEN}2", f"{TOKEN}1"]


def test_threads_that_need_a_token_fetch_it_once(server: Server) -> None:
    begin = threading.Barrier(6)
    second = threading.Event()

    def hand_out(_asked: Asked) -> Reply:
        # The first waits for a second, which should never come.
        if server.tokens > 1:
            second.set()
        second.wait(0.2)
        return Reply(token(server.tokens), 201)

    server.token = hand_out
    with asking(server.url) as github:

        def ask() -> None:
            begin.wait(5)
            github.repository(900, 7, urgent=True)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert server.tokens == 1
    assert {asked.bearer for asked in server.asked} == {f"{TOKEN}1"}
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(Reply({"message": "Bad credentials"}, 401), id="in GitHub's words"),
        pytest.param(Reply(b"<html>", 401, {"Content-Type": "text/html"}), id="in others'"),
        pytest.param(Reply(b"", 401, {"Content-Type": ""}), id="in none"),
    ],
)
def test_a_token_that_is_refused_is_fetched_anew_once(server: Server, bad: Reply) -> None:
    server.answers = lambda asked: Reply(repository()) if asked.bearer == f"{TOKEN}2" else bad
    with asking(server.url) as github:
        github.repository(900, 7, urgent=True)
        assert server.tokens == 2
        server.says(bad)
        with pytest.raises(CredentialsError):
            github.repository(900, 7, urgent=True)
    assert server.tokens == 3


def test_a_stranger_s_budget_is_not_taken_for_the_installation_s(server: Server) -> None:
    budgets = Budgets()
    heard = {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "1", "x-ratelimit-reset": str(NOW + 600)}
    server.answers = lambda asked: (
        Reply(repository()) if asked.bearer == f"{TOKEN}2" else Reply({"message": "Bad credentials"}, 401, heard)
    )
    with asking(server.url, budgets=budgets) as github:
        github.repository(900, 7, urgent=False)
    assert budgets.snapshots([900, APP]) == {900: (0, 0, 0, 0), APP: (0, 0, 0, 0)}


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        pytest.param(Reply({"message": "This installation has been suspended"}, 403), SuspendedError, id="suspended"),
        pytest.param(Reply({"message": "Not Found"}, 404), UninstalledError, id="uninstalled"),
        pytest.param(Reply({"message": "Integration not found"}, 404), CredentialsError, id="no such App"),
        pytest.param(Reply({"message": "A JSON web token could not be decoded"}, 401), CredentialsError, id="key"),
        pytest.param(Reply(b"<html>", 404, {"Content-Type": "text/html"}), LaterError, id="somebody in between"),
        pytest.param(Reply({"message": "x"}, 500), LaterError, id="GitHub is ill"),
        pytest.param(
            Reply({"token": "a\r\nb: c", "expires_at": "2030-01-01T00:00:00Z"}, 201), LaterError, id="no token"
        ),
        pytest.param(Reply({"token": f"{TOKEN}x"}, 201), LaterError, id="no end"),
    ],
)
def test_what_a_token_that_is_not_given_means(server: Server, reply: Reply, meaning: type[GitHubError]) -> None:
    server.token = lambda _asked: reply
    with asking(server.url) as github:
        with pytest.raises(meaning) as caught:
            github.repository(900, 7, urgent=True)
        assert type(caught.value) is meaning
        assert server.asked == []
        server.token = None
        github.repository(900, 7, urgent=True)


def test_an_uninstalled_app_sees_nothing_and_that_is_a_kind_of_gone() -> None:
    assert issubclass(UninstalledError, GoneError)


# Nothing of it is shown


def says_nothing(_handler: Handler) -> None:
    """And closes."""


def test_neither_key_nor_token_is_shown(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key_lines = [line for line in app_pem().splitlines() if "KEY" not in line]
    told: list[str] = []

    def note(thing: object) -> None:
        told.append(repr(thing) + str(thing))

    def fail(github: GitHub, reply: Reply) -> None:
        server.says(reply)
        with pytest.raises(GitHubError) as caught:
            github.repository(900, 7, urgent=True)
        error: BaseException | None = caught.value
        told.append("".join(traceback.TracebackException.from_exception(caught.value, capture_locals=False).format()))
        while error is not None:
            note(error)
            note(vars(error))
            error = error.__cause__ or error.__context__

    signature = ""
    with asking(server.url) as github:
        secret = f"{TOKEN}1"
        for status in (302, 400, 401, 403, 404, 422, 451, 500):
            fail(github, Reply({"message": f"{secret} is bad"}, status))
        fail(github, Reply({**repository(), "id": secret}))
        fail(github, Reply(b"{" + secret.encode()))
        fail(github, Reply(secret.encode(), 200, {"Content-Type": "text/plain"}))
        fail(github, Reply(raw=says_nothing))
        server.answers = lambda asked: Reply([{"id": asked.bearer}])
        with pytest.raises(LaterError) as caught:
            github.installations()
        note(caught.value)
        signature = server.asked[-1].bearer
        for part in (github, *vars(github).values(), *vars(github._session).values()):
            note(part)
        note(InstallationToken(secret, datetime(2030, 1, 1, tzinfo=UTC), frozenset()))
    shown = "".join(told) + caplog.text
    assert len(told) > 30
    for secret in (TOKEN, signature, *key_lines):
        assert secret not in shown
