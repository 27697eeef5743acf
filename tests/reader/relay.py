"""A connection between a server and its clients that can be cut, and mended to another server."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Relay:
    """Use as a context manager. Listens on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._to: int | None = port
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that waits in accept() is woken by the end of the socket, not by its descriptor's.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        """End every connection, and take no further ones."""
        with self._lock:
            self._to = None
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def mend(self, port: int) -> None:
        """Take connections again, to this server."""
        with self._lock:
            self._to = port

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                if self._to is None:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        """One way. Each socket is closed by the thread that reads it."""
        with one, contextlib.suppress(OSError):
            while part := one.recv(65536):
                other.sendall(part)
            other.shutdown(socket.SHUT_RDWR)
