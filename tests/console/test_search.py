"""A search costs a bounded number of commands, however many policies there are, and says how far it looked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from tests.console.calling import Caller
from tests.web.site import OPERATOR, Site
from worker.lifecycle import scopes
from worker.lifecycle.criteria import PolicyCriteria
from worker.lifecycle.facts import Basis, Micros, Observation, ObservationSource
from worker.lifecycle.policy import Policy, advance, learn
from worker.lifecycle.registration import Registration, encode
from worker.store.policies import Commit, Located
from worker.store.search import CHUNK, SCANNED_AT_ONCE, Search

POLICIES = 20_000
AT_ONCE = 1_000
PER_OWNER = 100
FEW = 100
"""Commands for one page, the session, the clock and the reading of all partitions included."""


def registered(site: Site, number: int, now: Micros) -> Commit:
    """The first commit of a policy, without inbox and worker: it is the reading that is measured."""
    app = site.app
    owner, name = 1_000 + number // PER_OWNER, f"pol-{number:06d}"
    registration = Registration(
        "publish", f"team-{number % 500}", "organization", "maria", 5, "octo", owner, f"repo-{number}", number + 1,
        "private", "release.yml", None,
    )  # fmt: skip
    source = ObservationSource("registry", name, "policy.registered")
    said = Observation(scopes.policy(name), "registration", encode(registration), now, Basis.PROOF, source)
    policy = learn(Policy(name, {}), [said], app.settings.rules)
    step = advance(policy, now, app.settings.rules, learnt=True)
    assert step is not None
    return Commit(Located(app.keyspace.of(owner), False, None), step, source, None)


@pytest.fixture(scope="module")
def full(running: Site) -> Iterator[Site]:
    running.clear()
    running.redis.config_set("appendfsync", "no")
    now = running.app.status.now()
    for first in range(0, POLICIES, AT_ONCE):
        commits = [registered(running, number, now) for number in range(first, first + AT_ONCE)]
        assert all(running.app.policies.commit(commits))
    running.redis.config_set("appendfsync", "always")
    yield running
    running.clear()


@pytest.fixture
def cost(full: Site) -> Callable[[Callable[[], object]], int]:
    """How many commands the store was asked for something."""

    def asked() -> int:
        with Redis(port=full.store.port) as plain:
            stats = plain.info("commandstats")
        return sum(int(found["calls"]) for name, found in stats.items() if name != "cmdstat_info")

    def measure(work: Callable[[], object]) -> int:
        before = asked()
        work()
        return asked() - before

    return measure


@pytest.fixture
def caller(full: Site) -> Iterator[Caller]:
    caller = Caller(full.url)
    with caller.http:
        yield caller.logged_in(OPERATOR)


@pytest.mark.parametrize(
    "query",
    [
        "", "?id=pol-012345", "?owner=1042", "?owner=1042&repository=4205", "?package_owner=team-7", "?state=disabled",
        "?reason=held_by_operator", "?owner=octo&repository=repo-19999", "?repository=17&state=provisional",
    ],
)  # fmt: skip
def test_a_page_costs_few_commands(
    caller: Caller, cost: Callable[[Callable[[], object]], int], measured: Callable[[str], None], query: str
) -> None:
    # The server's own commands, by which it shows that it is alive, come in between now and then.
    commands = min(cost(lambda: caller.get(f"/console/policies{query}")) for _ in range(3))
    measured(f"console: policies{query or ' (all)'}: {commands} commands among {POLICIES:,} policies")
    assert commands <= FEW


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?id=pol-012345", ["pol-012345"]),
        ("?id=pol-012345&state=active", []),
        ("?id=nobody", []),
        ("?owner=1042&repository=4206", ["pol-004205"]),
        ("?owner=1042&repository=octo/repo-4205", ["pol-004205"]),
        ("?package_owner=team-7&repository=8", ["pol-000007"]),
    ],
)
def test_what_is_indexed_is_found_at_once(caller: Caller, query: str, found: list[str]) -> None:
    page = caller.get(f"/console/policies{query}").text
    assert re.findall(r'<a class="id"[^>]*>([^<]+)</a>', page) == found
    assert "Look further" not in page


def test_the_rest_is_looked_through_step_by_step(caller: Caller) -> None:
    """Given one policy among many that no index finds, when somebody looks further, then it is found in the end."""
    path, seen, found, steps = "/console/policies?owner=octo&repository=repo-19999", 0, [], 0
    while True:
        page = caller.get(path).text
        found += re.findall(r'<a class="id"[^>]*>([^<]+)</a>', page)
        looked = re.search(r"([\d,]+) of 20,000", page)
        assert looked is not None
        assert seen < int(looked[1].replace(",", "")) <= seen + SCANNED_AT_ONCE
        seen = int(looked[1].replace(",", ""))
        steps += 1
        further = re.search(r'href="([^"]+)" data-further', page)
        if further is None:
            break
        path = further[1].replace("&amp;", "&")
    assert found == ["pol-019999"]
    assert (seen, steps) == (POLICIES, POLICIES // SCANNED_AT_ONCE)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("owner=octo&repository=repo-19999", "of 20,000. By the owner's id it is found at once."),
        ("owner=1042", "of 100 of that owner."),
        ("package_owner=team-7&state=disabled&owner=octo", "of 40 looked at."),
        ("", "of 20,000."),
    ],
)
def test_it_says_among_which_it_looked(caller: Caller, query: str, told: str) -> None:
    page = caller.get(f"/console/policies?{query}").text
    assert told in page.replace("&#39;", "'")
    assert ("of that owner" in page) == ("of that owner" in told)


def test_pages_show_each_policy_once(full: Site) -> None:
    search = Search(full.app.client, full.app.keyspace)
    for wanted, count in (
        (PolicyCriteria(owner="1042"), PER_OWNER),
        (PolicyCriteria(package_owner="team-7"), POLICIES // 500),
    ):
        names: list[str] = []
        cursor = None
        while True:
            page = search.find(wanted, cursor, limit=7)
            names += [view["policy_id"] for view in page.views]
            cursor = page.cursor
            if cursor is None:
                break
        assert len(names) == len(set(names)) == count


@pytest.mark.parametrize("cursor", ["", "x", "99:", "-1:pol", "0", "0:\x00", ":::", "16:a", "1" * 50])
def test_a_made_up_cursor_does_no_harm(full: Site, cursor: str) -> None:
    page = Search(full.app.client, full.app.keyspace).find(PolicyCriteria(), cursor, limit=5)
    assert len(page.views) == 5
    assert page.scanned <= CHUNK


def test_a_record_that_cannot_be_read_is_told_of(full: Site, caller: Caller) -> None:
    partition = full.app.keyspace.of(1_000)
    key = partition.policy("pol-000000")
    kept = full.redis.get(key)
    assert isinstance(kept, bytes)
    full.redis.set(key, b"1.0\nbroken")
    try:
        page = Search(full.app.client, full.app.keyspace).find(PolicyCriteria(owner="1000"), None, limit=5)
        assert (len(page.views), page.unreadable) == (5, ["pol-000000"])
        answer = caller.get("/console/policy?id=pol-000000")
        assert (answer.status_code, "The record of policy pol-000000 cannot be read" in answer.text) == (500, True)
    finally:
        full.redis.set(key, kept)
