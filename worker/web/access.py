"""Who may: webhooks by their signature, everybody else by a bearer token. Every comparison takes constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import SecretStr

from worker.settings import Settings, named
from worker.store.sessions import Role, digest
from worker.web.bodies import Headers
from worker.web.problems import ProblemError

SIGNATURE = b"x-hub-signature-256"


class Signatures:
    """Checks what GitHub signed with any of several secrets: during a rotation, two are right."""

    def __init__(self, secrets: Iterable[SecretStr]) -> None:
        self._keyed = [hmac.new(secret.get_secret_value().encode(), digestmod=hashlib.sha256) for secret in secrets]

    def begin(self) -> list[hmac.HMAC]:
        """One digest for each secret, to be updated with the raw body."""
        return [keyed.copy() for keyed in self._keyed]

    @staticmethod
    def check(headers: Headers, digests: Sequence[hmac.HMAC]) -> None:
        """
        Raises:
            ProblemError: there is no signature, or none of the secrets made it (401).
        """
        given = headers.get(SIGNATURE)
        if given is None:
            raise ProblemError(
                401, "signature", "X-Hub-Signature-256 is missing. Set the same secret in the webhook and in Tenure."
            )
        # Bytes are compared, since the header may hold any; all of them, so that time does not tell which one fits.
        right = [hmac.compare_digest(b"sha256=" + digest.hexdigest().encode(), given) for digest in digests]
        if not any(right):
            raise ProblemError(
                401, "signature", "X-Hub-Signature-256 is wrong. Set the same secret in the webhook and in Tenure."
            )


class Identity(NamedTuple):
    """Whose token it is."""

    name: str
    role: Role
    key: str
    """The token's digest."""


class People:
    """Knows operators and readers by their tokens."""

    def __init__(self, settings: Settings) -> None:
        lists = ((Role.READER, settings.reader_tokens), (Role.OPERATOR, settings.operator_tokens))
        self._known = [
            Identity(name or role.value, role, digest(token))
            for role, tokens in lists
            for name, token in map(named, tokens)
        ]

    def who(self, token: str) -> Identity | None:
        """Whose token this is; an operator's, if it is in both lists. All are compared, so time does not tell which."""
        given = digest(token)
        right = [identity for identity in self._known if hmac.compare_digest(identity.key, given)]
        return right[-1] if right else None

    def known(self, key: str, role: Role) -> bool:
        """Whether a token with this digest still has this role."""
        return any(identity.key == key and identity.role is role for identity in self._known)

    def anybody(self) -> bool:
        return bool(self._known)


class Tokens:
    """Checks `Authorization: Bearer`."""

    def __init__(self, *lists: Iterable[SecretStr]) -> None:
        self._tokens = [token.get_secret_value().encode() for tokens in lists for token in tokens]

    @classmethod
    def readers(cls, settings: Settings) -> Tokens:
        """Those that may read: everybody's."""
        people = (*settings.operator_tokens, *settings.reader_tokens)
        return cls(settings.registry_tokens, [SecretStr(named(token)[1]) for token in people])

    def check(self, headers: Headers) -> None:
        """
        Raises:
            ProblemError: no token, or one that is not among ours (401).
        """
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        right = [hmac.compare_digest(token, given.strip()) for token in self._tokens]
        if scheme.lower() != b"bearer" or not any(right):
            raise ProblemError(
                401, "token", "Send Authorization: Bearer with a token that Tenure was given.",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
