"""What each kind of process may do on the servers of the store: the rights of its user, for Valkey's and Redis' access control
lists (https://valkey.io/topics/acl/).

`deploy/acl/users.acl` and the table in docs/security.md are generated from the rows below.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, NamedTuple

from worker.store.keys import ANSWERED


class User(StrEnum):
    """Whoever connects to the servers."""

    WEB = "web"
    """The API and the console."""
    WORKER = "worker"
    """All processes of `tenure worker`: also the one that asks GitHub, which is started with the same settings."""
    SCHEDULER = "scheduler"
    OPERATOR = "operator"
    """The command line."""
    EXCHANGE = "exchange"
    """Whoever reads what the contract names."""
    HEALTH = "health"
    """Asks whether the server answers."""


READ: Final = "r"
WRITE: Final = "rw"


class KeyRights(NamedTuple):
    """Who may do what with the keys that match a pattern: nothing, `r` or `rw`. The operator may change all keys.

    A script reads and writes all the keys that it is given, as far as a server can see.
    """

    pattern: str
    web: str = ""
    worker: str = ""
    scheduler: str = ""
    exchange: str = ""

    def of(self, user: User) -> str:
        if user is User.OPERATOR:
            return WRITE
        return "" if user is User.HEALTH else str(getattr(self, user.value))


_ALL, _HERE = "tenure:{all}:", "tenure:{p*}:"

KEYS: Final = (
    KeyRights("tenure:partitions", "rw", "rw", "rw", "r"),
    # What a release before this one left, for a first start to see.
    *(KeyRights(name, "r", "r", "r") for name in ("tenure:clock", "tenure:ledger:since", "tenure:published")),
    # The broker's, in the store's database where there is no other.
    KeyRights("{tenure}*", "rw", "rw", "rw"),
    # The installation's.
    KeyRights(f"{_ALL}layout", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}partitions-change", "r", "r", "r"),
    KeyRights(f"{_ALL}clock", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}epoch", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}ledger-since", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}alive:web", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}alive:*", "r", "rw", "rw"),
    # Whoever notices that the store went back in time closes everything.
    KeyRights(f"{_ALL}switches", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}switches-unfinished", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}switches-number", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}audit", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}audited:*", "rw", "rw", "rw"),
    KeyRights(f"{_ALL}clock-reset"),
    KeyRights(f"{_ALL}hold:*", "rw", "rw"),
    KeyRights(f"{_ALL}job:*", "r", "rw"),
    KeyRights(f"{_ALL}samples:*", "r", "rw"),
    KeyRights(f"{_ALL}github:*", "rw", "rw"),
    KeyRights("tenure:{github/*}:*", "rw", "rw"),
    KeyRights(f"{_ALL}replays", "rw"),
    KeyRights(f"{_ALL}replay:*", "rw"),
    KeyRights(f"{_ALL}dry-run:*", "rw"),
    KeyRights(f"{_ALL}selection:*", "rw"),
    KeyRights(f"{_ALL}consumers", "rw"),
    KeyRights(f"{_ALL}session:*", "rw"),
    KeyRights(f"{_ALL}login-code:*", "rw"),
    KeyRights(f"{_ALL}login-attempts:*", "rw"),
    # A partition's: what the contract names.
    KeyRights(f"{_HERE}settings", "rw", "rw", "rw", "r"),
    KeyRights(f"{_HERE}switches", "rw", "rw", "rw", "r"),
    KeyRights(f"{_HERE}changes", "rw", "rw", "rw", "r"),
    KeyRights(f"{_HERE}repository*", "rw", "rw", "", "r"),
    KeyRights(f"{_HERE}revisions", "rw", "rw", "", "r"),
    KeyRights(f"{_HERE}directory", "rw", "rw", "", "r"),
    KeyRights(f"{_HERE}index:*", "rw", "rw", "", "r"),
    # And the rest. The console settles what its operators do, if no worker is faster.
    KeyRights(f"{_HERE}switches-followed", "rw", "rw", "rw"),
    KeyRights(f"{_HERE}placing", "rw", "rw", "rw"),
    KeyRights(f"{_HERE}policy:*", "rw", "rw"),
    KeyRights(f"{_HERE}policies", "rw", "rw"),
    KeyRights(f"{_HERE}history:*", "rw", "rw"),
    KeyRights(f"{_HERE}due", "rw", "rw"),
    KeyRights(f"{_HERE}owner:*", "rw", "rw"),
    KeyRights(f"{_HERE}owners*", "rw", "rw"),
    KeyRights(f"{_HERE}observed:*", "rw", "rw"),
    KeyRights(f"{_HERE}observed-by-worth:*", "rw", "rw"),
    KeyRights(f"{_HERE}logins:*", "rw", "rw"),
    KeyRights(f"{_HERE}counted", "rw", "rw"),
    KeyRights(f"{_HERE}counters", "rw", "rw"),
    KeyRights(f"{_HERE}inbox:*", "rw", "rw"),
    KeyRights(f"{_HERE}came:*", "rw", "rw"),
    KeyRights(f"{_HERE}ledger:*", "rw", "rw"),
    KeyRights(f"{_HERE}beats", "rw", "rw", "rw"),
    KeyRights(f"{_HERE}ledger-since", "rw", "rw"),
    KeyRights(f"{_HERE}audit", "rw", "rw"),
    KeyRights(f"{_HERE}clock", "rw", "rw"),
    KeyRights(f"{_HERE}wanted:*", "rw", "rw"),
    KeyRights(f"{_HERE}checks*", "rw", "rw"),
    KeyRights(f"{_HERE}checking*", "r", "rw"),
)

CONNECTING: Final = (
    "@connection", "-@dangerous", "info", "role", "time", "cluster|slots", "asking", "multi", "exec", "discard",
)  # fmt: skip
"""What every client of ours, and redis-py's of a cluster, does. Not each server knows all commands of a connection by name."""
READING: Final = (
    "exists", "get", "hexists", "hget", "hgetall", "hlen", "hmget", "hscan", "hstrlen", "hvals", "llen", "lrange", "mget",
    "scard", "smembers", "strlen", "ttl", "xinfo|stream", "xrange", "xread", "xrevrange", "zcard", "zcount", "zrange", "zrangebylex",
    "zrangebyscore", "zrevrange", "zscore",
)  # fmt: skip
WRITING: Final = (
    "blpop", "del", "evalsha", "getdel", "hdel", "hincrby", "hset", "hsetnx", "incr", "incrby", "lpop", "lpush", "ltrim", "mset", "persist",
    "pexpire", "publish", "rename", "rpush", "sadd", "script|load", "set", "setrange", "srem", "unlink", "wait", "xadd", "xtrim",
    "zadd", "zrem", "zremrangebyrank", "zremrangebyscore",
)  # fmt: skip
CONTRACT: Final = ("@read", *CONNECTING, "scan")
"""What a reader may do, in whatever language it is written."""
CONFIGURED: Final = ("config|get",)
"""Whether the servers sync their log is told by `/readyz`, the metrics and the doctor. No password is in their
configuration."""
LISTENING: Final = ("subscribe", "unsubscribe")
ADMINISTERING: Final = ("acl|log", "acl|whoami", "dump", "pttl", "restore", "scan", "xsetid")
"""The doctor looks at what was refused; other numbers of partitions, and other layouts, take whole keys elsewhere."""

