"""One request and its answer: what a bad network and a bad server can do to it, and what nobody can."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import support  # noqa: F401 - hypothesis' profile
from tests.github.clients import Calls, Clock, Handler, Reply, Server, asking, repository, serving, token
from worker.github.answers import GitHubError, GoneError, LaterError, UserAnswer
from worker.github.client import GitHub
from worker.github.wire import MAX_BODY, Timeouts

LONGEST = 2.0
"""Seconds within which a request with half a second of time is over, on a busy machine."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

TOO_LARGE = b" " * MAX_BODY + json.dumps(repository()).encode()
"""It would fit otherwise."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as started:
        yield started


@pytest.fixture
def github(server: Server) -> Iterator[GitHub]:
    with asking(server.url) as client:
        yield client


def drips_body(handler: Handler) -> None:
    handler.wfile.write(HEAD + b"Content-Length: 100000\r\n\r\n")
    handler.drip(b" ")


def drips_head(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    handler.drip(b"X-Filler: 1\r\n")


def is_silent(handler: Handler) -> None:
    handler.stall()


def stops_in_the_middle(handler: Handler) -> None:
    handler.wfile.write(HEAD + b'Content-Length: 1000\r\n\r\n{"id": 7')
    handler.stall()


def ends_early(handler: Handler) -> None:
    handler.wfile.write(HEAD + b'Content-Length: 1000\r\n\r\n{"id": 7')


def resets(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.wfile.write(HEAD + b'Content-Length: 1000\r\n\r\n{"id": 7')
    handler.connection.close()


def says_nothing_and_closes(handler: Handler) -> None:
    pass


def does_not_speak_http(handler: Handler) -> None:
    handler.wfile.write(b"220 mail.example ESMTP\r\n")


def has_bad_gzip(handler: Handler) -> None:
    handler.wfile.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")


def is_too_large(handler: Handler) -> None:
    handler.wfile.write(HEAD + b"Connection: close\r\n\r\n" + TOO_LARGE)


def unpacks_too_large(handler: Handler) -> None:
    body = gzip.compress(TOO_LARGE)
    handler.wfile.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize(
    "raw",
    [
        drips_body,
        drips_head,
        is_silent,
        stops_in_the_middle,
        ends_early,
        resets,
        says_nothing_and_closes,
        does_not_speak_http,
        has_bad_gzip,
        is_too_large,
        unpacks_too_large,
    ],
    ids=lambda raw: raw.__name__,
)
def test_nothing_is_learnt_from_half_an_answer_and_it_takes_no_longer_than_it_may(
    server: Server, raw: Callable[[Handler], None]
) -> None:
    server.says(Reply(raw=raw))
    calls = Calls()
    with asking(server.url, calls=calls) as github:
        begun = time.monotonic()
        with pytest.raises(LaterError, match=r"GET /repositories/7 \(installation 900\): .*ask again later"):
            github.repository(900, 7, urgent=True)
        assert time.monotonic() - begun < LONGEST
        assert calls[-1] == ("/repositories/{repository}", "later")

        # Given a server that is well again, when it is asked again, then it answers: no broken connection is used.
        server.says(Reply(repository()))
        assert github.repository(900, 7, urgent=True).id == 7


def test_no_step_takes_longer_than_the_whole_may(server: Server) -> None:
    server.says(Reply(raw=is_silent))
    begun = time.monotonic()
    with (
        asking(server.url, timeouts=Timeouts(5, 5, 5, 5, total=0.2)) as github,
        pytest.raises(LaterError, match="ReadTimeout"),
    ):
        github.repository(900, 7, urgent=True)
    assert time.monotonic() - begun < LONGEST


def test_a_server_that_drips_its_token_holds_nobody_else_up(server: Server) -> None:
    server.token = lambda _asked: Reply(raw=drips_body)
    with asking(server.url) as github:
        begun = time.monotonic()
        threads = [threading.Thread(target=_fails, args=(github,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - begun < 2 * LONGEST


def _fails(github: GitHub) -> None:
    with pytest.raises(LaterError):
        github.user(900, 5, urgent=True)


def test_nobody_listens(server: Server) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with (
            asking(f"http://127.0.0.1:{unused.getsockname()[1]}") as github,
            pytest.raises(LaterError, match="ConnectError"),
        ):
            github.installations()


def test_connections_are_used_again(server: Server, github: GitHub) -> None:
    server.says(Reply(repository()))
    for _ in range(5):
        github.repository(900, 7, urgent=False)
    assert (len(server.asked), server.tokens, server.connections) == (5, 1, 1)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(Reply(b"<html>", headers={"Content-Type": "text/html"}), "not JSON", id="HTML"),
        pytest.param(Reply(b"", headers={"Content-Type": ""}), "not JSON", id="no content type"),
        pytest.param(Reply(b'{"id": 7, "na'), "body: Invalid JSON", id="JSON that ends early"),
        pytest.param(Reply(b"\xff\xfe"), "body: Invalid JSON", id="not UTF-8"),
        pytest.param(Reply(b"[" * 100_000), "body: Invalid JSON", id="deep"),
        pytest.param(Reply([repository()]), "body: ", id="a list"),
        pytest.param(Reply(None), "body: ", id="null"),
        pytest.param(Reply(repository(id=7.0)), "id: ", id="an id that is a float"),
        pytest.param(Reply(repository(id="7")), "id: ", id="an id that is text"),
        pytest.param(Reply(repository(2**63)), "id: ", id="an id of more than 64 bits"),
        pytest.param(Reply(repository(True)), "id: ", id="an id that is a boolean"),
        pytest.param(Reply(repository(8)), "id: .*another repository, 8", id="somebody else"),
        pytest.param(Reply(repository(archived="no")), "archived: ", id="a flag that is text"),
        pytest.param(Reply(repository(owner=None)), "owner: ", id="no owner"),
        pytest.param(Reply(repository(visibility="secret")), "visibility: ", id="another visibility"),
        pytest.param(Reply(repository(visibility=None, private=None)), "neither visibility", id="no visibility"),
        pytest.param(Reply({}, status=201), "id: ", id="another success"),
    ],
)
def test_an_answer_that_does_not_fit_is_named_and_not_believed(
    server: Server, github: GitHub, reply: Reply, words: str
) -> None:
    server.says(reply)
    with pytest.raises(LaterError, match=words):
        github.repository(900, 7, urgent=True)


@pytest.mark.parametrize("status", [403, 404, 422, 451])
def test_a_refusal_counts_only_in_github_s_own_form(server: Server, github: GitHub, status: int) -> None:
    for body, kind in (
        (b"<html>", "text/html"),
        (b'{"message": "x"}', "text/plain"),
        (b'{"message": "x"}', ""),
        (b"{", "application/json"),
        (b"[]", "application/json"),
    ):
        server.says(Reply(body, status, {"Content-Type": kind}))
        with pytest.raises(LaterError, match="something in between may have answered"):
            github.repository(900, 7, urgent=True)


def test_a_refusal_without_any_body_counts(server: Server, github: GitHub) -> None:
    for kind in ("", "application/octet-stream"):
        server.says(Reply(b"", 404, {"Content-Type": kind}))
        with pytest.raises(GoneError):
            github.repository(900, 7, urgent=True)


texts = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
header_names = st.sampled_from(
    [
        "link",
        "location",
        "content-type",
        "content-encoding",
        "retry-after",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
    ]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "message", "block"]), inner),
)
bodies = st.binary(max_size=40) | values.map(lambda value: json.dumps(value).encode())


@pytest.fixture(scope="module")
def whatever() -> Iterator[tuple[GitHub, list[httpx.Response]]]:
    """A client, and the list in which it finds its answers."""
    answers: list[httpx.Response] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "api.example"
        if request.url.path.endswith("/access_tokens"):
            return httpx.Response(201, json=token(1))
        return answers[-1]

    clock = Clock()

    def later() -> float:
        clock.now += 3600  # No limit holds up the next example.
        return clock.now

    with asking("https://api.example", clock=later, transport=httpx.MockTransport(answer)) as client:
        yield client, answers


@given(
    st.sampled_from([200, 201, 204, 301, 302, 304, 400, 401, 403, 404, 422, 429, 451, 500, 599]),
    st.dictionaries(header_names, texts | st.sampled_from(["application/json", "gzip", "0", '<http://[>; rel="next"'])),
    bodies,
)
def test_whatever_is_answered_has_a_meaning(
    whatever: tuple[GitHub, list[httpx.Response]], status: int, headers: dict[str, str], body: bytes
) -> None:
    github, answers = whatever
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for ask in (
        lambda: github.repository(900, 7, urgent=True),
        lambda: github.repository_named(900, UserAnswer(41, "octo"), "widgets", urgent=True),
        lambda: list(github.members(900, 41, urgent=True)),
        lambda: list(github.deliveries(status="failure", since=0)),
    ):
        answers.append(httpx.Response(status, headers=raw, stream=httpx.ByteStream(body)))
        with contextlib.suppress(GitHubError):
            assert ask() is not None


def test_ids_keep_all_their_digits(server: Server, github: GitHub) -> None:
    largest = 2**63 - 1
    server.says(Reply(repository(largest)))
    assert github.repository(900, largest, urgent=True).id == largest
    assert server.asked[-1].path == f"/repositories/{largest}"


def test_visibility_comes_from_private_where_it_is_missing(server: Server, github: GitHub) -> None:
    for private, visibility in ((True, "private"), (False, "public")):
        body = repository(private=private)
        del body["visibility"]
        server.says(Reply(body))
        assert github.repository(900, 7, urgent=True).visibility == visibility


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def packs_a_bomb(handler: Handler) -> None:
    """300 MB, packed into 300 KB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    first, one = (packer.compress(b" " * 1_000_000) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    body = first + one * 299
    handler.wfile.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def packs_a_bomb_twice(handler: Handler) -> None:
    body = gzip.compress(gzip.compress(b" " * 20_000_000))
    handler.wfile.write(HEAD + b"Content-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def has_another_encoding(handler: Handler) -> None:
    body = zlib.compress(json.dumps(repository()).encode())
    handler.wfile.write(HEAD + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def has_more_after_the_gzip(handler: Handler) -> None:
    body = gzip.compress(json.dumps(repository()).encode()) * 2
    handler.wfile.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def has_half_a_gzip(handler: Handler) -> None:
    body = gzip.compress(json.dumps(repository()).encode())[:-9]
    handler.wfile.write(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def packs_nothing_without_end(handler: Handler) -> None:
    """Empty blocks: nothing comes out, however much goes in."""
    handler.wfile.write(HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(b"")[:10])
    handler.wfile.write(b"\x00\x00\x00\xff\xff" * 3_000_000)


def lists_empty_objects(handler: Handler) -> None:
    body = b"[" + b"{}," * 3_000_000 + b"{}]"
    handler.wfile.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)


def has_endless_headers(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: 1\r\n" * 500_000)


def has_an_endless_header(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Filler: " + b"1" * 20_000_000)


def has_endless_trailers(handler: Handler) -> None:
    handler.wfile.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-Filler: 1\r\n" * 500_000)


@pytest.mark.parametrize(
    "raw",
    [
        packs_a_bomb,
        packs_a_bomb_twice,
        has_another_encoding,
        has_more_after_the_gzip,
        has_half_a_gzip,
        packs_nothing_without_end,
        lists_empty_objects,
        has_endless_headers,
        has_an_endless_header,
        has_endless_trailers,
    ],
    ids=lambda raw: raw.__name__,
)
def test_no_answer_takes_more_memory_than_is_read_of_it(server: Server, raw: Callable[[Handler], None]) -> None:
    server.says(Reply(raw=raw))
    with asking(server.url, timeouts=Timeouts(5, 5, 5, 5, total=5)) as github:
        highest, over = [resident()], threading.Event()

        def watch() -> None:
            while not over.wait(0.002):
                highest.append(resident())

        watching = threading.Thread(target=watch)
        watching.start()
        before = resident()
        with pytest.raises(LaterError, match=r"no whole answer|an answer (of|in|with|that)"):
            list(github.members(900, 41, urgent=True))
        over.set()
        watching.join()
        assert max(highest) - before < 120_000_000


def test_what_is_packed_is_read(server: Server, github: GitHub) -> None:
    # Some of it packs badly, so that it takes many steps; and a page is full of items.
    users = [{"id": n, "login": f"user-{n}", "bio": hashlib.sha512(b"%d" % n).hexdigest() * 9} for n in range(1, 101)]
    for times in (1, 35):
        body = gzip.compress(json.dumps(users).encode() + b" " * 100_000 * times)
        server.says(Reply(body, headers={"Content-Encoding": "gzip"}))
        assert next(github.members(900, 41, urgent=True)).items[-1].login == "user-100"
