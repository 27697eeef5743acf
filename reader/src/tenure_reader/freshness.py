"""An answer that is not older than what somebody knows already: `at_least`, policy id → revision.

Each partition keeps the last revision of its policies, written in the step that publishes it. It is asked in the same
transaction as the views, so an answer that comes with revisions as high as those that were asked for is made of them. Where a
policy is in another partition, its revision is seen first, and the views are read after that. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from tenure_reader.grants import Grant
from tenure_reader.keys import MAX_PARTITIONS, PartitionKeys, directory_of
from tenure_reader.routing import Command, Router, Steps

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


def questions(at_least: AtLeast, partition: PartitionKeys) -> list[Command]:
    """What a partition is asked, in the same transaction as its views."""
    return [("HGET", partition.revisions, policy_id) for policy_id in at_least]


def known(at_least: AtLeast, replies: Sequence[object], grants: Iterable[Grant]) -> dict[str, int]:
    """Policy id → the revision that is known of it here.

    `replies`: to `questions`. `grants`: what was read beside them. Of a policy that has not changed since a release that did
    not note revisions, its view tells.
    """
    noted = {policy_id: _number(reply) for policy_id, reply in zip(at_least, replies, strict=True)}
    for grant in grants:
        if grant["policy_id"] in noted:
            noted[grant["policy_id"]] = max(noted[grant["policy_id"]], grant["revision"])
    return noted


def elsewhere(router: Router, policy_ids: Sequence[str], partitions: int) -> Steps[dict[str, int]]:
    """The same of policies that may be in any partition: two round trips to each node.

    Raises:
        UnavailableError: nobody answers in time.
    """
    places = [directory_of(policy_id, partitions).directory for policy_id in policy_ids]
    replies = yield from router.each([
        (key, ("HGET", key, policy_id)) for key, policy_id in zip(places, policy_ids, strict=True)
    ])  # fmt: skip
    homes = {
        policy_id: PartitionKeys(number).revisions
        for policy_id, reply in zip(policy_ids, replies, strict=True)
        if (number := _partition(reply)) is not None
    }
    found = yield from router.each([(key, ("HGET", key, policy_id)) for policy_id, key in homes.items()])
    return dict.fromkeys(policy_ids, 0) | {
        policy_id: _number(reply) for policy_id, reply in zip(homes, found, strict=True)
    }


def _partition(written: object) -> int | None:
    """What a directory says of a policy; there may be more after an `@`. None: nothing that can be read."""
    text = written.decode("ascii", "replace") if isinstance(written, bytes) else written
    number = text.partition("@")[0] if isinstance(text, str) else ""
    return int(number) if number.isdecimal() and len(number) < 6 and int(number) < MAX_PARTITIONS else None


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
