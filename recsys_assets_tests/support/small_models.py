"""Small honest models, and dishonest ones: a visitor's taste by category and an item's appeal,
counted on training rows.

The query tower looks the visitor's row up, the ranker is a logistic of the same inner product; both
are real ONNX files. What is not honest learns from permuted rows, or has random tables.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.artifacts import Artifact, ArtifactStore
from recsys_assets.lib.embeddings import aligned
from recsys_assets.lib.evaluation.generation import Generation
from recsys_assets.lib.exports import session
from recsys_assets.lib.features.batch_transform import BatchTransform
from recsys_assets.lib.sources.stored import BY_SIMILARITY, JUDGED, SERVED, write_blend
from recsys_assets.partitions import train_days
from recsys_assets.settings import Settings
from recsys_assets_tests.support import linear_onnx
from recsys_assets_tests.support.embedded_shop import without_content

Kind = Literal["honest", "permuted", "random"]
WIDTH = c.EMBEDDING_DIM
#: Clicks that the mean visitor's taste, the mean device's, and an item's appeal are worth.
_TASTE_PRIOR, _DEVICE_PRIOR, _APPEAL_PRIOR = 4.0, 40.0, 2.0

_SCRIPT = """
import json, sys
import numpy as np
from onnx import TensorProto as T, helper as h, numpy_helper as nh, save
job = json.load(sys.stdin)
with np.load(job["tables"]) as stored:
    users, devices, items, line = (stored[name] for name in ("users", "devices", "items", "line"))
def value(name, width):
    return h.make_tensor_value_info(name, T.INT32 if name == "cat" else T.FLOAT, ["B", width])
def column(at, name):
    return [nh.from_array(np.array(at, np.int64), name + "_at")], h.make_node("Gather", ["cat", name + "_at"], [name + "_index"], axis=1)
def write(file, nodes, weights, output):
    inputs = [value(name, width) for name, width in job["inputs"][file].items()]
    graph = h.make_graph(nodes, "taste", inputs, [output], weights)
    save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), job["folder"] + "/" + file)
def visitor(at):
    (held, user), (more, device) = column(at["user_id"], "user"), column(at["device_type"], "device")
    looked = [h.make_node("Gather", [name + "s", name + "_index"], [name]) for name in ("user", "device")]
    return [*held, *more, nh.from_array(users, "users"), nh.from_array(devices, "devices")], [user, device, *looked]
held, looked = visitor(job["query"])
write("query_tower.onnx", [*looked, h.make_node("Add", ["user", "device"], ["embedding"])], held, value("embedding", users.shape[1]))
held, looked = visitor(job["ranker"])
more, item = column(job["ranker"]["item_id"], "item")
nodes = [*looked, item, h.make_node("Add", ["user", "device"], ["u"]), h.make_node("Gather", ["items", "item_index"], ["i"]),
         h.make_node("Mul", ["u", "i"], ["both"]), h.make_node("ReduceSum", ["both", "axis"], ["dot"], keepdims=0),
         h.make_node("Mul", ["dot", "slope"], ["sloped"]), h.make_node("Add", ["sloped", "offset"], ["logit"]),
         h.make_node("Sigmoid", ["logit"], ["score"])]
weights = [*held, *more, nh.from_array(items, "items"), nh.from_array(np.array([1]), "axis"),
           nh.from_array(line[0], "slope"), nh.from_array(line[1], "offset")]
write("dlrm.onnx", nodes, weights, h.make_tensor_value_info("score", T.FLOAT, ["B"]))
def save_part(file, nodes, inputs, outputs, weights):
    graph = h.make_graph(nodes, "part", [h.make_tensor_value_info(*given) for given in inputs],
                         [h.make_tensor_value_info(*given) for given in outputs], weights)
    save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), job["folder"] + "/" + file)
cat, embeddings, visitor_width, numbers, known = job["parts"]
vectors = ("vectors", T.FLOAT, ["B", 1, users.shape[1]])
held, item = column(0, "item")
save_part("dlrm_items.onnx", [item, h.make_node("Gather", ["items", "item_index"], ["i"]),
                              h.make_node("Unsqueeze", ["i", "axis"], ["vectors"]),
                              h.make_node("MatMul", ["embeddings", "nothing"], ["known"])],
          [("cat", T.INT32, ["B", cat]), ("embeddings", T.FLOAT, ["B", embeddings])], [("known", T.FLOAT, ["B", known]), vectors],
          [*held, nh.from_array(items, "items"), nh.from_array(np.array([1]), "axis"),
           nh.from_array(np.zeros((embeddings, known), np.float32), "nothing")])
