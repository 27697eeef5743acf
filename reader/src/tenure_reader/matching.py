"""What an installation decided of matching: it is published in every partition, so that every reader decides alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias, cast, get_args

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

    issuers: tuple[tuple[str, str], ...] = ()
    """Each issuer of tokens, as their claim `iss` names it, and the alias of its instance of GitHub. None: it is not looked at,
    and all tokens are of the default instance."""

    @property
    def narrower(self) -> bool:
        """Whether it lets through less than a reader of the first version does, which knows no settings."""
        return bool(self.issuers) or self.workflow_binds == "caller" or not self.forbidden_events <= FORBIDDEN_EVENTS

    def fields(self) -> tuple[str, ...]:
        """As it is published, in the order of `FIELDS`."""
        return (
            self.workflow_file_case,
            ",".join(sorted(self.forbidden_events)) or NO_EVENT,
            self.workflow_binds,
            json.dumps(dict(self.issuers), separators=(",", ":"), sort_keys=True),
        )


CONTRACT = Matching()
"""Where an installation decided nothing."""
FIELDS = ("workflow_file_case", "forbidden_events", "workflow_binds", "issuers")
"""The fields of the hash in which it is published."""
NO_EVENT = "none"
"""In place of a list of events that has none."""


def matching_of(published: Sequence[str | None]) -> Matching:
    """What is published, in the order of `FIELDS`; None where nothing is.

    Raises:
        ValueError: a value that this version does not know.
    """
    case, events, binds, issuers = published
    if case not in (None, *get_args(FileCase)):
        raise ValueError("workflow_file_case is neither insensitive nor exact")
    if binds not in (None, *get_args(Binds)):
        raise ValueError("workflow_binds is neither job nor caller")
    return Matching(
        cast("FileCase", case or CONTRACT.workflow_file_case),
        CONTRACT.forbidden_events if events is None else events_of(events),
        cast("Binds", binds or CONTRACT.workflow_binds),
        CONTRACT.issuers if issuers is None else issuers_of(issuers),
    )


@lru_cache(8)
def issuers_of(text: str) -> tuple[tuple[str, str], ...]:
    """Issuers of tokens, and the alias of each one's instance, of a JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        read = json.loads(text)
    except RecursionError:
        read = None
    named = read.items() if isinstance(read, dict) else [("", "")]
    if not all(isinstance(alias, str) and alias and issuer for issuer, alias in named):
        raise ValueError("issuers is no object of issuers and aliases")
    return tuple(sorted(read.items()))


@lru_cache(8)
def events_of(text: str) -> frozenset[str]:
    """A list of events, separated by commas, or `none`.

    Raises:
        ValueError: it names no event, or one that cannot be one.
    """
    names = [name.strip() for name in text.split(",")]
    if names == [NO_EVENT]:
        return frozenset()
    if not all(name.isascii() and name.replace("_", "").isalnum() and name.islower() for name in names):
        raise ValueError(f"is a list of events such as pull_request_target,workflow_run, or {NO_EVENT}")
    if NO_EVENT in names:
        raise ValueError(f"names {NO_EVENT} beside events; give either")
    return frozenset(names)
