"""Who has a login now: for registrations that leave out the id of their GitHub owner."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import Self

from worker.app import App
from worker.github.answers import (
    CredentialsError,
    GitHubError,
    GoneError,
    LaterError,
    LimitedError,
    NotOursError,
    SuspendedError,
    UninstalledError,
)
from worker.github.budget import Budgets
from worker.github.client import GitHub
from worker.store.installations import Installed
from worker.verify.budgets import SharedBudgets
from worker.verify.build import github_client
from worker.verify.calls import Allowance, CallCounter
from worker.verify.installations import Accesses

MOST_LOGINS = 100
"""Logins of one request."""
SECONDS = 8.0
"""How long all of them may take together."""
ASKING = 8
"""Logins that are asked about at once."""
ATTEMPTS = 3
"""Installations that are tried for one login."""


class NoInstallationError(Exception):
    """Nobody has installed the App, or all have suspended it: GitHub tells an App itself of no account."""

    def __init__(self, issuer: str) -> None:
        """`issuer`: the instance of GitHub at which that is so."""
        super().__init__(issuer)
        self.issuer = issuer


class OwnerIds:
    """Asks an instance of GitHub for the ids of accounts by their logins, with any installation of the App: all are told the same.

    At most half of an installation's calls go there: the rest is for verifying.
    """

    def __init__(
        self,
        app: App,
        github: GitHub,
        budgets: Budgets,
        calls: CallCounter,
        issuer: str,
    ) -> None:
        self._issuer = issuer
        self._directory = app.directory.at(issuer)
        self._status = app.status
        self._github = github
        self._budgets = budgets
        self._shared = SharedBudgets(budgets, app.ledger.at(issuer))
        self._calls = calls
        self._accesses = Accesses(github, self._directory, calls, app.status.now, time.time)
        self._turns = count()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(ASKING, thread_name_prefix="owner-ids")

    @classmethod
    def of(cls, app: App, issuer: str) -> Self:
        """For the instance of this alias.

        Raises:
            SettingsError: there are no credentials to ask with.
        """
        budgets, calls = Budgets(), CallCounter()
        return cls(app, github_client(app.settings, budgets, calls, issuer=issuer), budgets, calls, issuer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ask nothing any more."""
        self._calls.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._github.close()

    def find(self, logins: Collection[str]) -> dict[str, int | None]:
        """The ids of the users and organisations that have these logins now; None where nobody has one.

        Raises:
            NoInstallationError: nobody can be asked.
            GitHubError: one of them has no answer.
            StoreError: the store cannot be reached.
        """
        deadline = time.monotonic() + SECONDS
        try:
            installed = self._in_turn(self._installations())
            asked = {login: self._pool.submit(self._find, login, installed, deadline) for login in logins}
            try:
                return {login: each.result(deadline - time.monotonic()) for login, each in asked.items()}
            except TimeoutError:
                raise LaterError(f"GET /users/{{login}}: no answer in {SECONDS} s; ask again later") from None
            finally:
                for each in asked.values():
                    each.cancel()
        finally:
            self._status.count(self._calls.take())

    def _installations(self) -> list[Installed]:
        usable = self._usable()
        if not usable:
            # If it is not read anew, somebody else has just done so.
            self._accesses.reread()
            usable = self._usable()
        if not usable:
            raise NoInstallationError(self._issuer)
        return usable

    def _usable(self) -> list[Installed]:
        return [each for each in self._directory.all() if not each.suspended]

    def _in_turn(self, installed: list[Installed]) -> list[Installed]:
        """Beginning with another one each time: what is asked costs each of them as much."""
        with self._lock:
            first = next(self._turns) % len(installed)
        return installed[first:] + installed[:first]

    def _find(self, login: str, installed: Iterable[Installed], deadline: float) -> int | None:
        error: GitHubError = LaterError("GET /users/{login}: nobody was asked")
        own_first = sorted(installed, key=lambda each: each.login.lower() != login.lower())
        with self._calls.within(Allowance(2 * ATTEMPTS, deadline - time.monotonic())):
            for each in islice(own_first, ATTEMPTS):
                try:
                    return self._ask(login, each.installation_id)
                except UninstalledError as gone:
                    self._accesses.doubt(each.account_id)
                    error = gone
                except (LimitedError, SuspendedError, NotOursError, CredentialsError) as refused:
                    error = refused
        raise error

    def _ask(self, login: str, installation: int) -> int | None:
        """
        Raises:
            GitHubError: there is no answer; `UninstalledError` and the like: not with this installation.
        """
        self._shared.read(installation)
        budget = self._budgets.snapshot(installation)
        if budget.reset_at > time.time() and 2 * budget.remaining <= budget.limit:
            raise LimitedError(
                f"GET /users/{{login}}: half of installation {installation}'s calls are used", budget.reset_at
            )
        try:
            return self._github.account(installation, login, urgent=False).id
        except UninstalledError:
            raise
        except GoneError:
            return None
        finally:
            self._shared.publish(installation)