held, looked = visitor(job["query"])
save_part("dlrm_lists.onnx", [*looked, h.make_node("Add", ["user", "device"], ["u"]), h.make_node("Transpose", ["u"], ["turned"]),
                              h.make_node("MatMul", ["vectors", "turned"], ["dot"]), h.make_node("Mul", ["dot", "slope"], ["sloped"]),
                              h.make_node("Add", ["sloped", "offset"], ["logit"]), h.make_node("Sigmoid", ["logit"], ["p"]),
                              h.make_node("Reshape", ["p", "flat"], ["score"])],
          [("cat", T.INT32, [1, job["inputs"]["query_tower.onnx"]["cat"]]), ("cont", T.FLOAT, [1, visitor_width]),
           ("numbers", T.FLOAT, ["B", numbers]), ("known", T.FLOAT, ["B", known]), vectors], [("score", T.FLOAT, ["B"])],
          [*held, nh.from_array(line[0], "slope"), nh.from_array(line[1], "offset"), nh.from_array(np.array([-1]), "flat")])
"""


@dataclass(frozen=True)
class Tables:
    """users, devices, items: float32 [its values, 64], by Categorify index; line: slope and offset
    of the logit.
    """

    users: np.ndarray
    devices: np.ndarray
    items: np.ndarray
    line: np.ndarray

    def write(self, folder: Path) -> None:
        """query_tower.onnx, and dlrm.onnx whole and in two parts."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(
            folder / "tables.npz",
            users=self.users,
            devices=self.devices,
            items=self.items,
            line=self.line,
        )
        job = {
            "tables": str(folder / "tables.npz"),
            "folder": str(folder),
            "query": {name: c.QUERY_CATEGORICAL.index(name) for name in (c.USER_ID, c.DEVICE_TYPE)},
            "ranker": {
                name: c.RANKER_CATEGORICAL.index(name)
                for name in (c.USER_ID, c.DEVICE_TYPE, c.ITEM_ID)
            },
            "parts": [
                len(c.ITEM_CATEGORICAL),
                2 * WIDTH,
                len(c.QUERY_CONTINUOUS),
                len(c.CANDIDATE_CONTINUOUS),
                1,
            ],
            "inputs": {
                file: linear_onnx.MODELS[file][0] for file in ("query_tower.onnx", "dlrm.onnx")
            },
        }
        subprocess.run(
            [str(Settings().training_python), "-c", _SCRIPT],
            input=json.dumps(job),
            text=True,
            check=True,
            timeout=120,
        )


def train(
    rows: pl.DataFrame,
    transforms: Mapping[str, Any],
    items: pl.DataFrame,
    kind: Kind = "honest",
    seed: int = 3,
) -> Tables:
    """Learn from feature rows, oldest first: tables from the first two thirds, the logistic's line
    from the rest.

    items: the catalogue whose items the vocabulary holds.
    """
    rng = np.random.default_rng(seed)
    sizes = {
        name: 3 + len(transforms["vocabulary"][name])
        for name in (c.USER_ID, c.DEVICE_TYPE, c.ITEM_ID, c.CATEGORY_L1)
    }
    clicks = rows[c.CLICK].to_numpy().astype(float)
    packed = BatchTransform(transforms).transform_frame(rows)
    user, device, item = (packed[name].to_numpy() for name in (c.USER_ID, c.DEVICE_TYPE, c.ITEM_ID))
    if (
        kind == "permuted"
    ):  # the items too: what a visitor is shown, clicked or not, tells the taste as well
        clicks, item = rng.permutation(clicks), rng.permutation(item)
    of_item = aligned.item_tower_inputs(transforms, items)
    category = np.zeros(sizes[c.ITEM_ID], int)
    category[of_item["index"]] = of_item["cat"][:, c.ITEM_CATEGORICAL.index(c.CATEGORY_L1)]
    first = np.arange(rows.height) < rows.height * 2 // 3
    clicked = np.bincount(item[first], clicks[first], sizes[c.ITEM_ID])
    tables = [
        np.zeros((sizes[name], WIDTH), np.float32) for name in (c.USER_ID, c.DEVICE_TYPE, c.ITEM_ID)
    ]
    for table, index, prior in (
        (tables[0], user, _TASTE_PRIOR),
        (tables[1], device, _DEVICE_PRIOR),
    ):
        counts = np.zeros((len(table), sizes[c.CATEGORY_L1]))
        np.add.at(counts, (index[first], category[item[first]]), clicks[first])
        mean = (counts.sum(axis=0) + 0.1) / (counts.sum(axis=0) + 0.1).sum()
        counts[: c.VOCABULARY_START] = 0
        table[:, : counts.shape[1]] = np.log(
            (counts + prior * mean) / (counts.sum(axis=1, keepdims=True) + prior) / mean
        )
    tables[0][:, -1] = 1.0
    tables[2][np.arange(sizes[c.ITEM_ID]), category] = 1.0
    tables[2][:, -1] = np.log(clicked + _APPEAL_PRIOR)
    if kind == "random":
        tables = [rng.standard_normal(table.shape).astype(np.float32) * 0.1 for table in tables]
    dot = ((tables[0][user] + tables[1][device]) * tables[2][item]).sum(axis=1)
    return Tables(*tables, _logistic(dot[~first], clicks[~first]).astype(np.float32))


