"""A mirror, and the store itself while the mirror is not trusted."""

from __future__ import annotations

from tenure_reader.claims import Claims
from tenure_reader.decision import Decision
from tenure_reader.freshness import WAIT_SECONDS, AtLeast
from tenure_reader.lookup import BehindError
from tenure_reader.mirror import Mirror, UntrustedError
from tenure_reader.reader import AsyncReader, Reader
from tenure_reader.times import Micros


class Fallback:
    def __init__(self, mirror: Mirror, reader: Reader) -> None:
        self._mirror = mirror
        self._reader = reader
        self.direct = 0
        """Decisions that came from the store."""

    def evaluate(
        self,
        claims: Claims,
        *,
        package: str | None = None,
        action: str | None = None,
        at_least: AtLeast | None = None,
        wait: float = WAIT_SECONDS,
        now: Micros | None = None,
    ) -> Decision:
        """See `Reader.evaluate`. What the mirror does not know of yet, the store is asked for.

        Raises:
            UnavailableError: nothing can be decided now.
        """
        try:
            return self._mirror.evaluate(claims, package=package, action=action, at_least=at_least, now=now)
        except (UntrustedError, BehindError):
            self.direct += 1
            return self._reader.evaluate(claims, package=package, action=action, at_least=at_least, wait=wait, now=now)


class AsyncFallback:
    """The same for asyncio."""

    def __init__(self, mirror: Mirror, reader: AsyncReader) -> None:
        self._mirror = mirror
        self._reader = reader
        self.direct = 0
        """Decisions that came from the store."""

    async def evaluate(
        self,
        claims: Claims,
        *,
        package: str | None = None,
        action: str | None = None,
        at_least: AtLeast | None = None,
        wait: float = WAIT_SECONDS,
        now: Micros | None = None,
    ) -> Decision:
        """See `Fallback.evaluate`.

        Raises:
            UnavailableError: nothing can be decided now.
        """
        try:
            return self._mirror.evaluate(claims, package=package, action=action, at_least=at_least, now=now)
        except (UntrustedError, BehindError):
            self.direct += 1
            return await self._reader.evaluate(
                claims, package=package, action=action, at_least=at_least, wait=wait, now=now
            )
