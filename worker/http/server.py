"""The server of one process's doors."""

from __future__ import annotations

import socket
from functools import partial
from typing import cast

import uvicorn
from starlette.applications import Starlette

from worker.http.protocol import LimitedProtocol, Lobby


class Server(uvicorn.Server):
    """Ends live streams and replays before it waits for connections to end: they would not do so by themselves."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        served = self.config.app
        assert isinstance(served, Starlette)
        served.state.console.close()
        await super().shutdown(sockets)


def server(served: Starlette, host: str, port: int, *, behind_proxy: bool = False) -> Server:
    """A server of these doors. No header says who a sender is: `X-Forwarded-For` is anybody's to write.

    `behind_proxy`: all connections may come from one address.
    """
    protocol = partial(LimitedProtocol, Lobby(by_address=not behind_proxy))
    config = uvicorn.Config(
        served,
        http=cast("type[LimitedProtocol]", protocol),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    return Server(config)
