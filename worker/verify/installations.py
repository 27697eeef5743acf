"""With which installation to ask about an owner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from worker.github.answers import Installation, LimitedError
from worker.github.client import GitHub
from worker.lifecycle.facts import SECOND, Micros
from worker.store.installations import Directory, Installed
from worker.verify.calls import Allowance, Calls

READING_COSTS: Micros = SECOND
"""For each hundred installations, how long the list of them is used before it is read again."""
LIST = Allowance(2_000, 240.0)
"""What reading it may take."""


class Access(NamedTuple):
    """An installation to ask with. `own`: it is the owner's; else its answers tell nothing of what they do not show."""

    installed: Installed
    own: bool


class Accesses:
    """Finds installations; reads the list of them anew when it may be older than what was heard."""

    def __init__(
        self,
        github: GitHub,
        directory: Directory,
        calls: Calls,
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
        known = self._directory.of(owner_id)
        doubtful = known is None or known.suspended or changed
        if known is None:
            heard_at = max(heard_at, self._directory.doubted_at(owner_id))
        if doubtful and self._directory.read_at() <= heard_at:
            # Another thread may have read it meanwhile, and after this was heard.
            if not self.reread() and (read_at := self._directory.read_at()) <= heard_at:
                raise LimitedError(
                    "GET /app/installations: was read just now, before this was heard; is read again soon",
                    round(self._clock()) + (read_at + self._pause() - self._now()) // SECOND + 1,
                )
            known = self._directory.of(owner_id)
        return known

    def elsewhere(self, logins: Iterable[str]) -> Installed | None:
        """An installation of another account that has one of these names: who is it that has the name now?"""
        wanted = {login.lower() for login in logins}
        return next((entry for entry in self._directory.all() if entry.login.lower() in wanted), None)

    def of_another(self, login: str, owner_id: int | None) -> Installed | None:
        """The installation of somebody else, whose repository is asked about: by his id, once it is known."""
        found = self.elsewhere((login,)) if owner_id is None else self._directory.of(owner_id)
        return None if found is None or found.suspended else found

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


def _installed(found: Installation) -> Installed:
    return Installed(found.id, found.account_id, found.account_login, found.account_kind, found.suspended)
