"""Switches: while one is closed, no reader of either version lets anybody through whom it is over; nor does half of one."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from tenure_reader import Decision, Mirror, Reader, RepositoryRef
from tenure_reader.matching import CONTRACT, Matching
from tenure_reader.switches import scopes_of, told
from tests.conftest import wait_until
from tests.reader.first_version import FirstMirror, found, open_to
from tests.reader.test_first_version import commit, where
from tests.reader.world import CLAIMS, GRANT, OWNER, REPOSITORY, World
from worker.app import App, build
from worker.local.valkey import EmbeddedStore
from worker.settings import SettingsError, load
from worker.store.client import Client, ScriptCall
from worker.store.keys import Partition
from worker.store.placement import publish, published
from worker.store.switches import Scope, StandsError, TooManyError

SECONDS = 20.0
SCOPES = [
    Scope("all"),
    Scope("issuer", "github"),
    Scope("owner", str(OWNER)),
    Scope("creator", "maria"),
    Scope("repository", f"{OWNER}:{REPOSITORY}"),
    Scope("package_owner", "acme"),
]
ELSEWHERE = [
    Scope("issuer", "ghe"),
    Scope("owner", "42"),
    Scope("creator", "acme"),
    Scope("repository", f"{OWNER}:8"),
    Scope("package_owner", "maria"),
]


def close(app: App, scope: Scope, request_id: str = "r-1") -> None:
    app.switches.close(scope, reason="a stolen key", by="ops", at=app.status.now(), request_id=request_id)


def reopen(app: App, scope: Scope, request_id: str = "r-2") -> None:
    app.switches.open(scope, reason="found to be nothing", by="ops", at=app.status.now(), request_id=request_id)


def place(app: App) -> int:
    return app.placement.run(SECONDS, app.status.now())


def code(decision: Decision) -> str | None:
    return None if decision.difference is None else decision.difference.code


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_a_switch_closes_what_it_is_over_and_nothing_of_the_policy_changes(
    world: World, reader: Reader, scope: Scope
) -> None:
    """Given a policy, when a switch over it is closed and opened, then readers refuse it meanwhile, and it has no revision."""
    world.register()
    before = reader.evaluate(CLAIMS)
    assert before.grant is not None
    close(world.app, scope)
    refused = reader.evaluate(CLAIMS)
    assert code(refused) == "held"
    assert refused.difference is not None
    assert refused.difference.stage == "standing"
    assert refused.difference.told == "the policy is held"
    assert "a stolen key" in refused.difference.detail
    assert "ops" in refused.difference.detail
    assert reader.standing("pol-1", RepositoryRef(OWNER, REPOSITORY, "widgets")).closed
    reopen(world.app, scope)
    after = reader.evaluate(CLAIMS)
    assert (after.allowed, after.grant) == (True, before.grant)
    assert not reader.standing("pol-1", RepositoryRef(OWNER, REPOSITORY, "widgets")).closed


@pytest.mark.parametrize("scope", ELSEWHERE, ids=str)
def test_a_switch_over_others_closes_nothing_else(world: World, reader: Reader, scope: Scope) -> None:
    world.register()
    close(world.app, scope)
    assert reader.evaluate(CLAIMS).allowed
    place(world.app)
    assert where(world, "pol-1") == ["repository"]


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_the_mirror_hears_of_it_and_so_does_one_that_begins_later(
    world: World, store: EmbeddedStore, scope: Scope
) -> None:
    world.register()
    app = world.app
    with Mirror(store.url) as early:
        assert early.wait(SECONDS), early.status()
        assert early.evaluate(CLAIMS).allowed
        close(app, scope)
        wait_until(lambda: not early.evaluate(CLAIMS).allowed, "it is closed in memory", SECONDS)
        assert early.standing("pol-1").closed
        with Mirror(store.url) as late:
            assert late.wait(SECONDS), late.status()
            assert code(late.evaluate(CLAIMS)) == "held"
            place(app)
            reopen(app, scope)
            for mirror in (early, late):
                wait_until(lambda m=mirror: m.evaluate(CLAIMS).allowed, "it is open in memory", SECONDS)  # type: ignore[misc]
        assert early.status().gaps == 0
        assert early.status().loads == 1


@pytest.mark.parametrize("scope", SCOPES, ids=str)
def test_a_reader_of_the_first_version_is_closed_out_by_the_walk(world: World, scope: Scope) -> None:
    """Given a closed switch, when the views were placed, then the first version's readers find none of them; and commits
    meanwhile, and after the release, are placed right by themselves.
    """
    redis, app = world.app.client.redis, world.app
    commit(world, "pol-1")
    commit(world, "limited", refs=["refs/tags/*"])
    mirror = FirstMirror(redis)
    assert mirror.lets("pol-1", app.status.now())
    close(app, scope)
    commit(world, "pol-2")
    assert [where(world, name) for name in ("pol-1", "pol-2")] == [["repository"], ["repository-v2"]]
    assert place(app) == 1
    mirror.follow()
    assert found(redis, OWNER, REPOSITORY, "widgets") == []
    assert not any(mirror.lets(name, app.status.now()) for name in ("pol-1", "pol-2"))
    commit(world, "pol-1")
    mirror.follow()
    assert not mirror.lets("pol-1", app.status.now())
    reopen(app, scope)
    commit(world, "pol-2")
    assert place(app) == 1
    mirror.follow()
    assert sorted(view["policy_id"] for view in found(redis, OWNER, REPOSITORY, "widgets")) == ["pol-1", "pol-2"]
    assert all(open_to(view, app.status.now()) for view in found(redis, OWNER, REPOSITORY, "widgets"))
    assert mirror.lets("pol-1", app.status.now())
    assert mirror.lets("pol-2", app.status.now())
    assert where(world, "limited") == ["repository-v2"]
    assert app.placement.waiting() == {}


def test_a_policy_under_two_switches_is_closed_until_both_are_open(world: World, reader: Reader) -> None:
    world.register()
    close(world.app, SCOPES[0])
    close(world.app, SCOPES[2], "r-5")
    place(world.app)
    reopen(world.app, SCOPES[0])
    place(world.app)
    assert code(reader.evaluate(CLAIMS)) == "held"
    assert where(world, "pol-1") == ["repository-v2"]
    reopen(world.app, SCOPES[2], "r-6")
    place(world.app)
    assert reader.evaluate(CLAIMS).allowed
    assert where(world, "pol-1") == ["repository"]


@pytest.mark.parametrize("dies_after", range(17))
def test_a_switch_is_finished_for_a_process_that_dies_between_partitions(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch, dies_after: int
) -> None:
    """Given a writer that dies after any of its steps, when the scheduler looks, then every partition follows; the same for
    the release; and nothing is half-forgotten.
    """
    app = world.app
    world.register()
    turns: tuple[tuple[Callable[[App, Scope], None], bool], ...] = ((close, True), (reopen, False))
    for turn, closed in turns:
        with monkeypatch.context() as patched:
            dying(patched, dies_after)
            with pytest.raises(DeadError):
                turn(app, SCOPES[0])
        assert app.switches.finish() == 1
        assert app.switches.finish() == 0
        kept = [app.client.redis.hlen(partition.switches) for partition in app.keyspace.all()]
        assert kept == [int(closed)] * len(kept)
        assert [switch.scope for switch in app.switches.all()] == ["all"] * closed
        assert reader.evaluate(CLAIMS).allowed is not closed
        told_of = [
            sum(b'"type":"switch.' in fields[b"event"] for _, fields in entries(app, partition))
            for partition in app.keyspace.all()
        ]
        assert told_of == [1 if closed else 2] * len(told_of)
    assert app.switches.count() == 0


def entries(app: App, partition: Partition) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return cast("list[tuple[bytes, dict[bytes, bytes]]]", app.client.redis.xrange(partition.changes))


class DeadError(BaseException):
    pass


def dying(patched: pytest.MonkeyPatch, steps: int) -> None:
    """The process ends after so many of its scripts: the first notes what is intended."""
    run: Callable[..., list[object]] = Client.run
    left = [steps + 1]

    def until_dead(client: Client, calls: list[object], *, atomic: bool = False) -> list[object]:
        replies = []
        for call in calls:
            if isinstance(call, ScriptCall) and call.script != "now":
                if not left[0]:
                    raise DeadError
                left[0] -= 1
            replies += run(client, [call])
        return replies

    patched.setattr(Client, "run", until_dead)


def test_an_old_writer_that_wakes_up_undoes_nothing(world: World, reader: Reader) -> None:
    """Given a switch that was opened, when a process that was paused while closing it goes on, then it stays open."""
    world.register()
    close(world.app, SCOPES[0])
    reopen(world.app, SCOPES[0])
    world.app.switches.finish([SCOPES[0]])
    assert reader.evaluate(CLAIMS).allowed


def test_a_switch_is_closed_once_and_the_same_request_again_is_the_same(world: World) -> None:
    app, now = world.app, world.app.status.now()
    for _ in range(2):
        app.switches.close(SCOPES[2], reason="a stolen key", by="ops", at=now, request_id="r-1")
    with pytest.raises(StandsError, match=r"^owner:41 is held already by ops since .*: a stolen key$"):
        close(app, SCOPES[2], "r-9")
    reopen(app, SCOPES[2])
    with pytest.raises(StandsError, match=r"^owner:41 is not held$"):
        reopen(app, SCOPES[2], "r-3")
    acts = [(entry.action, entry.by, entry.subjects) for entry in app.audit.since(0)]
    assert acts == [("switch.closed", "ops", ("owner:41",)), ("switch.opened", "ops", ("owner:41",))]


@pytest.mark.parametrize("kept", [range(16), range(3, 4)])
def test_a_switch_of_which_only_partitions_know_is_shown_and_can_be_opened(
    world: World, reader: Reader, kept: range
) -> None:
    """Given a store that lost what was noted, and the switch in some partitions, then it can still be opened everywhere."""
    world.register()
    app = world.app
    close(app, SCOPES[0])
    app.client.redis.delete("tenure:{all}:switches", "tenure:{all}:switches-unfinished")
    for partition in app.keyspace.all():
        if partition.number not in kept:
            app.client.redis.delete(partition.switches)
    assert [switch.reason for switch in app.switches.all()] == ["a stolen key"]
    if len(kept) == 1:
        # Closed once more, it is closed everywhere.
        close(app, SCOPES[0], "again")
        assert all(app.client.redis.hexists(partition.switches, "all") for partition in app.keyspace.all())
        app.client.redis.delete("tenure:{all}:switches")
    reopen(app, SCOPES[0])
    assert app.switches.all() == []
    assert reader.evaluate(CLAIMS).allowed


def test_there_is_an_end_to_switches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.store.switches.MOST", 2)
    for owner in (1, 2):
        close(world.app, Scope("owner", str(owner)), f"r-{owner}")
    with pytest.raises(TooManyError, match=r"^there are 2 switches already"):
        close(world.app, Scope("owner", "3"), "r-3")
    reopen(world.app, Scope("owner", "1"), "r-4")
    close(world.app, Scope("owner", "3"), "r-5")
    assert [switch.scope for switch in world.app.switches.all()] == ["owner:2", "owner:3"]


def test_a_switch_that_cannot_be_read_closes_all_the_same(world: World, reader: Reader, store: EmbeddedStore) -> None:
    world.register()
    world.app.client.redis.hset(world.app.keyspace.of(OWNER).switches, "all", "{")
    assert code(reader.evaluate(CLAIMS)) == "held"
    with Mirror(store.url) as mirror:
        assert mirror.wait(SECONDS), mirror.status()
        assert code(mirror.evaluate(CLAIMS)) == "held"
    assert told("all", "{") == told("all", "[]") == "all is held"


def test_a_name_without_an_id_is_under_no_repository_s_switch() -> None:
    assert "repository:41:7" in scopes_of(GRANT)
    assert len(scopes_of({**GRANT, "repository_id": None})) == 5


# Settings that decide matching


def test_settings_are_published_in_every_partition_and_readers_of_the_first_version_see_no_narrower_ones(
    world: World, reader: Reader, store: EmbeddedStore
) -> None:
    """Given settings that let less through than the first version's readers, when they are published, then those find nothing,
    ours decide by them, and when they are gone all is as before.
    """
    app, redis = world.app, world.app.client.redis
    world.register()
    assert published(app.client, app.keyspace) == CONTRACT
    first = FirstMirror(redis)
    narrow = Matching(forbidden_events=frozenset({"push"}))
    with Mirror(store.url) as mirror:
        assert mirror.wait(SECONDS), mirror.status()
        for matching, closed in ((narrow, True), (CONTRACT, False), (Matching(workflow_binds="caller"), True)):
            assert publish(app.client, app.keyspace, matching, app.status.now(), only_new=False)
            assert not publish(app.client, app.keyspace, matching, app.status.now(), only_new=False)
            assert not publish(app.client, app.keyspace, CONTRACT, app.status.now(), only_new=True)
            assert published(app.client, app.keyspace) == matching
            assert place(app) == 1
            first.follow()
            assert first.lets("pol-1", app.status.now()) is not closed
            assert where(world, "pol-1") == ["repository-v2" if closed else "repository"]
            if matching is not narrow:
                continue
            assert code(reader.evaluate(CLAIMS)) == "event_forbidden"
            wait_until(lambda: mirror.status().loads == 2 and mirror.status().trusted, "it loads again", SECONDS)
            assert code(mirror.evaluate(CLAIMS)) == "event_forbidden"


def test_looser_settings_move_no_view(world: World, reader: Reader) -> None:
    world.register()
    loose = Matching("exact", frozenset())
    assert publish(world.app.client, world.app.keyspace, loose, world.app.status.now(), only_new=False)
    assert place(world.app) == 0
    assert reader.evaluate({**CLAIMS, "event_name": "workflow_run"}).allowed
    file = {"job_workflow_ref": "octo/widgets/.github/workflows/Release.yml@refs/heads/main"}
    assert not reader.evaluate({**CLAIMS, **file}).allowed


# The walk


def test_a_walk_that_was_left_off_goes_on_and_begins_anew_where_something_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a walk two policies at a time, when the switch is opened half-way, then it begins anew and leaves all as before."""
    monkeypatch.setattr("worker.store.placement.STEP", 2)
    app, scope, home = world.app, SCOPES[2], world.app.keyspace.of(OWNER)
    for n in range(5):
        commit(world, f"pol-{n}")
    close(app, scope)
    ((index, after),) = app.placement.waiting()[home].items()
    assert app.placement.step(home, index, after, app.status.now()) == 2
    assert app.placement.waiting()[home] == {index: "pol-1"}
    assert [where(world, f"pol-{n}") for n in (0, 1, 2)] == [["repository-v2"], ["repository-v2"], ["repository"]]
    # Whoever was paused and comes again with an old place moves what is to be moved, and sets nothing back.
    assert app.placement.step(home, index, after, app.status.now()) == 0
    assert app.placement.waiting()[home] == {index: "pol-1"}
    reopen(app, scope)
    assert app.placement.waiting()[home] == {index: ""}
    assert app.placement.step(home, index, "pol-1", app.status.now()) == 0
    assert place(app) == 2
    assert [where(world, f"pol-{n}") for n in range(5)] == [["repository"]] * 5
    assert app.placement.waiting() == {}
    closed = sum(b'"type":"views.placed"' in fields[b"event"] for _, fields in entries(app, home))
    assert closed == 1


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_between_every_view_is_in_one_place_and_in_the_end_in_the_right_one(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Given commits, switches, settings and steps of the walk in any order, then no view is ever in two hashes, none with a
    condition is ever under the first version's keys, and when the walk has ended all stand where they should.
    """
    monkeypatch.setattr("worker.store.placement.STEP", 2)
    chance, app, home = random.Random(seed), world.app, world.app.keyspace.of(OWNER)
    limited: dict[str, bool] = {}
    held: set[Scope] = set()
    matching = CONTRACT
    for turn in range(60):
        match chance.randrange(5):
            case 0 | 1:
                name = f"pol-{chance.randrange(6)}"
                limited[name] = chance.random() < 0.3
                asked: dict[str, Any] = {"refs": ["refs/tags/*"]} if limited[name] else {}
                commit(world, name, **asked)
            case 2:
                scope = chance.choice(SCOPES)
                (reopen if scope in held else close)(app, scope, f"r-{turn}")
                held ^= {scope}
            case 3:
                matching = chance.choice([CONTRACT, Matching(workflow_binds="caller")])
                publish(app.client, app.keyspace, matching, app.status.now(), only_new=False)
            case _:
                for index, after in app.placement.waiting().get(home, {}).items():
                    app.placement.step(home, index, after, app.status.now())
        kinds = {name: where(world, name) for name in limited}
        assert all(len(found) == 1 for found in kinds.values()), kinds
        assert all(kinds[name] == ["repository-v2"] for name, is_limited in limited.items() if is_limited)
    place(app)
    for name, is_limited in limited.items():
        second = is_limited or bool(held) or matching.narrower
        assert where(world, name) == ["repository-v2" if second else "repository"], name


def test_a_service_publishes_its_settings_and_a_command_only_where_there_are_none(
    world: World, store: EmbeddedStore
) -> None:
    """Given a store that a service has started with other settings, when a command is called without, then it changes none."""
    own = world.app
    own.client.redis.delete(*(partition.settings for partition in own.keyspace.all()))
    narrow = {
        "TENURE_WORKFLOW_BINDS": "caller",
        "TENURE_FORBIDDEN_EVENTS": "none",
        "TENURE_WORKFLOW_FILE_CASE": "exact",
    }
    others = []
    for environment, services, told_there in (
        (narrow, False, Matching("exact", frozenset(), "caller")),
        ({}, False, Matching("exact", frozenset(), "caller")),
        ({}, True, CONTRACT),
        (narrow, False, CONTRACT),
        (narrow, True, Matching("exact", frozenset(), "caller")),
    ):
        others.append(build(load({"TENURE_REDIS_URL": store.url, **environment})))
        if services:
            others[-1].publish_settings()
        assert published(own.client, own.keyspace) == told_there
    for app in others:
        app.broker.close()
        app.client.redis.close()


@pytest.mark.parametrize("name", ["TENURE_WORKFLOW_BINDS", "TENURE_FORBIDDEN_EVENTS", "TENURE_WORKFLOW_FILE_CASE"])
@pytest.mark.parametrize("value", ["Job", "none,push", "push,,release", "pull request", "*"])
def test_a_setting_that_readers_would_not_know_ends_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        load({name: value})
