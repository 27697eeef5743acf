"""With which installation to ask about an owner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from worker.github.answers import InstallationAnswer, LimitedError
from worker.github.client import GitHub
from worker.lifecycle.facts import SECOND, Micros
from worker.store.installations import Directory, Installed
from worker.verify.calls import Allowance, CallCounter

READING_COSTS: Micros = SECOND
"""For each hundred installations, how long the list of them is used before it is read again."""
LIST = Allowance(2_000, 240.0)
"""What reading it may take."""


class ApiAccess(NamedTuple):
    """An installation to ask with. `own`: it is the owner's; else its answers tell nothing of what they do not show."""

    installed: Installed
    own: bool


class Accesses:
    """Finds installations; reads the list of them anew when it may be older than what was heard."""

    def __init__(
        self,
        github: GitHub,
        directory: Directory,
        calls: CallCounter,
        now: Callable[[], Micros],
        clock: Callable[[], float],
    ) -> None:
        """`clock`: unix seconds of this machine, by which GitHub's limits are told."""
        self._github = github
        self._clock = clock
        self._calls = calls
        self._reading = threading.Lock()
        self._directory = directory
        self._now = now

    def to(self, owner_id: int, heard_at: Micros, *, changed: bool) -> Installed | None:
        """The installation of an owner. `changed`: what was heard at `heard_at` may be about the installation itself.

        Raises:
            GitHubError: the list of installations is needed, and cannot be had.
        """
        installed = self._directory.of(owner_id)
        doubtful = installed is None or installed.suspended or changed
        if installed is None:
            heard_at = max(heard_at, self._directory.doubted_at(owner_id))
        if doubtful and self._directory.read_at() <= heard_at:
            # Another thread may have read it meanwhile, and after this was heard.
            if not self.reread() and (read_at := self._directory.read_at()) <= heard_at:
                raise LimitedError(
                    "GET /app/installations: was read just now, before this was heard; is read again soon",
                    round(self._clock()) + (read_at + self._pause() - self._now()) // SECOND + 1,
                )
            installed = self._directory.of(owner_id)
        return installed

    def elsewhere(self, logins: Iterable[str]) -> Installed | None:
        """An installation of another account that has one of these names: who is it that has the name now?"""
        names = {login.lower() for login in logins}
        return next((entry for entry in self._directory.all() if entry.login.lower() in names), None)

    def of_another(self, login: str, owner_id: int | None) -> Installed | None:
        """The installation of somebody else, whose repository is asked about: by his id, once it is known."""
        installed = self.elsewhere((login,)) if owner_id is None else self._directory.of(owner_id)
        return None if installed is None or installed.suspended else installed

    def reread(self) -> bool:
        """Read the list anew, unless it was read just now. Returns whether it was.

        Raises:
            GitHubError: it cannot be read.
        """
        with self._reading:
            at = self._now()
            if at < self._directory.read_at() + self._pause():
                return False
            # It is not the cost of the owner for whom it happens to be read.
            with self._calls.within(LIST):
                self._directory.replace(map(_installed, self._github.installations()), at)
            return True

    def _pause(self) -> Micros:
        """How long the list is used at least."""
        return READING_COSTS * (1 + self._directory.count() // 100)

    def doubt(self, owner_id: int) -> None:
        """The installation did not let us in, though it is in the list: read that anew at the next occasion."""
        self._directory.doubt(owner_id, self._now())


def _installed(answer: InstallationAnswer) -> Installed:
    return Installed(answer.id, answer.account_id, answer.account_login, answer.account_kind, answer.suspended)
