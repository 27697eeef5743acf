"""May this token publish, and by which policy? For a token exchange that has nothing but redis installed beside this.

    reader = Reader.connect("redis://…")            # one round trip for each question; `AsyncReader` for asyncio
    mirror = Mirror("redis://…")                    # the same from memory, fed by the change feed
    decision = reader.evaluate(claims)              # claims of a token whose signature and times were checked
    decision.allowed, decision.grant                # whether, and the policy by which
    decision.difference                             # or the first thing that differs: `told` is for the caller,
                                                    # `detail` for operators only

Pure:

- `claims`: the job that a token speaks for, as the rules see it; `github`: what GitHub's claims say of it.
- `rules`: would this job match a policy? `decision`: which policy of its repository lets it publish.
- `keys`: what is read. `lookup`: the questions to the store, and what its replies mean. `memory`: policies in memory.
- `freshness`: revisions that an answer must know of.

With redis:

- `reader`: asks the store, synchronously or not.
- `source`: a snapshot and the feed. `mirror`: keeps the memory up to date, and knows when it is not. `fallback`: the mirror,
  or else the store.

`conformance` is the kit for exchanges in other languages.
"""

from tenure_reader.claims import Claims
from tenure_reader.decision import Decision
from tenure_reader.fallback import AsyncFallback, Fallback
from tenure_reader.grants import Grant
from tenure_reader.lookup import BehindError, GrantStatus, RepositoryRef
from tenure_reader.memory import ChangeEvent, Memory
from tenure_reader.mirror import Listener, Mirror, MirrorStatus, UntrustedError
from tenure_reader.reader import AsyncReader, Reader
from tenure_reader.routing import UnavailableError
from tenure_reader.rules import Stage
from tenure_reader.unknown import UnknownClaims

__all__ = [
    "AsyncFallback",
    "AsyncReader",
    "BehindError",
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
    "UnknownClaims",
    "UntrustedError",
]
