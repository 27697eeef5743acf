"""`/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
import threading

import httpx
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from tests.web.site import PATIENCE, Site, serve, until
from tests.web.test_reads import register
from worker.http.app import create_app
from worker.web.health import HealthEndpoints
from worker.web.inbox_writer import InboxWriter
from worker.web.metrics import Metrics
from worker.web.threads import READERS, Web

ARCHIVED = {"action": "archived", "repository": {"id": 11, "name": "widgets", "owner": {"id": 7}}}


def scrape(site: Site) -> dict[tuple[str, str], float]:
    """(sample, label's value) → value"""
    response = site.http.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_alive(site: Site) -> None:
    response = site.http.get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


def test_ready_once_every_part_was_seen(site: Site) -> None:
    response = site.http.get("/readyz")
    assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
    assert {name: part["ok"] for name, part in response.json()["parts"].items()} == {
        "store": True, "durable": True, "clock": True, "queue": True, "workers": False, "scheduler": False,
    }  # fmt: skip

    site.app.status.beat("worker", "w")
    assert site.http.get("/readyz").status_code == 503
    site.app.status.beat("scheduler", "s")
    response = site.http.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (200, "ready")


def test_health_does_not_wait_for_slow_pages(site: Site) -> None:
    """Given as many slow pages as there are readers, then whether it is ready, and its metrics, are told meanwhile."""
    site.app.status.beat("worker", "w")
    site.app.status.beat("scheduler", "s")
    release = threading.Event()

    async def asked() -> list[int]:
        web = Web(site.app, InboxWriter(site.app))
        await web.start()
        slow = [asyncio.create_task(web.aside(release.wait, PATIENCE)) for _ in range(READERS)]
        request = Request({"type": "http"})
        try:
            await asyncio.sleep(0)  # Each takes its reader now.
            return [(await told(request)).status_code for told in (HealthEndpoints(web).ready, Metrics(web).scrape)]
        finally:
            release.set()
            await asyncio.gather(*slow)
            await web.stop()

    assert asyncio.run(asked()) == [200, 200]


def test_a_store_that_is_not_durable_is_reported_but_ready(site: Site) -> None:
    site.app.status.beat("worker", "w")
    site.app.status.beat("scheduler", "s")
    site.redis.config_set("appendfsync", "everysec")
    try:
        response = site.http.get("/readyz")
    finally:
        site.redis.config_set("appendfsync", "always")
    assert response.status_code == 200
    assert response.json()["parts"]["durable"]["ok"] is False
    assert "appendfsync always" in response.json()["parts"]["durable"]["detail"]


def test_everything_is_counted(site: Site) -> None:
    register(site)
    site.deliver(ARCHIVED)
    site.settle()
    site.deliver(ARCHIVED)
    site.deliver({**ARCHIVED, "action": "unarchived"})
    site.deliver({"action": "transferred", "repository": ARCHIVED["repository"]}, delivery="unusable")
    for _ in range(3):
        site.deliver(ARCHIVED, secret="canary-of-nobody")
    site.send(b"{}", token=None)
    site.app.status.count({"checks:agreed": 2, "conflicts": 4})

    found = scrape(site)
    assert found["tenure_events_received_total", "repository.archived"] == 1
    assert found["tenure_events_received_total", "policy.registered"] == 1
    assert found["tenure_events_rejected_total", "signature"] == 3
    assert found["tenure_events_rejected_total", "token"] == 1
    assert found["tenure_events_settled_total", ""] == 2
    assert found["tenure_events_duplicate_total", ""] == 1
    assert found["tenure_commit_conflicts_total", ""] == 4
    assert found["tenure_changes_total", "policy.activated"] == 1
    assert found["tenure_changes_total", "policy.disabled"] == 1
    assert found["tenure_policies", "disabled"] == 1
    assert found["tenure_policies", "active"] == 0
    assert found["tenure_queue_depth", "events"] == 2
    assert found["tenure_queue_depth", "large"] == 0
    assert found["tenure_queue_oldest_seconds", ""] >= 0
    assert found["tenure_due_lag_seconds", ""] == 0
    assert found["tenure_checks_total", "agreed"] == 2
    assert found["tenure_dead_letters", "github"] == 0
    assert found["tenure_dead_letters_oldest_seconds", "github"] == 0

    site.settle()
    found = scrape(site)
    assert found["tenure_dead_letters", "github"] == 1
    assert found["tenure_dead_letters", "registry"] == 0
    assert found["tenure_dead_letters_oldest_seconds", "github"] > 0
    assert found["tenure_events_failed_total", "UnusableEventError"] == 1
    assert found["tenure_queue_depth", "events"] == 0


def test_latency_is_a_histogram(site: Site) -> None:
    site.app.status.count({"latency:0": 2, "latency:3": 1, "latency:16": 1, "latency:sum": 50_000_000})
    found = scrape(site)
    assert found["tenure_publish_latency_seconds_bucket", "0.001"] == 2
    assert found["tenure_publish_latency_seconds_bucket", "0.004"] == 2
    assert found["tenure_publish_latency_seconds_bucket", "0.008"] == 3
    assert found["tenure_publish_latency_seconds_bucket", "32.768"] == 3
    assert found["tenure_publish_latency_seconds_bucket", "+Inf"] == 4
    assert found["tenure_publish_latency_seconds_count", ""] == 4
    assert found["tenure_publish_latency_seconds_sum", ""] == 50


def test_refusals_are_written_without_being_asked_for(site: Site) -> None:
    site.deliver(ARCHIVED, secret="canary-of-nobody")
    until(lambda: site.redis.hget("tenure:{p00}:counters", "rejected:signature") == b"1")


def test_sums_over_all_processes_are_right(site: Site) -> None:
    """Given two processes on one store, when each is scraped, then one of them tells what is the store's; if that ends, the
    other does.
    """
    assert site.deliver(ARCHIVED).status_code == 202
    with (
        serve(create_app(site.app)) as port,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as other,
    ):
        for _ in range(2):
            scraped = [http.get("/metrics").text for http in (site.http, other)]
            assert [text.count("tenure_queue_depth{") > 0 for text in scraped] == [True, False]
            assert ["tenure_tells 1.0" in text for text in scraped] == [True, False]
        site.redis.delete("tenure:{all}:hold:metrics")
        assert "tenure_tells 1.0" in other.get("/metrics").text
        assert "tenure_tells 0.0" in site.http.get("/metrics").text
