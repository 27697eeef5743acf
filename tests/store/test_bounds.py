"""What one event, one owner and one script may cost, whoever sends it and whatever it names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TypeAlias, cast

import pytest

from handlers.base import MOST_PARTS, MOST_VALUES
from tests.engines import CHOSEN, configured, on_each
from tests.store.making import (
    Json,
    about_member,
    about_repository,
    come_due,
    dead_letters,
    idle,
    ping,
    plain,
    put,
    reasons,
    registration,
    settle_all,
    view,
    webhook,
)
from tests.support import JSON, OWNER, REPOSITORY, USER, account, hint, installation, repository
from worker.app import App
from worker.lifecycle import scopes
from worker.lifecycle.facts import HOUR, Observation
from worker.store import client
from worker.store.checks import MANY
from worker.store.client import GROUP_WORDS, Answers, Command, Replicas, StoreError, Transactions
from worker.store.codec import encode_fact
from worker.store.dead import LISTED
from worker.store.inbox import BULKY, CROWD, EVENTS, OVERFLOW, STAGED_MS, Envelope, Event
from worker.store.policies import OBSERVED_MS, REMEMBERED

SCRIPT_MS = 20
"""No script may keep the server for longer."""
STRANGER = 4242
Slow: TypeAlias = tuple[int, int, int, list[bytes], bytes, bytes]
"""An entry of the slow log: how many µs what took."""


@pytest.fixture
def scripts(app: App) -> Iterator[list[float]]:
    """How long each script of the test took that took long, in ms; read when the test is over. It is measured on one server,
    which no other servers keep from running.
    """
    took: list[float] = []
    if CHOSEN in os.environ:
        yield took
        return
    on_each(app.client, "SLOWLOG", "RESET")
    with configured(app.client, {"slowlog-log-slower-than": SCRIPT_MS * 1000, "slowlog-max-len": 1000}):
        yield took
        slow = [
            entry for entries in on_each(app.client, "SLOWLOG", "GET", 1000) for entry in cast("list[Slow]", entries)
        ]
    took += [micros / 1000 for _, _, micros, words, *_ in slow if words[0] in (b"EVALSHA", b"EXEC")]
    # A machine that is busy may interrupt the server once; a script that does too much is too long each time.
    assert len(took) <= 1, took


def kept(app: App, owner: int = OWNER) -> dict[str, str]:
    """What is remembered of an owner: subject → fact."""
    with plain(app) as redis:
        key = app.keyspace.of(owner).observed(scopes.owner(owner))
        found = redis.hgetall(key)
        ordered = redis.zrange(app.keyspace.of(owner).observed_by_worth(scopes.owner(owner)), 0, -1)
    assert isinstance(found, dict)
    assert isinstance(ordered, list)
    assert sorted(found) == sorted(ordered)
    return found


def keys(app: App) -> list[str]:
    with plain(app) as redis:
        return list(redis.scan_iter("*observed*", 10_000))


def push(app: App, event_id: str, *, removed: list[str], owner: int = OWNER, **where: int) -> Envelope:
    pushed = repository(where.get("repository_id", REPOSITORY), owner=account(owner))
    data: Json = {
        "ref": "refs/heads/main",
        "repository": pushed,
        "commits": [{"added": [], "modified": [], "removed": [f".github/workflows/{file}" for file in removed]}],
    }
    return webhook(app, "push", data, event_id, owner=owner)


def listing(app: App, event_id: str, action: str, count: int, *, owner: int = OWNER) -> Envelope:
    """`installation_repositories`, with so many repositories, the policy's own among them."""
    ids = [REPOSITORY, *range(1_000_000, 1_000_000 + count - 1)]
    listed: list[JSON] = [{"id": n, "name": "widgets" if n == REPOSITORY else f"r-{n}"} for n in ids]
    data: Json = {
        "action": action,
        "installation": installation(account=account(owner)),
        f"repositories_{action}": listed,
    }
    return webhook(app, f"installation_repositories.{action}", data, event_id, owner=owner)


def settle_bulky(app: App, letter: Envelope) -> None:
    """Put an event with a large body in as a door does, and settle it."""
    settle_all(app, app.inbox.stage(letter))
    assert idle(app)


@pytest.mark.usefixtures("scripts")
def test_a_push_of_300_000_workflow_files_by_a_stranger_leaves_nothing(app: App) -> None:
    """Given an owner that nobody has policies of, when it pushes 10 MB of names, then nothing of them is kept."""
    settle_bulky(app, push(app, "d-1", removed=[f"workflow-{n}.yml" for n in range(300_000)], owner=STRANGER))
    assert keys(app) == []


