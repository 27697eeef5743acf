"""Secrets that are given as files, read anew when a file changes: a rotation needs no restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from structlog.typing import FilteringBoundLogger

from worker.logs import logger
from worker.settings import Settings, SettingsError, reread

LOOK_SECONDS = 1.0
"""How often the files are looked at, at most: by requests that need them. A change counts once two looks agree, or the file
was last written so long ago, so that no half-written file is read."""
ROTATING = (
    "webhook_secrets", "registry_tokens", "exchange_tokens", "operator_tokens", "reader_tokens", "github_private_key",
    "issuers",
)  # fmt: skip
"""Settings that rotate. The addresses of store and broker do not: their connections last as long as the process."""

_Mark: TypeAlias = tuple[int, int, int] | None
"""What tells one state of a file from another; None: it cannot be read."""

_log = logger("settings")


class Rotation:
    """The settings of a process as they are now. Threads may share it.

    `clock` gives seconds that never go back, `wall` those of files. A file that is emptied takes its secrets away. One that cannot be read, or
    holds something bad, changes nothing and is logged once.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        log: FilteringBoundLogger = _log,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._wall = wall
        self._log = log
        self._files = {name: path for name, path in settings.files.items() if name in ROTATING}
        self._applied: dict[str, _Mark] = {}
        self._noticed: dict[str, _Mark] = {}
        self._look_at = clock()
        self._lock = threading.Lock()

    def settings(self) -> Settings:
        """The settings; the very same object as long as nothing changed."""
        if self._files and self._clock() >= self._look_at and self._lock.acquire(blocking=False):
            try:
                self._look_at = self._clock() + LOOK_SECONDS
                self._look()
            finally:
                self._lock.release()
        return self._settings

    def _look(self) -> None:
        for name, path in self._files.items():
            mark = _mark(path)
            if name in self._applied and mark == self._applied[name]:
                self._noticed.pop(name, None)
            elif (name in self._noticed and mark == self._noticed[name]) or self._rests(mark):
                self._noticed.pop(name, None)
                self._applied[name] = mark
                self._apply(name, path)
            else:
                self._noticed[name] = mark

    def _rests(self, mark: _Mark) -> bool:
        """Whether a file has stopped changing before this look. After hours without a request there was no look that could
        have agreed with it, and a token that was taken away meanwhile must not count once more.
        """
        return mark is not None and mark[0] <= (self._wall() - LOOK_SECONDS) * 1e9

    def _apply(self, name: str, path: Path) -> None:
        try:
            changed = reread(self._settings, name, path)
        except SettingsError as error:
            self._log.error("a changed secret cannot be used; the last one goes on", problem=str(error))
            return
        if getattr(changed, name) != getattr(self._settings, name):
            self._settings = changed
            self._log.info("a secret was rotated", setting=f"TENURE_{name.upper()}", now=changed.counted().get(name))


def _mark(path: Path) -> _Mark:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
