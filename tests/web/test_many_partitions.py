"""The feed over HTTP with as many partitions as there may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest

from handlers.table import REGISTRATION_REFUSED
from tenure_reader.keys import MAX_PARTITIONS
from tests.web.site import OPERATOR, Site, site_on
from worker.local.valkey import EmbeddedStore
from worker.store.client import Command

CHANGE = {"type": REGISTRATION_REFUSED, "subject": "pol-1", "data": {"code": "owner_unknown"}}
HEADERS = {"Authorization": f"Bearer {OPERATOR}"}


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Site]:
    with (
        EmbeddedStore(tmp_path / "store") as store,
        site_on(store, tmp_path / "data", partitions=MAX_PARTITIONS) as site,
    ):
        yield site


def add(site: Site, number: int) -> None:
    """An entry of each stream."""
    site.app.client.run([
        Command(("XADD", home.changes, "*", "event", orjson.dumps({**CHANGE, "id": f"{number} of {home.number}"})))
        for home in site.app.keyspace.all()
    ])  # fmt: skip


def changes(site: Site, **query: str) -> httpx.Response:
    answer = site.http.get("/changes", params={"limit": "1000", **query}, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return answer


def test_a_cursor_of_a_thousand_partitions_is_taken_in_an_address_a_header_and_a_consumers_body(many: Site) -> None:
    """Given an entry in each stream, when the feed is followed from a snapshot's cursor, then nothing is left out."""
    add(many, 1)
    cursor = many.http.get("/policies", headers=HEADERS).json()["cursor"]
    assert len(cursor) > 15_000
    add(many, 2)
    answer = changes(many, cursor=cursor).json()
    assert len(answer["changes"]) == MAX_PARTITIONS
    assert many.http.put("/consumers/copy", json={"cursor": cursor}, headers=HEADERS).status_code in {200, 204}
    assert len(changes(many, consumer="copy").json()["changes"]) == MAX_PARTITIONS
    assert changes(many, cursor=answer["cursor"]).json()["changes"] == []
    listens = {**HEADERS, "Accept": "text/event-stream", "Last-Event-ID": cursor}
    with many.http.stream("GET", "/changes", headers=listens) as stream:
        assert stream.status_code == 200
        assert next(line for line in stream.iter_lines() if line.startswith("id: "))
