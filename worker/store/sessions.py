"""Who is logged in at the console. The store keeps digests only: who reads it cannot log in with what is there."""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum
from typing import NamedTuple, cast

import orjson

from worker.store import keys
from worker.store.client import Client, Command

SESSION_SECONDS = 12 * 3600
CODE_SECONDS = 10 * 60
"""How long a link that logs in is good for; it is good once."""
WINDOW_SECONDS = 300
"""The time over which attempts to log in are counted."""


class TokenRole(StrEnum):
    """What a token is for. Only the last two log in."""

    EXCHANGE = "exchange"
    """Tells of logins."""
    REGISTRY = "registry"
    """Tells of policies and accounts, and of logins."""
    READER = "reader"
    """Looks."""
    OPERATOR = "operator"
    """Looks and acts."""


class Session(NamedTuple):
    name: str
    """Who it is, for the audit trail."""
    role: TokenRole
    key: str
    """The digest of the token that began it; empty where a link did."""


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class Sessions:
    def __init__(self, client: Client) -> None:
        self._client = client

    def begin(self, session: Session) -> str:
        """A new session; returns the secret for its cookie."""
        secret = secrets.token_urlsafe(32)
        self._client.one(
            Command(("SET", keys.session(digest(secret)), orjson.dumps(list(session)), "EX", SESSION_SECONDS))
        )
        return secret

    def find(self, secret: str) -> Session | None:
        reply = cast("bytes | None", self._client.one(Command(("GET", keys.session(digest(secret))))))
        if reply is None:
            return None
        name, role, key = orjson.loads(reply)
        return Session(name, TokenRole(role), key)

    def end(self, secret: str) -> None:
        self._client.one(Command(("DEL", keys.session(digest(secret)))))

    def make_code(self) -> str:
        """A code that logs an operator in, once, within `CODE_SECONDS`."""
        code = secrets.token_urlsafe(32)
        self._client.one(Command(("SET", keys.login_code(digest(code)), TokenRole.OPERATOR.value, "EX", CODE_SECONDS)))
        return code

    def take_code(self, code: str) -> bool:
        """Whether the code is good. It is not, from now on."""
        return self._client.one(Command(("GETDEL", keys.login_code(digest(code))))) is not None

    def attempt(self, who: str, limit: int) -> int | None:
        """Count one of the attempts of which so many are allowed in a window. None if it is among them, else how many
        seconds to wait.
        """
        key = keys.login_attempts(who)
        _, count, left = self._client.run(
            [Command(("SET", key, 0, "NX", "EX", WINDOW_SECONDS)), Command(("INCR", key)), Command(("TTL", key))],
            atomic=True,
        )
        return max(1, cast("int", left)) if cast("int", count) > limit else None

    def forgive(self, who: str) -> None:
        """They were good attempts: none of them counts."""
        self._client.one(Command(("DEL", keys.login_attempts(who))))