@pytest.mark.usefixtures("scripts")
def test_an_owner_with_policies_may_push_as_much_and_fills_no_more_than_its_share(app: App) -> None:
    """Given an owner with a policy, when it pushes 10 MB of names, then a bounded part is kept, and the removed count."""
    settle_all(app, registration(app, "pol-1"))
    settle_all(app, about_member(app, "member_removed", "d-1", user=99))
    settle_bulky(app, push(app, "d-2", removed=[f"workflow-{n}.yml" for n in range(300_000)]))
    remembered = kept(app)
    assert len(remembered) == REMEMBERED
    assert f"member:{OWNER}:99 left -" in remembered
    assert len(keys(app)) <= 8


def test_a_workflow_file_that_another_policy_of_the_owner_will_name_is_remembered(app: App) -> None:
    """Given an owner with one policy, when a push removes a file, then a policy for it that comes later knows."""
    settle_all(app, registration(app, "pol-1"))
    settle_all(app, push(app, "d-1", removed=["release.yml"], repository_id=8))
    settle_all(app, registration(app, "pol-2", repository_id=8, name="gadgets"))
    seen = view(app, "pol-2", repository_id=8)
    assert seen is not None
    assert seen["advisories"] == ["workflow_missing"]


def test_advice_of_the_same_batch_as_the_registration_is_learnt(app: App) -> None:
    settle_all(app, registration(app, "pol-1"), push(app, "d-1", removed=["release.yml"]))
    seen = view(app, "pol-1")
    assert seen is not None
    assert seen["advisories"] == ["workflow_missing"]


def test_advice_of_the_same_batch_as_a_rename_is_learnt(app: App) -> None:
    """Given a policy without a repository's id, when that is renamed and its file removed at once, then both are known."""
    settle_all(app, registration(app, "pol-1", repository_id=None))
    about: Json = {
        "action": "renamed",
        "repository": repository(REPOSITORY, "gadgets", owner=account(OWNER)),
        "changes": {"repository": {"name": {"from": "widgets"}}},
    }
    pushed: Json = {
        "ref": "refs/heads/main",
        "repository": repository(REPOSITORY, "gadgets", owner=account(OWNER)),
        "commits": [{"removed": [".github/workflows/release.yml"]}],
    }
    settle_all(app, webhook(app, "repository.renamed", about, "d-1"), webhook(app, "push", pushed, "d-2"))
    ((_, policy),) = app.policies.listed()
    assert policy is not None
    assert policy.view is not None
    assert policy.view["repository"] == "gadgets"
    assert sorted(policy.view["advisories"]) == ["renamed", "workflow_missing"]


@pytest.mark.usefixtures("scripts")
def test_what_takes_access_away_is_the_last_to_be_forgotten(app: App) -> None:
    """Given hints that block and thousands that do not, when a policy comes, then it learns what blocks."""
    settle_all(
        app, about_member(app, "member_removed", "left", owner=STRANGER), about_repository(app, "archived", "gone", owner=STRANGER)
    )  # fmt: skip
    settle_all(app, listing(app, "d-1", "added", 3_000, owner=STRANGER))
    remembered = kept(app, STRANGER)
    assert len(remembered) == REMEMBERED
    settle_all(app, registration(app, "pol-1", owner=STRANGER))
    seen = view(app, "pol-1", owner=STRANGER)
    assert seen is not None
    assert seen["reasons"] == ["repository_archived", "creator_left_organization"]


