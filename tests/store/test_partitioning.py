"""Another number of partitions: everything is where it belongs then, whoever is killed on the way, and whatever reads meanwhile."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from handlers.base import EXCHANGE, REGISTRY
from tenure_reader import Mirror, Reader
from tenure_reader.keys import is_views
from tests.conftest import settings_of, wait_until
from tests.engines import plain_client
from tests.store.making import (
    about_account,
    about_member,
    about_policy,
    about_repository,
    give_up_on,
    login,
    ping,
    put,
    refusal,
    registration,
    settle_all,
    state,
)
from tests.store.test_rights import every_key
from worker.app import App, build
from worker.local.valkey import EmbeddedStore
from worker.settings import SettingsError, load
from worker.store import client as client_module
from worker.store import partitioning
from worker.store.audit import Audit
from worker.store.client import Command, StoreError
from worker.store.feed import CursorGoneError
from worker.store.inbox import Envelope
from worker.store.keys import alive
from worker.store.logins import LoginCounts
from worker.store.partitioning import PartitionsError, Phase, Repartitioning, change_of, family_of
from worker.store.switches import Scope

OWNERS = range(1000, 1012)
NOT_THE_SAME = re.compile(
    r"tenure:(\{p\d+\}:(changes|ledger|ledger-since|placing|counted|counters|beats|audit|revisions|inbox:rung.*|inbox:stamp|clock)(:|$)|partitions$|\{all\}:|\{tenure\})"
)
"""What is not as it was after there and back: what begins anew, what is gathered, and the installation's own."""


def app_with(store: EmbeddedStore, partitions: int) -> App:
    return build(load({**settings_of(store), "TENURE_PARTITIONS": str(partitions)}))


@pytest.fixture
def filled(store: EmbeddedStore) -> Iterator[App]:
    """A store with something of everything."""
    app = app_with(store, 16)
    fill(app)
    yield app
    close(app)


def close(app: App) -> None:
    app.broker.close()
    app.client.close()


def fill(app: App) -> None:
    settle_all(app, *(registration(app, f"pol-{owner}", owner=owner, repository_id=owner * 10) for owner in OWNERS))
    settle_all(
        app, registration(app, "unbound", owner=1000, repository_id=None), registration(app, "pol-gone", owner=1003)
    )
    settle_all(app, login(app, "pol-1001", owner=1001, repository_id=10010), as_sent(app)(refusal(app, "pol-1002")))
    settle_all(app, about_repository(app, "archived", "a-1", owner=1004, repository_id=10040))
    settle_all(
        app,
        about_policy(app, "policy.removed", "pol-gone", owner=1003),
        about_member(app, "member_removed", "m-1", owner=1005),
    )
    settle_all(
        app,
        about_account(app, "account.locked", "alice"),
        about_repository(app, "archived", "a-2", owner=77, repository_id=7),
    )
    # One has moved to another partition; its last revision is noted in both.
    settle_all(app, registration(app, "pol-1006", "again", owner=2006, repository_id=20060))
    app.switches.close(Scope("owner", "1007"), reason="to see", by="op", at=app.status.now(), request_id="s-1")
    app.epochs.beat()
    app.checks.ask(["owner:1008", "repository:1008:10080"], app.status.now())
    give_up_on(app, *map(as_sent(app), (ping(app, "dead-1"), registration(app, "dead-policy", owner=1010))))
    put(
        app,
        *map(
            as_sent(app),
            (about_repository(app, "archived", "waits-1", owner=1011, repository_id=10110), ping(app, "waits-2")),
        ),
    )


def as_sent(app: App) -> Callable[[Envelope], Envelope]:
    """Where the API puts an event: one of the registry's in the partition of its id, a webhook in that of its owner, or of its delivery
    if it names none.
    """

    def sent(item: Envelope) -> Envelope:
        if item.kind in {REGISTRY, EXCHANGE}:
            return item._replace(partition=app.keyspace.of(item.event_id))
        if item.name == "ping":
            return item._replace(partition=app.keyspace.of(item.delivery))
        return item._replace(owner=1011, partition=app.keyspace.of(1011))

    return sent


