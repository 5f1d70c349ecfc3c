"""A hand-made release of 40 items and 6 users: every file that the 15 models read, with real ONNX
and FAISS files.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from recsys_assets.artifacts import ArtifactStore
from recsys_assets.columns import VOCABULARY_START
from recsys_assets.lib.features.seen import DEFAULT_RULE
from recsys_assets.lib.sources.cosine_factors import CosineFactors
from recsys_assets.lib.sources.list_net import OF_VISITOR, ListNet
from recsys_assets.lib.sources.popular_now import PopularNow
from recsys_assets.lib.sources.sources import (
    FoldIn,
    MostPopular,
    Neighbours,
    OwnItems,
    Sessions,
    Source,
    Young,
)
from recsys_assets.lib.sources.stored import BY_SIMILARITY, BY_SOURCES, write_blend
from recsys_assets.serving.stages.registry import STAGES
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets.source_names import FOLLOW_UPS, RETRIEVAL
from recsys_assets_tests.support.linear_onnx import RANKER_PARTS

ITEM_IDS = [f"item-{n:02d}" if n != 20 else "ítem:20" for n in range(40)]
USERS = {f"user-{n}": {"age": 20.0 + 9 * n, "gender": "FM"[n % 2]} for n in range(6)}
CATEGORIES = ["footwear", "books", "tools", "beauty"]
WIDTH = 2 * (VOCABULARY_START + len(CATEGORIES))  # of a visitor's clicks by category
TOPK = 10
RETRIEVAL_WEIGHT = 1.5

# The training environment holds onnx; the models are linear, so that their answers can be checked
# by numpy.
_BUILD_ONNX = (
    RANKER_PARTS
    + """
import sys
import numpy as np
from onnx import TensorProto as T, helper as h, numpy_helper as nh, save
from pathlib import Path

weights, target = np.load(sys.argv[1]), Path(sys.argv[2])

def build(name, inputs, output, output_shape, tail):
    cast = h.make_node("Cast", ["cat"], ["cat_f"], to=T.FLOAT)
    join = h.make_node("Concat", ["cat_f", *[n for n, _, _ in inputs[1:]]], ["x"], axis=1)
    product = h.make_node("MatMul", ["x", "w"], ["y"])
    graph = h.make_graph([cast, join, product, *tail], name,
                         [h.make_tensor_value_info(n, t, ["N", d]) for n, t, d in inputs],
                         [h.make_tensor_value_info(output, T.FLOAT, output_shape)],
                         [nh.from_array(weights[name], "w"), nh.from_array(np.array([-1]), "flat")])
    save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), str(target / (name + ".onnx")))

build("query_tower", [("cat", T.INT32, 5), ("cont", T.FLOAT, 8), ("history", T.FLOAT, 14)], "embedding", ["N", 64],
      [h.make_node("LpNormalization", ["y"], ["embedding"], axis=1, p=2)])
write_ranker_parts(*np.split(weights["dlrm_ranking"], [9, 23]), target / "items.onnx", target / "lists.onnx")
build("dlrm_ranking", [("cat", T.INT32, 9), ("cont", T.FLOAT, 14), ("embeddings", T.FLOAT, 128)], "score", ["N"],
      [h.make_node("Sigmoid", ["y"], ["p"]), h.make_node("Reshape", ["p", "flat"], ["score"])])
