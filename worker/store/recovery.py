"""What becomes of the policies of a store that went back in time: closed at once, and open again when an operator says so."""

from __future__ import annotations

from worker.lifecycle.facts import Micros
from worker.lifecycle.views import rfc3339
from worker.store.client import Client, Command
from worker.store.epoch import Recovery
from worker.store.keys import Keyspace
from worker.store.switches import Scope, StandsError, Switches

EVERYTHING = Scope("all")
NAME = "recovery"
"""How the ids of its switches begin."""


class Recoveries:
    """Closes and opens everything."""

    def __init__(self, client: Client, keyspace: Keyspace, switches: Switches) -> None:
        self._client = client
        self._keyspace = keyspace
        self._switches = switches

    def close(self, recovery: Recovery) -> None:
        """Begin the new epoch in every partition, and close every policy. May be repeated.

        Raises:
            StoreError: it may be closed or not.
        """
        # Whoever decided in the epoch before commits nothing from here on, so no revision is given a second time.
        self._client.run([
            Command(("HSET", partition.settings, "epoch", recovery.epoch)) for partition in self._keyspace.all()
        ])  # fmt: skip
        reason = f"the store went back in time: what was written since {rfc3339(recovery.since)} is lost"
        try:
            self._switches.close(
                EVERYTHING, reason=reason, by="tenure", at=recovery.found, request_id=f"{NAME}-{recovery.epoch}"
            )
        except StandsError:
            # Somebody has closed it, perhaps before the backup was made: every partition is to follow that, too.
            self._switches.finish([EVERYTHING])

    def open(self, recovery: Recovery, *, by: str, reason: str, at: Micros) -> bool:
        """Open what was closed for this. Returns whether everything is still closed, because an operator had closed it.

        Raises:
            StoreError: it may be open or not.
        """
        closed = [switch for switch in self._switches.all() if switch.scope == str(EVERYTHING)]
        if closed and closed[0].switch_id.startswith(f"{NAME}-"):
            self._switches.open(EVERYTHING, reason=reason, by=by, at=at, request_id=f"{NAME}-{recovery.epoch}-accepted")
            return False
        return bool(closed)