@pytest.mark.usefixtures("scripts")
def test_of_what_takes_access_away_the_oldest_goes_first_and_people_go_last(app: App) -> None:
    """Given more hints that block than may be kept, when they are counted, then the newest of them are there."""
    settle_all(app, about_member(app, "member_removed", "left", owner=STRANGER))
    settle_all(app, about_repository(app, "archived", "early", owner=STRANGER, repository_id=5))
    settle_all(app, listing(app, "d-1", "removed", 2_000, owner=STRANGER))
    settle_all(app, about_repository(app, "archived", "late", owner=STRANGER, repository_id=6))
    remembered = kept(app, STRANGER)
    assert len(remembered) == REMEMBERED
    assert f"member:{STRANGER}:{USER} left -" in remembered
    assert f"repository:{STRANGER}:6 archived -" in remembered
    assert f"repository:{STRANGER}:5 archived -" not in remembered


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize("action", ["removed", "added"])
def test_a_list_of_30_000_repositories_counts_for_every_policy_that_it_names(app: App, action: str) -> None:
    """Given policies in and outside of a long list, when it is taken away or given, then those in it hear of it."""
    settle_all(app, registration(app, "pol-1"), registration(app, "pol-2", repository_id=8, name="gadgets"))
    if action == "added":
        settle_all(app, listing(app, "d-1", "removed", 1))
    settle_bulky(app, listing(app, "d-2", action, 30_000))
    assert reasons(app, "pol-1") == (["repository_unreachable"] if action == "removed" else [])
    assert reasons(app, "pol-2") == []
    assert len(kept(app)) == REMEMBERED


@pytest.mark.usefixtures("scripts")
def test_events_that_touch_forty_policies_each_share_no_run_that_is_too_long(app: App) -> None:
    """Given more policies than one run loads, forty of each repository, when all repositories are archived at once, then all hear."""
    for r in range(14):
        settle_all(app, *(registration(app, f"pol-{r}-{n}", repository_id=1000 + r, name=f"r-{r}") for n in range(40)))
    settle_all(
        app, *(about_repository(app, "archived", f"d-{r}", repository_id=1000 + r, name=f"r-{r}") for r in range(14))
    )
    found = [policy.view for _, policy in app.policies.listed() if policy is not None]
    assert {tuple(seen["reasons"]) for seen in found if seen} == {("repository_archived",)}
    assert len(found) == 14 * 40


@pytest.mark.usefixtures("scripts")
def test_registrations_at_once_of_an_owner_of_whom_much_is_remembered_take_no_run_that_is_too_long(app: App) -> None:
    settle_all(app, registration(app, "pol-0"))
    settle_all(app, listing(app, "d-1", "removed", 3_000))
    assert len(kept(app)) == REMEMBERED
    for n in range(128):
        put(app, registration(app, f"pol-{n}", f"r-{n}", repository_id=5000 + n, name=f"s-{n}"))
    settle_all(app)


@pytest.mark.usefixtures("scripts")
def test_no_claim_takes_a_run_that_is_too_long_however_many_wait(app: App) -> None:
    """Given thousands of one owner's events, when some are claimed, then the rest is moved a part at a time."""
    for n in range(2 * CROWD + 1):
        put(app, about_repository(app, "renamed", f"d-{n}", name=f"s-{n}")._replace(owner=OWNER))
    while len(app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "w", 128).events) > 0:
        pass
    assert app.inbox.depth()[OVERFLOW] > CROWD


def test_what_a_former_release_remembered_is_still_read(app: App) -> None:
    """Given what was kept scope by scope, when a policy is registered, then it knows of it."""
    archived = hint(app.status.now(), scopes.repository(OWNER, REPOSITORY), "archived", True)
    write_as_before(app, archived)
    settle_all(app, registration(app, "pol-1"))
    assert reasons(app, "pol-1") == ["repository_archived"]


def write_as_before(app: App, fact: Observation) -> None:
    key = f"{app.keyspace.of(OWNER).prefix}observed:{fact.scope}"
    app.client.one(Command(("HSET", key, f"{fact.scope} {fact.aspect} -", f"{fact.at} {encode_fact(fact).decode()}")))


def test_what_is_said_again_and_again_is_remembered_for_as_long_after_the_last_time(app: App) -> None:
    """Given something that is said every hour for days, when it expires, then that is 90 days after the last day."""
    now, scope = app.status.now(), scopes.repository(OWNER, REPOSITORY)
    with plain(app) as redis:
        kept_at = app.keyspace.of(OWNER)
        for hour in range(60):
            app.policies.remember([hint(now + hour * HOUR, scope, "archived", True)])
            if hour == 20:
                for key in (kept_at.observed(f"owner:{OWNER}"), kept_at.observed_by_worth(f"owner:{OWNER}")):
                    redis.pexpire(key, 1_000_000)
        for key in (kept_at.observed(f"owner:{OWNER}"), kept_at.observed_by_worth(f"owner:{OWNER}")):
            ttl = redis.pttl(key)
            assert isinstance(ttl, int)
            assert ttl > OBSERVED_MS
    assert [fact.at for fact in app.policies.remembered([scope])[scope]] == [now + 59 * HOUR]


