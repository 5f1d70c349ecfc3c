"""Dagster's own files in the home: instance, workspace, and the variables its processes run
with.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from recsys_assets.settings import Settings

LOCATION = "recsys_assets"
#: Runs of one lane (fine-tunes) follow each other in the order in which they were asked for: each
#: starts from the champion that the one before has promoted. Storage is SQLite in the home by
#: default. Runs take turns on a small machine; a pool (training, promotion) is one at a time
#: everywhere.
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
    return settings.home.absolute() / "dagster"


def workspace_file(settings: Settings) -> Path:
    return folder(settings) / "workspace.yaml"


def write(settings: Settings) -> Path:
    """Write dagster.yaml and workspace.yaml; returns what DAGSTER_HOME must be."""
    home = folder(settings)
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(INSTANCE)
    server = {
        "host": settings.dagster_host,
        "port": settings.code_server_port,
        "location_name": LOCATION,
    }
    # JSON is YAML: values are quoted rightly whatever they hold
    workspace_file(settings).write_text(f"load_from:\n  - grpc_server: {json.dumps(server)}\n")
    return home


def environment(settings: Settings) -> dict[str, str]:
    """Variables of every local process of the platform environment."""
    return {
        **os.environ,
        **settings.environment(),
        "DAGSTER_HOME": str(folder(settings)),
        "PYTHONUNBUFFERED": "1",
    }


def code_server_answers(settings: Settings) -> bool:
    """Whether the code server has loaded the definitions: its gRPC health service says SERVING."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"{settings.dagster_host}:{settings.code_server_port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=2
            )
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING
