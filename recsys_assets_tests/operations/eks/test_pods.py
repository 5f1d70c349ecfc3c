"""Test the table of the assets' pods against the pods that are made."""

from __future__ import annotations

from recsys_assets.operations.eks.pods import asset_pods
from recsys_assets.settings import Settings


def test_every_asset_has_a_pod() -> None:
    found = {pod.asset: pod for pod in asset_pods(Settings())}
    assert len(found) >= 58
    tower = found["retrieval/two_tower"]
    assert (tower.pod, tower.profile, tower.gpus, tower.hours) == ("training", "GPU_TRAIN", 1, 6)
    workflows = found["features/workflows"]
    assert (workflows.pod, workflows.profile, workflows.gpus) == ("training", "CPU_LARGE", 0)
    assert found["raw/interactions"].pod == "step"
    assert {pod.asset for pod in found.values() if pod.gpus} == {
        "retrieval/two_tower",
        "ranking/dlrm",
        "ads_ctr/dcn",
        "ads_ctr/tuned_dcn",
        "fine_tune/query_tower",
        "fine_tune/dlrm",
    }


def test_a_setting_changes_the_table() -> None:
    settings = Settings(k8s_profiles="GPU_TRAIN=2/8Gi/0")
    (tower,) = [pod for pod in asset_pods(settings) if pod.asset == "retrieval/two_tower"]
    assert (tower.cpu, tower.memory, tower.gpus) == ("2", "8Gi", 0)