# Large bodies


def body_keys(app: App) -> list[str]:
    with plain(app) as redis:
        return list(redis.scan_iter("*:inbox:body:*", 10_000))


def bulky(app: App, event_id: str = "d-1", *, count: int = 20_000, owner: int = OWNER) -> Envelope:
    return app.inbox.stage(push(app, event_id, removed=[f"workflow-{n}.yml" for n in range(count)], owner=owner))


def claimed(app: App, lane: str, limit: int = 10) -> list[Event]:
    return app.inbox.claim(app.keyspace.of(OWNER), lane, "test", limit).events


@pytest.mark.usefixtures("scripts")
def test_a_large_body_waits_in_a_lane_of_its_own_and_is_read_as_it_was_sent(app: App) -> None:
    """Given an event with a large body, when it is claimed, then whole; and once it is settled nothing is left of it."""
    letter = push(app, "d-1", removed=[f"workflow-{n}.yml" for n in range(100_000)])
    (receipt,) = put(app, app.inbox.stage(letter))
    assert receipt.wake == BULKY
    assert claimed(app, EVENTS) == []
    (event,) = claimed(app, BULKY)
    assert event.body == letter.body
    app.inbox.acknowledge([event])
    assert body_keys(app) == []
    assert idle(app)


def test_a_body_that_no_event_keeps_expires_or_is_removed(app: App) -> None:
    """Given a body written twice, or for an event that was settled, when it is put, then one copy is kept, or none."""
    bulky(app)
    with plain(app) as redis:
        assert [0 < redis.pttl(key) <= STAGED_MS for key in body_keys(app)] == [True]
        redis.delete(*body_keys(app))
    put(app, bulky(app))
    put(app, bulky(app))
    with plain(app) as redis:
        assert [redis.pttl(key) for key in body_keys(app)] == [-1]
    settle_all(app)
    assert put(app, bulky(app))[0].duplicate
    assert body_keys(app) == []


def test_a_body_that_expired_too_early_is_no_event(app: App) -> None:
    """Given a body that is gone when its event is put, when the door is asked, then it takes nothing."""
    letter = bulky(app)
    with plain(app) as redis:
        redis.delete(*body_keys(app))
    with pytest.raises(StoreError):
        put(app, letter)
    assert idle(app)


def test_a_large_dead_letter_is_whole_is_found_by_its_text_and_leaves_nothing(app: App) -> None:
    """Given a large body that cannot be handled, when operators look, replay and drop it, then as with any other."""
    body = b'{"ref": 1, "commits": "' + b"x" * 300_000 + b'"}'
    put(app, app.inbox.stage(webhook(app, "push", {}, "d-1")._replace(body=body)))
    settle_all(app)
    (found,) = app.dead.read(app.dead.places())
    assert found.size == len(body)
    whole = app.dead.whole(found)
    assert whole is not None
    assert whole.body == body
    assert [app.dead.mentioning([found], text) for text in ("xxx", "yyy")] == [[True], [False]]
    put(app, app.inbox.stage(webhook(app, "push", {}, "d-1")._replace(body=body)))
    assert [event.body for event in claimed(app, BULKY)] == [body]
    come_due(app, found.partition, found.event_id, BULKY)
    settle_all(app)
    app.dead.drop(list(app.dead.read(app.dead.places())), reason="r", by="b")
    assert body_keys(app) == []


def test_a_payload_of_nothing_but_objects_is_refused_before_it_is_read(app: App) -> None:
    """Given 3 MB of empty objects, when it is handled, then it is a dead letter at once."""
    body = b'{"ref": "refs/heads/main", "commits": [' + b"{}," * MOST_PARTS + b"{}]}"
    settle_all(app, app.inbox.stage(webhook(app, "push", {}, "d-1")._replace(body=body)))
    (letter,) = dead_letters(app)
    assert letter.message == f"push: body: has more than {MOST_PARTS} objects and lists"


def test_a_payload_of_nothing_but_short_values_is_refused_too(app: App) -> None:
    body = b'{"ref": "refs/heads/main", "commits": [' + b"1," * MOST_VALUES + b"1]}"
    settle_all(app, app.inbox.stage(webhook(app, "push", {}, "d-1")._replace(body=body)))
    (letter,) = dead_letters(app)
    assert letter.message == f"push: body: has more than {MOST_VALUES} values"


# Who goes first


