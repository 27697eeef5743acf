"""Claims in no list of the provider's mapping: it may have added one that policies should look at."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from tenure_reader.claims import Claims, Provider
from tenure_reader.github import GITHUB_ACTIONS

MOST_NAMES = 100
"""Names that are counted one by one. A token may carry any."""
LONGEST_NAME = 100
OTHERS = "others"
"""All further names together."""

log = logging.getLogger("tenure.claims")


class UnknownClaims:
    """Counts the claims that the provider's mapping does not name, and logs each once. Threads may share it."""

    def __init__(self, provider: Provider = GITHUB_ACTIONS) -> None:
        self._known = frozenset({*provider.required, *provider.optional, *provider.unchecked})
        self._prefixes = provider.unchecked_prefixes
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def note(self, claims: Claims) -> None:
        """The claims of one token."""
        for claim in sorted(claims.keys() - self._known):
            if not claim.startswith(self._prefixes):
                self._count(claim)

    def counts(self) -> dict[str, int]:
        """Claim → how many tokens had it."""
        with self._lock:
            return dict(self._counts)

    def _count(self, claim: str) -> None:
        # Escaped: a log is read on terminals.
        name = ascii(claim[:LONGEST_NAME])[1:-1]
        with self._lock:
            name = name if name in self._counts or len(self._counts) < MOST_NAMES else OTHERS
            first = name not in self._counts
            self._counts[name] += 1
        if first:
            log.warning("tokens have a claim that no rule knows: %s; decide whether policies should look at it", name)
