"""List the resources of the pod of each asset."""

from __future__ import annotations

import json
from typing import NamedTuple

from recsys_assets.orchestration import compute
from recsys_assets.settings import Settings


class AssetPod(NamedTuple):
    """Holds the resources of the pod that does an asset's work.

    ``pod`` is *step* or *training*. ``hours`` is its time limit.
    """

    asset: str
    pod: str
    profile: str
    cpu: str
    memory: str
    gpus: int
    hours: float


def asset_pods(settings: Settings) -> list[AssetPod]:
    """Return the resources per asset, sorted by its name.

    A training pod is started by a step pod of CPU_SMALL, which waits for it.
    """
    from recsys_assets.definitions import defs

    found = []
    graph = defs().resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        tags = graph.get(key).assets_def.op.tags
        profile = tags[compute.PROFILE]
        config = json.loads(tags[compute.K8S_CONFIG])
        seconds = config["job_spec_config"]["active_deadline_seconds"]
        pod = "training" if tags.get(compute.POD) == compute.TRAINING else "step"
        cpu, memory, gpus = settings.profiles[profile]
        found.append(
            AssetPod(key.to_user_string(), pod, profile, cpu, memory, gpus, seconds / 3600)
        )
    return sorted(found)
