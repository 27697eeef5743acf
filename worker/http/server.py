"""The HTTP server of one process."""

from __future__ import annotations

import socket
from functools import partial
from typing import cast

import uvicorn
from starlette.applications import Starlette

from worker.http.protocol import LimitedProtocol, Lobby
from worker.settings.proxies import Proxies

NO_PROXIES = Proxies((), private=False)


class HttpServer(uvicorn.Server):
    """Ends live streams, replays and what waits for answers before it waits for connections to end: they would not do so by
    themselves, or not soon.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        served = self.config.app
        assert isinstance(served, Starlette)
        served.state.console.close()
        served.state.answers.end()
        await super().shutdown(sockets)


def server(served: Starlette, host: str, port: int, *, proxies: Proxies = NO_PROXIES) -> HttpServer:
    """A server of the API and console. No header says who a sender is: `X-Forwarded-For` is anybody's to write.

    `proxies`: whose connections are many senders', and not limited by address.
    """
    protocol = partial(LimitedProtocol, Lobby(proxies))
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
    return HttpServer(config)
