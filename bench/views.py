"""Many policies as the exchange sees them: their views, and as many other keys as a store has beside them."""

from __future__ import annotations

import orjson

from bench.frame import Server, say
from bench.payloads import Subject, subject
from tenure_reader.keys import PARTITIONS
from worker.store.keys import Keyspace

KEYSPACE = Keyspace(16)
AT_ONCE = 2_000
OTHER_KEYS = 6
"""Keys that a policy has beside its view, in a store of Tenure's: record, locator, history and indexes, some shared."""
SAID_EVERY = 200_000
POPULATE = """
-- Sets keys that stand for Tenure's own. ARGV[1] first number  ARGV[2] end
for number = ARGV[1], ARGV[2] - 1 do
  redis.call('SET', 'bench:other:' .. number, '1')
end
"""


def view(of: Subject) -> dict[str, object]:
    return {
        "policy_id": of.policy_id,
        "revision": 1,
        "state": "active",
        "usable": True,
        "usable_until": None,
        "reasons": [],
        "advisories": [],
        "name": f"release {of.repository}",
        "package_owner": {"account": f"packages-{of.owner_id}", "kind": "organization"},
        "created_by": {"account": f"creator-{of.owner_id}", "github_user_id": of.owner_id + 50_000_000},
        "repository_owner": of.owner,
        "repository_owner_id": of.owner_id,
        "repository": of.repository,
        "repository_id": of.repository_id,
        "visibility": "public",
        "workflow_file": "release.yml",
        "environment": None,
        "verified_at": None,
        "updated_at": "2026-01-01T00:00:00.000000Z",
    }


def claims(of: Subject) -> dict[str, object]:
    """Of a token that may publish."""
    return {
        "iss": "https://token.actions.githubusercontent.com",
        "sub": f"repo:{of.owner}/{of.repository}:ref:refs/heads/main",
        "repository_owner": of.owner,
        "repository_owner_id": str(of.owner_id),
        "repository": f"{of.owner}/{of.repository}",
        "repository_id": str(of.repository_id),
        "job_workflow_ref": f"{of.owner}/{of.repository}/.github/workflows/release.yml@refs/heads/main",
        "event_name": "push",
    }


def fill(where: Server, start: int, goal: int) -> None:
    """Store the views of policies `start` to `goal`, without Tenure."""
    where.configure(appendonly="no")
    where.client.set(PARTITIONS, KEYSPACE.partitions)
    populate = where.client.register_script(POPULATE)
    for first in range(start, goal, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, goal))
        pipeline = where.client.pipeline(transaction=False)
        for of in map(subject, numbers):
            key = KEYSPACE.of(of.owner_id).repository(of.owner_id, of.repository_id)
            pipeline.hset(key, of.policy_id, orjson.dumps(view(of)))
        pipeline.execute()
        populate(args=[numbers.start * OTHER_KEYS, numbers.stop * OTHER_KEYS])
        if numbers.stop % SAID_EVERY == 0:
            say(f"  {numbers.stop:,} of {goal:,} views stored")
    where.configure(appendonly="yes")
    where.calm()
