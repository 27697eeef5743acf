"""The demo's GitHub: the small one in `fakegithub`, as a process of its own, and hands to change it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx


class NoGitHubError(Exception):
    """The small GitHub does not start, or refuses."""


class GitHubActor:
    """Does what people do at GitHub; GitHub then tells of it by webhook, if `tell` is true."""

    def __init__(self, url: str, app_id: str, key_file: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self.settings: Mapping[str, str] = {
            "TENURE_GITHUB_API_URL": url,
            "TENURE_GITHUB_APP_ID": app_id,
            "TENURE_GITHUB_PRIVATE_KEY_FILE": key_file,
        }

    def do(self, verb: str, **arguments: object) -> None:
        """
        Raises:
            NoGitHubError: it cannot be done.
        """
        self._post("/_world", {"do": verb, "with": arguments})

    def breaks(self, **fault: object) -> None:
        """From now on something goes wrong with its API."""
        self._post("/_faults", fault)

    def heals(self) -> None:
        self._post("/_heal", {})

    def _post(self, path: str, body: Mapping[str, object]) -> None:
        answer = self._http.post(path, json=body)
        if answer.status_code != httpx.codes.OK:
            raise NoGitHubError(f"{body}: {answer.text}")

    def close(self) -> None:
        self._http.close()


@contextmanager
def running_github(folder: Path) -> Iterator[GitHubActor]:
    """Start it, with its key in `folder`; end it afterwards.

    Raises:
        NoGitHubError: the program does not start.
    """
    process = subprocess.Popen(  # noqa: S603 - our own program and arguments
        [sys.executable, "-m", "worker.demo.fakegithub", "--key-file", str(folder / "app.pem")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise NoGitHubError("the small GitHub did not start; see above")
        address = json.loads(line)
        github = GitHubActor(str(address["url"]), str(address["app_id"]), str(address["key_file"]))
        try:
            yield github
        finally:
            github.close()
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
