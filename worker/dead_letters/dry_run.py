"""A dry run over many letters: how far it is, and what a replay would do, by groups of equal effects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import NamedTuple

from worker.app import App
from worker.dead_letters.preview import Effect, PolicyEffect, preview
from worker.lifecycle.facts import SECOND, Micros
from worker.store.dead import DeadLetter

NOTED_SECONDS = 0.5
"""How often it is noted how far it is."""
SILENT: Micros = 30 * SECOND
"""A dry run of which nothing was noted for so long has lost its process: one letter may take 20 s."""


class EffectGroup(NamedTuple):
    """Letters of which a replay would do the same."""

    event: str
    verdict: str
    error: str | None
    changes: tuple[str, ...]
    """What would be published, of each policy that a letter changes."""
    letters: int
    example: str
    """Id of the first of them."""
    message: str | None
    """What the first one's error says."""


class DryRun(NamedTuple):
    """How far a dry run is."""

    total: int
    tried: int
    ended: bool
    """Whether all were tried."""
    noted_at: Micros
    groups: tuple[EffectGroup, ...]
    """The largest first."""

    @property
    def left(self) -> int:
        return self.total - self.tried

    def running(self, now: Micros) -> bool:
        return not self.ended and now - self.noted_at < SILENT

    def written(self) -> str:
        return json.dumps(self)

    @classmethod
    def read(cls, written: str | bytes) -> DryRun:
        total, tried, ended, noted_at, groups = json.loads(written)
        rows = ((*row[:3], tuple(row[3]), *row[4:]) for row in groups)
        return cls(total, tried, ended, noted_at, tuple(EffectGroup(*row) for row in rows))


def dry_run(app: App, letters: Sequence[DeadLetter], note: Callable[[DryRun], None], ends: Event) -> None:
    """Try all of these, and note how far that is: twice a second, and at the end. `ends` ends it before the next letter.

    Raises:
        StoreError: the store cannot be reached.
    """
    groups: dict[tuple[object, ...], EffectGroup] = {}
    tried, noted = 0, time.monotonic()

    def seen(*, ended: bool) -> DryRun:
        ordered = sorted(groups.values(), key=lambda group: -group.letters)
        return DryRun(len(letters), tried, ended, app.status.now(), tuple(ordered))

    note(seen(ended=False))
    for effect in preview(app, letters):
        key = _alike(effect)
        existing = groups.get(key)
        groups[key] = _group(effect) if existing is None else existing._replace(letters=existing.letters + 1)
        tried += 1
        if ends.is_set():
            break
        if time.monotonic() - noted >= NOTED_SECONDS:
            note(seen(ended=False))
            noted = time.monotonic()
    note(seen(ended=tried == len(letters)))


def _group(effect: Effect) -> EffectGroup:
    changes = tuple(sorted(policy.change for policy in effect.policies if policy.change))
    letter = effect.letter
    return EffectGroup(letter.name, effect.verdict.value, effect.error, changes, 1, letter.event_id, effect.message)


def _alike(effect: Effect) -> tuple[object, ...]:
    """What letters of a group have in common: all but whose policies it is about, and moments."""
    policies = sorted(_described(policy) for policy in effect.policies)
    return effect.letter.name, effect.verdict, effect.error, tuple(policies), effect.more


def _described(policy: PolicyEffect) -> str:
    """What becomes of a policy."""
    after = {name: after for name, (_, after) in policy.differences.items() if name in ("state", "reasons")}
    return json.dumps([policy.change, sorted(policy.differences), after, policy.learns, bool(policy.newer)])
