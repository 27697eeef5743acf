"""What the store is asked about a token, word by word, and what its replies mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar, cast

import pytest

from tenure_reader.claims import Job, Workflow
from tenure_reader.decision import Nearby, decide
from tenure_reader.github import GitHubRun
from tenure_reader.grants import Grant
from tenure_reader.lookup import (
    DISAGREEMENT,
    LONGEST_NAME,
    MAX_ID,
    NOTHING_NEAR,
    BehindError,
    GrantStatus,
    Known,
    RepositoryRef,
    decided,
    evaluation,
    grant_of,
    partition_count,
    repository_of,
    standing,
)
from tenure_reader.matching import CONTRACT
from tenure_reader.nodes import NOWHERE
from tenure_reader.routing import Command, Router, Send, Steps, UnavailableError, has_primary, moment
from tests.reader.world import GRANT

AnswerT = TypeVar("AnswerT")
RAW = json.dumps(GRANT).encode()
JOB = Job(41, 7, "octo/Widgets", Workflow("octo/Widgets", "release.yml", "v1"), "", None, "push", GitHubRun({}))
TIME, ROLE = (b"2", b"7"), [b"master", 0, [], []]
NOW = 2_000_007
SERVER: list[Command] = [("TIME",), ("ROLE",)]
ONE = Router([NOWHERE], discovered=False)
"""Asks one server, whatever it is."""
AWAY = [b"slave", b"127.0.0.1", 6379, b"connect", 0]


def talk(
    steps: Steps[tuple[AnswerT, Known | None]], *replies: Sequence[object]
) -> tuple[list[list[Command]], tuple[AnswerT, Known | None]]:
    """What was asked, and what came of it."""
    asked: list[list[Command]] = []
    step = next(steps)
    for reply in replies:
        assert isinstance(step, Send)
        asked.append(list(step.commands))
        try:
            step = steps.send(list(reply))
        except StopIteration as end:
            assert reply is replies[-1]
            return asked, end.value
    pytest.fail(f"it asks further: {step}")


UNSET = [b"16", None, None, None, None]
"""Settings of which nothing is published, but the number of partitions."""


def asked_of(partition: str, repository_id: int = 7, name: str = "widgets") -> list[Command]:
    return [
        *SERVER,
        (
            "HMGET",
            f"tenure:{{{partition}}}:settings",
            "partitions",
            "workflow_file_case",
            "forbidden_events",
            "workflow_binds",
            "issuers",
        ),
        ("HGETALL", f"tenure:{{{partition}}}:switches"),
        ("HVALS", f"tenure:{{{partition}}}:repository:41:{repository_id}"),
        ("HVALS", f"tenure:{{{partition}}}:repository-name:41:{name}"),
        ("HVALS", f"tenure:{{{partition}}}:repository-v2:41:{repository_id}"),
        ("HVALS", f"tenure:{{{partition}}}:repository-name-v2:41:{name}"),
        ("EXISTS", f"tenure:{{{partition}}}:index:owner:41"),
        ("ZRANGE", f"tenure:{{{partition}}}:index:name:41:{name}", 0, 999),
        ("ZRANGE", f"tenure:{{{partition}}}:index:former:name:41:{name}", 0, 999),
    ]


# May it publish?


def test_a_token_is_one_question_once_the_number_of_partitions_is_known() -> None:
    asked, (decision, partitions) = talk(
        evaluation(ONE, JOB, None, Known(16)), [TIME, ROLE, UNSET, {}, [RAW], [], [], [], 1, [b"p"], []]
    )
    assert asked == [asked_of("p03")]
    assert (decision, partitions) == (decide([GRANT], JOB, NOW, Nearby(owner_known=True, named="p")), Known(16))
    assert decision.allowed


def test_the_number_of_partitions_is_asked_for_first_and_again_where_it_is_another() -> None:
    asked, (decision, partitions) = talk(
        evaluation(ONE, JOB, 5, None),
        [TIME, ROLE, b"16"],
        [TIME, ROLE, ["1", None, None, None, None], {}, [], [], [], [], 0, [], []],
        [TIME, ROLE, ["1", None, None, None, None], {}, [], [], [], [RAW], 0, [], []],
    )
    assert asked == [[*SERVER, ("GET", "tenure:partitions")], asked_of("p03"), asked_of("p00")]
    assert (decision.at, decision.granted, partitions) == (5, (GRANT,), Known(1))


def test_a_store_that_was_begun_by_the_release_before_has_the_number_in_one_place() -> None:
    """Given a partition whose settings do not say it, then the store is asked, beside each answer."""
    asked, (decision, partitions) = talk(
        evaluation(ONE, JOB, 5, Known(16)),
        [TIME, ROLE, [None] * 5, {}, [RAW], [], [], [], 1, [], []],
        [TIME, ROLE, b"16"],
    )
    assert asked == [asked_of("p03"), [*SERVER, ("GET", "tenure:partitions")]]
    assert (decision.granted, partitions) == ((GRANT,), Known(16))


def _answer(steps: Steps[object], counts: dict[str, bytes]) -> None:
    """Answer whatever is asked, by what each partition says of their number."""
    step = next(steps)
    for _ in range(100):
        assert isinstance(step, Send)
        settings = step.commands[2]
        count = counts[str(settings[1])[8:11]]
        more: list[object] = [{}, None, None, None, None] if len(settings) == 3 else [{}, [], [], [], [], 0, [], []]
        step = steps.send([TIME, ROLE, [count, *[None] * (len(settings) - 3)], *more])


def test_partitions_that_do_not_agree_about_their_number_are_not_asked_for_ever() -> None:
    counts = {"p03": b"1", "p00": b"16"}
    for steps in (
        cast("Steps[object]", evaluation(ONE, JOB, 5, Known(16))),
        cast("Steps[object]", standing(ONE, "p", RepositoryRef(41, 7, "w"), Known(16))),
    ):
        with pytest.raises(UnavailableError, match=DISAGREEMENT):
            _answer(steps, counts)


# Revisions that are known


def noted(*replies: object) -> list[object]:
    return [TIME, ROLE, UNSET, {}, [RAW], [], [], [], 1, [], [], *replies]


def test_a_revision_is_asked_for_in_the_same_transaction() -> None:
    asked, _ = talk(evaluation(ONE, JOB, 5, Known(16), at_least={"pol-1": 3}), noted(b"3"))
    assert asked == [[*asked_of("p03"), ("HGET", "tenure:{p03}:revisions", "pol-1")]]


def test_a_policy_that_is_elsewhere_is_looked_up_and_then_the_views_are_read_again() -> None:
    """In this order: what is read after its revision was there is no older."""
    asked, (decision, _) = talk(
        evaluation(ONE, JOB, 5, Known(16), at_least={"pol-1": 3, "p": 1}),
        noted(None, b"1"),
        [ROLE, b"5"],
        [ROLE, b"3"],
        noted(b"1"),
    )
    assert asked == [
        [*asked_of("p03"), ("HGET", "tenure:{p03}:revisions", "pol-1"), ("HGET", "tenure:{p03}:revisions", "p")],
        [("ROLE",), ("HGET", "tenure:{p08}:directory", "pol-1")],
        [("ROLE",), ("HGET", "tenure:{p05}:revisions", "pol-1")],
        [*asked_of("p03"), ("HGET", "tenure:{p03}:revisions", "p")],
    ]
    assert decision.allowed


@pytest.mark.parametrize(
    ("home", "found"), [(b"5", b"2"), (b"5", None), (b"5@2.0", b"2"), (None, None), (b"1000", None), (b"x", None)]
)
def test_a_revision_that_is_nowhere_is_not_there_yet(home: bytes | None, found: bytes | None) -> None:
    steps = evaluation(ONE, JOB, 5, Known(16), at_least={"pol-1": 3})
    with pytest.raises(BehindError, match=r"^policy pol-1 is at revision [02] here, and 3 is asked for$"):
        talk(steps, noted(None), [ROLE, home], [ROLE, found])


@pytest.mark.parametrize(("owner_known", "named", "former", "nearby"), [
    (0, [], [], NOTHING_NEAR),
    (1, [], [], Nearby(owner_known=True, named=None)),
    (1, [b"q", b"r"], [], Nearby(owner_known=True, named="q")),
    (1, [b"q", b"r"], [b"q"], Nearby(owner_known=True, named="r")),
    (1, [b"q"], [b"q"], Nearby(owner_known=True, named=None)),
    (1, ["q"], [], Nearby(owner_known=True, named="q")),
])  # fmt: skip
def test_what_is_near_a_token_without_a_policy_is_in_the_same_answer(
    owner_known: int, named: list[object], former: list[object], nearby: Nearby
) -> None:
    replies = [TIME, ROLE, UNSET, [], [], [], [], [], owner_known, named, former]
    _, (decision, _) = talk(evaluation(ONE, JOB, 5, Known(16)), replies)
    assert decision == decide([], JOB, 5, nearby)


def test_what_no_policy_can_be_for_is_not_looked_up() -> None:
    _, (decision, partitions) = talk(evaluation(ONE, JOB._replace(owner_id=None), None, Known(16)), [TIME, ROLE])
    assert (decision, partitions) == (decide([], JOB._replace(owner_id=None), NOW, NOTHING_NEAR), Known(16))
    conversation = evaluation(ONE, JOB._replace(owner_id=None), 5, None)
    with pytest.raises(StopIteration) as end:
        next(conversation)
    assert end.value.value == (decide([], JOB._replace(owner_id=None), 5, NOTHING_NEAR), None)


def test_a_repository_without_an_id_or_a_name_is_looked_up_under_none() -> None:
    job = JOB._replace(repository_id=None, repository="")
    asked, _ = talk(evaluation(ONE, job, 5, Known(16)), [TIME, ROLE, UNSET, {}, [], [], [], [], 0, [], []])
    assert asked == [asked_of("p03", 0, "")]


@pytest.mark.parametrize(("job", "repository"), [
    (JOB, RepositoryRef(41, 7, "Widgets")),
    (JOB._replace(owner_id=None), None),
    (JOB._replace(owner_id=-1), None),
    (JOB._replace(owner_id=MAX_ID + 1), None),
    (JOB._replace(owner_id=0, repository_id=0), RepositoryRef(0, 0, "Widgets")),
    (JOB._replace(owner_id=MAX_ID, repository_id=MAX_ID), RepositoryRef(2**63 - 1, 2**63 - 1, "Widgets")),
    (JOB._replace(repository_id=MAX_ID + 1), RepositoryRef(41, None, "Widgets")),
    (JOB._replace(repository_id=-1), RepositoryRef(41, None, "Widgets")),
    (JOB._replace(repository="octo/x"), RepositoryRef(41, 7, "x")),
    (JOB._replace(repository="octo/" + "x" * LONGEST_NAME), RepositoryRef(41, 7, "x" * 200)),
    (JOB._replace(repository="octo/" + "x" * (LONGEST_NAME + 1)), RepositoryRef(41, 7, None)),
    (JOB._replace(repository="octo"), RepositoryRef(41, 7, None)),
])  # fmt: skip
def test_only_what_can_be_somebody_s_is_looked_up(job: Job, repository: RepositoryRef | None) -> None:
    assert repository_of(job) == repository


# How does one policy stand?


def single(partition: str, repository_id: int = 7, name: str = "widgets") -> list[Command]:
    return [
        *SERVER,
        ("HMGET", f"tenure:{{{partition}}}:settings", "partitions"),
        ("HGETALL", f"tenure:{{{partition}}}:switches"),
        ("HGET", f"tenure:{{{partition}}}:repository:41:{repository_id}", "p"),
        ("HGET", f"tenure:{{{partition}}}:repository-name:41:{name}", "p"),
        ("HGET", f"tenure:{{{partition}}}:repository-v2:41:{repository_id}", "p"),
        ("HGET", f"tenure:{{{partition}}}:repository-name-v2:41:{name}", "p"),
    ]


@pytest.mark.parametrize(("by_id", "by_name", "grant"), [
    (RAW, None, GRANT), (None, RAW, GRANT), (None, None, None), (RAW, b"{", GRANT),
])  # fmt: skip
def test_one_policy_is_asked_for_under_its_id_and_its_name(
    by_id: bytes | None, by_name: bytes | None, grant: Grant | None
) -> None:
    here = RepositoryRef(41, 7, "Widgets")
    asked, (status, partitions) = talk(
        standing(ONE, "p", here, Known(16)), [TIME, ROLE, [b"16"], {}, by_id, by_name, None, None]
    )
    assert (asked, status, partitions) == ([single("p03")], GrantStatus(grant, NOW), Known(16))


def test_one_policy_too_is_asked_for_again_where_the_number_of_partitions_is_another() -> None:
    asked, (status, partitions) = talk(
        standing(ONE, "p", RepositoryRef(41, None, None), None),
        [TIME, ROLE, b"16"],
        [TIME, ROLE, ["1"], {}, None, None, None, None],
        [TIME, ROLE, ["1"], [], None, None, None, RAW],
    )
    assert asked == [[*SERVER, ("GET", "tenure:partitions")], single("p03", 0, ""), single("p00", 0, "")]
    assert (status.grant, partitions) == (GRANT, Known(1))


@pytest.mark.parametrize(("grant", "is_closed"), [
    (None, True),
    (GRANT, False),
    ({**GRANT, "usable": False}, True),
    ({**GRANT, "usable_until": "x"}, True),
    ({**GRANT, "usable_until": "2099-01-01T00:00:00"}, True),
    ({**GRANT, "usable_until": "2099-01-01T00:00:00Z"}, False),
    ({**GRANT, "usable_until": "1970-01-01T00:00:00Z"}, True),
])  # fmt: skip
def test_whatever_cannot_be_read_is_closed(grant: Grant | None, *, is_closed: bool) -> None:
    assert GrantStatus(grant, NOW).closed is is_closed


HELD = {b"owner:41": b'{"id":"s","reason":"a stolen key","by":"maria","at":"2026-06-01T11:00:00.000000Z"}'}


@pytest.mark.parametrize("switches", [HELD, [word for pair in HELD.items() for word in pair]])
def test_a_switch_in_the_same_answer_closes(switches: object) -> None:
    """However the client gives a hash."""
    _, (decision, _) = talk(
        evaluation(ONE, JOB, 5, Known(16)), [TIME, ROLE, UNSET, switches, [RAW], [], [], [], 1, [], []]
    )
    assert decision.difference is not None
    assert (decision.difference.code, decision.difference.told) == ("held", "the policy is held")
    assert decision.difference.detail == "owner:41 is held by maria since 2026-06-01T11:00:00.000000Z: a stolen key"
    _, (status, _) = talk(
        standing(ONE, "p", RepositoryRef(41, 7, "w"), Known(16)), [TIME, ROLE, [b"16"], switches, RAW, None, None, None]
    )
    assert status.closed


@pytest.mark.parametrize("settings", [[b"sometimes", None, None], [None, b"", None], [None, None, b"both"]])
def test_settings_that_are_not_known_decide_nothing(settings: list[bytes | None]) -> None:
    with pytest.raises(UnavailableError, match=r"^the settings that decide matching cannot be read: "):
        talk(evaluation(ONE, JOB, 5, Known(16)), [TIME, ROLE, [b"16", *settings], {}, [RAW], [], [], [], 1, [], []])


def test_a_replica_without_its_primary_answers_nothing() -> None:
    message = "^the replica that is read has lost its primary; it answers again when it has found it$"
    for conversation, rest in (
        (evaluation(ONE, JOB, 5, Known(16)), [UNSET, {}, [RAW], [], [], [], 1, [], []]),
        (standing(ONE, "p", RepositoryRef(41, 7, "w"), Known(16)), [[b"16"], {}, RAW, None, None, None]),
    ):
        next(conversation)
        with pytest.raises(UnavailableError, match=message):
            conversation.send([TIME, AWAY, *rest])


@pytest.mark.parametrize("reply", [
    ROLE, ["master", 0, [], []], [b"slave", b"h", 1, b"connected", 9], ["slave", "h", 1, "connected", 9], [b"sentinel", []],
])  # fmt: skip
def test_whoever_hears_the_primary_answers(reply: list[object]) -> None:
    has_primary(reply)


@pytest.mark.parametrize("state", [b"connect", "connecting", b"sync"])
def test_whoever_does_not_hear_it_does_not(state: object) -> None:
    with pytest.raises(UnavailableError):
        has_primary(["slave", b"h", 1, state, 0])


# What is written there


@pytest.mark.parametrize(("reply", "count"), [(b"1", 1), ("16", 16), (b"1000", 1000)])
def test_the_number_of_partitions_is_one_to_a_thousand(reply: object, count: int) -> None:
    assert partition_count(reply) == count


@pytest.mark.parametrize("reply", [None, b"", b"0", "1001", b"9" * 5000, b"-1", b"1.5", b"x", b"\xff", 16, []])
def test_any_other_number_of_partitions_is_no_store_of_ours(reply: object) -> None:
    message = "^tenure:partitions is not set: this is no store of Tenure's, or an empty one$"
    with pytest.raises(UnavailableError, match=message):
        partition_count(reply)


def test_the_store_s_time_is_seconds_and_microseconds() -> None:
    assert moment((b"3", b"000005")) == 3_000_005
    assert moment((3, 5)) == 3_000_005


@pytest.mark.parametrize("view", [RAW, RAW.decode(), GRANT, {**GRANT, "field_of_next_year": 1}])
def test_of_a_view_the_part_that_decides_is_read(view: bytes | str | dict[str, object]) -> None:
    assert grant_of(view) == GRANT


ODD: dict[str, list[object]] = {
    "policy_id": [None, 1], "revision": [None, "1"], "state": [None, 1], "usable_until": [1],
    "reasons": [None, "one"], "repository_owner_id": [None, "41"], "repository": [None, 1],
    "repository_id": ["7"], "workflow_file": [None, 1], "environment": [1],
}  # fmt: skip
WRONG: list[tuple[dict[str, object], str]] = [
    *(
        ({field: value}, f"{field} is of another kind than it must be")
        for field, values in ODD.items()
        for value in values
    ),
    ({"policy_id": 1, "state": 2}, "policy_id, state is of another kind than it must be"),
    ({"package_owner": {"account": 1, "kind": "user"}}, "a name or a reason is of another kind than it must be"),
    ({"package_owner": {"account": "acme", "kind": 1}}, "a name or a reason is of another kind than it must be"),
    ({"created_by": {"account": None}}, "a name or a reason is of another kind than it must be"),
    ({"reasons": ["one", 2]}, "a name or a reason is of another kind than it must be"),
    ({"package_owner": {"account": "acme"}}, "KeyError: 'kind'"),
    ({"package_owner": {"kind": "user"}}, "KeyError: 'account'"),
    ({"created_by": {}}, "KeyError: 'account'"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "why"), WRONG)
def test_a_view_of_another_form_cannot_be_read(changed: dict[str, object], why: str) -> None:
    with pytest.raises(UnavailableError) as error:
        grant_of({**GRANT, **changed})
    assert str(error.value) == f"a view cannot be read: {why}"


@pytest.mark.parametrize("raw", [b"{", b"[]", b"7", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_view_cannot_be_read(raw: bytes) -> None:
    with pytest.raises(UnavailableError, match=r"^a view cannot be read: [A-Za-z]+Error: "):
        grant_of(raw)


@pytest.mark.parametrize("field", sorted(Grant.__required_keys__))
def test_no_field_of_a_view_may_be_missing(field: str) -> None:
    with pytest.raises(UnavailableError, match=f"^a view cannot be read: KeyError: '{field}'$"):
        grant_of({name: value for name, value in GRANT.items() if name != field})


def test_what_cannot_be_decided_is_no_answer() -> None:
    odd: Grant = {**GRANT, "usable_until": "x"}
    with pytest.raises(UnavailableError, match=r"^a view cannot be read: ValueError\("):
        decided([odd], JOB, 5, NOTHING_NEAR, matching=CONTRACT)
    assert decided([GRANT], JOB, 5, NOTHING_NEAR, matching=CONTRACT) == decide([GRANT], JOB, 5, NOTHING_NEAR)
