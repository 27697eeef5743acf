"""The server of one process's doors."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette


class Server(uvicorn.Server):
    """Ends live streams and replays before it waits for connections to end: they would not do so by themselves."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        served = self.config.app
        assert isinstance(served, Starlette)
        served.state.console.close()
        await super().shutdown(sockets)
