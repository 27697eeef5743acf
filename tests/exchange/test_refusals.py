"""A refused token is told of where its policy is known, and the answer does not wait for that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from redis.asyncio import Redis

from examples.circle.issuer import Issuer
from examples.exchange.reporting import BATCH, LONGEST_TEXT, MOST_REFUSALS, Reporter
from examples.exchange.vault import Vault
from tests.conftest import wait_until
from tests.exchange.service import RUN, Service
from tests.reader.world import World
from tests.web.site import Site, serve
from worker.http.app import create_app
from worker.local.valkey import free_port
from worker.store.logins import LoginsOf


@pytest.fixture(autouse=True)
def _policy(world: World) -> None:
    world.register(visibility="public")


def refusals(site: Site, policy_id: str = "pol-1") -> LoginsOf | None:
    site.settle()
    policy = site.app.policies.load([policy_id])[policy_id].policy
    assert policy is not None
    return site.app.logins.of(policy).refused


def told(site: Site, times: int, policy_id: str = "pol-1") -> LoginsOf:
    def counted() -> bool:
        found = refusals(site, policy_id)
        return found is not None and found.every.times == times

    wait_until(counted, f"{times} refusals of {policy_id} are told")
    found = refusals(site, policy_id)
    assert found is not None
    return found


def test_each_refusal_under_a_policy_that_is_known_is_told_with_what_differs(
    service: Service, issuer: Issuer, site: Site
) -> None:
    """Given refusals of every kind, when they are settled, then each has its code under its policy, and no token is told."""
    run = {"run_id": "4711", "ref": "refs/heads/main", "actor": "maria-gh"}
    assert service.run(event_name="pull_request_target", **run).status_code == 403
    assert told(site, 1).every.last.items() >= {
        "code": "event_forbidden", "run_id": 4711, "ref": "refs/heads/main", "actor": "maria-gh",
    }.items()  # fmt: skip
    wrong = {"job_workflow_ref": "octo/widgets/.github/workflows/other.yml@refs/heads/x"}
    assert service.run(**wrong).status_code == 403
    assert service.run(**wrong).status_code == 403
    assert service.login(user="olga").status_code == 403
    token = issuer.token(**RUN)
    assert [service.login(token).status_code for _ in range(2)] == [200, 401]
    found = told(site, 5)
    assert {code: count.times for code, count in found.named.items()} == {
        "event_forbidden": 1, "workflow_file": 2, "user": 1, "replayed": 1,
    }  # fmt: skip
    # Nobody's: the owner has no policy of that repository; and what is no token of the issuer's is nobody's word.
    assert service.run(repository_id="8", repository="octo/gadgets").status_code == 403
    assert service.login("x").status_code == 401
    assert service.run(event_name="workflow_run").status_code == 403
    assert told(site, 6).every.times == 6


def test_a_ref_that_is_none_is_left_out_and_a_long_one_is_cut(service: Service, site: Site) -> None:
    service.run(event_name="workflow_run", ref="r" * 5000, actor=" ", run_id="-1")
    assert dict(told(site, 1).every.last).keys() == {"code", "id", "ref"}
    assert told(site, 1).every.last["ref"] == "r" * LONGEST_TEXT


def test_while_tenures_door_is_closed_refusals_wait_and_nobody_waits_for_them(
    start: Callable[..., Service], site: Site
) -> None:
    port = free_port()
    service = start(tenure_url=f"http://127.0.0.1:{port}")
    begun = time.monotonic()
    for _ in range(3):
        assert service.run(event_name="workflow_run").status_code == 403
    assert time.monotonic() - begun < 2
    wait_until(lambda: service.metric("exchange_refusals ") == 3, "they wait")
    with serve(create_app(site.app), port):
        wait_until(lambda: service.metric("exchange_refusals ") == 0, "they are told")
    assert told(site, 3).every.times == 3


def test_only_so_many_wait_and_the_oldest_go() -> None:
    """Given a door that is closed, then one that takes nothing, when there are too many refusals, the newest are told."""
    statuses = [503, 202]
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        status = statuses.pop(0) if statuses else 202
        if status == 202:
            sent.append(request.content.decode())
        return httpx.Response(status)

    async def tell() -> tuple[int, int]:
        async with Redis() as redis, httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
            reporter = Reporter(Vault(redis), http, "http://tenure.example", "t")
            for n in range(MOST_REFUSALS):
                reporter.refused(f'"{n}"')
            with pytest.raises(httpx.HTTPError):
                await reporter._report_refusals()
            for n in range(MOST_REFUSALS, MOST_REFUSALS + 5):
                reporter.refused(f'"{n}"')
            while await reporter._report_refusals():
                pass
            return reporter.waiting, reporter.untold

    assert asyncio.run(tell()) == (0, 5)
    assert len(sent) == MOST_REFUSALS / BATCH
    assert sent[0].startswith('["5","6"')
    assert sent[-1].endswith(f'"{MOST_REFUSALS + 4}"]')