def change(app: App, wanted: int) -> Counter[str]:
    doing = Repartitioning(app.client, uuid.uuid4().hex, lambda _: None)
    for _ in doing.run(wanted, by="op", reason="to see"):
        pass
    return doing.counts


def contents(url: str) -> dict[str, object]:
    """Every key, with what it holds."""
    found: dict[str, object] = {}
    with plain_client(url) as redis:
        for raw in redis.scan_iter("tenure:*", count=1000):
            kind, key = redis.type(raw).decode(), raw.decode()
            if kind == "hash":
                found[key] = redis.hgetall(raw)
            elif kind == "zset":
                found[key] = dict(redis.zrange(raw, 0, -1, withscores=True))
            elif kind == "list":
                found[key] = redis.lrange(raw, 0, -1)
            elif kind == "stream":
                found[key] = redis.xrange(raw)
            else:
                found[key] = redis.get(raw)
    return found


def told(app: App) -> dict[str, object]:
    """What people and programs are told of the store."""
    policies = {i: found.read(i) for ids in app.policies.ids(100) for i, found in app.policies.load(ids).items()}
    there = {i: policy for i, policy in policies.items() if policy is not None}
    homes = {i: found.home for i, found in app.policies.load(list(there)).items()}
    with plain_client(app.settings.store_url()) as redis:
        views = [
            (key.split(b":", 2)[2], redis.hgetall(key))
            for key in redis.scan_iter("tenure:{p*}:repository*", count=1000)
            if is_views(key)
        ]
    return {
        "policies": there,
        "listed": sorted(listed.policy_id for listed in app.policies.listed()),
        "views": sorted(views, key=str),
        "histories": {i: app.policies.history(i, homes[i]) for i in there},
        "logins": {i: LoginCounts(app.client, app.keyspace).of(policy) for i, policy in there.items()},
        "inbox": app.inbox.depth(),
        "dead": sorted(place.event_id for place in app.dead.places()),
        "switches": app.switches.all(),
        "audit": [(entry.at, entry.action) for entry in Audit(app.client, app.keyspace).newest(100)],
        "counters": app.status.counters(),
        "owners": sorted(owner for p in app.keyspace.all() for owner, _ in redis_scores(app, p.owners("github"))),
        "checks": sorted(owner for p in app.keyspace.all() for owner, _ in redis_scores(app, p.checks("github"))),
        "due": sorted(member for p in app.keyspace.all() for member in redis_scores(app, p.due)),
    }  # fmt: skip


def redis_scores(app: App, key: str) -> list[tuple[bytes, float]]:
    with plain_client(app.settings.store_url()) as redis:
        return cast("list[tuple[bytes, float]]", redis.zrange(key, 0, -1, withscores=True))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("wanted", [1, 5, 48, 1000])
def test_everything_is_there_with_another_number(store: EmbeddedStore, filled: App, wanted: int) -> None:
    """Given a store with something of everything, when it has another number of partitions, then all that is told of it is the
    same, and what waited is settled where it belongs.
    """
    before = told(filled)
    assert change(filled, wanted)["policies"] == len(cast("dict[str, object]", before["policies"]))
    app = app_with(store, wanted)
    try:
        after = told(app)
        (changed, *_) = [
            entry for entry in cast("list[tuple[int, str]]", after["audit"]) if entry[1] == "partitions.changed"
        ]
        cast("list[object]", after["audit"]).remove(changed)
        for name, value in before.items():
            assert after[name] == value, name
        # No part of it seems to have gone back in time.
        assert app.epochs.beat().recovery is None
        settle_all(app)
        assert state(app, "pol-1011", owner=1011, repository_id=10110) == "disabled"
        settle_all(app, about_repository(app, "unarchived", "u-1", owner=1004, repository_id=10040))
        settle_all(app, registration(app, "new", owner=77, repository_id=7))
        # What was observed before its registration is remembered.
        assert state(app, "new", owner=77, repository_id=7) == "disabled"
        assert not [key for key in contents(store.url) if f"}}:{partitioning.ASIDE}" in key]
    finally:
        close(app)


