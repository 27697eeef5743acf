"""What a mirror costs: the time to load it, its memory, and how long after a commit it refuses.

`python -m bench.mirror URL` loads one and prints what that took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import orjson

from bench.frame import (
    PATIENCE_SECONDS,
    BenchError,
    Options,
    Server,
    Table,
    environment,
    percentile,
    python,
    say,
    server,
    workspace,
)
from bench.path import connected
from bench.payloads import registration, subject, webhook
from bench.views import OTHER_KEYS, claims, fill
from handlers.base import Incoming
from handlers.table import handle
from tenure_reader import Mirror
from worker.app import App
from worker.lifecycle.facts import ObservationSource
from worker.lifecycle.policy import Policy, advance, learn
from worker.store.policies import Commit, Located

PAUSE_SECONDS = 0.02
"""Between samples, so that each finds an idle system."""
LOOK_SECONDS = 0.0002


def measure(options: Options) -> list[Table]:
    return [_refusal(options), _loading(options)]


def _loading(options: Options) -> Table:
    table = Table("Loading a mirror, in a process of its own", ["policies", "s", "policies/s", "MB", "bytes/policy"])
    with workspace() as directory, server(directory) as where:
        stored = 0
        for goal in options.mirrored:
            fill(where, stored, goal)
            stored = goal
            told = _load(where, directory)
            if told["policies"] != goal:
                raise BenchError(f"{told['policies']} of {goal} policies are in the mirror")
            table.rows.append(
                [f"{goal:,}", told["seconds"], goal / told["seconds"], told["bytes"] / 1e6, told["bytes"] / goal]
            )
            say(f"mirror of {goal:,}: {told['seconds']:.1f} s, {told['bytes'] / 1e6:.0f} MB")
    table.notes.append(f"MB: what the process grew by; the scan also passes {OTHER_KEYS} other keys a policy")
    return table


def _load(where: Server, directory: Path) -> dict[str, float]:
    done = subprocess.run(
        python("-m", "bench.mirror", where.store.url), env=environment(), cwd=directory,
        capture_output=True, text=True, timeout=2 * PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BenchError(f"the mirror was not loaded: {done.stderr[-300:]}")
    told: dict[str, float] = json.loads(done.stdout)
    return told


def _refusal(options: Options) -> Table:
    table = Table("From commit to the mirror's refusal, idle", ["samples", "p50, ms", "p99, ms", "max, ms"])
    with workspace() as directory, server(directory) as where:
        app = connected(where)
        taken = []
        with Mirror(where.store.url) as mirror:
            if not mirror.wait(PATIENCE_SECONDS):
                raise BenchError(f"the mirror was not trusted: {mirror.status().reason}")
            for number in range(options.samples):
                token = claims(subject(number))
                _commit(app, _registered(app, number))
                _until(mirror, token, allowed=True)
                time.sleep(PAUSE_SECONDS)
                step = _archived(app, number)
                begin = time.monotonic()
                _commit(app, step)
                _until(mirror, token, allowed=False)
                taken.append((time.monotonic() - begin) * 1e3)
    table.rows.append([len(taken), percentile(taken, 0.5), percentile(taken, 0.99), max(taken)])
    table.notes.append("begins before the commit is sent, so its own round trip and its sync to disk count")
    say(f"refusal: p50 {percentile(taken, 0.5):.1f} ms, p99 {percentile(taken, 0.99):.1f} ms")
    return table


def _until(mirror: Mirror, token: dict[str, object], *, allowed: bool) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while mirror.evaluate(token).allowed != allowed:
        if time.monotonic() > deadline:
            raise BenchError("the mirror does not follow")
        time.sleep(LOOK_SECONDS)


def _commit(app: App, commit: Commit) -> None:
    if not all(app.policies.commit([commit])):
        raise BenchError("a commit was refused")


def _registered(app: App, number: int) -> Commit:
    of, now = subject(number), app.status.now()
    source = ObservationSource("registry", of.policy_id, "policy.registered")
    learnt = handle(Incoming(source, now, orjson.dumps(registration(of)))).observations
    step = advance(learn(Policy(of.policy_id, {}), learnt, app.settings.rules), now, app.settings.rules, learnt=True)
    assert step is not None
    return Commit(Located(app.keyspace.of(of.owner_id), exists=False, policy=None), step, source, None)


def _archived(app: App, number: int) -> Commit:
    of, now = subject(number), app.status.now()
    source = ObservationSource("github", of.policy_id, "repository.archived")
    located = app.policies.load([of.policy_id])[of.policy_id]
    assert located.policy is not None
    learnt = handle(Incoming(source, now, webhook(of, archived=True))).observations
    mine = [one for one in learnt if one.scope in located.policy.watching]
    step = advance(learn(located.policy, mine, app.settings.rules), now, app.settings.rules, learnt=True)
    assert step is not None
    return Commit(located, step, source, None)


def _resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    before = _resident()
    begin = time.monotonic()
    with Mirror(sys.argv[1]) as mirror:
        if not mirror.wait(PATIENCE_SECONDS):
            sys.exit(f"not trusted: {mirror.status().reason}")
        seconds = time.monotonic() - begin
        print(json.dumps({"seconds": seconds, "bytes": _resident() - before, "policies": mirror.status().policies}))


if __name__ == "__main__":
    main()
