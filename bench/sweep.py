"""What verifying costs: a sweep of many owners against the small GitHub of the tests, on loopback, and one on paper."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from pydantic import SecretStr

from bench.frame import ROOT, BenchError, Options, Server, Table, environment, median, python, say, server, workspace
from bench.payloads import PER_OWNER, creator_id, subject
from bench.scale import load
from worker.app import App, build
from worker.github.client import pages
from worker.settings import Settings
from worker.verify.build import build_verification

PAPER_POLICIES, PAPER_OWNERS = 1_000_000, 20_000


def measure(options: Options) -> list[Table]:
    owners = max(2, options.stored // 100 // PER_OWNER)
    policies = owners * PER_OWNER
    table = Table(
        "A sweep: every policy verified, by one process; GitHub's part is answered on loopback",
        ["run", "policies", "calls", "policies/s", "policies/call", "calls/s", "ms/owner"],
    )
    with workspace() as directory, server(directory) as where, _github(directory, owners) as (url, app_id, key):
        app = _connected(where, url, app_id, key)
        load(app, where, 0, policies)
        where.configure(appendonly="yes")
        where.calm()
        asking = build_verification(app)
        rates, per_call, per_owner = [], [], []
        try:
            for run in range(1, options.runs + 1):
                begin, calls, changed = time.monotonic(), 0, 0
                for owner_id, _ in app.checks.stalest(owners):
                    report = asking.sweeper.sweep(owner_id, "bench")
                    if report.outcome != "done":
                        raise BenchError(f"owner {owner_id}: {report.outcome}: {report.error}")
                    calls, changed = calls + report.calls, changed + report.refreshed + len(report.changes)
                took = time.monotonic() - begin
                if changed < policies:
                    raise BenchError(f"{changed} of {policies} policies were verified")
                rates.append(policies / took)
                per_call.append(policies / calls)
                per_owner.append(took / owners * 1000)
                table.rows.append([
                    str(run), f"{policies:,}", calls, rates[-1], per_call[-1], calls / took, per_owner[-1],
                ])  # fmt: skip
                say(f"sweep {run}: {policies / took:.0f} policies/s, {calls} calls")
        finally:
            asking.close()
            app.client.redis.close()
    table.notes.append(
        f"{PER_OWNER} policies and as many repositories an owner; the first run fetches a token for each"
    )
    return [table, _on_paper(median(rates))]


def _on_paper(rate: float) -> Table:
    """A sweep that nobody ran: its calls are counted by the sweeper's own rule, its time by what was measured."""
    each = PAPER_POLICIES // PAPER_OWNERS
    table = Table(
        f"On paper: {PAPER_POLICIES:,} policies of {PAPER_OWNERS:,} owners, {each} repositories and up to 100 members each",
        ["what", "calls", "hours"],
    )
    installations = pages(PAPER_OWNERS)
    lists = PAPER_OWNERS * (pages(each) + pages(100))
    calls = installations + PAPER_OWNERS + lists
    own = PAPER_POLICIES / rate / 3600
    table.rows += [
        ["list of installations", installations, None],
        ["a token for each", PAPER_OWNERS, None],
        ["lists of repositories and members", lists, None],
        ["all, without what GitHub takes to answer", calls, own],
    ]
    table.notes.append(
        "hours: policies / the median rate above, in one process; add calls times what a call takes from where you are. "
        f"Of the budget of each installation a sweep takes {1 + pages(each) + pages(100)} calls"
    )
    return table


def _connected(where: Server, url: str, app_id: str, key: str) -> App:
    return build(
        Settings(
            redis_url=SecretStr(where.store.url),
            github_app_id=app_id,
            github_private_key=SecretStr(key),
            github_api_url=url,
            verify_max_age_hours=8760,
        )
    )


@contextmanager
def _github(directory: Path, owners: int) -> Iterator[tuple[str, str, str]]:
    """The small GitHub as a process of its own, with everything that the policies name."""
    key_file = directory / "app.pem"
    command = python("-m", "worker.demo.fakegithub", "--key-file", str(key_file))
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline() or b"{}")
            if not told:
                raise BenchError("the small GitHub did not start")
            with httpx.Client(base_url=told["url"], trust_env=False, timeout=60) as client:
                _fill(client, owners)
            yield str(told["url"]), str(told["app_id"]), key_file.read_text()
        finally:
            process.terminate()
            process.wait()


def _fill(client: httpx.Client, owners: int) -> None:
    def do(verb: str, **arguments: object) -> None:
        answer = client.post("/_world", json={"do": verb, "with": arguments})
        if answer.status_code != httpx.codes.OK:
            raise BenchError(f"{verb}: {answer.text}")

    for number in range(owners * PER_OWNER):
        of = subject(number)
        creator = creator_id(of)
        if number % PER_OWNER == 0:
            do("add_org", login=of.owner, account_id=of.owner_id)
            do("add_user", login=f"creator-{of.owner_id}", account_id=creator)
            do("add_member", org_id=of.owner_id, user_id=creator)
            do("install", account_id=of.owner_id)
        do(
            "add_repository",
            owner_id=of.owner_id,
            name=of.repository,
            repository_id=of.repository_id,
            visibility="public",
        )
