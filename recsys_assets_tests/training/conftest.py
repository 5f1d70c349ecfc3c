"""The training steps, each run once a session on the tiny shop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets_tests.support.tiny_shop import (
    TRAIN_DAYS,
    TRAINING_PYTHON,
    Shop,
    StepRun,
    run_step,
    run_step_under_pipes,
    write,
    write_embeddings,
    write_shop,
)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    return write_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def workflows_and_log(shop: Shop) -> tuple[StepRun, str]:
    inputs = {"train": shop.features[:TRAIN_DAYS], "items": shop.items}
    return run_step_under_pipes("features.fit_workflows", shop.folder, inputs)


@pytest.fixture(scope="session")
def workflows(workflows_and_log: tuple[StepRun, str]) -> StepRun:
    return workflows_and_log[0]


@pytest.fixture(scope="session")
def datasets(shop: Shop, workflows: StepRun) -> StepRun:
    return run_step(
        "features.make_datasets",
        shop.folder,
        {
            "workflows": workflows.output,
            "train": shop.masked,
            "valid": shop.features[TRAIN_DAYS:],
            "history": shop.features,
            "items": shop.items,
        },
    )


@pytest.fixture(scope="session")
def embeddings(shop: Shop, workflows: StepRun) -> Path:
    return write_embeddings(shop, workflows)


@pytest.fixture(scope="session")
def model_inputs(workflows: StepRun, datasets: StepRun, embeddings: Path) -> dict[str, Path]:
    return {
        "datasets": datasets.output,
        "workflows": workflows.output,
        "embeddings": embeddings,
        "item_inputs": embeddings,
    }


@pytest.fixture(scope="session")
def two_tower(shop: Shop, model_inputs: dict[str, Path]) -> StepRun:
    return run_step("retrieval.two_tower", shop.folder, model_inputs, {"epochs": 3, "seed": 11})


@pytest.fixture(scope="session")
def dlrm(shop: Shop, model_inputs: dict[str, Path]) -> StepRun:
    return run_step(
        "ranking.dlrm", shop.folder, model_inputs, {"epochs": 2, "batch_size": 256, "seed": 11}
    )


@pytest.fixture(scope="session")
def day_rows(shop: Shop, datasets: StepRun) -> Path:
    """The newest days as the platform hands them over: transformed, 70 % to train on, 30 % held
    out, each with its click histories.
    """
    rows = pl.read_parquet(datasets.output / "valid" / "*.parquet").drop(c.TIMESTAMP)
    folder, cut = shop.folder / "rows", len(rows) * 7 // 10
    clicked = int(rows[:cut][c.CLICK].sum())
    for name, part, of_clicks in (
        ("train", rows[:cut], slice(None, clicked)),
        ("holdout", rows[cut:], slice(clicked, None)),
    ):
        write(part, folder, f"{name}.parquet")
        for kind in ("history", "items", "ages"):
            values = np.load(datasets.output / f"valid_{kind}.npy")
            np.save(folder / f"{name}_{kind}.npy", values[of_clicks])
    return folder


@pytest.fixture(scope="session")
def tuned_query_tower(
    shop: Shop, two_tower: StepRun, day_rows: Path, model_inputs: dict[str, Path]
) -> StepRun:
    inputs = {**model_inputs, "champion": two_tower.output, "rows": day_rows}
    return run_step("retrieval.fine_tune_query_tower", shop.folder, inputs)


@pytest.fixture(scope="session")
def tuned_dlrm(shop: Shop, dlrm: StepRun, day_rows: Path, model_inputs: dict[str, Path]) -> StepRun:
    return run_step(
        "ranking.fine_tune_dlrm",
        shop.folder,
        {**model_inputs, "champion": dlrm.output, "rows": day_rows},
    )
