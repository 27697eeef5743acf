"""Every command of the README and of the documents that continue it is run, on a stack as `make up` starts it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis

from tests.docs.markdown import ROOT, blocks, text
from worker.local.stack import wait_until_ready
from worker.local.valkey import free_port

HTTP = "http://127.0.0.1:8480"
DOCUMENTS = ("README.md", "docs/integration.md", "docs/operations.md")
TOOLS = ("curl", "openssl", "redis-cli")


class Try(NamedTuple):
    code: str
    prints: str


def commands() -> list[Try]:
    """The documents' shell blocks, each with what it should print: the block of text that follows it."""
    return [
        Try(block.code, after.code)
        for name in DOCUMENTS
        for block, after in pairwise(blocks(text(name)))
        if block.language == "sh" and after.language == "text"
    ]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[str]:
    """The URL of a stack with its data below `tmp_path`."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)} on the PATH")
    port = free_port()
    log = (tmp_path / "up.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", "up"],
        env=environment(TENURE_HTTP_PORT=str(port)),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        assert wait_until_ready(url, lambda: process.poll() is not None), (tmp_path / "up.log").read_text()
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        log.close()


def environment(**settings: str) -> dict[str, str]:
    ambient = {name: value for name, value in os.environ.items() if not name.startswith("TENURE_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{ambient['PATH']}"
    return {**ambient, "PATH": path, "PYTHONPATH": str(ROOT), **settings}


def settled(store: Redis) -> None:
    """Wait until the inbox is empty."""
    while any(True for _ in store.scan_iter("tenure:{p*}:inbox:event:*", count=1000)):
        pass


@pytest.mark.processes
def test_every_command_does_what_the_documents_say(running: str, tmp_path: Path) -> None:
    tries = commands()
    assert len(tries) == sum(block.language == "sh" for name in DOCUMENTS for block in blocks(text(name)))
    with Redis.from_url((tmp_path / ".tenure" / "redis-url").read_text().strip()) as store:
        for code, prints in tries:
            settled(store)
            done = subprocess.run(
                ["bash", "-eu", "-o", "pipefail", "-c", code.replace(HTTP, running)],
                env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{code}\n{done.stderr}"
            pattern = r".*?".join(re.escape(part) for part in prints.rstrip("\n").split("…"))
            printed = done.stdout.replace("\r", "").rstrip("\n")
            assert re.fullmatch(pattern, printed, re.DOTALL), f"{code}\nprinted\n{printed}"
