"""One process's parts and the GitHub that they ask, with verbs for tests."""

from __future__ import annotations

from itertools import count

from tests.store.making import Json, published, registration, set_time, settle_all
from tests.support import OWNER, REPOSITORY
from worker.app import App
from worker.demo.fakegithub import FakeGitHub
from worker.lifecycle.facts import SECOND, Micros
from worker.lifecycle.views import View
from worker.store.inbox import Envelope
from worker.verify.build import VerificationParts
from worker.verify.checker import WINDOW
from worker.verify.losses import SECOND_LOOK
from worker.verify.verifier import Report

INSTALLATION = 9001


class Scene:
    """Hears, asks, sweeps, and tells where policies stand. Its clock is the store's, moved on by hand."""

    asking: VerificationParts

    def __init__(self, app: App, fake: FakeGitHub) -> None:
        self.app = app
        self.fake = fake
        self._ahead: Micros = 0
        self._numbers = count(1)

    def now(self) -> Micros:
        return self.app.status.now() + self._ahead

    def wait(self, duration: Micros) -> None:
        """Let time pass."""
        self._ahead += duration

    def hears(self, *letters: Envelope) -> None:
        """Events come in, dated by this clock, and are settled; what they ask GitHub about waits."""
        settle_all(self.app, *(letter._replace(occurred_at=letter.occurred_at or self.now()) for letter in letters))

    def registers(self, policy_id: str = "pol-1", *, repository_id: int | None = REPOSITORY, **what: object) -> None:
        """A policy is registered and verified."""
        said = registration(self.app, policy_id, f"e-{next(self._numbers)}", repository_id=repository_id, **what)  # type: ignore[arg-type]
        self.hears(said)
        self.checks()

    def checks(self) -> None:
        """Ask about everything that was heard, with all second looks."""
        for _ in range(3):
            self.asks()
            self.wait(SECOND_LOOK)

    def asks(self) -> None:
        """Ask once about what is due."""
        self.wait(WINDOW)
        self.asking.checker.run(10.0)

    def sweeps(self) -> list[Report]:
        """Verify every owner once, with second looks."""
        owners = [owner_id for owner_id, _ in self.app.checks.stalest(1000)]
        reports = [self.asking.sweeper.sweep(owner_id, "test") for owner_id in owners]
        self.wait(SECOND_LOOK + SECOND)
        self.checks()
        return reports

    def settles_due(self) -> None:
        """The clock looks at what is due."""
        set_time(self.app, self.now())
        self.app.settler.settle_due(10)

    def view(self, policy_id: str = "pol-1") -> View:
        policy = self.app.policies.load([policy_id])[policy_id].policy
        assert policy is not None
        assert policy.view is not None
        return policy.view

    def stands(self, policy_id: str = "pol-1") -> tuple[str, list[str]]:
        """State and reasons."""
        view = self.view(policy_id)
        return view["state"], view["reasons"]

    def changes(self, policy_id: str = "pol-1") -> list[Json]:
        """Every change event of a policy, oldest first."""
        return published(self.app)[policy_id]


__all__ = ["INSTALLATION", "OWNER", "Scene"]
