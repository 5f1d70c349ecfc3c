"""The models of a simple rung, written by the step in the training environment and opened as the
stages do.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.exports.session import open_session
from recsys_assets.release_files import (
    QUERY_TOWER_ONNX,
    RANKER_ITEMS_ONNX,
    RANKER_LISTS_ONNX,
    RANKER_ONNX,
    RUNG_QUERY,
    TRANSFORMS,
)
from recsys_assets_tests.support import items_tower
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON, StepRun, run_step

pytestmark = pytest.mark.training
ITEMS, CATEGORIES, BUCKETS = 30, 4, 5
ROWS = 40


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> StepRun:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    folder = tmp_path_factory.mktemp("simple")
    for name in ("rung", "workflows"):
        (folder / name).mkdir()
    np.savez(folder / "rung" / RUNG_QUERY, **items_tower.arrays(ITEMS))
    cardinality = {c.CATEGORY_L1: 3 + CATEGORIES, c.ITEM_ID: 3 + ITEMS + BUCKETS}
    (folder / "workflows" / TRANSFORMS).write_text(json.dumps({"cardinality": cardinality}))
    inputs = {"rung": folder / "rung", "workflows": folder / "workflows"}
    return run_step("retrieval.simple_models", folder, inputs)


def predict(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(path, tuple(inputs))
    names = [tensor.name for tensor in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def query(built: StepRun, items: np.ndarray, ages: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(2)
    return predict(
        built.output / QUERY_TOWER_ONNX,
        cat=random.integers(0, 9, (len(items), len(c.QUERY_CATEGORICAL))).astype(np.int32),
        cont=random.normal(size=(len(items), len(c.QUERY_CONTINUOUS))).astype(np.float32),
        history=random.random((len(items), 2 * (3 + CATEGORIES))).astype(np.float32),
        items=items,
        age_hours=ages,
    )["embedding"]


def test_the_query_tower_sums_the_items_by_their_age(built: StepRun) -> None:
    random = np.random.default_rng(1)
    items = random.integers(0, 3 + ITEMS, (ROWS, c.ITEM_HISTORY)).astype(np.int32)
    ages = random.uniform(0, 168, (ROWS, c.ITEM_HISTORY)).astype(np.float32)
    found = query(built, items, ages)
    made = items_tower.arrays(ITEMS)
    np.testing.assert_allclose(found, items_tower.answer(made, items, ages), atol=1e-5)
    # a click counts half when it is a half-life older
    once = np.zeros((2, c.ITEM_HISTORY), np.int32)
    once[:, 0] = 7
    fresh, old = query(built, once, np.float32([[0], [items_tower.HALF_LIFE]] * np.ones(50, "f4")))
    np.testing.assert_allclose(old - made["constant"], (fresh - made["constant"]) / 2, atol=1e-6)
    assert built.metrics["max_abs_difference"][QUERY_TOWER_ONNX] <= 1e-5


def test_items_that_share_hashed_rows_and_unknown_ones_add_nothing(built: StepRun) -> None:
    items = np.full((3, c.ITEM_HISTORY), 3 + ITEMS, np.int32)
    items[1], items[2] = 3 + ITEMS + BUCKETS - 1, c.OOV_INDEX
    found = query(built, items, np.ones((3, c.ITEM_HISTORY), np.float32))
    np.testing.assert_array_equal(found, [items_tower.arrays(ITEMS)["constant"]] * 3)


@pytest.mark.parametrize("rows", [1, ROWS])
def test_the_ranker_gives_every_item_the_same_score_whole_and_in_parts(
    built: StepRun, rows: int
) -> None:
    random = np.random.default_rng(3)
    visitors, numbers = len(c.QUERY_CATEGORICAL), len(c.QUERY_CONTINUOUS)
    cat = random.integers(0, 9, (rows, visitors + len(c.ITEM_CATEGORICAL))).astype(np.int32)
    cont = random.normal(size=(rows, len(c.RANKER_CONTINUOUS))).astype(np.float32)
    embeddings = random.normal(size=(rows, 2 * c.EMBEDDING_DIM)).astype(np.float32)
    whole = predict(built.output / RANKER_ONNX, cat=cat, cont=cont, embeddings=embeddings)
    items = predict(built.output / RANKER_ITEMS_ONNX, cat=cat[:, visitors:], embeddings=embeddings)
    lists = predict(
        built.output / RANKER_LISTS_ONNX,
        cat=cat[:1, :visitors],
        cont=cont[:1, :numbers],
        numbers=cont[:, numbers:],
        **items,
    )
    assert whole["score"].tolist() == lists["score"].tolist() == [0.5] * rows
