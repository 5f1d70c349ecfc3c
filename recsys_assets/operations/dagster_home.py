"""Write Dagster's files in the home and the environment of its processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

from recsys_assets.settings import Settings

LOCATION = "recsys_assets"
#: Runs of one lane (catalogue and days, refreshes, fine-tunes) run one at a time, in the order of
#: their requests: a fine-tune starts from the champion that the previous one promoted. Two runs at
#: most share a small machine, and a pool (training, promotion) runs one step at a time. Storage is
#: SQLite in the home, at Dagster's default place.
INSTANCE = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 2
    tag_concurrency_limits:
      - key: recsys/lane
        limit: 1
        value:
          applyLimitPerUniqueValue: true
  pools:
    default_limit: 1
"""


def folder(settings: Settings) -> Path:
    """Return the folder that DAGSTER_HOME names."""
    return settings.home.absolute() / "dagster"


def workspace_file(settings: Settings) -> Path:
    """Return the path of workspace.yaml."""
    return folder(settings) / "workspace.yaml"


def write(settings: Settings) -> Path:
    """Write dagster.yaml and workspace.yaml; return the value for DAGSTER_HOME."""
    home = folder(settings)
    home.mkdir(parents=True, exist_ok=True)
    event_log = {
        "module": "recsys_assets.orchestration.event_log",
        "class": "EventLog",
        "config": {"base_dir": str(home / "history" / "runs")},
    }
    # JSON is YAML, and json.dumps quotes every value correctly
    (home / "dagster.yaml").write_text(f"{INSTANCE}event_log_storage: {json.dumps(event_log)}\n")
    server = {
        "host": settings.dagster_host,
        "port": settings.code_server_port,
        "location_name": LOCATION,
    }
    workspace_file(settings).write_text(f"load_from:\n  - grpc_server: {json.dumps(server)}\n")
    return home


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables of every local process of the platform environment."""
    return {
        **os.environ,
        **settings.environment(),
        "DAGSTER_HOME": str(folder(settings)),
        "PYTHONUNBUFFERED": "1",
    }


def code_server_answers(settings: Settings) -> bool:
    """Return whether the code server has loaded the definitions.

    Its gRPC health service then answers SERVING.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"{settings.dagster_host}:{settings.code_server_port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=2
            )
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
