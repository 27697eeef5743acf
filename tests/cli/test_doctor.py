"""The doctor finds what is wrong, and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import Tenure, alive
from tests.conftest import wait_until
from tests.engines import DURABLE, ServerProcess, configured, replication, user
from worker.app import App
from worker.lifecycle.facts import SECOND
from worker.local.valkey import EmbeddedStore, free_port
from worker.store.client import Command
from worker.store.inbox import Envelope


def levels(tenure: Tenure, code: int, **environment: str) -> dict[str, str]:
    """Check → level of everything that is not ok, and every finding says what to do about it."""
    ended = tenure("doctor", "--json", **environment)
    assert ended.code == code, ended
    assert all(finding["advice"] for finding in ended.objects if finding["level"] != "ok")
    return {finding["check"]: finding["level"] for finding in ended.objects if finding["level"] != "ok"}


def test_all_is_well(tenure: Tenure, app: App) -> None:
    alive(app, "worker", "scheduler")
    ended = tenure.done("doctor")
    assert {row[0] for row in ended.rows} == {"ok"}
    assert [row[1] for row in ended.rows] == [
        "settings", "store", "clock", "epoch", "partitions", "matching", "switches", "durable", "exposed", "rights", "memory", "replicas", "queue", "worker", "scheduler",
        "records", "inbox", "due", "dead letters", "replays", "consumers", "github", "breaker", "deliveries", "secrets", "job inbox",
        "job due", "job switches", "job sample", "job trim",
    ]  # fmt: skip


def test_nobody_is_at_work(tenure: Tenure, app: App) -> None:
    late = app.status.now() - 600 * SECOND
    partition = app.keyspace.all()[3]
    app.inbox.put([[Envelope(partition, "e1", "github", "ping", "d1", b"{}")]])
    app.client.run([
        Command(("ZADD", partition.waiting("events"), late, "e1")), Command(("ZADD", partition.due, late, "p1")),
    ])  # fmt: skip
    assert levels(tenure, 1) == dict.fromkeys(["worker", "scheduler", "inbox", "due"], "problem")


def test_an_unsafe_server(tenure: Tenure, app: App) -> None:
    alive(app, "worker", "scheduler")
    # The second address is nobody's, so the server stays out of reach while it says that it is bound to it.
    unsafe = {"bind": "127.0.0.1 -192.0.2.1", "protected-mode": "no"}
    with configured(app.client, {**unsafe, "maxmemory-policy": "allkeys-lru", "appendfsync": "everysec"}):
        assert levels(tenure, 1) == dict.fromkeys(["durable", "exposed", "memory"], "problem")
    with configured(app.client, {"protected-mode": "no"}):
        assert levels(tenure, 0) == {}


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("TENURE_WEBHOOK_SECRETS", "a-good-one-0123456789,changeme", "TENURE_WEBHOOK_SECRETS, entry 2: is shorter"),
        ("TENURE_REGISTRY_TOKENS", "npm:canary-7", "TENURE_REGISTRY_TOKENS, entry 1 (npm): is shorter"),
        ("TENURE_EXCHANGE_TOKENS", "tex:", "TENURE_EXCHANGE_TOKENS, entry 1 (tex): is empty"),
        ("TENURE_OPERATOR_TOKENS", "a" * 40, "TENURE_OPERATOR_TOKENS, entry 1: has fewer than 8 different"),
        ("TENURE_READER_TOKENS", "canary-0123456789abc,sam:canary-0123456789abc", "entry 2 (sam): the same token as"),
    ],
)
def test_weak_and_empty_secrets_are_named_and_not_quoted(
    tenure: Tenure, app: App, setting: str, value: str, told: str
) -> None:
    alive(app, "worker", "scheduler")
    ended = tenure("doctor", "--json", **{setting: value})
    (finding,) = [finding for finding in ended.objects if finding["check"] == "secrets"]
    assert finding["level"] == "warning"
    assert told in str(finding["finding"])
    assert "canary" not in str(finding)
    assert "changeme" not in str(finding)


def test_a_record_that_cannot_be_read(tenure: Tenure, app: App) -> None:
    alive(app, "worker", "scheduler")
    tenure.register("pol-1")
    (key,) = app.client.redis.scan_iter("tenure:{p*}:policy:pol-1")
    app.client.redis.set(key, b"1.0\n[]")
    ended = tenure("doctor", "--json")
    (finding,) = [finding for finding in ended.objects if finding["check"] == "records"]
    assert (ended.code, finding["level"]) == (1, "problem")
    assert "pol-1" in str(finding["finding"])


@pytest.mark.parametrize(
    ("value", "told", "level"),
    [
        ("a-good-one-0123456789,another-0123456789", "TENURE_WEBHOOK_SECRETS: is read as 2, separated by commas", "ok"),
        ("canary-0123456789abc,7", "TENURE_WEBHOOK_SECRETS: is read as 2, separated by commas", "warning"),
        ('["canary-0123456789abc,7"]', "those that are set here are long enough", "ok"),
    ],
)
def test_a_secret_with_a_comma_is_said_to_be_read_in_two_ways(
    tenure: Tenure, app: App, value: str, told: str, level: str
) -> None:
    alive(app, "worker", "scheduler")
    ended = tenure("doctor", "--json", TENURE_WEBHOOK_SECRETS=value)
    (finding,) = [finding for finding in ended.objects if finding["check"] == "secrets"]
    assert told in str(finding["finding"])
    assert (finding["level"], "JSON list" in str(finding["advice"])) == (level, level == "warning")
    assert "canary" not in str(finding)


def test_a_wrong_password_is_said_to_be_one(tenure: Tenure, app: App) -> None:
    """Given a raw `%` that reads as an escape, then the server alone can tell, and the way out is said all the same."""
    assert tenure.url is not None
    with user(app.client, "canary", ">p%41", "~*", "&*", "+@all"):
        ended = tenure("policy", "list", TENURE_REDIS_URL=tenure.url.replace("//", "//canary:p%41@"))
        right = tenure("policy", "list", TENURE_REDIS_URL=tenure.url.replace("//", "//canary:p%2541@"))
    assert ended.code == 5
    assert "% as %25" in ended.err
    assert "canary" not in ended.err
    assert right.code == 3


def test_the_queue(tenure: Tenure, app: App) -> None:
    alive(app, "worker", "scheduler")
    assert tenure.url is not None
    shared = tenure.url.replace("127.0.0.1", "localhost")
    assert levels(tenure, 0, TENURE_BROKER_URL=shared) == {}
    gone = f"redis://:canary@127.0.0.1:{free_port()}/1"
    assert levels(tenure, 5, TENURE_BROKER_URL=gone) == {"queue": "problem"}


def test_a_server_that_may_not_be_asked(tenure: Tenure, app: App) -> None:
    alive(app, "worker", "scheduler")
    assert tenure.url is not None
    modest = tenure.url.replace("//", "//modest:modest@")
    with user(app.client, "modest", ">modest", "~*", "&*", "+@all", "-info", "-config", "-acl"):
        found = levels(tenure, 0, TENURE_REDIS_URL=modest, TENURE_WAIT_REPLICAS="1")
    assert found == dict.fromkeys(["store", "durable", "exposed", "memory", "replicas"], "warning")


def test_dead_letters(tenure: Tenure, app: App) -> None:
    alive(app, "worker", "scheduler")
    partition = app.keyspace.all()[0]
    app.inbox.put([[Envelope(partition, "e1", "github", "repository.archived", "d1", b"{}")]])
    (event,) = app.inbox.claim(partition, "events", "w", 1).events
    now = app.status.now()
    app.inbox.fail(event, error="Odd", message="\x1b[31mwhat", trace="", worker="w", now=now, final=True)
    ended = tenure.done("doctor")
    (row,) = [row for row in ended.rows if row[1] == "dead letters"]
    assert row[0] == "warning"
    assert "repository.archived: Odd: \ufffd[31mwhat" in row[2]
    assert "tenure dead list" in row[3]


def test_a_store_that_cannot_be_reached(tenure: Tenure) -> None:
    nowhere = f"redis://:canary@127.0.0.1:{free_port()}/0"
    ended = tenure("doctor", "--json", TENURE_REDIS_URL=nowhere)
    assert ended.code == 5
    assert [(found["check"], found["level"]) for found in ended.objects] == [("settings", "ok"), ("store", "problem")]
    assert "canary" not in ended.out + ended.err


def test_another_number_of_partitions(tenure: Tenure) -> None:
    assert levels(tenure, 1, TENURE_PARTITIONS="3") == {"settings": "problem"}


@pytest.mark.one_server("it gives the one server a replica")
def test_replicas_that_events_wait_for_are_counted(
    tenure: Tenure, app: App, store: EmbeddedStore, tmp_path: Path
) -> None:
    """Given a setting that wants a replica, when there is none, then it is a problem; when there is one, then all is well;
    without the setting, it is said that a failover could lose events.
    """
    alive(app, "worker", "scheduler")
    assert levels(tenure, 1, TENURE_WAIT_REPLICAS="1") == {"replicas": "problem"}
    app.client.redis.config_set("repl-diskless-sync-delay", 0)
    replica = ServerProcess(tmp_path / "replica", free_port(), *DURABLE, "--replicaof", "127.0.0.1", str(store.port))
    try:
        replica.start()
        replica.wait(lambda redis: replication(redis)["master_link_status"] == "up", "it follows")
        wait_until(lambda: "state=online" in str(app.client.each("INFO", "replication")), "the primary knows")
        assert levels(tenure, 0, TENURE_WAIT_REPLICAS="1") == {}
        assert levels(tenure, 0) == {"replicas": "warning"}
    finally:
        replica.kill()
