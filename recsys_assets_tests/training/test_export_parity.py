"""Scores of 10,000 rows: the trained models in TensorFlow against their exports in the very stages
that serve.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.features.batch_transform import BatchTransform, history_matrix
from recsys_assets.serving.stages.registry import stage_class
from recsys_assets.settings import PROJECT_ROOT, Settings
from recsys_assets_tests.support.tiny_shop import (
    ITEMS,
    ROWS_A_DAY,
    TRAINING_PYTHON,
    Shop,
    StepRun,
    day_of_features,
)

pytestmark = pytest.mark.training
ROWS, CANDIDATES = 10_000, 300
RANKER_FILES = {"items.onnx": "dlrm_items.onnx", "lists.onnx": "dlrm_lists.onnx"}

#: The trained weights in TensorFlow, asked in the training environment.
_TENSORFLOW = """
import sys
from pathlib import Path
import numpy as np
from recsys_assets.training import batches, export, loaders, models
from recsys_assets.training.ranking import ranker
from recsys_assets.training.retrieval import towers
given, datasets, query, dlrm, answers = dict(np.load(sys.argv[1])), *map(Path, sys.argv[2:])
schema = batches.with_vectors(loaders.read_schema(datasets))
shape = ranker.read_shape(dlrm)
scorer = ranker.Ranker.of(models.build_dlrm(schema, shape), shape)
scorer.build()
models.restore_checkpoint(dlrm, scorer.parts)
shape = towers.read_shape(query)
pair = towers.Towers.of(models.build_two_tower(schema, shape, models.contrastive_output(schema, shape)), shape)
pair.build()
models.restore_checkpoint(query, pair.parts)
cat, cont = given["cat"], given["cont"]
lists = {"cat": given["list_cat"], "cont": given["list_cont"], "embeddings": given["embeddings"]}
np.savez(answers, scores=export.apply(scorer.function, lists),
         queries=export.apply(pair.query_function, {"cat": cat[:, :5], "cont": cont[:, :8], **{name: given[name] for name in ("history", "items", "age_hours")}}))