"""
)


def transforms() -> dict[str, Any]:
    """transforms.json of the tiny shop."""
    vocabulary = {
        "user_id": list(USERS),
        "gender": ["M", "F"],
        "top_category": CATEGORIES[:3],
        "age_binned": ["1", "2", "3", "4", "5"],
        "device_type": ["mobile", "desktop"],
        "item_id": ITEM_IDS,
        "category_l1": CATEGORIES,
        "category_l2": [f"style-{n}" for n in range(8)],
        "item_gender": ["Any", "F", "M"],
    }
    return {
        "vocabulary": vocabulary,
        "cardinality": {name: 3 + len(values) for name, values in vocabulary.items()},
        "hashed_buckets": {},
        "age": {"mean": 40.25, "std": 12.5},
        "price_log": {"mean": 3.5, "std": 1.25},
        "age_boundaries": [18, 25, 35, 50, 65],
        "mean_age": 40.25,
    }


def items() -> dict[str, dict[str, Any]]:
    """items.json: item id → what the ranker reads of it."""
    return {
        item_id: {
            "category_l1": CATEGORIES[n % 4],
            "category_l2": f"style-{n % 8}",
            "item_gender": ("Any", "F", "M")[n % 3],
            "price": round(4.99 + 3.7 * n, 2),
            "item_clicks": float(n * 7 % 11),
        }
        for n, item_id in enumerate(ITEM_IDS)
    }


def weights() -> dict[str, np.ndarray]:
    """Weights of the two linear models; small, so that no score saturates."""
    random = np.random.default_rng(5)
    return {
        "query_tower": random.normal(0, 0.1, (13 + WIDTH, 64)).astype(np.float32),
        "dlrm_ranking": random.normal(0, 0.03, (151, 1)).astype(np.float32),
    }


def item_vectors() -> np.ndarray:
    """float32 [I, 64], L2-normalised."""
    vectors = np.random.default_rng(6).normal(size=(len(ITEM_IDS), 64)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embedding_table() -> np.ndarray:
    """float32 [3 + I, 128]; rows 0-2 are zeros."""
    table = (
        np.random.default_rng(8)
        .normal(0, 0.3, (VOCABULARY_START + len(ITEM_IDS), 128))
        .astype(np.float32)
    )
    table[:VOCABULARY_START] = 0
    return table


def write_onnx(folder: Path, settings: Settings) -> None:
    """``query_tower/model.onnx``, ``dlrm_ranking/items.onnx`` and ``lists.onnx``, and beside them
    the ranker in one: ``ranker.onnx``.
    """
    np.savez(folder / "weights.npz", **weights())
    subprocess.run(
        [
            str(settings.training_python),
            "-c",
            _BUILD_ONNX,
            str(folder / "weights.npz"),
            str(folder),
        ],
        check=True,
        timeout=120,
    )
    (folder / "weights.npz").unlink()
    for model in ("query_tower", "dlrm_ranking"):
        (folder / model).mkdir(exist_ok=True)
    for made, path in {
        "query_tower": "query_tower/model",
        "items": "dlrm_ranking/items",
        "lists": "dlrm_ranking/lists",
        "dlrm_ranking": "ranker",
    }.items():
        (folder / f"{made}.onnx").rename(folder / f"{path}.onnx")


def _popular() -> list[int]:
    """Indices of the last 20 items, the last one first."""
    last = VOCABULARY_START + len(ITEM_IDS) - 1
    return list(range(last, max(last - 20, VOCABULARY_START - 1), -1))


def sources() -> tuple[Source, ...]:
    """One of each kind: item n is followed by n + 1 and n + 2, and the last items are young."""
    rows = np.arange(len(ITEM_IDS))
    after = np.stack([(rows + 1) % len(rows), (rows + 2) % len(rows)], axis=1).astype(np.int32)
    weights = np.tile(np.array([1.0, 0.5], np.float32), (len(rows), 1))
    factors = np.random.default_rng(5).normal(size=(len(rows), 8)).astype(np.float32)
    gram = factors.T.astype(np.float64) @ factors + np.eye(8)
    start = np.arange(0, len(rows) + 1, 2)
    cosines = np.random.default_rng(9).normal(0, 0.3, (len(rows), 6)).astype(np.float32)
    cosines[:, 0] = rows / len(rows)
    return (
        Neighbours.of(FOLLOW_UPS, after, weights, decay=0.5),
        FoldIn(factors, gram, alpha=2.0, half_life=24.0),
        Sessions(
            np.arange(len(rows) + 1),
            (rows // 2).astype(np.int32),
            np.ones(len(rows)),
            np.ones(len(start) - 1),
            start,
            rows.astype(np.int32),
            neighbours=10,
            decay=0.8,
        ),
        MostPopular(rows[::-1][:20]),
        OwnItems(24.0),
        Young(rows[-3:], embedding_table()),
        CosineFactors(cosines, popularity=0.1, half_life=24.0),
        PopularNow.of(3, ITEM_IDS),
    )


def young() -> np.ndarray:
    """The last items are young, bool [I]."""
    return np.arange(len(ITEM_IDS)) >= len(ITEM_IDS) - 3


def write_sources(folder: Path, by_sources: bool, places: int = 0) -> None:
    """``sources.json`` and its arrays; places: one in so many is for new items."""
    if not by_sources:
        write_blend(folder, BY_SIMILARITY, (), {}, young(), places)
        return
    found = sources()
    weights = {RETRIEVAL: 0.5, **{one.name: 0.3 for one in found}}
    rng, inputs = np.random.default_rng(8), len(weights) + len(OF_VISITOR)
    shapes = ((inputs, 6), (6,), (6,))
    net = ListNet(*(rng.normal(0, 0.3, shape).astype(np.float32) for shape in shapes))
    write_blend(folder, BY_SOURCES, found, weights, young(), places, net)


def write_models(
    folder: Path, settings: Settings, by_sources: bool = False, **sampling: Any
) -> None:
    """``models/<model>/<files>`` of a release; sampling: what sampling.json says otherwise."""
    import faiss

    contents: dict[str, dict[str, Any]] = {
        "feast_user_lookup": {"user_defaults.json": {"mean_age": transforms()["mean_age"]}},
        "nvt_user_transform": {"transforms.json": transforms()},
        "nvt_context_transform": {"transforms.json": transforms()},
        "filter_seen_items": {
            "item_ids.json": ITEM_IDS,
            "popularity.json": _popular(),
            "seen.json": DEFAULT_RULE.as_json(),
        },
        "feast_item_lookup": {
            "items.json": items(),
            "item_ids.json": ITEM_IDS,
            "transforms.json": transforms(),
        },
        "nvt_item_transform": {"transforms.json": transforms()},
        "softmax_sampling": {
            "sampling.json": {
                "ranking_topk": TOPK,
                "diversity": "off",
                "temperature": 20.0,
                "mmr_lambda": 0.7,
                "category_cap": 0,
                "retrieval_weight": RETRIEVAL_WEIGHT,
                **sampling,
            }
        },
        "query_tower": {"history.json": {"width": WIDTH}},
        "item_id_decoder": {"item_ids.json": ITEM_IDS},
    }
    for model in STAGES:
        (folder / "models" / model).mkdir(parents=True)
        for name, content in contents.get(model, {}).items():
            (folder / "models" / model / name).write_text(
                json.dumps(content, ensure_ascii=False), "utf-8"
            )
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(64))
    index.add_with_ids(
        item_vectors(), np.arange(VOCABULARY_START, VOCABULARY_START + len(ITEM_IDS))
    )
    for model in ("faiss_retrieval", "filter_seen_items"):
        faiss.write_index(index, str(folder / "models" / model / "index.faiss"))
    for model in ("candidate_sources", "multimodal_embedding_lookup"):
        np.save(folder / "models" / model / "embedding_table.npy", embedding_table())
    places = sampling.get("new_item_places", 0)
    write_sources(folder / "models" / "candidate_sources", by_sources, places)
    if places:
        np.save(folder / "models" / "softmax_sampling" / "young.npy", young())
    write_onnx(folder / "models", settings)
    (folder / "models" / "ranker.onnx").rename(folder / "ranker.onnx")


def write_release(root: Path, settings: Settings, **sampling: Any) -> Path:
    """The release as an artifact; returns its folder."""
    with ArtifactStore(root).stage("serving/release", "000001") as staged:
        write_models(staged.path, settings, **sampling)
        return staged.publish().local


def write_files_json(directory: Path) -> None:
    """The digests of what lies in a version directory."""
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()
    }
    (directory / "files.json").write_text(json.dumps(digests))


def publish(payload: Path, repository: Path, versions: dict[str, int]) -> None:
    """Lay a release out as Triton reads it: a version directory a model, the fused model, and both
    ensembles pinned.
    """
    from recsys_assets.serving.triton.ensemble import render_ensemble

    templates, release = PROJECT_ROOT / "triton_repo", versions["dlrm_ranking"]
    for model, version in {**versions, "fused_model": release}.items():
        target = repository / model / str(version)
        target.mkdir(parents=True)
        if model == "fused_model":
            (target / "parts.json").write_text(json.dumps({"versions": versions}))
        else:
            for path in (payload / "models" / model).iterdir():
                (target / path.name).write_bytes(path.read_bytes())
        write_files_json(target)
        (target / "model.py").write_text((templates / model / "model.py").read_text())
        (target / "__pycache__").touch()
        (repository / model / "config.pbtxt").write_text(
            (templates / model / "config.pbtxt").read_text()
        )
    for ensemble, steps in (
        ("ensemble_model", versions),
        ("recommender", {"fused_model": release}),
    ):
        (repository / ensemble / "1").mkdir(parents=True)
        template = (templates / ensemble / "config.pbtxt").read_text()
        (repository / ensemble / "config.pbtxt").write_text(
            render_ensemble(template, steps, ensemble)
        )
