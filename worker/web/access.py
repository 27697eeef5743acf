"""Who may: webhooks by their signature, everybody else by a bearer token. Every comparison takes constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from worker.settings import Settings
from worker.settings.rotation import Rotation
from worker.settings.values import named
from worker.store.sessions import TokenRole, digest
from worker.web.bodies import Headers
from worker.web.problems import ProblemError

SIGNATURE = b"x-hub-signature-256"
_SIGNED = re.compile(rb"sha256=[0-9a-fA-F]{64}").fullmatch
SENDERS = frozenset({TokenRole.REGISTRY, TokenRole.EXCHANGE})
"""Who may send events."""
PEOPLE = frozenset({TokenRole.READER, TokenRole.OPERATOR})
"""Who may log in at the console."""
READERS = SENDERS | PEOPLE
"""Who may read policies."""


class Signatures:
    """Checks what an instance of GitHub signed with any of several secrets: during a rotation, two are right."""

    def __init__(self, rotation: Rotation, issuer: str) -> None:
        self._rotation = rotation
        self._issuer = issuer
        self._made_of: Settings | None = None
        self._keyed: list[hmac.HMAC] = []

    def begin(self) -> list[hmac.HMAC]:
        """One digest for each secret, to be updated with the raw body."""
        settings = self._rotation.settings()
        if settings is not self._made_of:
            self._keyed = [
                hmac.new(secret.get_secret_value().encode(), digestmod=hashlib.sha256)
                for secret in settings.instances[self._issuer].webhook_secrets
            ]
            self._made_of = settings
        return [keyed.copy() for keyed in self._keyed]

    @staticmethod
    def require(headers: Headers) -> None:
        """See whether there is a signature at all: without one, no body is read.

        Raises:
            ProblemError: there is none, or it has not the form of one (401).
        """
        presented = headers.get(SIGNATURE)
        if presented is None:
            raise ProblemError(
                401, "signature", "X-Hub-Signature-256 is missing. Set the same secret in the webhook and in Tenure."
            )
        if not _SIGNED(presented):
            raise ProblemError(
                401, "signature", "X-Hub-Signature-256 is wrong. Set the same secret in the webhook and in Tenure."
            )

    @staticmethod
    def check(headers: Headers, digests: Sequence[hmac.HMAC]) -> None:
        """
        Raises:
            ProblemError: none of the secrets made it (401).
        """
        presented = headers.get(SIGNATURE, b"")
        # Bytes are compared, since the header may hold any; all of them, so that time does not tell which one fits.
        right = [hmac.compare_digest(b"sha256=" + digest.hexdigest().encode(), presented) for digest in digests]
        if not any(right):
            raise ProblemError(
                401, "signature", "X-Hub-Signature-256 is wrong. Set the same secret in the webhook and in Tenure."
            )


class Identity(NamedTuple):
    """Whose token it is."""

    name: str
    role: TokenRole
    key: str
    """The token's digest."""


class BearerTokens:
    """Knows everybody by their tokens, as the settings are now."""

    def __init__(self, rotation: Rotation) -> None:
        self._rotation = rotation
        self._known: tuple[Settings, tuple[Identity, ...]] | None = None

    def _identities(self) -> tuple[Identity, ...]:
        settings = self._rotation.settings()
        if self._known is None or self._known[0] is not settings:
            self._known = settings, tuple(_identities(settings))
        return self._known[1]

    def who(self, token: str, roles: Collection[TokenRole]) -> Identity | None:
        """Whose token this is; in the role that may do most, if it is in several lists. All are compared, so time does
        not tell which.
        """
        token_digest = digest(token)
        right = [identity for identity in self._identities() if hmac.compare_digest(identity.key, token_digest)]
        return next((identity for identity in reversed(right) if identity.role in roles), None)

    def identities(self, key: str, role: TokenRole) -> bool:
        """Whether a token with this digest still has this role."""
        return any(identity.key == key and identity.role is role for identity in self._identities())

    def anybody(self, roles: Collection[TokenRole]) -> bool:
        """Whether there is a token of one of these roles."""
        return any(identity.role in roles for identity in self._identities())

    def check(self, headers: Headers, roles: Collection[TokenRole]) -> Identity:
        """Who sent this, by `Authorization: Bearer`.

        Raises:
            ProblemError: no token, or one that none of these roles has (401).
        """
        scheme, _, presented = headers.get(b"authorization", b"").partition(b" ")
        identity = self.who(presented.strip().decode("latin-1"), roles) if scheme.lower() == b"bearer" else None
        if identity is None:
            raise ProblemError(
                401, "token", "Send Authorization: Bearer with a token that Tenure was given.",
                headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        return identity


def _identities(settings: Settings) -> list[Identity]:
    """Everybody, those who may do most last."""
    identities: list[Identity] = []
    for role, tokens in (
        (TokenRole.EXCHANGE, settings.exchange_tokens),
        (TokenRole.REGISTRY, settings.registry_tokens),
        (TokenRole.READER, settings.reader_tokens),
        (TokenRole.OPERATOR, settings.operator_tokens),
    ):
        for token in tokens:
            name, bare = named(token)
            if not bare.strip():
                # Only a name: nobody has it. The doctor says so.
                continue
            identities.append(Identity(name or role.value, role, digest(bare)))
            if name and role is TokenRole.REGISTRY:
                # Before tokens of the registry could have names, a colon was part of the token.
                identities.append(Identity(name, role, digest(token.get_secret_value())))
    return identities
