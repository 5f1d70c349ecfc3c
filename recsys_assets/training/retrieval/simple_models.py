"""Write the models of a simple rung as ONNX files, in the form of the full models.

In: ``rung`` (folder with query.npz), ``workflows`` (transforms.json, for the width of histories).
Out: query_tower.onnx, dlrm.onnx, dlrm_items.onnx and dlrm_lists.onnx.

The query tower sums the vectors of the latest clicked items, each weighted by its age, and a
constant. The ranker gives 0.5 to every item, so that retrieval alone orders the list.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys_assets import columns as c
from recsys_assets.release_files import (
    QUERY_TOWER_ONNX,
    RANKER_ITEMS_ONNX,
    RANKER_LISTS_ONNX,
    RANKER_ONNX,
    RUNG_QUERY,
    TRANSFORMS,
)
from recsys_assets.training.onnx_graph import Graph
from recsys_assets.training.step import Step, run


@dataclass(frozen=True)
class SimpleModelsParams:
    """No parameters."""


_VISITOR, _NUMBERS = len(c.QUERY_CATEGORICAL), len(c.QUERY_CONTINUOUS)
MAX_DIFFERENCE = 1e-5


def simple_models(step: Step[SimpleModelsParams]) -> None:
    """Write the models and compare the query tower with numpy."""
    with np.load(step.file("rung", RUNG_QUERY), allow_pickle=False) as stored:
        table, constant = stored["table"], stored["constant"]
        half_life = float(stored["half_life"])
    transforms = json.loads(step.file("workflows", TRANSFORMS).read_text())
    width = 2 * int(transforms["cardinality"][c.CATEGORY_L1])
    # hashed rows, of items that arrive after the fit, add nothing
    hashed = int(transforms["cardinality"][c.ITEM_ID]) - len(table)
    table = np.pad(table, ((0, hashed), (0, 0)))
    path = step.output / QUERY_TOWER_ONNX
    write_query_tower(table, constant, half_life, width, path)
    write_ranker(step.output)
    step.report(items=len(table), max_abs_difference=_difference(path, table, constant, half_life))


def write_query_tower(
    table: np.ndarray, constant: np.ndarray, half_life: float, width: int, path: Path
) -> None:
    """Write the query tower of items to an ONNX file.

    items int32 [B, 50], age_hours float32 [B, 50] → embedding float32 [B, 64]. The inputs of the
    full query tower (cat, cont, history) are taken and ignored.

    Args:
        table: what a click on each item adds, float32 [3 + I, 64]; the first three rows are 0.
        constant: float32 [64].
        half_life: hours after which a click weighs half.
        width: of the input history.
        path: file to write.
    """
    graph = Graph()
    rate = np.array(-math.log(2) / half_life, np.float32)
    weights = graph.node("Exp", graph.node("Mul", "age_hours", rate))
    vectors = graph.node("Gather", table.astype(np.float32), "items")
    weighted = graph.node("MatMul", graph.node("Unsqueeze", weights, np.array([1])), vectors)
    graph.node(
        "Add",
        graph.node("Reshape", weighted, np.array([-1, c.EMBEDDING_DIM])),
        constant.astype(np.float32),
        output="embedding",
    )
    graph.save(
        path,
        {
            "cat": (np.int32, ["rows", _VISITOR]),
            "cont": (np.float32, ["rows", _NUMBERS]),
            "history": (np.float32, ["rows", width]),
            "items": (np.int32, ["rows", c.ITEM_HISTORY]),
            "age_hours": (np.float32, ["rows", c.ITEM_HISTORY]),
        },
        {"embedding": ["rows", c.EMBEDDING_DIM]},
    )


def write_ranker(folder: Path) -> None:
    """Write a ranker that gives every item the same score, whole and in its two parts."""
    item = len(c.ITEM_CATEGORICAL)
    embeddings: tuple[type, list[int | str]] = (np.float32, ["rows", 2 * c.EMBEDDING_DIM])
    whole = Graph()
    whole.node("Add", _zeros(whole, "cat", [-1]), np.array(0.5, np.float32), output="score")
    whole.save(
        folder / RANKER_ONNX,
        {
            "cat": (np.int32, ["rows", _VISITOR + item]),
            "cont": (np.float32, ["rows", len(c.RANKER_CONTINUOUS)]),
            "embeddings": embeddings,
        },
        {"score": ["rows"]},
    )
    of_items = Graph()
    zeros = _zeros(of_items, "cat", [-1, 1])
    of_items.node("Identity", zeros, output="known")
    of_items.node("Reshape", zeros, np.array([-1, 1, 1]), output="vectors")
    of_items.save(
        folder / RANKER_ITEMS_ONNX,
        {"cat": (np.int32, ["rows", item]), "embeddings": embeddings},
        {"known": ["rows", 1], "vectors": ["rows", 1, 1]},
    )
    of_lists = Graph()
    of_lists.node(
        "Add",
        of_lists.node("Reshape", "known", np.array([-1])),
        np.array(0.5, np.float32),
        output="score",
    )
    of_lists.save(
        folder / RANKER_LISTS_ONNX,
        {
            "cat": (np.int32, [1, _VISITOR]),
            "cont": (np.float32, [1, _NUMBERS]),
            "numbers": (np.float32, ["rows", len(c.RANKER_CONTINUOUS) - _NUMBERS]),
            "known": (np.float32, ["rows", 1]),
            "vectors": (np.float32, ["rows", 1, 1]),
        },
        {"score": ["rows"]},
    )


def _zeros(graph: Graph, matrix: str, shape: list[int]) -> str:
    """Add one zero per row of an int32 matrix; return the name."""
    first = graph.node("Gather", matrix, np.array([0]), axis=1)
    number = graph.node("Cast", graph.node("Reshape", first, np.array(shape)), to=1)  # 1: float32
    return graph.node("Mul", number, np.array(0, np.float32))


def _difference(
    path: Path, table: np.ndarray, constant: np.ndarray, half_life: float
) -> dict[str, float]:
    """Return the largest difference of the ONNX file from numpy, on random histories.

    Raises:
        ValueError: it is above MAX_DIFFERENCE.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    random, shape = np.random.default_rng(0), (32, c.ITEM_HISTORY)
    items = random.integers(0, len(table), shape).astype(np.int32)
    ages = random.uniform(0, 200, shape).astype(np.float32)
    inputs = {
        tensor.name: np.zeros([32, *tensor.shape[1:]], np.int32 if tensor.name == "cat" else "f4")
        for tensor in session.get_inputs()
    }
    (found,) = session.run(None, {**inputs, "items": items, "age_hours": ages})
    weights = np.exp2(-ages.astype(np.float64) / half_life)
    wanted = (weights[:, :, None] * table[items]).sum(axis=1) + constant
    difference = float(np.abs(found - wanted).max())
    if not difference <= MAX_DIFFERENCE * max(1.0, float(np.abs(wanted).max())):
        raise ValueError(f"{path.name} differs from numpy by {difference:.2e}: do not serve it")
    return {QUERY_TOWER_ONNX: difference}


if __name__ == "__main__":
    run(simple_models, SimpleModelsParams)
