"""A store that is read and never written: what would be committed is kept in memory, and seen by what comes after.

The settler works on it as on the real one, so a rehearsal goes the real way: the same code decides, on the same records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worker.lifecycle.decide import index_scopes
from worker.lifecycle.facts import Observation, joined, subject
from worker.lifecycle.policy import Step
from worker.store.client import Client
from worker.store.keys import Keyspace
from worker.store.policies import Commit, Located, Policies, PolicyPage, Touch


class DryRunPolicies(Policies):
    """The policies of a store as they would be after what was rehearsed."""

    def __init__(self, client: Client, keyspace: Keyspace) -> None:
        super().__init__(client, keyspace)
        self._written: dict[str, Located] = {}
        self._observed: dict[str, dict[str, Observation]] = {}
        self.seen: dict[str, Located] = {}
        """Every policy that was loaded since `begin`, as it was first."""
        self.steps: dict[str, Step] = {}
        """What would be written of each since then, last."""

    def begin(self) -> None:
        """The next piece of work: forget what was seen, and keep what would have been written."""
        self.seen, self.steps = {}, {}

    def load(self, policy_ids: Sequence[str]) -> dict[str, Located]:
        fresh = super().load([policy_id for policy_id in policy_ids if policy_id not in self._written])
        loaded = {policy_id: self._written.get(policy_id) or fresh[policy_id] for policy_id in policy_ids}
        self._see(loaded)
        return loaded

    def observe(self, touches: Sequence[Touch], limit: int) -> list[PolicyPage]:
        for observation in (o for touch in touches for o in touch.remember):
            facts = self._observed.setdefault(observation.scope, {})
            previous = facts.get(subject(observation))
            facts[subject(observation)] = observation if previous is None else joined(previous, observation)
        pages = []
        for touch, page in zip(
            touches, super().observe([t._replace(remember=()) for t in touches], limit), strict=True
        ):
            loaded = {policy_id: self._written.get(policy_id, located) for policy_id, located in page.loaded.items()}
            loaded |= {policy_id: located for policy_id, located in self._written.items() if _watches(located, touch)}
            self._see(loaded)
            pages.append(PolicyPage(loaded, page.cursor))
        return pages

    def remembered(self, scope_names: Iterable[str]) -> dict[str, list[Observation]]:
        stored = super().remembered(scope_names)
        return {scope: [*stored[scope], *self._observed.get(scope, {}).values()] for scope in stored}

    def commit(self, commits: Sequence[Commit]) -> list[bool | str]:
        for commit in commits:
            self._written[commit.step.policy.policy_id] = self.located(commit.step)
            self.steps[commit.step.policy.policy_id] = commit.step
        return [True] * len(commits)

    def _see(self, loaded: dict[str, Located]) -> None:
        for policy_id, located in loaded.items():
            self.seen.setdefault(policy_id, located)


def _watches(located: Located, touch: Touch) -> bool:
    """Whether a touch would have found a policy through the index, had it been written."""
    if located.policy is None or located.home != touch.partition:
        return False
    return not index_scopes(located.policy.watching).isdisjoint(touch.indexes)
