"""Limits are GitHub's, for an installation; processes tell each other what they were told."""

from __future__ import annotations

from worker.github.budget import APP, Budget, Budgets
from worker.store.installations import Ledger, StoredBudget


class SharedBudgets:
    """What this process knows of limits, and what the store does."""

    def __init__(self, budgets: Budgets, ledger: Ledger) -> None:
        self._budgets = budgets
        self._ledger = ledger

    def read(self, installation: int) -> None:
        """Learn what others were told about this installation, and about the App itself."""
        known = self._ledger.limits((APP, installation))
        self._budgets.load({number: Budget(*limits) for number, limits in known.items()})

    def publish(self, installation: int) -> None:
        """Let others know what we were told."""
        known = self._budgets.snapshots((APP, installation))
        self._ledger.note({number: StoredBudget(*budget) for number, budget in known.items()})
