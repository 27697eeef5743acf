"""One record that cannot be read, whatever is wrong with it: the rest is shown, and it is named."""

from __future__ import annotations

import json

import orjson
import pytest
from redis import Redis

from tests.cli.running import OWNER_ID, Tenure
from tests.store.making import registration, settle_all
from worker.app import App


def key_of(redis: Redis, policy_id: str) -> bytes:
    (key,) = redis.scan_iter(f"tenure:{{p*}}:policy:{policy_id}")
    return bytes(key)


def changed(record: bytes, **view: object) -> bytes:
    head, _, body = record.partition(b"\n")
    found = orjson.loads(body)
    return head + b"\n" + json.dumps({**found, "view": {**found["view"], **view}}).encode()


def spoil(redis: Redis, how: str) -> None:
    """Something that we did not write stands where the record of `bad` was."""
    key = key_of(redis, "bad")
    record = redis.get(key)
    assert isinstance(record, bytes)
    head, _, body = record.partition(b"\n")
    found = orjson.loads(body)
    match how:
        case "another type":
            redis.delete(key)
            redis.hset(key, "a", "b")
        case "nothing":
            redis.delete(key)
        case "an index that is no text":
            redis.delete(key)
            (index,) = {k for k in redis.scan_iter("tenure:{p*}:policies") if redis.zscore(k, "bad") is not None}
            redis.zrem(index, "bad")
            redis.zadd(index, {b"bad\xff": 0})
        case "a view of another form":
            redis.set(key, changed(record, reasons="none"))
        case "a date that is none":
            redis.set(key, changed(record, usable_until=7))
        case "an owner that is none":
            redis.set(key, changed(record, package_owner=[]))
        case "a fact that is none":
            redis.set(key, head + b"\n" + orjson.dumps({**found, "facts": [[1, 2]]}))
        case _:
            redis.set(key, how.encode("latin-1"))


@pytest.mark.parametrize(
    "how",
    [
        *(
            "",
            "1.0",
            "x.y\n{}",
            "1.0\n[]",
            "1.0\n{}",
            "1.0\nnull",
            '1.0\n{"facts": 7}',
            "\xff\xfe\n\xff",
            "1.0\n" + "[" * 5000,
        ),
        *("another type", "nothing", "an index that is no text"),
        *("a view of another form", "a date that is none", "an owner that is none", "a fact that is none"),
    ],
    ids=lambda how: ascii(how)[:30],
)
def test_the_rest_is_shown_and_the_bad_one_is_named(tenure: Tenure, app: App, how: str) -> None:
    settle_all(app, *(registration(app, policy_id, owner=OWNER_ID) for policy_id in ("apple", "bad", "cherry")))
    spoil(app.client.redis, how)
    for command in (("policy", "list", "--json"), ("policy", "export")):
        ended = tenure(*command)
        shown = [line.get("policy_id") for line in ended.objects]
        assert sorted(map(str, shown)) == ["apple", "cherry"], (command, ended)
        if how != "an index that is no text" or command[1] == "list":
            assert ended.code == 4
            assert "bad" in ended.err
    # Nor does it keep others from being settled: they share its owner's index.
    assert tenure("policy", "hold", "apple", "--reason", "test").code == 0
    assert tenure("policy", "list", "--owner", str(OWNER_ID), "--json").code in (0, 4)


def test_an_entry_of_the_audit_trail_or_the_history_that_cannot_be_read_hides_no_other(
    tenure: Tenure, app: App
) -> None:
    tenure.register("pol-1")
    redis = app.client.redis
    redis.xadd("tenure:{all}:audit", {"act": "{", "outcome": "done"})
    redis.xadd("tenure:{all}:audit", {"act": "[]", "outcome": "done"})
    (history,) = redis.scan_iter("tenure:{p*}:history:pol-1")
    redis.rpush(history, "not json", "[1]", "[1,2,3,4,5,6]")
    assert len(tenure.done("audit", "--json").objects) == 3
    assert "cannot be read" in tenure.done("policy", "show", "pol-1").out
