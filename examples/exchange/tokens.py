"""Whether a token is what it says: by whom it was made, for whom, and when."""

from __future__ import annotations

import hashlib
import re
import time
from typing import NamedTuple

import jwt

from examples.exchange.issuer import IssuerKeys
from tenure_reader import Claims

ALGORITHM = "RS256"
"""The only one. What a token says of its own algorithm is compared with it, and never followed."""
LEEWAY = 30
"""Seconds by which the issuer's clock and ours may differ."""
LONGEST_LIFE = 24 * 3600
"""Seconds. No token of GitHub's lives nearly as long, and each has to be remembered for as long as it lives."""
LONGEST_TOKEN = 16 * 1024
LONGEST_ID = 200
_PRINTED = re.compile(r"[!-~]+")
"""ASCII that can be seen: what Tenure takes as an id of a login."""


class TokenRefusedError(Exception):
    """The token is not accepted. The message may be told to whoever presented it."""


class WorkflowToken(NamedTuple):
    claims: Claims
    use: str
    """Which token this is, among all of this issuer."""
    remembered_ms: int
    """How long its use has to be remembered: until nobody would accept it any more."""


WHY: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is made for another audience",
    jwt.InvalidIssuerError: "the token is made by another issuer",
    jwt.InvalidSignatureError: "the token's signature is wrong",
    jwt.MissingRequiredClaimError: "the token lacks a claim that every token of GitHub Actions has",
}
"""What is said of each; of any other: that the token is not valid."""


async def verified(token: str, keys: IssuerKeys, *, issuer: str, audience: str) -> WorkflowToken:
    """The claims of a token whose signature, issuer, audience and times are right.

    Raises:
        RefusedError: something is not.
        IssuerError: that cannot be told now.
    """
    key = await keys.key(_key_id(token))
    if key is None:
        raise TokenRefusedError("the token is signed with a key that its issuer does not publish")
    try:
        claims = jwt.decode(
            token, key, algorithms=[ALGORITHM], audience=audience, issuer=issuer, leeway=LEEWAY,
            # What `sub` looks like is the customer's to choose; nothing is made of it.
            options={"require": ["exp", "iat", "iss", "aud", "jti"], "strict_aud": True, "verify_sub": False},
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise TokenRefusedError(WHY.get(type(error), "the token is not valid")) from None
    return _token(claims, issuer)


def _key_id(token: str) -> str:
    """
    Raises:
        RefusedError: it names none, or another algorithm than ours.
    """
    if len(token) > LONGEST_TOKEN:
        raise TokenRefusedError("the token is longer than any of GitHub's")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenRefusedError("this is no token") from None
    if header.get("alg") != ALGORITHM:
        raise TokenRefusedError(f"the token is not signed with {ALGORITHM}")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise TokenRefusedError("the token does not say which key signed it")
    return kid


def _token(claims: Claims, issuer: str) -> WorkflowToken:
    jti, ends = claims["jti"], claims["exp"]
    if not isinstance(jti, str) or not _PRINTED.fullmatch(jti) or len(jti) > LONGEST_ID:
        raise TokenRefusedError("the token's jti is not an id")
    if isinstance(ends, bool) or not isinstance(ends, int | float) or ends - time.time() > LONGEST_LIFE:
        raise TokenRefusedError("the token lives longer than any of GitHub's")
    use = hashlib.sha256(f"{issuer}\n{jti}".encode()).hexdigest()
    return WorkflowToken(claims, use, int((ends - time.time() + 2 * LEEWAY) * 1000) + 1000)
