"""What can go wrong between Tenure and GitHub, on demand."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from worker.demo.fakegithub.records import NotPossibleError

FaultKind: TypeAlias = Literal[
    "status",  # `status`, whatever it is: 404, 451, 429 (with Retry-After), 500, ...
    "redirect_loop",  # 301 to the address that was asked
    "primary_limit",  # 403: nothing remains until `retry_after` seconds from now
    "secondary_limit",  # 403 with Retry-After: too much at once
    "slow",  # the true answer, a byte every `delay` seconds, for `seconds` at most; then the connection ends
    "stall",  # nothing for `seconds`; then the connection ends
    "truncated",  # half of the true answer, announced as whole
    "wrong_shape",  # 200 with `body` as JSON
    "wrong_type",  # 200 with a page of HTML
    "reset",  # the connection is reset
]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, and for whom: a request must fit all of `route`, `path` and `installation` that are given."""

    kind: FaultKind
    route: str | None = None
    """Method and template, such as `GET /repositories/{id}`."""
    path: str | None = None
    """How the path begins, without the base path."""
    installation: int | None = None
    """Who asks, or whose token is asked for."""
    times: int | None = None
    """After so many requests the fault heals; None: only by `heal`."""
    status: int = 500
    retry_after: int = 60
    seconds: float = 30.0
    delay: float = 0.05
    body: object = field(default_factory=lambda: {"surprise": True})

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise NotPossibleError(f"kind: {self.kind} is none of {', '.join(get_args(FaultKind))}")
        if self.times is not None and self.times < 1:
            raise NotPossibleError("times: give 1 or more, or leave it out")

    def fits(self, route: str, path: str, installation: int | None) -> bool:
        return (
            self.route in (None, route)
            and path.startswith(self.path or "")
            and self.installation in (None, installation)
        )


class Faults:
    """Those that are in force. Of several that fit a request, the one added first is met."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[int, tuple[Fault, int | None]] = {}
        self._last = 0

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._last += 1
            self._left[self._last] = (fault, fault.times)

    def heal(self) -> None:
        with self._lock:
            self._left.clear()

    def meet(self, route: str, path: str, installation: int | None) -> Fault | None:
        """The fault that this request meets; counts it."""
        with self._lock:
            for number, (fault, left) in self._left.items():
                if not fault.fits(route, path, installation):
                    continue
                if left is not None and left <= 1:
                    del self._left[number]
                else:
                    self._left[number] = (fault, None if left is None else left - 1)
                return fault
        return None
