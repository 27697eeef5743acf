"""Who asks: the App, by a signature of its own, or one of its installations, by a token that the App is given.

Neither the key nor a token is ever part of a repr or an error.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from datetime import datetime

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from worker.github.answers import LaterError

SIGNED_BACK = 60
"""Seconds that a signature's beginning lies back, for clocks that differ."""
SIGNED_AHEAD = 480
"""Seconds that a signature is good for. GitHub takes up to 600, by its own clock."""
MARGIN = 60
"""Seconds before its end from which a signature or a token is not used any more."""
SMALLEST_KEY = 2048
"""Bits."""


def check_private_key(pem: str) -> None:
    """See whether this can sign for a GitHub App.

    Raises:
        ValueError: it cannot; one line that says why, and nothing of the key.

    """
    _loaded(pem)


@functools.lru_cache(maxsize=64)
def _loaded(pem: str) -> RSAPrivateKey:
    # Checking a key takes 50 ms of a processor, and settings are read again and again: the keys in use, of each instance
    # of GitHub, and those that follow them in a rotation, are checked once.
    try:
        # In a variable of one line, people write line breaks as `\\n`.
        key = load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("is not an RSA private key in PEM, without a passphrase; take the file that GitHub made")  # noqa: TRY004
    if key.key_size < SMALLEST_KEY:
        raise ValueError(f"is an RSA key of less than {SMALLEST_KEY} bits; have GitHub make a new one")
    return key


class AppCredentials:
    """The App's own signature, made anew shortly before it ends.

    `clock` gives unix seconds, `private_key` the App's key in PEM: another one after a rotation.

    Raises:
        ValueError: as `check_private_key`.

    """

    def __init__(self, app_id: str, private_key: Callable[[], str], clock: Callable[[], float]) -> None:
        self._pem = private_key
        self._loaded_from = private_key()
        self._key = _loaded(self._loaded_from)
        self._app_id = app_id
        self._clock = clock
        self._lock = threading.Lock()
        self._signed = ""
        self._signed_at = float("-inf")

    def signature(self) -> str:
        """A JSON web token that GitHub knows the App by."""
        now, pem = self._clock(), self._pem()
        with self._lock:
            if pem != self._loaded_from:
                self._key, self._loaded_from, self._signed_at = _loaded(pem), pem, float("-inf")
            if not 0 <= now - self._signed_at < SIGNED_AHEAD - MARGIN:
                claims = {"iat": int(now) - SIGNED_BACK, "exp": int(now) + SIGNED_AHEAD, "iss": self._app_id}
                self._signed = jwt.encode(claims, self._key, algorithm="RS256")
                self._signed_at = now
            return self._signed


class InstallationToken:
    """An installation's token. `ends_at`: unix seconds. `permissions`: what it lets its holder read, at least."""

    __slots__ = ("ends_at", "permissions", "text")

    def __init__(self, text: str, ends_at: datetime, permissions: frozenset[str]) -> None:
        self.text = text
        self.ends_at = ends_at.timestamp()
        self.permissions = permissions


class _TokenSlot:
    """Where one installation's token is kept; whoever fetches it holds the lock."""

    __slots__ = ("lock", "token")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.token: InstallationToken | None = None


class InstallationTokens:
    """Installations' tokens, each fetched by one thread at a time and kept until a minute before its end."""

    def __init__(self, clock: Callable[[], float], patience: float) -> None:
        """`patience`: seconds that one waits for another's fetching."""
        self._clock = clock
        self._wait_seconds = patience
        self._lock = threading.Lock()
        self._slots: dict[int, _TokenSlot] = {}

    def get(
        self, installation: int, fetch: Callable[[], InstallationToken], refused: InstallationToken | None = None
    ) -> InstallationToken:
        """The installation's token, by `fetch` if there is none that is good; `refused` is no longer.

        Raises:
            LaterError: another thread fetches it, and takes too long.
            GitHubError: what `fetch` raises.

        """
        with self._lock:
            place = self._slots.setdefault(installation, _TokenSlot())
        if not place.lock.acquire(timeout=self._wait_seconds):
            raise LaterError(
                f"installation {installation}: its token is being fetched and does not come; ask again later"
            )
        try:
            token = place.token
            if token is None or token is refused or token.ends_at - MARGIN <= self._clock():
                place.token = None
                token = place.token = fetch()
            return token
        finally:
            place.lock.release()
