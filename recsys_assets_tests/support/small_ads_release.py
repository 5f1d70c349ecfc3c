"""Releases of the ads ranker with a small real network, for tests without a training."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import polars as pl

from recsys_assets.ads_columns import CATEGORIES, INTEGERS
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.ads_ctr import ads_release
from recsys_assets.lib.ads_ctr.ads_truth import AdsTruth
from recsys_assets.lib.ads_ctr.simulated_ads import simulate_day
from recsys_assets.lib.release.releases import Release, read_release
from recsys_assets.release_files import ADS_DCN_ONNX, ADS_TRANSFORMS
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON

PASSED = {"name": "auc: on the validation rows", "value": 0.7, "threshold": 0.6, "passed": True}
TRANSFORMS = {
    "vocabulary": {name: ["aa", "bb"] for name in CATEGORIES},
    "hashed_buckets": 10,
    "cardinality": dict.fromkeys(CATEGORIES, 3 + 2 + 10),
    "log_counts": True,
    "counts": {name: {"mean": 1.0, "std": 2.0} for name in INTEGERS},
}
#: Sigmoid of bias + weight · (sum of the counts + .01 · sum of the indices).
_SCRIPT = """
import sys
import numpy as np
from onnx import TensorProto as T, helper as h, numpy_helper as nh, save
weight, bias, path = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
constants = {"w": np.full((13, 1), weight, np.float32), "v": np.full((26, 1), weight / 100, np.float32),
             "b": np.array([bias], np.float32), "flat": np.array([-1])}
nodes = [h.make_node("Cast", ["cat"], ["f"], to=T.FLOAT), h.make_node("MatMul", ["f", "v"], ["x"]),
         h.make_node("MatMul", ["cont", "w"], ["y"]), h.make_node("Sum", ["x", "y", "b"], ["z"]),
         h.make_node("Sigmoid", ["z"], ["p"]), h.make_node("Reshape", ["p", "flat"], ["score"])]
inputs = [h.make_tensor_value_info("cat", T.INT32, ["N", 26]), h.make_tensor_value_info("cont", T.FLOAT, ["N", 13])]
graph = h.make_graph(nodes, "ads", inputs, [h.make_tensor_value_info("score", T.FLOAT, ["N"])],
                     [nh.from_array(values, name) for name, values in constants.items()])
save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
"""


def write_network(path: Path, weight: float, bias: float = -1.0) -> None:
    """Write a network of one weight as ONNX."""
    command = [str(TRAINING_PYTHON), "-c", _SCRIPT, str(weight), str(bias), str(path)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def ads_rows(rows: int = 40, seed: int = 7) -> pl.DataFrame:
    """Return simulated ads with values that the vocabulary has, and others."""
    drawn = simulate_day(AdsTruth(seed), 0, rows).rows
    return drawn.with_columns(pl.Series("C1", ["aa", None, "zz", "bb"] * (rows // 4)))


def network(
    store: ArtifactStore, weight: float, day: str = "2026-01-02"
) -> tuple[Artifact, Artifact]:
    """Publish ads_ctr/workflow and ads_ctr/dcn with one weight."""
    with store.stage("ads_ctr/workflow", day, inputs={}) as staged:
        (staged.path / ADS_TRANSFORMS).write_text(json.dumps(TRANSFORMS))
        workflow = staged.publish({"cardinality": TRANSFORMS["cardinality"]})
    with store.stage(
        "ads_ctr/dcn", day, inputs={"workflow": workflow}, params={"weight": weight}
    ) as staged:
        write_network(staged.path / ADS_DCN_ONNX, weight)
        return workflow, staged.publish({"auc": 0.7})


def publish_release(
    store: ArtifactStore, weight: float, *, day: str = "2026-01-02", passed: bool | None = True
) -> Release:
    """Publish a release whose network has one weight; passed: None: no verdict."""
    workflow, dcn = network(store, weight, day)
    gate = None if passed is None else {"passed": passed, "checks": [{**PASSED, "passed": passed}]}
    return read_release(
        ads_release.build_ads_release(
            store,
            day=day,
            workflow=workflow,
            dcn=dcn,
            sample=ads_rows(),
            gate=gate,
            metrics={"auc": 0.7, "click_rate": 0.25},
            learnt="nothing",
        )
    )