@pytest.mark.parametrize("by_way_of", [3, 40])
def test_there_and_back_every_key_is_as_it_was(store: EmbeddedStore, filled: App, by_way_of: int) -> None:
    before = contents(store.url)
    change(filled, by_way_of)
    change(filled, 16)
    after = contents(store.url)
    kept = {key for key in before if not NOT_THE_SAME.match(key)}
    assert {key for key in after if not NOT_THE_SAME.match(key)} == kept
    for key in sorted(kept):
        assert after[key] == before[key], key


class KilledError(RedisConnectionError):
    """Whoever did it ended here."""


@pytest.mark.timeout(400)
def test_whoever_is_killed_at_any_round_trip_is_followed_by_one_who_finishes_it(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a change that is killed after each of its round trips in turn, when it is done again, then everything is as if it had
    never been killed.
    """
    filled = app_with(store, 4)
    fill(filled)
    exchanged, left = client_module._exchanged, [10**9]

    def counting(*sent: object) -> object:
        reply = exchanged(*sent)  # type: ignore[arg-type]
        left[0] -= 1
        if left[0] == 0:
            raise KilledError
        return reply

    monkeypatch.setattr(client_module, "_exchanged", counting)
    with plain_client(store.url) as redis:
        seed = {key: redis.dump(key) for key in redis.scan_iter("*")}
    change(filled, 3)
    trips, expected = 10**9 - left[0], steady(store)
    for last in range(1, trips + 1):
        with plain_client(store.url) as redis:
            redis.flushall()
            for key, value in seed.items():
                redis.restore(key, 0, cast("bytes", value))
        left[0] = last
        try:
            change(filled, 3)
        except (StoreError, KilledError):
            left[0] = 10**9
            with plain_client(store.url) as redis:
                # The lock of whoever was killed is over.
                redis.delete(partitioning.LOCK)
            change(filled, 3)
        left[0] = 10**9
        assert steady(store) == expected, f"killed after round trip {last} of {trips}"
    close(filled)


def steady(store: EmbeddedStore) -> dict[str, object]:
    """The store without what is dated by when it was done."""
    found = contents(store.url)
    return {key: value for key, value in found.items() if not re.search(r"audit|\{all\}:clock|\{tenure\}", key)}


@pytest.mark.parametrize("role", partitioning.ROLES)
def test_it_is_refused_while_a_process_lives(filled: App, role: str) -> None:
    filled.status.beat(role, "host:1")
    with pytest.raises(PartitionsError, match="processes are alive \\(host:1\\)"):
        change(filled, 5)
    assert change_of(filled.client) is None


def test_a_process_that_begins_just_then_ends_it(filled: App) -> None:
    doing = Repartitioning(filled.client, "me", lambda _: filled.status.beat("worker", "host:1"))
    with pytest.raises(PartitionsError, match="host:1"):
        next(doing.run(5, by="op", reason="to see"))
    assert change_of(filled.client) is None


def test_what_changes_while_it_is_interrupted_is_copied_as_it_is_in_the_end(store: EmbeddedStore, filled: App) -> None:
    """Given a change that was interrupted after its copies, when a process of a former release, which knows nothing of it, takes a
    view away, then nothing is dropped while it lives, and no copy of that view is left afterwards.
    """
    doing = Repartitioning(filled.client, "me", lambda _: None).run(5, by="op", reason="to see")

    def beside_a_worker() -> None:
        for _ in doing:
            filled.status.beat("worker", "host:1")

    with pytest.raises(PartitionsError, match="host:1"):
        beside_a_worker()
    assert state(filled, "pol-1000", owner=1000, repository_id=10000) is not None
    settle_all(filled, about_policy(filled, "policy.removed", "pol-1000", owner=1000))
    filled.client.one(Command(("DEL", alive("worker"))))
    change(filled, 5)
    app = app_with(store, 5)
    assert state(app, "pol-1000", owner=1000, repository_id=10000) is None
    close(app)


def test_nobody_starts_and_nobody_else_changes_it_while_it_is_not_finished(store: EmbeddedStore, filled: App) -> None:
    before = contents(store.url)
    doing = Repartitioning(filled.client, "me", lambda _: None).run(5, by="op", reason="to see")
    next(doing)
    with pytest.raises(PartitionsError, match="another process is at it"):
        change(filled, 5)
    doing.close()
    with pytest.raises(
        SettingsError, match="`tenure partitions 5 --apply` goes on with it, `tenure partitions 16 --apply` gives it up"
    ):
        app_with(store, 16)
    with pytest.raises(PartitionsError, match="from 16 partitions to 5"):
        change(filled, 7)
    change(filled, 16)
    assert change_of(filled.client) is None
    after = contents(store.url)
    assert {key: value for key, value in after.items() if "clock" not in key} == {
        key: value for key, value in before.items() if "clock" not in key
    }


def test_once_keys_are_dropped_it_can_only_go_on(store: EmbeddedStore, filled: App) -> None:
    doing = Repartitioning(filled.client, "me", lambda _: None).run(5, by="op", reason="to see")
    assert any(phase is Phase.DROP for phase in doing)
    doing.close()
    if change_of(filled.client) is not None:
        with pytest.raises(PartitionsError, match=r"--apply` goes on with it$"):
            change(filled, 16)
        change(filled, 5)
    close(app_with(store, 5))


def test_a_record_that_cannot_be_read_or_a_key_that_nobody_knows_is_not_passed_over(filled: App) -> None:
    home = filled.policies.load(["pol-1000"])["pol-1000"].home
    record = filled.client.one(Command(("GET", home.policy("pol-1000"))))
    filled.client.one(Command(("SET", home.policy("pol-1000"), "nothing")))
    with pytest.raises(PartitionsError, match="the record of policy pol-1000 cannot be read"):
        change(filled, 5)
    filled.client.run([
        Command(("SET", home.policy("pol-1000"), cast("bytes", record))), Command(("SET", f"{home.prefix}what:1", "x")),
    ])  # fmt: skip
    with pytest.raises(PartitionsError, match="what:1 is none that this release knows"):
        change(filled, 5)
    change(filled, 16)
    assert change_of(filled.client) is None


def test_every_key_of_a_partition_has_its_place_in_the_change() -> None:
    """Whoever adds a key says what becomes of it with another number of partitions."""
    names = {match[2] for key in every_key() if (match := re.fullmatch(r"tenure:\{p(\d+)\}:(.*)", key))}
    known = (
        partitioning.WITH_POLICIES | partitioning.WITH_EVENTS | partitioning.OF_OWNERS | partitioning.OF_KEEPERS | partitioning.OF_IDS
        | partitioning.LISTS_OF_OWNERS | partitioning.EVERYWHERE | partitioning.SUMMED | partitioning.GATHERED | partitioning.LEFT
    )  # fmt: skip
    assert {family_of(name) for name in names} == known


CLAIMS = {
    "repository_owner": "octo", "repository_owner_id": "1001", "repository": "octo/widgets", "repository_id": "10010",
    "job_workflow_ref": "octo/widgets/.github/workflows/release.yml@refs/heads/main", "event_name": "push",
}  # fmt: skip


def test_readers_and_mirrors_follow_and_a_cursor_is_gone(store: EmbeddedStore, filled: App) -> None:
    """Given a reader, a mirror and a cursor of the feed, when the number becomes another, then the first two answer as before, and
    the third is told to load anew; also when the number becomes what it was.
    """
    cursor = filled.feed.end()
    with closing(Reader.connect(store.url)) as reader, Mirror(store.url) as mirror:
        assert mirror.wait(20)
        assert reader.evaluate(CLAIMS).allowed
        loads = mirror.status().loads
        change(filled, 40)
        assert reader.evaluate(CLAIMS).allowed
        wait_until(lambda: mirror.status().loads > loads and mirror.status().trusted, "it has loaded anew")
        assert mirror.evaluate(CLAIMS).allowed
        change(filled, 16)
        assert reader.evaluate(CLAIMS).allowed
        with pytest.raises(CursorGoneError):
            filled.feed.read(cursor)
        assert filled.feed.end() != cursor
