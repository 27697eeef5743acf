"""What the exchange keeps in its Redis: used tokens, minted keys, revocations, and logins that Tenure was not told yet.

Of a key only its digest is kept. A token is used up in the same step that mints its key and notes its login: a token that
was refused can be tried again while it lives, because nothing came of it; one that was accepted gives one key, however
many requests present it at once; and no crash leaves a key whose login nobody hears of.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass, field
from typing import cast

from redis.asyncio import Redis

from tenure_reader import Grant, RepositoryRef
from tenure_reader.grants import Conditions, conditions_of
from tenure_reader.keys import ISSUER
from tenure_reader.rules import covers
from tenure_reader.switches import scopes_of
from tenure_reader.times import Micros

PREFIX = "{exchange}:"
"""What every key begins with. The braces put all of them into one slot of a cluster: a step takes several."""
OUTBOX = f"{PREFIX}outbox"
REFUSED = f"{PREFIX}outbox:refused"
REVOKED_SECONDS = 2 * 3600
"""How long a revocation is remembered: longer than any key lives."""
KEY_NAME = "tex_"
"""How a key begins, so that people and scanners of leaks know what it is."""
LONGEST_KEY = 100

MINT = """
-- Uses a token up, keeps its key and notes its login: all or nothing.
-- KEYS[1] use of the token  KEYS[2] key  KEYS[3] outbox
-- ARGV[1] digest of the key  ARGV[2] how long the use is remembered, ms  ARGV[3] record  ARGV[4] life of the key, ms
-- ARGV[5] event
-- Returns 1, also to the same attempt made again; 0 if the token was used before.
local used = redis.call('GET', KEYS[1])
if used then
  return used == ARGV[1] and 1 or 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
redis.call('XADD', KEYS[3], '*', 'event', ARGV[5])
return 1
"""


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a key: by which policy it was minted, as that stood then."""

    policy_id: str
    revision: int
    package_owner: str
    package_owner_kind: str
    repository_owner_id: int
    repository_id: int
    """The token's. The policy may not know it before it hears of the login."""
    repository: str
    workflow_file: str
    environment: str | None
    expires_at: Micros
    conditions: Conditions = field(default_factory=Conditions)
    """What the policy asked for beside these, its packages and actions included."""
    creator: str = ""
    decided_at: Micros = 0
    """When the token was decided about, by Tenure's clock."""

    def lets(self, package: str | None, action: str | None) -> bool:
        """Whether the key is for this. One that is for some packages, or actions, only has to be told which."""
        asked = {"packages": package, "actions": action}
        if any(asked[what] is None for what in asked.keys() & self.conditions.keys()):
            return False
        return covers(self.conditions, package=package, action=action)

    @property
    def scopes(self) -> tuple[str, ...]:
        """Of the switches that close the key."""
        return scopes_of(
            {
                **self.conditions,
                "repository_owner_id": self.repository_owner_id,
                "repository_id": self.repository_id,
                "package_owner": {"account": self.package_owner},
                "created_by": {"account": self.creator},
            }
        )

    @property
    def place(self) -> RepositoryRef:
        issuer = self.conditions.get("issuer", ISSUER)
        return RepositoryRef(self.repository_owner_id, self.repository_id, self.repository, issuer)

    def still_is(self, grant: Grant) -> bool:
        """Whether the policy still says what it said. It may have learnt the repository's id, or a new name, since."""
        return (
            self.package_owner == grant["package_owner"]["account"]
            and self.package_owner_kind == grant["package_owner"]["kind"]
            and self.repository_owner_id == grant["repository_owner_id"]
            and grant["repository_id"] in (None, self.repository_id)
            and self.workflow_file == grant["workflow_file"]
            and self.environment == grant["environment"]
            and self.conditions == conditions_of(grant)
        )


def record_of(grant: Grant, repository_id: int, decided_at: Micros, expires_at: Micros) -> Record:
    """`repository_id`: the token's."""
    return Record(
        policy_id=grant["policy_id"],
        revision=grant["revision"],
        package_owner=grant["package_owner"]["account"],
        package_owner_kind=grant["package_owner"]["kind"],
        repository_owner_id=grant["repository_owner_id"],
        repository_id=repository_id,
        repository=grant["repository"],
        workflow_file=grant["workflow_file"],
        environment=grant["environment"],
        expires_at=expires_at,
        conditions=conditions_of(grant),
        creator=grant["created_by"]["account"],
        decided_at=decided_at,
    )


def read_record(raw: bytes | None) -> Record | None:
    """None if there is none, or it is not one of ours: then its key is good for nothing."""
    try:
        return None if raw is None else Record(**json.loads(raw))
    except (ValueError, TypeError):
        return None


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_name(digested: str) -> str:
    return f"{PREFIX}key:{digested}"


def revoked_name(policy_id: str) -> str:
    """Sorted set of one member: the highest revision at which the policy was found closed."""
    return f"{PREFIX}revoked:{policy_id}"


def switched_name(scope: str) -> str:
    """Sorted set of one member: when a switch over this scope was last closed or opened, µs."""
    return f"{PREFIX}switched:{scope}"


class Vault:
    """Every method may raise RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._mint = redis.register_script(MINT)

    async def mint(self, record: Record, *, use: str, remembered_ms: int, life_ms: int, event: str) -> str | None:
        """A new key; None if the token was used before."""
        key = KEY_NAME + secrets.token_urlsafe(32)
        digested = digest(key)
        minted = await self._mint(
            keys=[f"{PREFIX}used:{use}", key_name(digested), OUTBOX],
            args=[digested, remembered_ms, json.dumps(asdict(record)), life_ms, event],
        )
        return key if minted else None

    async def record(self, key: str) -> Record | None:
        """What is kept of a key, unless it expired, was revoked, or never was."""
        if len(key) > LONGEST_KEY:
            return None
        record = read_record(cast("bytes | None", await self._redis.get(key_name(digest(key)))))
        if record is None:
            return None
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zscore(revoked_name(record.policy_id), "revision")
        for scope in record.scopes:
            pipeline.zscore(switched_name(scope), "at")
        closed_at, *switched = cast("list[float | None]", await pipeline.execute())
        if any(at is not None and record.decided_at <= at for at in switched):
            return None
        return record if closed_at is None or record.revision > closed_at else None

    # The outbox

    async def logins(self, limit: int) -> list[tuple[str, str]]:
        """The oldest that Tenure was not told yet: id and event."""
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", await self._redis.xrange(OUTBOX, count=limit))
        return [(entry_id.decode(), fields[b"event"].decode()) for entry_id, fields in entries]

    async def reported(self, entry_ids: list[str]) -> None:
        await self._redis.xdel(OUTBOX, *entry_ids)

    async def put_aside(self, entry_id: str, event: str) -> None:
        """Tenure will never take it. Kept for an operator, so that it stops those behind it no longer."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.rpush(REFUSED, event)
        pipeline.xdel(OUTBOX, entry_id)
        await pipeline.execute()

    async def waiting(self) -> tuple[int, int]:
        """Logins that are waiting, and those that were put aside."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xlen(OUTBOX)
        pipeline.llen(REFUSED)
        waiting, refused = await pipeline.execute()
        return int(waiting), int(refused)
