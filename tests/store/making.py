"""What tests of the store and of its recovery share: events to put in, workers to settle them, and what must be true.

Bodies are built by `tests.support`; ids, owners and policies may be chosen here, so that many can be told apart.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias, cast

from redis import Redis

from handlers.base import EXCHANGE, GITHUB, REGISTRY
from tests.engines import plain_client
from tests.support import JSON, OWNER, REPOSITORY, USER, WORKFLOW, account, person, registration_data, repository
from worker.app import App
from worker.lifecycle.decide import index_scopes
from worker.lifecycle.facts import Micros
from worker.lifecycle.owners import DEFAULT, kind_at, owner_at
from worker.store.client import Command
from worker.store.codec import decode_policy
from worker.store.inbox import LANES, Envelope, Event, Receipt, identity
from worker.store.keys import Partition
from worker.store.policies import CONTRADICTED

Json: TypeAlias = dict[str, JSON]


def plain(app: App) -> Redis:
    """A client that knows nothing of ours; its replies are text."""
    return plain_client(app.settings.store_url(), text=True)


# Events


def letter(
    app: App, name: str, data: Json, event_id: str, *, owner: int | str = OWNER, kind: str, at: Micros | None = None
) -> Envelope:
    """An event as the doors put it; `at` dates it where its sender does."""
    return Envelope(
        app.keyspace.of(owner),
        identity(kind, event_id),
        kind,
        name,
        event_id,
        json.dumps(data).encode(),
        occurred_at=at,
    )


def webhook(app: App, name: str, data: Json, event_id: str, *, owner: int = OWNER) -> Envelope:
    return letter(app, name, data, event_id, owner=owner, kind=GITHUB)


def registration(
    app: App,
    policy_id: str,
    event_id: str = "",
    *,
    owner: int = OWNER,
    repository_id: int | None = REPOSITORY,
    name: str = "widgets",
    user: int = USER,
    visibility: str = "private",
    repository_owner: str = "octo",
    workflow_file: str = WORKFLOW,
    at: Micros | None = None,
    issuer: str = DEFAULT,
) -> Envelope:
    """`policy.registered`, for a private repository if nothing else is said."""
    data = registration_data(
        repository_owner=repository_owner,
        repository_owner_id=owner,
        repository_id=repository_id,
        repository=name,
        visibility=visibility,
        workflow_file=workflow_file,
        **({} if issuer == DEFAULT else {"issuer": issuer}),
    )
    data |= {"policy_id": policy_id, "created_by": {"account": "maria", "github_user_id": user}}
    event_id = event_id or f"register-{policy_id}"
    return letter(app, "policy.registered", data, event_id, owner=owner_at(issuer, owner), kind=REGISTRY, at=at)


def login(
    app: App,
    policy_id: str,
    event_id: str = "",
    *,
    owner: int = OWNER,
    repository_id: int = REPOSITORY,
    at: Micros | None = None,
    **told: JSON,
) -> Envelope:
    """`login.succeeded`; `told`: of its run."""
    event_id = event_id or f"login-{policy_id}"
    data: Json = {
        "policy_id": policy_id,
        "repository_id": repository_id,
        "repository_owner_id": owner,
        "jti": event_id,
        **told,
    }
    return letter(app, "login.succeeded", data, event_id, owner=owner, kind=EXCHANGE, at=at)


def refusal(
    app: App,
    policy_id: str,
    event_id: str = "",
    *,
    code: str = "workflow_file",
    ref: str | None = None,
    run_id: int | None = None,
    at: Micros | None = None,
) -> Envelope:
    """`login.refused`"""
    event_id = event_id or f"refused-{policy_id}"
    data: Json = {"policy_id": policy_id, "code": code, "ref": ref, "run_id": run_id}
    return letter(app, "login.refused", data, event_id, owner=policy_id, kind=EXCHANGE, at=at)


def about_policy(app: App, name: str, policy_id: str, event_id: str = "", *, owner: int = OWNER) -> Envelope:
    """`policy.renewed`, `policy.removed`"""
    return letter(app, name, {"policy_id": policy_id}, event_id or f"{name}-{policy_id}", owner=owner, kind=REGISTRY)


def about_repository(
    app: App,
    action: str,
    event_id: str,
    *,
    owner: int = OWNER,
    repository_id: int = REPOSITORY,
    name: str = "widgets",
    issuer: str = DEFAULT,
) -> Envelope:
    """`repository.archived` and its like."""
    data: Json = {"action": action, "repository": repository(repository_id, name, owner=account(owner))}
    return letter(app, f"repository.{action}", data, event_id, owner=owner_at(issuer, owner), kind=kind_at(issuer))


def about_member(app: App, action: str, event_id: str, *, owner: int = OWNER, user: int = USER) -> Envelope:
    """`organization.member_removed` and `member_added`."""
    data: Json = {"action": action, "organization": account(owner), "membership": {"user": person(user)}}
    return webhook(app, f"organization.{action}", data, event_id, owner=owner)


def about_account(app: App, name: str, account_name: str, event_id: str = "", *, at: Micros | None = None) -> Envelope:
    """`account.locked` and its like."""
    event_id = event_id or f"{name}-{account_name}"
    return letter(app, name, {"account": account_name}, event_id, owner=account_name, kind=REGISTRY, at=at)


def ping(app: App, event_id: str, *, owner: int = OWNER) -> Envelope:
    """An event that changes nothing."""
    return webhook(app, "ping", {"zen": "Keep it simple."}, event_id, owner=owner)


def put(app: App, *letters: Envelope) -> list[Receipt]:
    """Put them in one by one, as separate requests do."""
    return [receipts[0] for receipts in app.inbox.put([[item] for item in letters])]


def put_and_ring(app: App, *letters: Envelope) -> list[Receipt]:
    """What a door does."""
    receipts = put(app, *letters)
    for item, receipt in zip(letters, receipts, strict=True):
        if receipt.wake:
            app.wakeups.wake(item.partition, receipt.wake, item.event_id)
    return receipts


# Workers


def settle_all(app: App, *letters: Envelope, worker: str = "test") -> None:
    """Put these in, and settle whatever is due in any lane, as a worker would."""
    put(app, *letters)
    processor = app.processor(worker)
    while due := app.inbox.overdue():
        for partition, lane in due:
            processor.drain(partition, lane)


def set_time(app: App, now: Micros) -> None:
    """Let it be `now` in every partition: there, as after a clock was ahead, time goes on from what was noted."""
    clock = app.status.times().clock
    app.client.run([Command(("SET", partition.clock, f"{now} {clock}")) for partition in app.keyspace.all()])


def lose_worker(app: App, events: Iterable[Event]) -> None:
    """Let the leases of claimed events be over: what is seen of a worker that has ended."""
    for event in events:
        app.client.one(Command(("ZADD", event.partition.waiting(event.lane), "XX", 0, event.event_id)))


def come_due(app: App, partition: Partition, event_id: str, lane: str = "events") -> None:
    """Let the wait of an event that failed be over."""
    app.client.one(Command(("ZADD", partition.waiting(lane), "XX", 0, event_id)))


def idle(app: App) -> bool:
    """Whether every event was answered for."""
    depth = app.inbox.depth()
    return not any(depth[lane] for lane in LANES)


# Dead letters


def dead_letters(app: App) -> list[Event]:
    """Every dead letter as the inbox holds it, the last first."""
    found = [app.inbox.get(place.partition, place.event_id) for place in app.dead.places()]
    return [event for event in found if event is not None]


def give_up_on(app: App, *letters: Envelope, error: str = "ValueError", message: str = "no") -> None:
    """Put these in, and let their first attempt be the last, by an error in our code."""
    put(app, *letters)
    for partition in {item.partition for item in letters}:
        while events := app.inbox.claim(partition, "events", "test", 128).events:
            for event in events:
                app.inbox.fail(
                    event, error=error, message=message, trace="", worker="test", now=app.status.now(), final=True
                )


def exhaust(app: App, *letters: Envelope) -> None:
    """Put these in, and try them until each is settled or given up on, without the waits in between."""
    settle_all(app, *letters)
    while not idle(app):
        for partition in app.keyspace.all():
            waiting = cast("list[bytes]", app.client.redis.zrange(partition.waiting("events"), 0, -1))
            for event_id in waiting:
                come_due(app, partition, event_id.decode())
        settle_all(app)


# What an exchange sees


def view(
    app: App, policy_id: str, *, owner: int = OWNER, repository_id: int = REPOSITORY, redis: Redis | None = None
) -> dict[str, JSON] | None:
    """The view of a policy, from its repository's hash."""
    key = app.keyspace.of(owner).repository(owner, repository_id)
    with redis or plain(app) as client:
        found = cast("str | None", client.hget(key, policy_id))
    return None if found is None else cast("Json", json.loads(found))


