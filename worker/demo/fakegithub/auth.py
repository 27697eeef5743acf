"""Who asks: the App by a JWT that it signs itself, or one of its installations by a token."""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Callable
from typing import NamedTuple

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from worker.demo.fakegithub.answers import RefusalError

LONGEST_JWT = 600
TOKEN_SECONDS = 3600


@functools.cache
def key_pair() -> tuple[str, str]:
    """The App's private and public key as PEM: made once in a process, since that takes a while."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


class TokenRecord(NamedTuple):
    installation_id: int
    expires_at: float


class Auth:
    def __init__(self, app_id: int, clock: Callable[[], float]) -> None:
        self._app_id = app_id
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, TokenRecord] = {}

    def issue(self, installation_id: int) -> tuple[str, float]:
        """A new token, and when it ends."""
        token, ends = f"ghs_{secrets.token_hex(18)}", self._clock() + TOKEN_SECONDS
        with self._lock:
            self._tokens[token] = TokenRecord(installation_id, ends)
        return token, ends

    def forget_tokens(self) -> None:
        with self._lock:
            self._tokens.clear()

    def installation(self, authorization: str) -> int:
        """Whose token it is. Raises RefusalError: not one of ours, or not any more."""
        scheme, _, token = authorization.partition(" ")
        with self._lock:
            record = self._tokens.get(token)
        good = record is not None and scheme.lower() in ("bearer", "token") and record.expires_at > self._clock()
        if record is None or not good:
            raise RefusalError(401, "Bad credentials")
        return record.installation_id

    def check_app(self, authorization: str) -> None:
        """Raises RefusalError: not a JWT of this App, or one from another time."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise RefusalError(401, "A JSON web token could not be decoded")
        try:
            claims = jwt.decode(
                token,
                key_pair()[1],
                algorithms=["RS256"],
                # Times are compared below, with a clock that tests can turn.
                options={"verify_exp": False, "verify_iat": False, "verify_iss": False, "verify_sub": False},
            )
        except jwt.InvalidTokenError:
            raise RefusalError(401, "A JSON web token could not be decoded") from None
        now, issued, ends = self._clock(), claims.get("iat"), claims.get("exp")
        if str(claims.get("iss")) != str(self._app_id):
            raise RefusalError(401, "Integration not found: 'iss' is not the id of this App")
        if not isinstance(issued, int | float) or issued > now:
            raise RefusalError(401, "'Issued at' claim ('iat') must be a time that has passed")
        if not isinstance(ends, int | float) or ends <= now:
            raise RefusalError(401, "'Expiration time' claim ('exp') must be a time to come")
        if ends > now + LONGEST_JWT:
            raise RefusalError(401, "'Expiration time' claim ('exp') is too far in the future")
