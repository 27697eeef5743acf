"""Whoever connects, without a proxy in front and without credentials: what costs too much is ended, and others are served."""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support import NO_TLS
from tests.web.site import PATIENCE, Site, serve
from worker.http import protocol
from worker.http.app import create_app
from worker.http.server import NO_PROXIES, server
from worker.settings.proxies import Proxies, networks
from worker.web.bodies import SLOW_SECONDS, SMALL, Room
from worker.web.problems import ServiceUnavailableError

MIB = 1024 * 1024


@contextlib.contextmanager
def connected(site: Site, port: int | None = None) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port or site.port), PATIENCE) as connection:
        yield connection


def sent(connection: socket.socket, data: bytes) -> int:
    """How much of it was taken before the connection was ended, or nothing more was taken for a while."""
    connection.settimeout(0.5)
    total = 0
    with contextlib.suppress(OSError):
        while total < len(data):
            total += connection.send(data[total : total + 65536])
    return total


def answer(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection; empty if it was reset."""
    connection.settimeout(PATIENCE)
    told = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            told += piece
    return told


def alive(connection: socket.socket) -> bool:
    """Ask for something, and read the answer to its end, however many pieces it comes in."""
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    answered = http.client.HTTPResponse(connection)
    answered.begin()
    answered.read()
    return answered.status == 200


def test_a_head_of_too_many_bytes_or_lines_is_refused(site: Site) -> None:
    for head in (
        b"X-Long: " + b"x" * (2 * protocol.HEAD_BYTES),
        b"\r\n".join(b"X-%d: y" % n for n in range(protocol.HEAD_LINES + 5)),
        b"X-Long: " + b"x" * (8 * MIB),
        b"\r\n".join(b"X-%d: y" % n for n in range(500_000)),
    ):
        with connected(site) as connection:
            sent(connection, b"GET /livez HTTP/1.1\r\nHost: x\r\n" + head)
            told = answer(connection)
            assert not told or told.startswith(b"HTTP/1.1 431 ")
    assert site.http.get("/livez").status_code == 200


def test_many_lines_that_are_few_enough_are_taken(site: Site) -> None:
    with connected(site) as connection:
        lines = b"\r\n".join(b"X-%d: %s" % (n, b"y" * 100) for n in range(protocol.HEAD_LINES - 5))
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 200 ")


def test_endless_trailers_and_framing_are_ended(site: Site) -> None:
    begin = b"POST /evaluate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for rest in (
        b"1\r\nx\r\n0\r\n" + b"\r\n".join(b"T-%d: y" % n for n in range(300_000)),
        b"1;" + b"e" * (4 * MIB),
    ):
        with connected(site) as connection:
            assert sent(connection, begin + rest) < len(begin + rest)
    assert site.http.get("/livez").status_code == 200


def test_requests_that_nobody_reads_the_answers_of_are_ended(site: Site) -> None:
    """10 MB of pipelined requests."""
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(site) as connection:
        data = one * (10 * MIB // len(one))
        assert sent(connection, data) < len(data)
    assert site.http.get("/livez").status_code == 200


def test_some_requests_may_be_pipelined(site: Site) -> None:
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(site) as connection:
        connection.sendall(one * 4 + one.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        assert answer(connection).count(b"HTTP/1.1 200 ") == 5


def test_a_head_that_does_not_end_is_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with serve(create_app(site.app)) as port, connected(site, port) as silent, connected(site, port) as half:
        half.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-")
        assert answer(silent) == answer(half) == b""


LOOPBACK = Proxies(networks("127.0.0.0/8"), private=False)


@pytest.mark.parametrize("proxies", [NO_PROXIES, LOOPBACK])
def test_idle_connections_lock_nobody_out(site: Site, monkeypatch: pytest.MonkeyPatch, proxies: Proxies) -> None:
    monkeypatch.setattr(protocol, "MOST", 16)
    with (
        serve(create_app(site.app), make=lambda app, host, port: server(app, host, port, proxies=proxies)) as port,
        contextlib.ExitStack() as idle,
    ):
        for _ in range(60):
            idle.enter_context(connected(site, port))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS, timeout=PATIENCE) as http:
            for _ in range(3):
                assert http.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("proxies", "kept"), [(LOOPBACK, 16), (NO_PROXIES, 4), (Proxies(networks("10.0.0.0/8"), private=False), 4)]
)
def test_all_but_trusted_proxies_have_a_share_of_the_connections(
    site: Site, monkeypatch: pytest.MonkeyPatch, proxies: Proxies, kept: int
) -> None:
    """Given an address with more connections than all may have, then it keeps its share, or all if it is a proxy's."""
    monkeypatch.setattr(protocol, "MOST", 16)
    with (
        serve(create_app(site.app), make=lambda app, host, port: server(app, host, port, proxies=proxies)) as port,
        contextlib.ExitStack() as stack,
    ):
        held = []
        for _ in range(17):
            connection = stack.enter_context(connected(site, port))
            held.append(connection)
            # The server has seen it when it has answered.
            assert alive(connection)
        for connection in held[: 17 - kept]:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""
        for connection in held[17 - kept :]:
            assert alive(connection)


def test_without_a_signature_no_body_is_waited_for(site: Site) -> None:
    for signature in (
        b"",
        b"X-Hub-Signature-256: sha256=short\r\n",
        b"X-Hub-Signature-256: sha1=" + b"0" * 64 + b"\r\n",
    ):
        with connected(site) as connection:
            connection.sendall(
                b"POST /webhooks/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-GitHub-Event: ping\r\n"
                b"X-GitHub-Delivery: d\r\n" + signature + b"Content-Length: 20000000\r\n\r\n"
            )
            connection.settimeout(PATIENCE)
            assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_small_bodies_share_a_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    room = Room(small=2 * SMALL)
    with room.share() as first, room.share() as second, room.share() as third:
        first.need(SMALL)
        second.need(SMALL)
        with pytest.raises(ServiceUnavailableError):
            third.need(1)
        # Whoever is slow makes room.
        now = 2 * SLOW_SECONDS
        third.need(SMALL)
    with room.share() as alone:
        alone.need(SMALL)


@pytest.mark.parametrize("path", ["/console", "/console/"])
def test_a_slash_at_the_end_is_no_other_place(site: Site, path: str) -> None:
    assert site.http.get(path, follow_redirects=False).status_code in (200, 303)


def test_github_may_have_been_told_of_a_slash(site: Site) -> None:
    response = site.http.post("/webhooks/github/", content=b"{}")
    assert (response.status_code, response.json()["type"]) == (401, "urn:tenure:problem:signature")
    assert site.http.post("/events/", content=b"{}").status_code == 401


@pytest.mark.parametrize("path", ["/", "/webhooks", "/github", "//webhooks/github", "/webhooks/github/x"])
def test_what_went_to_the_wrong_place_is_told_the_right_one(site: Site, path: str) -> None:
    response = site.http.post(path, content=b"{}", headers={"X-GitHub-Event": "ping"})
    assert response.status_code in (404, 405)
    assert "/webhooks/github" in response.json()["detail"]
    response = site.http.post(
        path, content=b"{}", headers={"Content-Type": "application/cloudevents+json; charset=utf-8"}
    )
    assert "/events" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/livez/", "/readyz/", "/metrics/"])
def test_monitors_may_have_been_told_of_a_slash(site: Site, path: str) -> None:
    assert site.http.get(path).status_code in (200, 503)


def test_a_browser_that_is_lost_gets_a_page(site: Site) -> None:
    response = site.http.get("/nowhere", headers={"Accept": "text/html,*/*"})
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (404, "text/html")
    assert site.http.get("/nowhere").headers["content-type"] == "application/problem+json"


def test_a_byte_order_mark_is_named(site: Site) -> None:
    response = site.send(b"\xef\xbb\xbf{}", kind="application/cloudevents+json")
    assert response.status_code == 400
    assert "byte order mark" in response.json()["detail"]
