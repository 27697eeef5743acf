"""Who may: webhooks by their signature, everybody else by a bearer token. Every comparison takes constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence

from pydantic import SecretStr

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


class Tokens:
    """Checks `Authorization: Bearer`."""

    def __init__(self, *lists: Iterable[SecretStr]) -> None:
        self._tokens = [token.get_secret_value().encode() for tokens in lists for token in tokens]

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
