"""How many webhooks the door takes, each on disk before it is answered."""

from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path

from bench.frame import (
    BenchError,
    Options,
    Table,
    child,
    environment,
    percentile,
    python,
    say,
    server,
    wait_until,
    workspace,
)
from bench.load import Plan, Sent
from bench.stack import HOST, Stack, own_settings
from worker.local.valkey import free_port


def load(plan: Plan, directory: Path) -> list[Sent]:
    """Send, and return what was sent.

    Raises:
        BenchError: a webhook was not accepted.
    """
    made = subprocess.run(
        python("-m", "bench.load", json.dumps(plan._asdict())), env=environment(), cwd=directory,
        stdout=subprocess.PIPE, check=True, timeout=plan.seconds + 60,
    )  # fmt: skip
    sent = [Sent(*row) for row in json.loads(made.stdout)]
    refused = {one.status for one in sent} - {http.client.ACCEPTED}
    if refused or not sent:
        raise BenchError(f"the door answered {sorted(refused)} instead of 202")
    return sent


def rate_of(sent: list[Sent]) -> float:
    """Answers per second, from the first request to the last answer."""
    return len(sent) / (max(one.at + one.took for one in sent) - min(one.at for one in sent)) * 1e9


def milliseconds(sent: list[Sent], share: float) -> float:
    return percentile([one.took / 1e6 for one in sent], share)


def measure(options: Options) -> list[Table]:
    table = Table(
        f"The door: webhooks of 7 kB over {options.connections} keep-alive connections for "
        f"{options.door_seconds:g} s, appendfsync always",
        ["", "accepted/s", "p50, ms", "p99, ms"],
    )
    with workspace() as directory, server(directory) as where:
        port = free_port()
        settings = {**own_settings(port, directory / "data"), "TENURE_REDIS_URL": where.store.url}
        with child(python("-m", "worker", "web"), settings, directory) as process:
            door = Stack(process, directory, port)
            wait_until(door.alive, "tenure web", process, directory)
            load(Plan(port, options.connections, 0.5, 0, 0, 500, "warm"), directory)
            sent = load(Plan(port, options.connections, options.door_seconds, 0, 0, 500, "door"), directory)
    say(f"door: {rate_of(sent):.0f} accepted/s")
    table.rows.append(["accepted and on disk", rate_of(sent), milliseconds(sent, 0.5), milliseconds(sent, 0.99)])
    table.notes.append(f"python -m worker web on {HOST}, one process; the sender runs on the same cores")
    return [table]