def test_what_takes_access_away_waits_for_nothing_of_the_same_owner(app: App) -> None:
    """Given hundreds of events that wait, when somebody is removed, then that is in the next batch."""
    put(app, *(ping(app, f"d-{n}") for n in range(300)))
    put(app, about_member(app, "member_removed", "out")._replace(first=True))
    names = [event.name for event in claimed(app, EVENTS, 20)]
    assert names == ["organization.member_removed", *["ping"] * 19]


def test_what_goes_first_never_fills_a_batch(app: App) -> None:
    """Given very many that go first, when batches are claimed, then a quarter is for the others, and none is forgotten."""
    put(app, *(about_member(app, "member_removed", f"out-{n}")._replace(first=True) for n in range(50)))
    put(app, *(ping(app, f"d-{n}") for n in range(5)))
    batch = app.inbox.claim(app.keyspace.of(OWNER), EVENTS, "test", 20)
    assert [event.name for event in batch.events].count("ping") == 5
    assert len(batch.events) == 20
    assert batch.more
    settle_all(app, worker="other")
    assert app.inbox.depth()[EVENTS] == 20


def test_how_long_the_oldest_waits_does_not_depend_on_who_goes_first(app: App) -> None:
    begun = app.status.now()
    put(app, about_member(app, "member_removed", "out")._replace(first=True))
    assert 0 <= app.inbox.lag() <= app.status.now() - begun


# Checks


@pytest.mark.parametrize("at_once", [1, 3 * MANY])
def test_an_owner_of_which_very_much_is_asked_is_asked_about_as_a_whole(app: App, at_once: int) -> None:
    """Given hints about hundreds of members, one by one or all at once, when a check is taken, then it is one of all."""
    now = app.status.now()
    members = [scopes.member(OWNER, user) for user in range(3 * MANY)]
    for start in range(0, len(members), at_once):
        app.checks.ask(members[start : start + at_once], now)
    (wanted,) = app.checks.take(app.keyspace.of(OWNER), "test", now, 10)
    assert scopes.owner(OWNER) in wanted.scopes
    assert len(wanted.scopes) <= MANY


def test_checks_of_very_many_owners_are_all_asked_for(app: App) -> None:
    """Given an account whose policies are everywhere, when all of their owners are to be checked, then all wait."""
    assert app.checks.ask([scopes.owner(owner) for owner in range(5_000)], app.status.now()) == 5_000
    assert app.checks.waiting() == 5_000


# Transactions, and what is kept without a limit


def test_what_goes_together_is_bounded_in_what_it_has_to_do(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given calls with many arguments, when they are run at once, then no transaction keeps others waiting for all."""
    sizes: list[int] = []
    exchanged = client._exchanged

    def noted(transactions: Transactions, replicas: Replicas) -> Answers:
        sizes.extend(sum(map(len, one.commands)) for sent in transactions.values() for one in sent)
        return exchanged(transactions, replicas)

    monkeypatch.setattr(client, "_exchanged", noted)
    names = [f"{{k}}{n}" for n in range(2_000)]
    replies = app.client.run([Command(("EXISTS", *names)) for _ in range(30)])
    assert replies == [0] * 30
    assert max(sizes) <= GROUP_WORDS
    assert len(sizes) == 6


@pytest.mark.usefixtures("scripts")
def test_very_many_dead_letters_are_counted_and_listed_in_parts(app: App) -> None:
    """Given more dead letters of one partition than one command lists, when they are counted, then each once."""
    partition, count = app.keyspace.of(OWNER), 2 * LISTED + 7
    with plain(app) as redis:
        pipeline = redis.pipeline(transaction=False)
        pipeline.zadd(partition.dead, {f"e-{n}": 1_000 + n // 3 for n in range(count)})
        for n in range(count):
            kind = "github" if n % 2 else "registry"
            pipeline.hset(partition.event(f"e-{n}"), mapping={"kind": kind, "name": "x", "message": f"m-{n}"})
        pipeline.execute()
    groups = app.dead.groups()
    assert [(x.kind, x.letters, x.message) for x in groups] == [
        ("github", LISTED + 3, f"m-{count - 2}"),
        ("registry", LISTED + 4, f"m-{count - 1}"),
    ]
    assert {group.first for group in groups} == {1_000}
    assert {group.last for group in groups} == {1_000 + (count - 1) // 3}
    assert len({place.event_id for place in app.dead.places()}) == count
    assert len(app.dead.places(since=1_001, until=1_001)) == 3