def state(app: App, policy_id: str, *, owner: int = OWNER, repository_id: int = REPOSITORY) -> str | None:
    found = view(app, policy_id, owner=owner, repository_id=repository_id)
    return None if found is None else str(found["state"])


def reasons(app: App, policy_id: str) -> list[str]:
    """Why a policy is blocked, as last published."""
    found = app.policies.load([policy_id])[policy_id].policy
    assert found is not None
    assert found.view is not None
    return found.view["reasons"]


def states(app: App, prefix: str) -> dict[str, str]:
    """The states of all policies whose id begins like this."""
    views = [
        policy.view
        for policy_id, policy in app.policies.listed()
        if policy is not None and policy_id.startswith(prefix)
    ]
    return {seen["policy_id"]: seen["state"] for seen in views if seen is not None}


def feed(app: App) -> list[Json]:
    """Every change event, partition by partition."""
    with plain(app) as client:
        streams = [client.xrange(partition.changes) for partition in app.keyspace.all()]
    entries = [entry for stream in streams for entry in cast("list[tuple[str, dict[str, str]]]", stream)]
    return [json.loads(fields["event"]) for _, fields in entries]


def published(app: App) -> dict[str, list[Json]]:
    """The change events of each policy, by revision. They must be gapless from 1, with one event for each."""
    by_policy: dict[str, list[Json]] = {}
    for event in feed(app):
        if "view" not in cast("Json", event["data"]):
            continue
        by_policy.setdefault(str(event["subject"]), []).append(event)
    for policy_id, events in by_policy.items():
        # A policy that moved to another partition left its older events in the former one.
        events.sort(key=_revision)
        assert [_revision(event) for event in events] == list(range(1, len(events) + 1)), policy_id
        assert [event["id"] for event in events] == [f"{policy_id}:{n + 1}" for n in range(len(events))]
    return by_policy


