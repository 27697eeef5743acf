"""What an installation decided of matching: it is published in every partition, so that every reader decides alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

FileCase: TypeAlias = Literal["insensitive", "exact"]
Binds: TypeAlias = Literal["job", "caller"]

FORBIDDEN_EVENTS = frozenset({"pull_request_target", "workflow_run"})
"""Events that run a repository's workflow on somebody else's behalf, with its secrets."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The settings that decide matching."""

    workflow_file_case: FileCase = "insensitive"
    """Whether the letter case of a workflow's file counts."""
    forbidden_events: frozenset[str] = FORBIDDEN_EVENTS
    """Events whose runs may never publish."""
    workflow_binds: Binds = "job"
    """Which workflow a policy's file is, where the policy does not say: the one that the job ran, or the one that called it."""


CONTRACT = Matching()
"""Where an installation decided nothing."""
