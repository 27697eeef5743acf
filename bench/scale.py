"""What an event costs when few policies are stored and when many are, and how many bytes a policy takes."""

from __future__ import annotations

import time

import orjson

from bench.frame import BenchError, Options, Server, Table, say, server, workspace
from bench.path import connected, published, put
from bench.payloads import PER_OWNER, registration, subject, webhook_letter
from handlers.base import Incoming
from handlers.table import handle
from worker.app import App
from worker.lifecycle.facts import Micros, ObservationSource
from worker.lifecycle.policy import Policy, advance, learn
from worker.store.policies import Commit, Located

SMALL = 1_000
EVENTS_TIMED = 6_000
ROUNDS = 3
"""The cheapest of so many is taken: other programs only ever make it dearer."""
AT_ONCE = 500
TELL_SECONDS = 5.0


def measure(options: Options) -> list[Table]:
    table = Table(
        "Cost of an event by the number of policies stored; one process, the events spread over all of them",
        ["policies", "server, µs/event", "client, µs/event", "events/s", "bytes/policy"],
    )
    with workspace() as directory, server(directory) as where:
        app = connected(where)
        stored = 0
        archived: set[int] = set()
        for goal in (SMALL, options.stored):
            before = _memory(where)
            load(app, where, stored, goal)
            size = (_memory(where) - before) / (goal - stored)
            stored = goal
            # The log is off while loading: it would be written twice.
            where.configure(appendonly="yes")
            where.calm()
            _events(app, where, stored, f"warm-{stored}", SMALL, archived=archived)
            costs = [
                _events(app, where, stored, f"{stored}-{n}", EVENTS_TIMED, archived=archived) for n in range(ROUNDS)
            ]
            server_us, client_us = (min(cost[part] for cost in costs) for part in (0, 1))
            table.rows.append([f"{stored:,}", server_us, client_us, max(cost[2] for cost in costs), size])
            say(f"{stored:,} policies: {server_us:.0f} + {client_us:.0f} µs an event, {size:.0f} bytes a policy")
    table.notes.append(f"bytes: the difference of used_memory over the policies loaded; {PER_OWNER} policies an owner")
    return [table]


def _memory(where: Server) -> int:
    return int(where.info("memory")["used_memory"])


def load(app: App, where: Server, start: int, goal: int) -> None:
    """Store policies by the worker's own commit, in pipelines, without inbox and queue.

    Raises:
        BenchError: one was refused.
    """
    where.configure(appendonly="no")
    now = app.status.now()
    begin = told = time.monotonic()
    for first in range(start, goal, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, goal))
        if not all(app.policies.commit([_registered(app, number, now) for number in numbers])):
            raise BenchError("a policy was there already")
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            say(f"  {numbers.stop:,} of {goal:,} policies stored, {(numbers.stop - start) / (told - begin):.0f}/s")


def _registered(app: App, number: int, now: Micros) -> Commit:
    """The first commit of a policy."""
    of = subject(number)
    source = ObservationSource("registry", of.policy_id, "policy.registered")
    learnt = handle(Incoming(source, now, orjson.dumps(registration(of)))).observations
    rules = app.settings.rules
    step = advance(learn(Policy(of.policy_id, {}), learnt, rules), now, rules, learnt=True)
    assert step is not None
    return Commit(Located(app.keyspace.of(of.owner_id), exists=False, policy=None), step, source, None)


def _events(
    app: App, where: Server, stored: int, name: str, count: int, *, archived: set[int]
) -> tuple[float, float, float]:
    """Settle `count` webhooks on policies spread evenly over all: server's and client's CPU µs each, and their rate.

    Raises:
        BenchError: one did not publish a change.
    """
    step = max(1, stored // count)
    letters = []
    for i in range(count):
        of = subject(i * step % stored)
        # Each policy is told the opposite of what it was told last, so that every event publishes a change.
        archived ^= {of.number}
        letters.append(webhook_letter(app.keyspace, of, f"{name}-{i}", archived=of.number in archived))
    put(app, letters)
    processor = app.processor("bench")
    changes = published(app)
    server_before, client_before, begin = where.cpu_seconds(), time.process_time(), time.monotonic()
    while due := app.inbox.overdue():
        for partition, lane in due:
            processor.drain(partition, lane)
    took, client, used = (
        time.monotonic() - begin,
        time.process_time() - client_before,
        where.cpu_seconds() - server_before,
    )
    if published(app) - changes != count:
        raise BenchError(f"{published(app) - changes} of {count} events published a change")
    return used / count * 1e6, client / count * 1e6, count / took
