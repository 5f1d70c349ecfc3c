"""Serve the gateway at the configured address until SIGTERM.

python -m recsys_assets.serving.gateway
"""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from fastapi import FastAPI

from recsys_assets.addresses import is_loopback
from recsys_assets.serving.gateway.app import create_app
from recsys_assets.serving.gateway.logs import LOGGING
from recsys_assets.settings import get_settings

#: Seconds for which answers on open connections say that the connection ends.
DRAIN_SECONDS = 1.0


class GatewayServer(uvicorn.Server):
    """A uvicorn server that drains its connections before it ends.

    At SIGTERM it stops listening. On open connections, answers then say ``connection: close``, and
    /readyz says that the gateway is not ready. After DRAIN_SECONDS the idle connections are closed.
    So no request is lost because its connection closes while it is on its way.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain the connections, then shut down."""
        self._app.state.draining = True
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        end = loop.time() + DRAIN_SECONDS
        while self.server_state.connections and loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def main() -> None:
    """Run the gateway."""
    settings = get_settings()
    if settings.token is None and not is_loopback(settings.gateway_host):
        raise SystemExit(
            f"RECSYS_GATEWAY_HOST={settings.gateway_host} is reachable from other machines: set "
            "RECSYS_TOKEN, so that writes need a token, or bind 127.0.0.1"
        )
    app = create_app(settings)
    # keep-alive is longer than a load balancer's minute: if the gateway closed an idle connection
    # first, the balancer could answer 502
    config = uvicorn.Config(
        app,
        host=settings.gateway_host,
        port=settings.gateway_port,
        log_config=LOGGING,
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies.split(","),
    )
    server = GatewayServer(config, app)
    server.run()
    if not server.started:
        raise SystemExit(3)  # as uvicorn.run does; the log has the cause


if __name__ == "__main__":
    main()
