"""The questions to the store about a token, and what its replies mean. No I/O: both readers share it."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar, cast

from tenure_reader import freshness, keys
from tenure_reader.claims import Job
from tenure_reader.decision import Decision, Nearby, decide
from tenure_reader.freshness import AtLeast
from tenure_reader.grants import Conditions, Grant
from tenure_reader.keys import MAX_PARTITIONS, PartitionKeys, partition_keys
from tenure_reader.matching import FIELDS, Matching, matching_of
from tenure_reader.rules import ANYTHING, Wanted, closed
from tenure_reader.switches import Switches, under
from tenure_reader.times import SECOND, Micros

Command: TypeAlias = tuple[str | int, ...]
AnswerT = TypeVar("AnswerT")
Conversation: TypeAlias = Generator[list[Command], list[object], tuple[AnswerT, int | None]]
"""Gives what to ask, in one transaction, and takes the replies. Returns the answer, and the number of partitions to
begin with next time."""

MAX_ID = 2**63 - 1
LONGEST_NAME = 200
"""Characters of a repository's name that is looked up; GitHub's have at most 100."""
MOST_PARTITIONS = MAX_PARTITIONS
_TIME: Command = ("TIME",)
_PARTITIONS: Command = ("GET", keys.PARTITIONS)
_ROLE: Command = ("ROLE",)
_SERVER: tuple[Command, ...] = (_TIME, _PARTITIONS, _ROLE)
"""What the server says of itself, before the answers to any question."""
_KINDS: dict[str, type | tuple[type, ...]] = {
    "policy_id": str,
    "revision": int,
    "state": str,
    "usable_until": (str, type(None)),
    "reasons": list,
    "repository_owner_id": int,
    "repository": str,
    "repository_id": (int, type(None)),
    "workflow_file": str,
    "environment": (str, type(None)),
}
"""What the fields of a view must be, beyond the names in it. `usable` may be anything: only true is true."""
_WORDS: dict[str, frozenset[object]] = {
    "ref_protected": frozenset({True}),
    "workflow_binds": frozenset({"job", "caller"}),
}
"""Conditions that are one of few words."""
_TEXTS = frozenset({"called_workflow", "runner"})
"""Conditions that are a text. All others are lists of texts."""
NOTHING: AtLeast = {}
NOTHING_NEAR = Nearby(owner_known=False, named=None)


class UnavailableError(Exception):
    """Nothing can be decided: the store cannot be reached, does not answer in time, is a replica that has lost its primary,
    or holds what cannot be read.

    Refuse the token for now, and let its bearer try again.
    """


class BehindError(UnavailableError):
    """What is read does not know of a revision that was asked for: it is not settled yet, or has not reached this replica or
    this mirror, or was lost with a server that failed.
    """


class RepositoryRef(NamedTuple):
    """Where a token's policies are."""

    owner_id: int
    repository_id: int | None
    name: str | None


class GrantStatus(NamedTuple):
    """A policy at one moment."""

    grant: Grant | None
    """None: it is not there any more."""
    at: Micros

    @property
    def closed(self) -> bool:
        """A limit that cannot be read counts as past."""
        try:
            return self.grant is None or closed(self.grant, self.at) is not None
        except (ValueError, TypeError):
            return True


def repository_of(job: Job) -> RepositoryRef | None:
    """None if no policy can be for this owner, so that there is nothing to look up."""
    owner_id = _possible(job.owner_id)
    if owner_id is None:
        return None
    name = job.name if 0 < len(job.name) <= LONGEST_NAME else None
    return RepositoryRef(owner_id, _possible(job.repository_id), name)


