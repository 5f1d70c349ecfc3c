"""Test how the resources of compute profiles are read, and what the pods get of them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from recsys_assets.compute_settings import DEFAULT, Resources, profiles_of
from recsys_assets.orchestration import compute
from recsys_assets.settings import Settings

GPU = "nvidia.com/gpu"


def test_without_a_setting_the_defaults_hold() -> None:
    assert profiles_of("") == profiles_of(" , ") == DEFAULT
    assert Settings().profiles == DEFAULT


def test_a_setting_changes_the_named_profiles_alone() -> None:
    found = profiles_of("CPU_LARGE=1500m/6Gi, GPU_TRAIN = 2/8Gi/0")
    assert found == {
        **DEFAULT,
        "CPU_LARGE": Resources("1500m", "6Gi"),
        "GPU_TRAIN": Resources("2", "8Gi", 0),
    }
    assert profiles_of("GPU_TRAIN=0.5/512Mi")["GPU_TRAIN"] == Resources("0.5", "512Mi", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CPU_HUGE=1/1Gi", "'CPU_HUGE' is no profile: use CPU_SMALL, CPU_MEDIUM, CPU_LARGE"),
        ("CPU_SMALL", "'CPU_SMALL' names no CPU, memory"),
        ("CPU_SMALL=1", "names no CPU, memory"),
        ("CPU_SMALL=1/1GB", "names no CPU, memory"),
        ("CPU_SMALL=0/1Gi", "names no CPU, memory"),
        ("GPU_TRAIN=1/1Gi/2", "at most 1 GPU: write NAME=CPU/MEMORY"),
        ("GPU_TRAIN=1/1Gi/1/1", "names no CPU, memory"),
        ("CPU_LARGE=1/1Gi/1", "'CPU_LARGE=1/1Gi/1' rents a GPU, and only GPU_TRAIN uses one"),
    ],
)
def test_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match="RECSYS_K8S_PROFILES") as refused:
        Settings(k8s_profiles=text)
    assert message in str(refused.value)


def test_step_and_training_pods_get_what_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_K8S_PROFILES", "CPU_SMALL=100m/1Gi,GPU_TRAIN=2/8Gi/0")
    for tags in (compute.op_tags("CPU_SMALL"), compute.op_tags("GPU_TRAIN")):
        waiting = tags[compute.K8S_CONFIG]["container_config"]["resources"]
        assert waiting == {
            "requests": {"cpu": "100m", "memory": "1Gi"},
            "limits": {"memory": "1Gi"},
        }
    _, spec = compute.training_pod(Settings(), "GPU_TRAIN", {})
    assert spec["node_selector"] == {compute.NODE_LABEL: "cpu"}
    assert "tolerations" not in spec
    assert GPU not in spec["containers"][0]["resources"]["limits"]
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "2", "memory": "8Gi"}
