"""The questions to the store about a token, and what its replies mean. No I/O: both readers share it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import islice, product
from typing import NamedTuple, cast

from tenure_reader import freshness, keys
from tenure_reader.claims import Difference, Job
from tenure_reader.decision import Decision, Nearby, decide
from tenure_reader.freshness import AtLeast
from tenure_reader.grants import Conditions, Grant
from tenure_reader.keys import ISSUER, MAX_PARTITIONS, OwnerRef, PartitionKeys, owner_at, partition_keys
from tenure_reader.matching import CONTRACT, FIELDS, Matching, matching_of
from tenure_reader.routing import Command, Router, Steps, UnavailableError
from tenure_reader.rules import ANYTHING, Wanted, closed, instance_of
from tenure_reader.switches import Switches, under
from tenure_reader.times import Micros
from tenure_reader.topology import text_of


class Known(NamedTuple):
    """What decides where to look. It seldom changes, so it is kept from one question to the next, and each reply confirms it."""

    partitions: int
    issuers: tuple[tuple[str, str], ...] = ()
    """`Matching.issuers`."""


MAX_ID = 2**63 - 1
LONGEST_NAME = 200
"""Characters of a repository's name that is looked up; GitHub's have at most 100."""
MOST_BEARERS = 1000
"""Policies of repositories with a token's name that are looked through to say who has it."""
ROUNDS = 4
"""In which a question is asked again: where the number of partitions was another one, or a policy in another partition."""
DISAGREEMENT = "the partitions of this store do not agree about how many there are"
PARTITIONS_FIELD = "partitions"
"""Of the settings: how many partitions there are."""
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
_USUAL = frozenset(product(*(kinds if isinstance(kinds, tuple) else (kinds,) for kinds in _KINDS.values())))
"""Kinds that all of them may have at once: to look this up is quicker than to ask for each."""
_FIELDS = (*_KINDS, *sorted(Grant.__required_keys__ - _KINDS.keys()))
_WORDS: dict[str, frozenset[object]] = {
    "ref_protected": frozenset({True}),
    "workflow_binds": frozenset({"job", "caller"}),
}
"""Conditions that are one of few words."""
_TEXTS = frozenset({"called_workflow", "runner", "issuer"})
"""Conditions that are a text. All others are lists of texts."""
NOTHING: AtLeast = {}
NOTHING_NEAR = Nearby(owner_known=False, named=None)


class BehindError(UnavailableError):
    """What is read does not know of a revision that was asked for: it is not settled yet, or has not reached this replica or
    this mirror, or was lost with a server that failed.
    """


class RepositoryRef(NamedTuple):
    """Where a token's policies are."""

    owner_id: int
    repository_id: int | None
    name: str | None
    issuer: str = ISSUER
    """The alias of the instance of GitHub whose ids these are."""

    @property
    def owner(self) -> OwnerRef:
        """The owner, as keys have it."""
        return owner_at(self.issuer, self.owner_id)


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


def repository_of(job: Job, matching: Matching = CONTRACT) -> RepositoryRef | None:
    """None if no policy can be for this owner, so that there is nothing to look up."""
    owner_id, issuer = _possible(job.owner_id), instance_of(job, matching)
    if owner_id is None or isinstance(issuer, Difference):
        return None
    name = job.name if 0 < len(job.name) <= LONGEST_NAME else None
    return RepositoryRef(owner_id, _possible(job.repository_id), name, issuer)


NOBODY_S = RepositoryRef(0, None, None, "nobody/s")
"""What is asked about where there is nothing to look up: no instance has such an alias."""


