"""From the POST of a signed webhook to the change event that a plain Redis client hears, through a whole `tenure up`."""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from pathlib import Path

from bench.door import load, rate_of
from bench.frame import BenchError, Options, Table, percentile, say, workspace
from bench.load import HOST, Plan, Sent
from bench.payloads import signature, subject, webhook
from bench.stack import Listener, Stack, stack

POLICIES = 500
PAUSE_SECONDS = 0.03
"""Between samples on an idle system, so that each finds it idle."""
CAPACITY_SECONDS = 4.0
LOAD_SECONDS = 6.0
LOADED_CONNECTIONS = 32
HEARD_AT_LEAST = 0.9
PATIENCE_SECONDS = 60.0


def measure(options: Options) -> list[Table]:
    table = Table(
        "From POST to the published change, through `tenure up`", ["", "samples", "p50, ms", "p99, ms", "max, ms"]
    )
    with workspace() as directory, stack(directory) as running, Listener(running.redis_url) as listener:
        subjects = [subject(i) for i in range(3 * POLICIES)]
        running.register(subjects)
        listener.wait_for({of.policy_id for of in subjects}, PATIENCE_SECONDS)
        _add(table, "idle", _idle(running, listener, options.samples))
        capacity = _capacity(running, listener, directory, options.connections)
        rate = capacity / 2
        _add(table, f"half load, {rate:.0f} webhooks/s", _loaded(running, listener, directory, rate))
    table.notes.append(f"capacity: {capacity:.0f} webhooks/s from POST to published change, with the sender beside it")
    return [table]


def _add(table: Table, label: str, taken: list[float]) -> None:
    table.rows.append([label, len(taken), percentile(taken, 0.5), percentile(taken, 0.99), max(taken)])
    say(f"latency {label}: p50 {percentile(taken, 0.5):.1f} ms, p99 {percentile(taken, 0.99):.1f} ms")


def _idle(running: Stack, listener: Listener, samples: int) -> list[float]:
    """One webhook at a time, in ms from before the POST until the change was heard."""
    taken: list[float] = []
    connection = http.client.HTTPConnection(HOST, running.port, timeout=30)
    for number in range(samples):
        body = webhook(subject(number % POLICIES), archived=(number // POLICIES) % 2 == 0)
        delivery = f"idle-{number}"
        headers = {
            "Content-Type": "application/json", "X-GitHub-Event": "repository", "X-GitHub-Delivery": delivery,
            "X-Hub-Signature-256": signature(body),
        }  # fmt: skip
        time.sleep(PAUSE_SECONDS)
        start = time.monotonic_ns()
        connection.request("POST", "/webhooks/github", body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.ACCEPTED:
            raise BenchError(f"POST /webhooks/github: {answer.status}")
        listener.wait_for({delivery}, PATIENCE_SECONDS)
        taken.append((listener.heard[delivery] - start) / 1e6)
    connection.close()
    return taken


def _capacity(running: Stack, listener: Listener, directory: Path, connections: int) -> float:
    """Webhooks per second that are taken and published when as many come as are taken."""
    plan = Plan(running.port, connections, CAPACITY_SECONDS, 0, POLICIES, POLICIES, "capacity")
    sent = load(plan, directory)
    heard = _heard(listener, sent)
    published = len(heard) / (max(heard.values()) - min(one.at for one in sent)) * 1e9
    return min(published, rate_of(sent))


def _loaded(running: Stack, listener: Listener, directory: Path, rate: float) -> list[float]:
    """Webhooks at a fixed rate, each timed from when it was to be sent."""
    plan = Plan(running.port, LOADED_CONNECTIONS, LOAD_SECONDS, rate, 2 * POLICIES, POLICIES, "half")
    sent = load(plan, directory)
    heard = _heard(listener, sent)
    return [(heard[one.delivery] - one.at) / 1e6 for one in sent if one.delivery in heard]


def _heard(listener: Listener, sent: Sequence[Sent]) -> dict[str, int]:
    """Delivery → when its change was heard.

    Of two webhooks that overtake each other the older one may have nothing left to change.

    Raises:
        BenchError: more than a few changed nothing.
    """
    listener.wait_for_quiet(PATIENCE_SECONDS)
    heard = {one.delivery: listener.heard[one.delivery] for one in sent if one.delivery in listener.heard}
    if len(heard) < HEARD_AT_LEAST * len(sent):
        raise BenchError(f"{len(sent) - len(heard)} of {len(sent)} webhooks published no change")
    return heard
