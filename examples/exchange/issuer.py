"""The public keys of the issuer: fetched when they are needed, kept while the issuer cannot be reached."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import cast

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import InvalidKeyError
from jwt.algorithms import RSAAlgorithm

FRESH_SECONDS = 600.0
"""How long the keys are used before they are asked for again."""
STALE_SECONDS = 24 * 3600.0
"""How long they are used while the issuer cannot be reached. A key that the issuer withdrew is believed for no longer."""
SPACING_SECONDS = 1.0
"""Between the beginnings of two fetches at least: whoever makes up key ids must not turn us on the issuer. A token whose
key is not known waits for the next one, and all that wait share it."""
UNKNOWN_SECONDS = 5.0
"""How long an id counts as made up, after the issuer was seen not to have it."""
MOST_UNKNOWN = 1000
"""Ids that are remembered for that."""
TIMEOUT = 5.0
LARGEST = 256 * 1024
SMALLEST_KEY = 2048
"""Bits."""

log = logging.getLogger("exchange.issuer")


class IssuerError(Exception):
    """The issuer's keys cannot be had now."""


class IssuerKeys:
    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = url
        self._http = http
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at = -STALE_SECONDS
        self._tried_at = -STALE_SECONDS
        """When the last fetch began. Moments are seconds of the monotonic clock."""
        self._unknown: dict[str, float] = {}
        """Id → until when nobody is asked about it."""
        self._lock = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None
        self.fetches: Counter[str] = Counter()
        """How often they were fetched, by outcome."""

    async def key(self, kid: str) -> RSAPublicKey | None:
        """The key of this id; None if the issuer has none.

        Raises:
            IssuerError: that cannot be told now.
        """
        now = time.monotonic()
        age = now - self._fetched_at
        if kid in self._keys and age < STALE_SECONDS:
            if age >= FRESH_SECONDS and now - self._tried_at >= SPACING_SECONDS and not self._lock.locked():
                # Nobody waits for an issuer that is slow while its keys are here.
                self._background = asyncio.create_task(self._refresh())
            return self._keys[kid]
        if now < self._unknown.get(kid, now):
            return None
        return await self._look_up(kid, now)

    async def _look_up(self, kid: str, asked_at: float) -> RSAPublicKey | None:
        """What the issuer says of an id that is not known.

        Raises:
            IssuerError: it does not answer.
        """
        async with self._lock:
            # A fetch that began since serves all who waited for it, well or badly.
            if self._tried_at < asked_at:
                await asyncio.sleep(self._tried_at + SPACING_SECONDS - time.monotonic())
                await self._fetch_keys()
            if self._fetched_at < asked_at:
                raise IssuerError("the issuer's keys cannot be fetched")
            if kid not in self._keys:
                self._note_unknown(kid)
            return self._keys.get(kid)

    async def _refresh(self) -> None:
        async with self._lock:
            await self._fetch_keys()

    def _note_unknown(self, kid: str) -> None:
        if len(self._unknown) >= MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[kid] = self._fetched_at + UNKNOWN_SECONDS

    async def _fetch_keys(self) -> None:
        self._tried_at = now = time.monotonic()
        try:
            self._keys = _usable(await self._fetch())
        except (httpx.HTTPError, TimeoutError, ValueError, RecursionError) as error:
            self.fetches["failed"] += 1
            log.warning("the issuer's keys could not be fetched: %s", type(error).__name__)
            return
        self._fetched_at = now
        self.fetches["done"] += 1

    async def _fetch(self) -> object:
        async with asyncio.timeout(TIMEOUT), self._http.stream("GET", self._url) as response:
            # A redirect is no answer: keys come from where we were told.
            if response.status_code != httpx.codes.OK:
                raise httpx.HTTPError(f"HTTP {response.status_code}")
            body = b""
            async for part in response.aiter_bytes():
                body += part
                if len(body) > LARGEST:
                    raise httpx.HTTPError("longer than any set of keys")
        return httpx.Response(200, content=body).json()


def _usable(document: object) -> dict[str, RSAPublicKey]:
    """Id → key, of those that may sign with RS256.

    Raises:
        ValueError: there is none.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    keys = {}
    for jwk in listed if isinstance(listed, list) else ():
        fits = isinstance(jwk, dict) and jwk.get("kty") == "RSA" and isinstance(jwk.get("kid"), str)
        if not fits or jwk.get("use", "sig") != "sig" or jwk.get("alg", "RS256") != "RS256":
            continue
        try:
            key = RSAAlgorithm.from_jwk(cast("dict[str, str]", jwk))
        except (InvalidKeyError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, RSAPublicKey) and key.key_size >= SMALLEST_KEY:
            keys[jwk["kid"]] = key
    if not keys:
        raise ValueError("no key that can be used")
    return keys