def _possible(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= MAX_ID else None


def evaluation(
    router: Router,
    job: Job,
    now: Micros | None,
    known: Known | None,
    *,
    wanted: Wanted = ANYTHING,
    at_least: AtLeast = NOTHING,
) -> Steps[tuple[Decision, Known | None]]:
    """May a token that speaks for this job publish? One round trip, once it is known where to look. `at_least`: by what is known
    of these policies then, or of later revisions. Returns what is known, too, to begin with next time.

    Raises:
        BehindError: that is not known yet.
        UnavailableError: nobody answers in time, or the store holds what cannot be read.
    """
    if _possible(job.owner_id) is None:
        at = (yield from router.transaction(keys.PARTITIONS, ())).at if now is None else now
        return decide((), job, at, NOTHING_NEAR), known
    if known is None:
        known = Known((yield from stored_partitions(router)))
    asked = at_least
    for _ in range(ROUNDS):
        # Of a token that is of no instance, the settings have to say so.
        repository = repository_of(job, Matching(issuers=known.issuers)) or NOBODY_S
        partition = partition_keys(repository.owner, known.partitions)
        questions = _questions(partition, repository)
        answer = yield from router.transaction(
            partition.settings, [*questions, *freshness.questions(asked, partition)], witness=partition.changes
        )
        matching = settings_of(cast("Sequence[object]", answer.replies[0])[1:])
        stored = Known((yield from _confirmed(router, answer.replies[0])), matching.issuers)
        if stored != known:
            # Another store than before, as its number of partitions is fixed; or instances of GitHub were configured.
            known, asked = stored, at_least
            continue
        replies, noted = answer.replies[: len(questions)], answer.replies[len(questions) :]
        grants = _grants(replies)
        revisions = freshness.known(asked, noted, grants)
        missing = [policy_id for policy_id, revision in asked.items() if revisions[policy_id] < revision]
        if not missing:
            at = answer.at if now is None else now
            return decided(grants, job, at, _nearby(replies), matching=matching, wanted=wanted), known
        revisions |= yield from freshness.elsewhere(router, missing, known.partitions)
        behind = freshness.told(asked, revisions)
        if behind is not None:
            raise BehindError(behind)
        # These are in other partitions; what is read from here on is read after they were there.
        asked = {policy_id: revision for policy_id, revision in asked.items() if policy_id not in missing}
    raise UnavailableError(DISAGREEMENT)


def _hashes(partition: PartitionKeys, repository: RepositoryRef) -> tuple[str, ...]:
    """Where a view of this repository may stand, under its id and its name, for readers of either version."""
    owner, repository_id, name = repository.owner, repository.repository_id or 0, repository.name or ""
    return (
        partition.repository(owner, repository_id),
        partition.repository_name(owner, name),
        partition.repository_v2(owner, repository_id),
        partition.repository_name_v2(owner, name),
    )


def _questions(partition: PartitionKeys, repository: RepositoryRef) -> list[Command]:
    """In one transaction: in between, a policy could move from its name to its id and be seen in neither. Each is about one key,
    so that each can be asked by itself while the slot moves.

    The last three decide nothing. They describe what is near a token without a policy; like a mirror, they look for whoever
    has its name now, and not for whoever had it.
    """
    name = repository.name or ""
    return [
        ("HMGET", partition.settings, PARTITIONS_FIELD, *FIELDS),
        ("HGETALL", partition.switches),
        *(("HVALS", key) for key in _hashes(partition, repository)),
        ("EXISTS", partition.owner_index(repository.owner)),
        ("ZRANGE", partition.name_index(repository.owner, name), 0, MOST_BEARERS - 1),
        ("ZRANGE", partition.former_name_index(repository.owner, name), 0, MOST_BEARERS - 1),
    ]


def standing(
    router: Router, policy_id: str, repository: RepositoryRef, known: Known | None
) -> Steps[tuple[GrantStatus, Known | None]]:
    """One policy, by where it was when it let a token publish.

    Raises:
        UnavailableError: nobody answers in time, or the store holds what cannot be read.
    """
    if known is None:
        known = Known((yield from stored_partitions(router)))
    for _ in range(ROUNDS):
        partition = partition_keys(repository.owner, known.partitions)
        questions: list[Command] = [
            ("HMGET", partition.settings, PARTITIONS_FIELD),
            ("HGETALL", partition.switches),
            *(("HGET", key, policy_id) for key in _hashes(partition, repository)),
        ]
        answer = yield from router.transaction(partition.settings, questions, witness=partition.changes)
        settings, switches, *views = answer.replies
        stored = yield from _confirmed(router, settings)
        if stored == known.partitions:
            raw = cast("bytes | None", next(filter(None, views), None))
            raw_view = under([] if raw is None else [grant_of(raw)], switches_of(switches))
            return GrantStatus(raw_view[0] if raw_view else None, answer.at), known
        known = Known(stored)
    raise UnavailableError(DISAGREEMENT)


def stored_partitions(router: Router) -> Steps[int]:
    """How many partitions the store says that it has.

    Raises:
        UnavailableError: nobody answers in time, or this is no store of Tenure's.
    """
    return partition_count((yield from router.transaction(keys.PARTITIONS, [("GET", keys.PARTITIONS)])).replies[0])


def _confirmed(router: Router, settings: object) -> Steps[int]:
    """The same as a partition has it among its settings; a store that was begun by the release before has it in one place."""
    written = cast("Sequence[object]", settings)[0]
    if written is None:
        return (yield from stored_partitions(router))
    return partition_count(written)


def partition_count(reply: object) -> int:
    """What the store says of its partitions.

    Raises:
        UnavailableError: nothing, so this is no store of Tenure's, or it is empty.
    """
    written = reply.decode("ascii", "replace") if isinstance(reply, bytes) else reply
    if (
        not isinstance(written, str)
        or not written.isdecimal()
        or len(written) > 9
        or not 1 <= int(written) <= MAX_PARTITIONS
    ):
        raise UnavailableError(f"{keys.PARTITIONS} is not set: this is no store of Tenure's, or an empty one")
    return int(written)


def settings_of(reply: object) -> Matching:
    """What HMGET answered of the settings.

    Raises:
        UnavailableError: one of them is none that this version knows, so nobody can say what the installation decided.
    """
    try:
        return matching_of([None if word is None else text_of(word) for word in cast("Sequence[object]", reply)])
    except ValueError as error:
        raise UnavailableError(f"the settings that decide matching cannot be read: {error}") from None


def switches_of(reply: object) -> Switches:
    """What HGETALL answered: a mapping, or fields and values in turn, as the client was made."""
    if isinstance(reply, Mapping):
        return {text_of(scope): text_of(switch) for scope, switch in reply.items()}
    flat = [text_of(word) for word in cast("Sequence[object]", reply)]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _grants(replies: Sequence[object]) -> list[Grant]:
    _, switches, *views, _, _, _ = replies
    grants = [grant_of(raw) for found in cast("list[list[bytes]]", views) for raw in found]
    return under(grants, switches_of(switches))


def _nearby(replies: Sequence[object]) -> Nearby:
    *_, owner_known, named, former = replies
    without = set(cast("list[object]", former))
    bearer = next((policy_id for policy_id in cast("list[object]", named) if policy_id not in without), None)
    return Nearby(bool(owner_known), None if bearer is None else text_of(bearer))


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
        # Nearly every view comes as bytes, of which the parser would first guess the encoding.
        parsed = view if isinstance(view, Mapping) else json.loads(text_of(view))
        read = cast("Mapping[str, object]", parsed)
        grant = {field: read[field] for field in _FIELDS}
        owner, creator = (cast("Mapping[str, object]", read[field]) for field in ("package_owner", "created_by"))
        people = (owner["account"], owner["kind"], creator["account"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnavailableError(f"a view cannot be read: {type(error).__name__}: {error}") from None
    wrong: list[str] = []
    if tuple(map(type, islice(grant.values(), len(_KINDS)))) not in _USUAL:
        wrong = [field for field, kinds in _KINDS.items() if not isinstance(grant[field], kinds)]
    if not wrong:
        reasons = cast("list[object]", grant["reasons"])
        wrong = [] if all(map(_is_text, (*people, *reasons))) else ["a name or a reason"]
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


def _is_text(word: object) -> bool:
    return isinstance(word, str)