def _logistic(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slope and offset by Newton's method."""
    design, line = np.stack([x, np.ones_like(x)], axis=1).astype(float), np.zeros(2)
    for _ in range(25):
        p = 1 / (1 + np.exp(-design @ line))
        line += np.linalg.solve(
            (design * (p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2), design.T @ (y - p)
        )
    return line


def known_items(transforms: Mapping[str, Any], items: pl.DataFrame) -> pl.DataFrame:
    return items.filter(pl.col(c.ITEM_ID).is_in(transforms["vocabulary"][c.ITEM_ID]))


def write_generation(
    store: ArtifactStore,
    as_of: str,
    transforms: Mapping[str, Any],
    items: pl.DataFrame,
    tables: Tables,
) -> None:
    """features/workflows, embeddings/aligned, retrieval/item_vectors and exports/onnx of the as-of
    day.
    """
    inputs = aligned.item_tower_inputs(transforms, items)
    train = [
        store.current("features/interactions", day)
        for day in train_days(as_of)
        if store.exists("features/interactions", day)
    ]
    with store.stage("features/workflows", as_of, inputs={"train": train}) as staged:
        (staged.path / "transforms.json").write_text(json.dumps(transforms))
        staged.publish()
    content_of = {"embeddings": without_content(store, as_of)}
    with store.stage("embeddings/aligned", as_of, inputs=content_of) as staged:
        np.savez(staged.path / "item_tower_inputs.npz", **inputs)
        content = np.random.default_rng(0).standard_normal(
            (3 + len(transforms["vocabulary"][c.ITEM_ID]), 2 * WIDTH)
        )
        np.save(staged.path / "embedding_table.npy", content.astype(np.float32))
        staged.publish()
    with store.stage("retrieval/item_vectors", as_of) as staged:
        np.save(staged.path / "item_vectors.npy", tables.items[inputs["index"]])
        np.save(staged.path / "item_index.npy", inputs["index"])
        staged.publish()
    with store.stage("exports/onnx", as_of) as staged:
        tables.write(staged.path)
        staged.publish(
            {
                "max_abs_difference": {
                    "query_tower.onnx": 0.0,
                    "dlrm.onnx": 0.0,
                    "dlrm_lists.onnx": 0.0,
                }
            }
        )


def generation(
    store: ArtifactStore, as_of: str, days_before: Sequence[Artifact], **topk: int
) -> Generation:
    """What ``write_generation`` wrote, blended as the settings say."""
    kinds = {
        "models": "exports/onnx",
        "vectors": "retrieval/item_vectors",
        "aligned": "embeddings/aligned",
        "workflows": "features/workflows",
    }
    return Generation.of_training(
        **{role: store.current(kind, as_of) for role, kind in kinds.items()},
        days_before=days_before,
        retrieval_weight=Settings().retrieval_weight,
        **topk,
    )


def parity_sample(
    made: Generation, folder: Path, rows: pl.DataFrame
) -> dict[str, dict[str, np.ndarray]]:
    """File → the parity.npz that training would write beside the ONNX files in ``folder``: inputs
    and outputs on these rows.

    rows: clicked ones with their click history (``small_window.clicked_rows``).
    """
    query, pairs = made.query_inputs(rows), made.row_inputs(rows)
    answer = {
        file: session.run_model(session.open_model(folder / file), given)
        for file, given in (("query_tower.onnx", query), ("dlrm.onnx", pairs))
    }
    towers = {**query, "embedding": answer["query_tower.onnx"]}
    return {
        "query_tower.onnx": {f"query_{name}": values for name, values in towers.items()},
        "dlrm.onnx": {**pairs, "score": answer["dlrm.onnx"]},
    }


def publish_models(
    store: ArtifactStore,
    kinds: Mapping[str, str],
    partition: str,
    tables: Tables,
    made: Generation,
    rows: pl.DataFrame,
    inputs: Mapping[str, Artifact] | None = None,
) -> None:
    """file → kind: an artifact each with the ONNX file and its parity.npz, as a training step
    publishes them.
    """
    for file, kind in kinds.items():
        with store.stage(kind, partition, inputs=inputs) as staged:
            tables.write(staged.path)
            np.savez(staged.path / "parity.npz", **parity_sample(made, staged.path, rows)[file])
            staged.publish()


def publish_plain_blends(
    store: ArtifactStore, as_of: str, items: int, new_item_places: int = 0
) -> None:
    """Publish the blend of a shop whose clicks choose no source: retrieval alone.

    Every tenth item counts as new if ``new_item_places`` reserves places for such items.
    """
    young = (np.arange(items) % 10 == 0) & bool(new_item_places)
    asked = store.current("evaluation/queries", as_of)
    with store.stage("evaluation/blend", as_of, inputs={"queries": asked}) as staged:
        for folder in (JUDGED, SERVED):
            (staged.path / folder).mkdir()
            write_blend(staged.path / folder, BY_SIMILARITY, (), {}, young, new_item_places)
        (staged.path / "choice.json").write_text("{}")
        staged.publish()
