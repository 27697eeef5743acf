"""The public keys of the issuer: fetched when they are needed, kept while the issuer cannot be reached."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from typing import cast

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import InvalidKeyError
from jwt.algorithms import RSAAlgorithm

FRESH_SECONDS = 600.0
"""How long the keys are used before they are asked for again."""
STALE_SECONDS = 24 * 3600.0
"""How long they are used while the issuer cannot be reached. A key that the issuer withdrew is believed for no longer."""
FETCHES = 5
"""How often the keys are fetched within a window at most: whoever makes up key ids must not turn us on the issuer. More
than one, so that a rotation right after another question is seen at once."""
WINDOW_SECONDS = 60.0
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
        self._tries: deque[float] = deque()
        self._lock = asyncio.Lock()
        self._background: asyncio.Task[None] | None = None
        self.fetches: Counter[str] = Counter()
        """How often they were fetched, by outcome."""

    async def key(self, kid: str) -> RSAPublicKey | None:
        """The key of this id; None if the issuer has none.

        Raises:
            IssuerError: that cannot be told now.
        """
        age = time.monotonic() - self._fetched_at
        if kid in self._keys and age < STALE_SECONDS:
            if age >= FRESH_SECONDS and not self._lock.locked():
                # Nobody waits for an issuer that is slow while its keys are here.
                self._background = asyncio.create_task(self._refresh(kid=None))
            return self._keys[kid]
        await self._refresh(kid)
        if time.monotonic() - self._fetched_at >= STALE_SECONDS:
            raise IssuerError("the issuer's keys cannot be fetched")
        return self._keys.get(kid)

    async def _refresh(self, kid: str | None) -> None:
        """Fetch them, unless whoever had the lock before found the key that is looked for."""
        async with self._lock:
            if kid not in self._keys or time.monotonic() - self._fetched_at >= STALE_SECONDS:
                await self._fetch_unless_held_back()

    async def _fetch_unless_held_back(self) -> None:
        now = time.monotonic()
        while self._tries and now - self._tries[0] >= WINDOW_SECONDS:
            self._tries.popleft()
        if len(self._tries) >= FETCHES:
            self.fetches["held back"] += 1
            return
        self._tries.append(now)
        try:
            self._keys = _usable(await self._fetch())
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
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
    found = {}
    for jwk in listed if isinstance(listed, list) else ():
        fits = isinstance(jwk, dict) and jwk.get("kty") == "RSA" and isinstance(jwk.get("kid"), str)
        if not fits or jwk.get("use", "sig") != "sig" or jwk.get("alg", "RS256") != "RS256":
            continue
        try:
            key = RSAAlgorithm.from_jwk(cast("dict[str, str]", jwk))
        except (InvalidKeyError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, RSAPublicKey) and key.key_size >= SMALLEST_KEY:
            found[jwk["kid"]] = key
    if not found:
        raise ValueError("no key that can be used")
    return found
