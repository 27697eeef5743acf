"""Runs the command line as what it is: a process with arguments, streams and an exit code."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handlers.base import Incoming
from handlers.table import handle
from tests.forking import PROGRAM, Piped, fork_server
from worker.app import App
from worker.lifecycle.facts import HOUR, ObservationSource
from worker.settling.settler import Work
from worker.store import keys

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60

NO_SETTINGS: Mapping[str, str] = {}

OWNER_ID = 2**63 - 1
REPOSITORY_ID = 9_007_199_254_740_993
"""2^53 + 1: what a float cannot hold."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


class Tenure:
    """The command on one store, or on none."""

    def __init__(self, directory: Path, url: str | None, settings: Mapping[str, str] = NO_SETTINGS) -> None:
        self.directory = directory
        self.url = url
        self._settings = settings

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        ambient = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
        own = {"TENURE_REDIS_URL": self.url} if self.url else {}
        return {
            **ambient,
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "200",
            "TERM": "xterm-256color",
            **own,
            **self._settings,
            **extra,
        }

    def start(self, *arguments: str, **environment: str) -> Piped:
        return fork_server().begin_piped(arguments, environment=self.environment(environment), directory=self.directory)

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> Ended:
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate(stdin, timeout=SECONDS)
            ended = Ended(process.wait(), out, err)
        assert "Traceback" not in err, err
        return ended

    def from_nothing(self, *arguments: str) -> Ended:
        """The same, by an interpreter that has loaded nothing; any warning ends it."""
        ended = subprocess.run(
            [sys.executable, "-W", "error", *PROGRAM, *arguments],
            env=self.environment({}),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=SECONDS,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def done(self, *arguments: str, stdin: str = "", **environment: str) -> Ended:
        """The same, for a command that must succeed."""
        ended = self(*arguments, stdin=stdin, **environment)
        assert ended.code == 0, ended
        return ended

    def on_terminal(self, *arguments: str, answer: bytes = b"") -> tuple[int, str]:
        """Run it on a terminal, with something typed; returns the exit code and what the terminal was sent."""
        master, slave = pty.openpty()
        process = fork_server().begin(
            arguments, environment=self.environment({}), directory=self.directory, streams=(slave, slave, slave)
        )
        os.close(slave)
        os.write(master, answer)
        sent = b""
        while select.select([master], [], [], SECONDS)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux's way to say that the other side is closed.
                break
            if not part:
                break
            sent += part
        os.close(master)
        return process.wait(SECONDS), sent.decode()

    def register(self, policy_id: str, **options: str) -> Ended:
        """Register a private repository's policy; options replace or add to the usual ones."""
        given = {
            "name": "Release",
            "package-owner": "acme",
            "package-owner-kind": "organization",
            "created-by": "alice",
            "creator-github-id": "77",
            "owner": "octo",
            "owner-id": str(OWNER_ID),
            "repository": "https://github.com/octo/widgets.git",
            "repository-id": str(REPOSITORY_ID),
            "visibility": "private",
            "workflow": ".github/workflows/release.yml",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        return self.done(
            "policy", "register", "--id", policy_id, *(f"--{name}={value}" for name, value in given.items())
        )


def alive(app: App, *roles: str) -> None:
    """Processes of these roles are at work, for as long as a test may take."""
    for role in roles:
        app.client.redis.zadd(keys.alive(role), {"here:1": app.status.now() + HOUR})


def happens(app: App, kind: str, name: str, body: Mapping[str, object]) -> None:
    """Let an event settle as a worker would."""
    now = app.status.now()
    source = ObservationSource(kind, f"{name}-{now}", name)
    handled = handle(Incoming(source, now, json.dumps(body).encode()))
    outcome = app.settler.settle([Work(source, handled.observations, now, aside=handled.aside)], now)[0]
    assert outcome.error is None


def archived(app: App, *, repository_id: int = REPOSITORY_ID, owner_id: int = OWNER_ID) -> None:
    repository = {"id": repository_id, "name": "widgets", "owner": {"id": owner_id, "login": "octo"}}
    happens(app, "github", "repository.archived", {"action": "archived", "repository": repository})


def logged_in(app: App, policy_id: str) -> None:
    ids = {"repository_id": REPOSITORY_ID, "repository_owner_id": OWNER_ID}
    happens(app, "exchange", "login.succeeded", {"policy_id": policy_id, "jti": f"jti-{policy_id}", **ids})


def left(app: App) -> None:
    body = {"action": "member_removed", "organization": {"id": OWNER_ID}, "membership": {"user": {"id": 77}}}
    happens(app, "github", "organization.member_removed", body)
