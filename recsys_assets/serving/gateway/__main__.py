"""``python -m recsys_assets.serving.gateway``: serve at the configured address until SIGTERM."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from fastapi import FastAPI

from recsys_assets.serving.gateway.app import create_app, is_loopback
from recsys_assets.serving.gateway.logs import LOGGING
from recsys_assets.settings import get_settings

#: Seconds in which whoever keeps a connection is told with his next answer that it ends.
DRAIN_SECONDS = 1.0


class GatewayServer(uvicorn.Server):
    """Ends without hanging up on anybody: a connection that is closed while a request is on its way
    loses it.

    At SIGTERM it stops to listen; on the connections there are, answers begin to say ``connection:
    close`` and /readyz that it is not ready. Who sends nothing meanwhile is closed then.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI):
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.draining = True
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + DRAIN_SECONDS
        while self.server_state.connections and loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def main() -> None:
    settings = get_settings()
    if settings.token is None and not is_loopback(settings.gateway_host):
        raise SystemExit(
            f"RECSYS_GATEWAY_HOST={settings.gateway_host} is reachable from other machines: set "
            f"RECSYS_TOKEN, which writes must bear, or bind 127.0.0.1"
        )
    # a load balancer keeps idle connections for a minute: were they closed here first, it would
    # answer 502 now and then
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.gateway_host,
        port=settings.gateway_port,
        log_config=LOGGING,
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    server = GatewayServer(config, app)
    server.run()
    if not server.started:
        raise SystemExit(3)  # as uvicorn.run says it: the log has why


if __name__ == "__main__":
    main()