def _possible(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= MAX_ID else None


def evaluation(
    job: Job,
    now: Micros | None,
    partitions: int | None,
    wanted: Wanted = ANYTHING,
    at_least: AtLeast = NOTHING,
) -> Conversation[Decision]:
    """May a token that speaks for this job publish? One round trip, once the number of partitions is known. `at_least`: by
    what is known of these policies then, or of later revisions.

    Raises:
        BehindError: that is not known yet.
        UnavailableError: the store holds what cannot be read, or is a replica without its primary.
    """
    repository = repository_of(job)
    if repository is None:
        at = moment((yield [_TIME])[0]) if now is None else now
        return decide((), job, at, NOTHING_NEAR), partitions
    if partitions is None:
        partitions = partition_count((yield [_PARTITIONS])[0])
    while True:
        questions = _questions(partition_keys(repository.owner_id, partitions), repository)
        replies = yield [*questions, *freshness.questions(at_least, partitions)]
        has_primary(replies[2])
        stored = partition_count(replies[1])
        if stored == partitions:
            answers, noted = replies[: len(questions)], replies[len(questions) :]
            grants = _grants(answers)
            behind = freshness.behind(at_least, noted, grants)
            if behind is not None:
                raise BehindError(behind)
            return _decision(answers, grants, job, now, wanted), partitions
        # The number is fixed for the life of a store, so this is another one than before.
        partitions = stored


def _hashes(partition: PartitionKeys, repository: RepositoryRef) -> tuple[str, ...]:
    """Where a view of this repository may stand, under its id and its name, for readers of either version."""
    owner_id, repository_id, name = repository.owner_id, repository.repository_id or 0, repository.name or ""
    return (
        partition.repository(owner_id, repository_id),
        partition.repository_name(owner_id, name),
        partition.repository_v2(owner_id, repository_id),
        partition.repository_name_v2(owner_id, name),
    )


def _questions(partition: PartitionKeys, repository: RepositoryRef) -> list[Command]:
    """In one transaction: in between, a policy could move from its name to its id and be seen in neither.

    The last two decide nothing. They describe what is near a token without a policy; like a mirror, they look for whoever
    has its name now, and not for whoever had it.
    """
    name = repository.name or ""
    return [
        *_SERVER,
        ("HMGET", partition.settings, *FIELDS),
        ("HGETALL", partition.switches),
        *(("HVALS", key) for key in _hashes(partition, repository)),
        ("EXISTS", partition.owner_index(repository.owner_id)),
        (
            "ZDIFF",
            2,
            partition.name_index(repository.owner_id, name),
            partition.former_name_index(repository.owner_id, name),
        ),
    ]


def standing(policy_id: str, repository: RepositoryRef, partitions: int | None) -> Conversation[GrantStatus]:
    """One policy, by where it was when it let a token publish.

    Raises:
        UnavailableError: the store holds what cannot be read, or is a replica without its primary.
    """
    if partitions is None:
        partitions = partition_count((yield [_PARTITIONS])[0])
    while True:
        partition = partition_keys(repository.owner_id, partitions)
        replies = yield [
            *_SERVER,
            ("HGETALL", partition.switches),
            *(("HGET", key, policy_id) for key in _hashes(partition, repository)),
        ]
        has_primary(replies[2])
        stored = partition_count(replies[1])
        if stored == partitions:
            raw = cast("bytes | None", next(filter(None, replies[4:8]), None))
            raw_view = under([] if raw is None else [grant_of(raw)], switches_of(replies[3]))
            return GrantStatus(raw_view[0] if raw_view else None, moment(replies[0])), partitions
        partitions = stored


def partition_count(reply: object) -> int:
    """What the store says of `tenure:partitions`.

    Raises:
        UnavailableError: nothing, so this is no store of Tenure's, or it is empty.
    """
    written = reply.decode("ascii", "replace") if isinstance(reply, bytes) else reply
    if not isinstance(written, str) or not written.isdecimal() or not 1 <= int(written) <= MOST_PARTITIONS:
        raise UnavailableError(f"{keys.PARTITIONS} is not set: this is no store of Tenure's, or an empty one")
    return int(written)


def has_primary(reply: object) -> None:
    """What ROLE answered: a primary, or a replica that hears its own.

    Raises:
        UnavailableError: a replica that does not: what it holds may have been taken back since.
    """
    role = cast("Sequence[object]", reply)
    if _text(role[0]) == "slave" and _text(role[3]) != "connected":
        raise UnavailableError("the replica that is read has lost its primary; it answers again when it has found it")


def settings_of(reply: object) -> Matching:
    """What HMGET answered of the settings.

    Raises:
        UnavailableError: one of them is none that this version knows, so nobody can say what the installation decided.
    """
    try:
        return matching_of([None if word is None else _text(word) for word in cast("Sequence[object]", reply)])
    except ValueError as error:
        raise UnavailableError(f"the settings that decide matching cannot be read: {error}") from None


def switches_of(reply: object) -> Switches:
    """What HGETALL answered: a mapping, or fields and values in turn, as the client was made."""
    if isinstance(reply, Mapping):
        return {_text(scope): _text(switch) for scope, switch in reply.items()}
    flat = [_text(word) for word in cast("Sequence[object]", reply)]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def moment(reply: object) -> Micros:
    """What TIME answered."""
    seconds, micros = cast("tuple[int | bytes, int | bytes]", reply)
    return int(seconds) * SECOND + int(micros)


def _grants(replies: Sequence[object]) -> list[Grant]:
    _, _, _, _, switches, *views, _, _ = replies
    grants = [grant_of(raw) for found in cast("list[list[bytes]]", views) for raw in found]
    return under(grants, switches_of(switches))


def _decision(
    replies: Sequence[object], grants: Sequence[Grant], job: Job, now: Micros | None, wanted: Wanted
) -> Decision:
    time, _, _, settings, *_, owner_known, named = replies
    at = moment(time) if now is None else now
    first = cast("list[bytes]", named)
    nearby = Nearby(bool(owner_known), _text(first[0]) if first else None)
    return decided(grants, job, at, nearby, matching=settings_of(settings), wanted=wanted)


def decided(
    grants: Sequence[Grant],
    job: Job,
    at: Micros,
    nearby: Nearby,
    *,
    matching: Matching,
    wanted: Wanted = ANYTHING,
) -> Decision:
    """
    Raises:
        UnavailableError: a view has fields of other kinds than it must.
    """
    try:
        return decide(grants, job, at, nearby, matching=matching, wanted=wanted)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnavailableError(f"a view cannot be read: {error!r}") from None


def grant_of(view: bytes | str | Mapping[str, object]) -> Grant:
    """The part of a view that decides.

    Raises:
        UnavailableError: it cannot be read.
    """
    try:
        parsed = view if isinstance(view, Mapping) else json.loads(view)
        read = cast("Mapping[str, object]", parsed)
        grant = {field: read[field] for field in Grant.__required_keys__}
        people = [*_parts(read, "package_owner", "account", "kind"), *_parts(read, "created_by", "account")]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnavailableError(f"a view cannot be read: {type(error).__name__}: {error}") from None
    wrong = [field for field, kinds in _KINDS.items() if not isinstance(grant[field], kinds)]
    if not wrong:
        reasons = cast("list[object]", grant["reasons"])
        wrong = [] if all(isinstance(word, str) for word in (*people, *reasons)) else ["a name or a reason"]
    if not Conditions.__optional_keys__.isdisjoint(read):
        asked = {field: read[field] for field in Conditions.__annotations__ if field in read}
        wrong += [field for field, value in asked.items() if not _is_condition(field, value)]
        grant.update(asked)
    if wrong:
        raise UnavailableError(f"a view cannot be read: {', '.join(wrong)} is of another kind than it must be")
    return cast("Grant", grant)


def _is_condition(field: str, value: object) -> bool:
    """One that is of another kind would ask for nothing, or for something else than was meant."""
    if field in _WORDS:
        return isinstance(value, str | bool) and value in _WORDS[field]
    if field in _TEXTS:
        return isinstance(value, str)
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _parts(view: Mapping[str, object], field: str, *names: str) -> list[object]:
    of = cast("Mapping[str, object]", view[field])
    return [of[name] for name in names]


def _text(raw: object) -> str:
    return raw.decode() if isinstance(raw, bytes) else str(raw)