def types(app: App, policy_id: str) -> list[str]:
    """What was published of a policy, oldest first."""
    return [str(event["type"]) for event in published(app).get(policy_id, [])]


def _revision(event: Json) -> int:
    return cast("int", cast("Json", cast("Json", event["data"])["view"])["revision"])


# What must be true of a store, whatever has happened to it


def assert_consistent(app: App) -> None:
    """Record, view, indexes, history, counters and feed tell one story of every policy."""
    changes = published(app)
    states: Counter[str] = Counter()
    expected: dict[str, set[str]] = {}
    with plain(app) as text:
        for policy_id, home, raw in _records(app):
            policy = decode_policy(policy_id, raw)
            directory = app.keyspace.directory(policy_id).directory
            assert (text.hget(directory, policy_id) or "").partition("@")[0] == str(home.number)
            last = cast("Json", changes[policy_id][-1]["data"])["view"]
            seen = policy.view
            assert seen is not None
            assert dict(seen) == last, policy_id
            assert policy.revision == len(changes[policy_id])
            assert text.hget(home.revisions, policy_id) == str(policy.revision)
            told = [entry for entry in app.policies.history(policy_id, home) if entry.type != CONTRADICTED]
            history = [entry.revision for entry in told]
            assert history == list(range(policy.revision, max(0, policy.revision - 200), -1))
            states[seen["state"]] += 1
            listed = [home.scope_index(scope) for scope in index_scopes(policy.watching)]
            present = f"name:{seen['repository_owner_id']}:{seen['repository'].lower()}"
            names = {scope for scope in policy.watching if scope.startswith("name:")}
            listed += [home.former_names(scope) for scope in names - {present}]
            if seen["state"] != "removed":
                owner, repository_id = seen["repository_owner_id"], seen["repository_id"]
                name = home.repository_name(owner, seen["repository"])
                listed += [home.all, name if repository_id is None else home.repository(owner, repository_id)]
                assert json.loads(cast("str", text.hget(listed[-1], policy_id))) == last
            for key in listed:
                expected.setdefault(key, set()).add(policy_id)
        assert _where_policies_are_listed(text) == expected
        counters = app.status.counters()
        assert {name: n for name in counters if name.startswith("state:") and (n := counters[name])} == {
            f"state:{name}": n for name, n in states.items()
        }
        published_types = Counter(str(event["type"]) for events in changes.values() for event in events)
        assert {name: n for name, n in counters.items() if name.startswith("changes:")} == {
            f"changes:{name}": n for name, n in published_types.items()
        }


def _records(app: App) -> Iterator[tuple[str, Partition, bytes]]:
    for home in app.keyspace.all():
        prefix = home.policy("")
        for key in sorted(app.client.redis.scan_iter(f"{prefix}*", count=1000)):
            yield key.decode().removeprefix(prefix), home, cast("bytes", app.client.redis.get(key))


def _where_policies_are_listed(text: Redis) -> dict[str, set[str]]:
    """Every index, list of policies and hash of views: key → policy ids."""
    found: dict[str, set[str]] = {}
    for kind, sort in (("index:*", "zset"), ("policies", "zset"), ("repository*:*", "hash")):
        for key in text.scan_iter(f"tenure:{{p??}}:{kind}", count=1000):
            assert text.type(key) == sort
            ids = text.zrange(key, 0, -1) if sort == "zset" else text.hkeys(key)
            found[key] = set(cast("list[str]", ids))
    return found


def everything(app: App) -> dict[bytes, bytes]:
    """The whole store as it is: key → its serialised value."""
    return {key: cast("bytes", app.client.redis.dump(key)) for key in app.client.redis.scan_iter("*", count=1000)}


def by_lane(app: App, events: Sequence[Envelope]) -> dict[str, str | None]:
    """In which lane each event is, None for those that are settled: delivery → lane."""
    found = {item.delivery: app.inbox.get(item.partition, item.event_id) for item in events}
    return {delivery: None if event is None else event.lane for delivery, event in found.items()}
