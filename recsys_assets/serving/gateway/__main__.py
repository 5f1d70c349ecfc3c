"""``python -m recsys_assets.serving.gateway``: serve at the configured address until SIGTERM."""

from __future__ import annotations

import uvicorn

from recsys_assets.serving.gateway.app import create_app, is_loopback
from recsys_assets.serving.gateway.logs import LOGGING
from recsys_assets.settings import get_settings


def main() -> None:
    settings = get_settings()
    if settings.token is None and not is_loopback(settings.gateway_host):
        raise SystemExit(f"RECSYS_GATEWAY_HOST={settings.gateway_host} is reachable from other machines: set "
                         f"RECSYS_TOKEN, which writes must bear, or bind 127.0.0.1")
    # a load balancer keeps idle connections for a minute: were they closed here first, it would answer 502 now and then
    uvicorn.run(create_app(settings), host=settings.gateway_host, port=settings.gateway_port, log_config=LOGGING,
                access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=10, server_header=False)


if __name__ == "__main__":
    main()
