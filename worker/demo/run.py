"""Plays the story and compares what happens with what should."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from worker.demo.client import ContractReader, PublishedChange, Sender
from worker.demo.github import GitHubActor, running_github
from worker.demo.payloads import Repo
from worker.demo.story import STORY, VIEWS, Expected, StoryContext, StoryStep, build
from worker.local.stack import Stack, running_stack, wait_until_ready
from worker.settings import load

WINDOW_SECONDS = 12.0
"""The shortened clock: a window of seven days takes this long. Long enough for the steps inside one."""
PATIENCE_SECONDS = 30.0
PASSED_OVER = {"policy.expiring", "policy.refreshed"}
"""Changes that are not shown unless the story waits for them: with a window this short, every provisional policy is
reminded at once, and each check that finds nothing new extends `usable_until`."""
SWEEP_SECONDS = 15.0
"""Within this time every owner is verified again."""
COLOURS = {"active": "green", "provisional": "cyan", "disabled": "red", "expired": "yellow", "removed": "bright_black"}


class Demo:
    """One performance."""

    def __init__(self, console: Console, stage: StoryContext, reader: ContractReader) -> None:
        self._console = console
        self._stage = stage
        self._reader = reader
        self.problems: list[str] = []

    def play(self) -> None:
        for number, chapter in enumerate(STORY, 1):
            self._console.print()
            self._console.print(Text(f"{number}. {chapter.title}", style="bold"))
            for step in chapter.steps:
                self._step(step)
        self._console.print()
        self._console.print(Text("What a plain Redis client reads in the end", style="bold"))
        for expected, repo in VIEWS:
            self._view(expected, repo)

    def _step(self, step: StoryStep) -> None:
        self._console.print(f"   {step.says}", highlight=False, markup=False)
        started = time.monotonic()
        status = step.does(self._stage)
        if status != step.status:
            self.problems.append(f"{step.says}: HTTP {status}, not {step.status}")
        elif step.status != 202:
            self._console.print(Text(f"     HTTP {status}", style="bright_black"))
        missing = [*step.expect]
        if not missing:
            return
        for change in self._reader.changes(PATIENCE_SECONDS):
            expected = _matching(missing, change)
            if expected is not None:
                self._show(change, time.monotonic() - started)
                missing.remove(expected)
            elif change.type not in PASSED_OVER:
                self._show(change, time.monotonic() - started)
                self.problems.append(f"{step.says}: {change.type} of {change.policy_id} was not in the story")
            if not missing:
                return
        self.problems += [f"{step.says}: {expected.type} of {expected.policy_id} never came" for expected in missing]

    def _show(self, change: PublishedChange, seconds: float) -> None:
        line = Text("     → ")
        line.append(f"{change.policy_id:<8}", style="bold")
        line.append(f"{change.type:<20}")
        line.append(change.state, style=COLOURS.get(change.state, ""))
        if change.reasons:
            line.append(f"  {', '.join(change.reasons)}")
        took = f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
        line.append(f"  ({change.cause}, {took})", style="bright_black")
        self._console.print(line)

    def _view(self, expected: Expected, repo: Repo) -> None:
        view = self._reader.view(expected.policy_id, repo)
        state = "removed" if view is None else str(view["state"])
        self._console.print(Text(f"   {expected.policy_id:<8} {state}", style=COLOURS.get(state, "")))
        if state != expected.state:
            self.problems.append(f"the view of {expected.policy_id} is {state}, not {expected.state}")
        elif view is not None:
            if view["repository_id"] != repo.id:
                self.problems.append(f"the view of {expected.policy_id} has repository id {view['repository_id']}")
            if expected.repository is not None and view["repository"] != expected.repository:
                self.problems.append(f"the view of {expected.policy_id} is for {view['repository']}")


def _matching(missing: Sequence[Expected], change: PublishedChange) -> Expected | None:
    for expected in missing:
        same = (expected.policy_id, expected.type, expected.state, expected.reasons)
        if same == (change.policy_id, change.type, change.state, change.reasons):
            return expected if expected.repository in (None, change.view["repository"]) else None
    return None


def perform(console: Console, store: str | None = None, read: Callable[[str], ContractReader] = ContractReader) -> bool:
    """Start a stack in a temporary folder, play the story, end it. Returns whether everything was as it should be.

    `store`: the address of another than the embedded one, which is empty; `read` reads what is published there.
    """
    with tempfile.TemporaryDirectory(prefix="tenure-demo-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
        environment |= {
            "TENURE_DATA_DIR": folder,
            "TENURE_HTTP_PORT": "0",
            "TENURE_PROVISIONAL_DAYS": str(WINDOW_SECONDS / 86_400),
            "TENURE_SWEEP_HOURS": str(SWEEP_SECONDS / 3600),
            "TENURE_LOG_LEVEL": "warning",
        }
        if store is not None:
            environment["TENURE_REDIS_URL"] = store
        console.print("Starting a small GitHub, Valkey, the API, workers and the scheduler …", highlight=False)
        with running_github(Path(folder)) as github:
            environment |= github.settings
            with running_stack(load(environment), environment=environment) as stack:
                if not wait_until_ready(stack.http_url):
                    console.print("The stack did not become ready; see the log lines above.", style="red")
                    return False
                return _perform_on(stack, github, console, read)


def _perform_on(stack: Stack, github: GitHubActor, console: Console, read: Callable[[str], ContractReader]) -> bool:
    console.print(f"Ready: {stack.http_url}, store on port {stack.store.port if stack.store else 0}", highlight=False)
    secret, token = (_read(stack.secrets[name]) for name in ("webhook_secrets", "registry_tokens"))
    sender, reader = Sender(stack.http_url, secret, token), read(stack.redis_url)
    build(github, f"{stack.http_url}/webhooks/github", secret)
    try:
        demo = Demo(console, StoryContext(sender, github), reader)
        demo.play()
    finally:
        sender.close()
        reader.close()
    console.print()
    for problem in demo.problems:
        console.print(f"Not as in the story: {problem}", style="red", highlight=False, markup=False)
    if not demo.problems:
        console.print("Everything went as in the story.", style="bold green")
    return not demo.problems


def _read(path: Path | None) -> str:
    return path.read_text(encoding="ascii").strip() if path else ""
