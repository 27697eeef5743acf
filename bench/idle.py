"""What a whole `tenure up` costs while nothing happens."""

from __future__ import annotations

import time
from pathlib import Path

from bench.frame import Options, Table, cpu_seconds, descendants, say, workspace
from bench.stack import stack

CALM_SECONDS = 3.0


def measure(options: Options) -> list[Table]:
    table = Table(f"Idle, over {options.idle_seconds:g} s of `tenure up`", ["", "processes", "% of a core"])
    with workspace() as directory, stack(directory) as running:
        roles = _roles(running.process.pid)
        if not roles:
            table.notes.append("not measured: this system has no /proc")
            return [table]
        time.sleep(CALM_SECONDS)
        before, begin = {role: cpu_seconds(pids) or 0.0 for role, pids in roles.items()}, time.monotonic()
        time.sleep(options.idle_seconds)
        took = time.monotonic() - begin
        used = {role: ((cpu_seconds(pids) or 0.0) - before[role]) / took * 100 for role, pids in roles.items()}
    for role, share in used.items():
        table.rows.append([role, len(roles[role]), share])
    table.rows.append(["all", sum(len(pids) for pids in roles.values()), sum(used.values())])
    say(f"idle: {sum(used.values()):.1f} % of a core")
    return [table]


def _roles(pid: int) -> dict[str, list[int]]:
    """The stack's processes by what they are."""
    roles: dict[str, list[int]] = {"supervisor": [pid]}
    for below in descendants(pid):
        words = Path(f"/proc/{below}/cmdline").read_bytes().decode(errors="replace").split("\0")
        role = next((word for word in words if word in {"web", "worker", "scheduler"} and words[1] == "-m"), None)
        if role == "worker" and words[2] == "worker":
            role = words[3]
        roles.setdefault(role or "server", []).append(below)
    return roles
