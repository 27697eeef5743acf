"""What a token exchange reads: may this token publish, and by which policy?

For a Python service that has nothing but redis installed beside it: nothing here, nor what it imports, needs more than
that and the standard library.

    reader = Reader.connect("redis://…")            # one round trip for each question; `AsyncReader` for asyncio
    mirror = Mirror("redis://…")                    # the same from memory, fed by the change feed
    decision = reader.evaluate(claims)              # claims of a token whose signature and times were checked
    decision.allowed, decision.grant                # whether, and the policy by which
    decision.difference                             # or the first thing that differs: `told` is for the caller,
                                                    # `detail` for operators only

- `lookup`: what is asked of the store, and what its replies mean: pure.
- `reader`: asks it, synchronously or not.
- `memory`: policies in memory: pure.
- `source`: a snapshot and the feed, from the store.
- `mirror`: keeps the memory up to date, and knows when it is not.
"""

from tenure_reader.claims import Claims, Grant, Stage
from tenure_reader.decision import Decision
from tenure_reader.lookup import GrantStatus, RepositoryRef, UnavailableError
from tenure_reader.memory import ChangeEvent, Memory
from tenure_reader.mirror import AsyncFallback, Fallback, Listener, Mirror, MirrorStatus, UntrustedError
from tenure_reader.reader import AsyncReader, Reader

__all__ = [
    "AsyncFallback",
    "AsyncReader",
    "ChangeEvent",
    "Claims",
    "Decision",
    "Fallback",
    "Grant",
    "GrantStatus",
    "Listener",
    "Memory",
    "Mirror",
    "MirrorStatus",
    "Reader",
    "RepositoryRef",
    "Stage",
    "UnavailableError",
    "UntrustedError",
]
