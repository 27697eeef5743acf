"""A client of a process to which something happens before one of its round trips."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from worker.store.client import Call, Client, Reply
from worker.store.topology import Topology


class EndedError(Exception):
    """The process has ended."""


class Stepping(Client):
    """Before round trip `at`, the first being 0, something happens, or the process ends; after each of them somebody looks."""

    def __init__(
        self,
        topology: Topology,
        at: int,
        happens: Callable[[], None] | None = None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(topology)
        self._left = at
        self._happens = happens
        self._look = look
        self.happened = False

    def run(self, calls: Sequence[Call], *, atomic: bool = False) -> list[Reply]:
        if self._left == 0:
            self.happened = True
            if self._happens is None:
                raise EndedError  # And so it does whatever else is tried.
            self._happens()
        self._left -= 1
        replies = super().run(calls, atomic=atomic)
        self._look()
        return replies
