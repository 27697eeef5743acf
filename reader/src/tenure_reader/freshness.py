"""An answer that is not older than what somebody knows already: `at_least`, policy id → revision.

The store keeps each policy's last revision, written in the step that publishes it, and it is asked in the same transaction
as the views. So an answer that comes with revisions as high as those that were asked for is made of them. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from tenure_reader import keys
from tenure_reader.grants import Grant

AtLeast: TypeAlias = Mapping[str, int]
"""Policy id → the revision that an answer must know of at least."""

MOST_POLICIES = 100
"""Policies that may be asked about at once."""
WAIT_SECONDS = 1.0
"""How long a reader waits for a revision, if nothing else is said."""
LONGEST_WAIT_SECONDS = 30.0
"""And at most, whatever is said: a token's bearer waits, too."""
LOOK_SECONDS = (0.005, 0.05)
"""Between two looks while it waits: at first, and at most."""


def wrong(at_least: object) -> str | None:
    """What is wrong with what is asked for; None if nothing is."""
    if not isinstance(at_least, Mapping):
        return "is not an object of policy ids and revisions"
    if len(at_least) > MOST_POLICIES:
        return f"names more than {MOST_POLICIES} policies"
    if not all(isinstance(policy_id, str) and _written(policy_id) for policy_id in at_least):
        return "has a policy id that is no text"
    if not all(type(revision) is int and 0 <= revision < 2**63 for revision in at_least.values()):
        return "has a revision that is no whole number"
    return None


def questions(at_least: AtLeast, partitions: int) -> list[tuple[str | int, ...]]:
    """What the store is asked, in the same transaction as the views."""
    return [("HGET", keys.revisions(policy_id, partitions), policy_id) for policy_id in at_least]


def behind(at_least: AtLeast, replies: Sequence[object], grants: Iterable[Grant]) -> str | None:
    """What is asked for and not known here, for people; None if all of it is.

    `replies`: to `questions`. `grants`: what was read beside them. Of a policy that has not changed since a release that did
    not note revisions, its view tells.
    """
    known = {policy_id: _number(reply) for policy_id, reply in zip(at_least, replies, strict=True)}
    for grant in grants:
        if grant["policy_id"] in known:
            known[grant["policy_id"]] = max(known[grant["policy_id"]], grant["revision"])
    return told(at_least, known)


def told(at_least: AtLeast, known: Mapping[str, int]) -> str | None:
    """The first that is behind, for people; None if none is."""
    for policy_id, revision in at_least.items():
        if known[policy_id] < revision:
            return f"policy {policy_id} is at revision {known[policy_id]} here, and {revision} is asked for"
    return None


def _number(reply: object) -> int:
    """What the store noted of a policy; 0 if nothing that can be read."""
    written = reply.decode("ascii", "replace") if isinstance(reply, bytes) else reply
    return int(written) if isinstance(written, str) and written.isdecimal() and len(written) < 20 else 0


def _written(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
