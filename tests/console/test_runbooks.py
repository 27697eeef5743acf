"""Runbooks are addresses: whoever is woken by an alert opens one, logged in or not, and also while the store is away."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.support import NO_TLS
from tests.web.site import Site
from worker.doctor import runbooks
from worker.doctor.runbooks import address_of
from worker.settings import Settings


def opened(site: Site, name: str) -> httpx.Response:
    return httpx.get(f"{site.url}/console/runbooks/{name}", verify=NO_TLS)


@pytest.mark.parametrize("name", runbooks.names())
def test_every_runbook_can_be_opened_and_leads_to_others(site: Site, name: str) -> None:
    answer = opened(site, name)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<strong>What it means.</strong>" in answer.text
    led = re.findall(r'href="([^"]+)"', answer.text.partition("<article")[2])
    assert all(link.removeprefix("/console/runbooks/") in runbooks.names() for link in led)


def test_there_is_no_other(site: Site) -> None:
    assert [opened(site, name).status_code for name in ("nothing", "__init__.py", "queue.md")] == [404, 404, 404]


def test_an_address_is_where_browsers_reach_the_console() -> None:
    assert address_of(Settings(_env_file=None), "queue") == "http://127.0.0.1:8480/console/runbooks/queue"
    behind = Settings(_env_file=None, public_url="https://tenure.example.org/")
    assert address_of(behind, "queue") == "https://tenure.example.org/console/runbooks/queue"
    assert address_of(behind, "") == ""