COMMANDS: Final = {
    User.WEB: (*CONNECTING, *READING, *WRITING, *CONFIGURED, *LISTENING, "acl|whoami"),
    User.WORKER: (*CONNECTING, *READING, *WRITING),
    User.SCHEDULER: (*CONNECTING, *READING, *WRITING),
    User.OPERATOR: (*CONNECTING, *READING, *WRITING, *CONFIGURED, *ADMINISTERING),
    User.EXCHANGE: CONTRACT,
    User.HEALTH: ("@connection", "-@dangerous"),
}
EVERYTHING: Final = ("tenure:*", "{tenure}*")
"""What an operator may change. Also what a release before this one had elsewhere, to bring it here."""


PASSWORD: Final = "#SHA256-OF-"  # noqa: S105 - where it goes
"""Before the name of a user, in place of the digest of its password."""


def rules(user: User) -> list[str]:
    """The rules of a user, without its password, in the words of `ACL SETUSER`."""
    return [*_keys(user), *_channels(user), "-@all", *_commands(user)]


def _keys(user: User) -> Iterator[str]:
    yield "resetkeys"
    if user is User.OPERATOR:
        yield from (f"~{pattern}" for pattern in EVERYTHING)
        return
    for row in KEYS:
        if right := row.of(user):
            yield f"~{row.pattern}" if right == WRITE else f"%R~{row.pattern}"


def _channels(user: User) -> Iterator[str]:
    yield "resetchannels"
    if user in {User.WEB, User.WORKER, User.OPERATOR}:
        yield f"&{ANSWERED}"


def _commands(user: User) -> Iterator[str]:
    return (name if name.startswith("-") else f"+{name}" for name in COMMANDS[user])


def access_list() -> str:
    """The file of users, with the place of each one's password."""
    users = "".join(f"user {user} on {PASSWORD}{user} {' '.join(rules(user))}\n" for user in User)
    return f"user default off resetpass resetkeys resetchannels -@all\n{users}"


def may_not_ask(name: str) -> bool:
    """Whether a user of this name may not ask what was refused."""
    return name in list(User) and "acl|log" not in COMMANDS[User(name)]


REASONS: Final = ("command", "key", "channel")
"""Why something is refused, in the words of `ACL LOG`, beside a wrong password."""


class Refusal(NamedTuple):
    """Something that a server refused to a user."""

    user: str
    reason: str
    """One of `REASONS`."""
    what: str
    times: int

    @property
    def rule(self) -> str:
        """What to give to the user."""
        if self.reason == "command":
            return f"+{self.what}"
        return f"&{self.what}" if self.reason == "channel" else f"~{pattern_of(self.what) or self.what}"

    @property
    def due(self) -> bool:
        """Whether a user of this name should have that right."""
        if self.user not in list(User):
            return False
        given = rules(User(self.user))
        return self.rule in given or (self.user == User.OPERATOR and self.reason == "key")


def pattern_of(key: str) -> str | None:
    """The pattern of the row that a key is in; None if it is none of ours."""
    # A bracket means the same to servers, and none is in a pattern.
    return next((row.pattern for row in KEYS if fnmatchcase(key, row.pattern)), None)