"""


@pytest.fixture(scope="module")
def rows(shop: Shop, workflows: StepRun, embeddings: Path) -> dict[str, np.ndarray]:
    """The inputs of both models for ROWS rows of days that nobody has trained on."""
    items, random = pl.read_parquet(shop.items / "items.parquet"), np.random.default_rng(77)
    days = [day_of_features(random, items, 50 + n)[0] for n in range(ROWS // ROWS_A_DAY + 1)]
    frame = pl.concat(days)[:ROWS]
    transform = BatchTransform(json.loads((workflows.output / "transforms.json").read_text()))
    made = transform.transform_frame(frame)
    table = np.load(embeddings / "embedding_table.npy")
    likes = frame[c.USER_ID].str.strip_prefix("user-").cast(pl.Int32).to_numpy() % 6
    n_long, n24 = (
        frame[name].to_numpy().astype(np.int64) for name in (c.CLICKS_LOOK_BACK, c.CLICKS_24H)
    )
    lists = pl.Series(
        [[f"cat-{like}"] * n for like, n in zip(likes, n_long, strict=True)],
        dtype=pl.List(pl.String),
    )
    return {
        "cat": made.select(c.RANKER_CATEGORICAL).to_numpy(),
        "cont": made.select(c.RANKER_CONTINUOUS).to_numpy(),
        "embeddings": table[made[c.ITEM_ID].to_numpy()],
        "history": history_matrix(
            transform.transforms.vocabulary[c.CATEGORY_L1], lists, n_long, n24
        ).astype(np.float32),
        **latest_clicks(random),
    }


def latest_clicks(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Latest items and ages of ROWS visitors: with no click, with one, with fifty and with some,
    among them unknown items; every tenth age is a power of two in minutes.
    """
    shape = (ROWS, c.ITEM_HISTORY)
    counts = random.integers(0, c.ITEM_HISTORY + 1, ROWS)
    counts[: ROWS // 2] = np.resize([0, 1, c.ITEM_HISTORY], ROWS // 2)
    items = random.integers(c.OOV_INDEX, c.VOCABULARY_START + ITEMS, shape).astype(np.int32)
    powers = 2.0 ** random.integers(0, 16, shape) / 60
    ages = np.where(random.random(shape) < 0.1, powers, random.uniform(0, 720, shape))
    none = np.arange(c.ITEM_HISTORY) >= counts[:, None]
    items[none], ages[none] = 0, 0
    return {"items": items, "age_hours": ages.astype(np.float32)}


@pytest.fixture(scope="module")
def tensorflow(
    rows: dict[str, np.ndarray],
    datasets: StepRun,
    two_tower: StepRun,
    dlrm: StepRun,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("tensorflow")
    # the lists' visitors in front of all their candidates: what the ranker is asked while serving
    counts = list_counts()
    visitor = np.repeat(first_of_lists(counts), counts)
    lists = {
        "cat": np.concatenate(
            [
                rows["cat"][visitor, : len(c.QUERY_CATEGORICAL)],
                rows["cat"][:, len(c.QUERY_CATEGORICAL) :],
            ],
            axis=1,
        ),
        "cont": np.concatenate(
            [
                rows["cont"][visitor, : len(c.QUERY_CONTINUOUS)],
                rows["cont"][:, len(c.QUERY_CONTINUOUS) :],
            ],
            axis=1,
        ),
    }
    np.savez(
        folder / "rows.npz", **rows, **{f"list_{name}": values for name, values in lists.items()}
    )
    given = [
        folder / "rows.npz",
        datasets.output,
        two_tower.output,
        dlrm.output,
        folder / "answers.npz",
    ]
    subprocess.run(
        [str(TRAINING_PYTHON), "-c", _TENSORFLOW, *map(str, given)],
        check=True,
        timeout=300,
        cwd=PROJECT_ROOT,
        env={"PYTHONPATH": str(PROJECT_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return dict(np.load(folder / "answers.npz"))


def list_counts() -> np.ndarray:
    """Of the rows as lists of CANDIDATES, one visitor each."""
    counts = np.full(-(-ROWS // CANDIDATES), CANDIDATES, np.int32)
    counts[-1] = ROWS - counts[:-1].sum()
    return counts


def first_of_lists(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts


def of_visitors(rows: dict[str, np.ndarray], at: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "visitor_cat": rows["cat"][at, : len(c.QUERY_CATEGORICAL)],
        "visitor_cont": rows["cont"][at, : len(c.QUERY_CONTINUOUS)],
    }


def of_candidates(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "kept": rows["cat"][:, len(c.QUERY_CATEGORICAL)],
        "item_cat": rows["cat"][:, len(c.QUERY_CATEGORICAL) :],
        "candidate_cont": rows["cont"][:, len(c.QUERY_CONTINUOUS) :],
        "item_embeddings": rows["embeddings"],
    }


def stage(name: str, files: dict[str, Path | dict[str, Any]], folder: Path) -> Any:
    """A serving stage on the exported files."""
    folder.mkdir()
    for file, content in files.items():
        if isinstance(content, Path):
            shutil.copy(content, folder / file)
        else:
            (folder / file).write_text(json.dumps(content))
    return stage_class(name).open(folder, Settings(home=folder), 1)


def test_scores_of_the_ranking_stage(
    rows: dict[str, np.ndarray], tensorflow: dict[str, np.ndarray], dlrm: StepRun, tmp_path: Path
) -> None:
    ranking = stage(
        "dlrm_ranking",
        {name: dlrm.output / source for name, source in RANKER_FILES.items()},
        tmp_path / "ranker",
    )
    counts = list_counts()
    found = ranking.run(
        {**of_visitors(rows, first_of_lists(counts)), **of_candidates(rows), "kept_counts": counts}
    )["scores"]
    assert found.shape == tensorflow["scores"].shape == (ROWS,) and np.ptp(found) > 0.3
    assert np.abs(found.astype(np.float64) - tensorflow["scores"]).max() <= 1e-6
    # the same to the bit whichever items are known: all, and a few that came alone or together
    other = stage(
        "dlrm_ranking",
        {name: dlrm.output / source for name, source in RANKER_FILES.items()},
        tmp_path / "other",
    )
    for begin, count in ((0, 1), (1, 7), (100, 40)):
        some = {name: values[begin : begin + count] for name, values in of_candidates(rows).items()}
        other.run(
            {
                **of_visitors(rows, np.array([begin])),
                **some,
                "kept_counts": np.array([count], np.int32),
            }
        )
    for used in (ranking, other):
        again = used.run(
            {
                **of_visitors(rows, first_of_lists(counts)),
                **of_candidates(rows),
                "kept_counts": counts,
            }
        )["scores"]
        assert again.tobytes() == found.tobytes()


def test_queries_of_the_query_tower_stage(
    rows: dict[str, np.ndarray],
    tensorflow: dict[str, np.ndarray],
    two_tower: StepRun,
    tmp_path: Path,
) -> None:
    users, visitor = len(c.USER_CATEGORICAL), len(c.USER_CONTINUOUS)
    tower = stage(
        "query_tower",
        {
            "model.onnx": two_tower.output / "query_tower.onnx",
            "history.json": {"width": rows["history"].shape[1]},
        },
        tmp_path / "tower",
    )
    found = tower.run(
        {
            "user_cat": rows["cat"][:, :users],
            "context_cat": rows["cat"][:, users : len(c.QUERY_CATEGORICAL)],
            "user_cont": rows["cont"][:, :visitor],
            "context_cont": rows["cont"][:, visitor : len(c.QUERY_CONTINUOUS)],
            "user_history": rows["history"],
            "user_items": rows["items"],
            "user_ages": rows["age_hours"],
        }
    )["query_embedding"]
    assert found.shape == tensorflow["queries"].shape == (ROWS, c.EMBEDDING_DIM)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.abs(found.astype(np.float64) - tensorflow["queries"]).max() <= 1e-6
