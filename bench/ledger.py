"""What stays of an event that changes nothing: its entry in the ledger; and what settling it costs the server."""

from __future__ import annotations

import orjson

from bench.frame import Options, Table, say, server, workspace
from bench.path import connected, put
from worker.app import App
from worker.store.inbox import Envelope, identity

OWNERS = 1_000
WARM = 2_000
AT_ONCE = 2_000


def measure(options: Options) -> list[Table]:
    table = Table(
        "What stays of an event that changes nothing, the log off, one process",
        ["events in the ledger", "bytes/event", "server, µs/event, put and settled"],
    )
    with workspace() as directory, server(directory) as where:
        where.configure(appendonly="no")
        app = connected(where)
        _settle(app, 0, WARM)
        before = int(where.info("memory")["used_memory"])
        done = WARM
        for goal in options.entered:
            cpu = where.cpu_seconds()
            _settle(app, done, goal)
            cost = (where.cpu_seconds() - cpu) / (goal - done) * 1e6
            done = goal
            size = (int(where.info("memory")["used_memory"]) - before) / (done - WARM)
            table.rows.append([f"{done:,}", size, cost])
            say(f"{done:,} events in the ledger: {size:.1f} bytes and {cost:.0f} µs an event")
    table.notes.append("bytes: the difference of used_memory over the events settled")
    return [table]


def _settle(app: App, start: int, goal: int) -> None:
    """Put events and settle them, some thousands at a time, so that few wait."""
    processor = app.processor("bench")
    for first in range(start, goal, AT_ONCE):
        put(app, [_ping(app, number) for number in range(first, min(first + AT_ONCE, goal))])
        while due := app.inbox.overdue():
            for partition, lane in due:
                processor.drain(partition, lane)


def _ping(app: App, number: int) -> Envelope:
    owner, delivery = number % OWNERS, f"bench-{number}"
    body = orjson.dumps({"zen": "Keep it logically awesome.", "hook_id": 1, "organization": {"id": owner}})
    event_id = identity("github", "ping", delivery, body)
    return Envelope(app.keyspace.of(owner), event_id, "github", "ping", delivery, body, owner=owner)
