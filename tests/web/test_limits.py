"""Bodies that are too long, too slow or too many: an answer for their sender, and no harm to anybody else."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from tests.support import NO_TLS
from tests.web.site import PATIENCE, REGISTRY, Site, serve, sign
from worker.http.app import create_app
from worker.web import bodies, guard
from worker.web.bodies import MAX_BODY, SMALL, Room
from worker.web.problems import ServiceUnavailableError

HEADERS = {"Content-Type": "application/json", "X-GitHub-Event": "repository", "X-GitHub-Delivery": "long"}
SMALL_BODY = orjson.dumps({"action": "archived"})


def padded(size: int) -> bytes:
    """A JSON object of exactly this many bytes."""
    return SMALL_BODY + b" " * (size - len(SMALL_BODY))


@pytest.fixture(scope="module")
def too_long() -> bytes:
    return padded(MAX_BODY + 1)


def test_exactly_the_limit_is_taken(site: Site) -> None:
    body = padded(MAX_BODY)
    response = site.deliver(body, delivery="long")
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    assert site.redis.strlen(next(site.redis.scan_iter("tenure:{p*}:inbox:body:*"))) == MAX_BODY


def test_one_byte_more_is_refused_and_a_simple_client_sees_it(site: Site, too_long: bytes) -> None:
    """`http.client` sends everything before it looks at the answer, so a reset connection would hide it."""
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
        connection.request("POST", "/webhooks/github", too_long, {**HEADERS, "X-Hub-Signature-256": sign(too_long)})
        response = connection.getresponse()
        assert (response.status, response.headers["Content-Type"]) == (413, "application/problem+json")
        assert orjson.loads(response.read())["type"] == "urn:tenure:problem:too_long"
        connection.close()
    assert site.held() == []


@pytest.mark.parametrize("path", ["/webhooks/github", "/events"])
def test_httpx_sees_it_too(site: Site, too_long: bytes, path: str) -> None:
    headers = {**HEADERS, "X-Hub-Signature-256": sign(too_long), "Authorization": f"Bearer {REGISTRY}"}
    assert site.http.post(path, content=too_long, headers=headers).status_code == 413


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on the PATH")
@pytest.mark.parametrize("extra", [[], ["-H", "Expect:"], ["-H", "Transfer-Encoding: chunked"]])
def test_curl_sees_it_too(site: Site, too_long: bytes, tmp_path: Path, extra: list[str]) -> None:
    (tmp_path / "body").write_bytes(too_long)
    signed = ["-H", f"X-Hub-Signature-256: {sign(too_long)}", "-H", "Content-Type: application/json"]
    said = ["-s", "-o", str(tmp_path / "answer"), "-w", "%{http_code}", "--data-binary", f"@{tmp_path / 'body'}"]
    done = subprocess.run(
        ["curl", *said, *signed, *extra, f"{site.url}/webhooks/github"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "413")
    assert orjson.loads((tmp_path / "answer").read_bytes())["status"] == 413


def test_what_is_announced_is_refused_before_it_is_sent(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as plain:
        plain.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1))
        assert plain.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_an_endless_body_is_refused_as_soon_as_it_is_too_long(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LINGER_BYTES", 4 * bodies.MIB)
    # What the kernel takes on top, for whom nobody reads, is not the server's.
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, bodies.MIB)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 10 * MAX_BODY:
            yield b" " * 65536
            sent += 65536

    with (
        serve(create_app(site.app), listener=listener) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, timeout=PATIENCE) as sender,
        # Who neither ends nor listens is cut off in the end.
        contextlib.suppress(httpx.TransportError),
    ):
        signed = {**HEADERS, "X-Hub-Signature-256": sign(b"")}
        assert sender.post("/webhooks/github", content=endless(), headers=signed).status_code == 413
    assert sent < 2 * MAX_BODY
    assert site.deliver({"action": "archived"}).status_code == 202


def test_a_body_that_drips_harms_nobody_and_is_given_up_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given many bodies that never end
    monkeypatch.setattr(bodies, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(guard, "LINGER_SECONDS", 0.1)
    dripping = [socket.create_connection(("127.0.0.1", site.port), timeout=10) for _ in range(50)]
    for plain in dripping:
        signature = f"X-Hub-Signature-256: {sign(b'')}".encode()
        plain.sendall(
            b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\n" + signature + b"\r\nContent-Length: 1000000\r\n\r\n{"
        )

    # When somebody else delivers meanwhile, then that is answered at once
    started = time.monotonic()
    assert site.deliver({"action": "archived"}).status_code == 202
    assert time.monotonic() - started < 1.0

    # And those that drip are told so, and their connections closed
    for plain in dripping:
        answer = b""
        while chunk := plain.recv(65536):
            answer += chunk
        assert answer.startswith(b"HTTP/1.1 408 ")
        plain.close()


def test_a_sender_that_leaves_in_the_middle_leaves_nothing(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as plain:
        plain.sendall(b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert site.deliver({"action": "archived"}).status_code == 202
    assert len(site.held()) == 1


@pytest.mark.parametrize("path", ["/events", "/evaluate", "/nothing-here", "/livez"])
def test_a_refusal_before_the_body_keeps_the_connection_in_order(site: Site, path: str) -> None:
    """The rest of a refused body must not be taken for the next request."""
    body = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    for _ in range(3):
        connection.request("POST", path, body)
        response = connection.getresponse()
        response.read()
        assert response.status in (401, 404, 405)
    connection.close()


def test_a_large_refused_body_is_answered_without_a_token(site: Site) -> None:
    response = site.http.post("/events", content=b" " * (5 * bodies.MIB))
    assert response.status_code == 401


def test_large_bodies_share_a_room_that_small_ones_do_not_need() -> None:
    room = Room(size=100)
    with room.share() as first:
        first.need(SMALL + 60)
        with room.share() as second:
            second.need(SMALL)
            with pytest.raises(ServiceUnavailableError):
                second.need(SMALL + 41)
            second.need(SMALL + 40)
        with room.share() as third:
            third.need(SMALL + 40)
    with room.share() as alone:
        alone.need(SMALL + 100)


def test_a_body_of_nothing_but_objects_is_refused_before_it_is_read(site: Site) -> None:
    """Given 24 MB of empty objects, when they are sent, then they are refused at once, and take no more than their length."""
    begun = time.monotonic()
    response = site.deliver(b'{"commits": [' + b"{}," * 8_000_000 + b"{}]}", event="push")
    assert (response.status_code, response.json()["type"]) == (400, "urn:tenure:problem:body")
    assert time.monotonic() - begun < 2
    assert site.held() == []


@pytest.mark.parametrize(
    ("inner", "status"),
    [
        (b"[" * 150 + b"]" * 150 + b"," + b"[{}]," * 200 + b"1", 202),
        (b"[" * 300 + b"]" * 300, 400),
        (b'"]",' + b"[" * 150 + b"]" * 150 + b',"[[["' + b",[]" * 300, 202),
        (b'"]",' + b"[" * 300 + b"]" * 300 + b',"["', 400),
    ],
    ids=["flat", "deep", "flat, with brackets in texts", "deep, with brackets in texts"],
)
def test_how_deep_a_body_nests_is_found_whatever_its_texts_hold(site: Site, inner: bytes, status: int) -> None:
    assert site.deliver(b'{"zen": [' + inner + b"]}", event="ping").status_code == status
