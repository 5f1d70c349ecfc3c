"""A tiny shop with a learnable taste, and the training steps run on it once a session, in their own environment."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_assets import columns as c
from recsys_assets.settings import PROJECT_ROOT, Settings

USERS, ITEMS, CATEGORIES = 300, 60, 6
TRAIN_DAYS, VALID_DAYS = 9, 3
ROWS_A_DAY = 700
FIRST_DAY = 1_790_000_000 // 86_400 * 86_400
UNSEEN_USER = "user-never-seen"  # in the first validation row
TRAINING_PYTHON = Settings().training_python


@dataclass(frozen=True)
class StepRun:
    """A step that ran: its output folder and what it reported."""

    output: Path
    metrics: dict[str, Any]
    versions: dict[str, str]


def start_step(name: str, extras: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(extras))
    return subprocess.run([str(TRAINING_PYTHON), "-m", f"recsys_assets.training.{name}", "--extras", str(path)],
                          cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=300)


def run_step(name: str, folder: Path, inputs: dict[str, Any], params: dict[str, Any] | None = None) -> StepRun:
    output = folder / f"{name}_output"
    extras = {"inputs": {role: [str(p) for p in value] if isinstance(value, list) else str(value)
                         for role, value in inputs.items()},
              "output": str(output), "params": params or {}}
    done = start_step(name, extras, folder)
    assert done.returncode == 0, f"{name} failed:\n{done.stderr[-4000:]}"
    message = json.loads(done.stdout.splitlines()[-1])
    return StepRun(output, message["metrics"], message["versions"])


@dataclass(frozen=True)
class Shop:
    folder: Path
    features: list[Path]  # train days, then validation days
    masked: list[Path]
    items: Path


def catalogue(random: np.random.Generator) -> pl.DataFrame:
    category = np.arange(ITEMS) % CATEGORIES
    return pl.DataFrame({
        c.ITEM_ID: [f"item-{i}" for i in range(ITEMS)],
        c.CATEGORY_L1: [f"cat-{k}" for k in category],
        c.CATEGORY_L2: [f"style-{i % 12}" for i in range(ITEMS)],
        c.ITEM_GENDER: [c.ITEM_GENDERS[i % 3] for i in range(ITEMS)],
        c.PRICE: np.round(np.exp(random.normal(4, 1, ITEMS)), 2),
    })


def day_of_features(random: np.random.Generator, items: pl.DataFrame, day: int) -> pl.DataFrame:
    """ROWS_A_DAY exposures; visitors click on what belongs to the category that they like."""
    user = random.integers(0, USERS, ROWS_A_DAY)
    item = random.choice(ITEMS, ROWS_A_DAY, p=np.arange(1, ITEMS + 1) / sum(range(1, ITEMS + 1)))
    likes = user % CATEGORIES
    click = random.random(ROWS_A_DAY) < np.where(item % CATEGORIES == likes, 0.75, 0.06)
    shown = random.random(ROWS_A_DAY) < 0.8  # the rest had no interactions in the last 24 hours
    ages = (18 + user % 60).astype(np.float32)
    rows = pl.DataFrame({
        c.EVENT_ID: [f"event-{day}-{n}" for n in range(ROWS_A_DAY)],
        c.USER_ID: [f"user-{u}" for u in user],
        c.ITEM_ID: [f"item-{i}" for i in item],
        c.TIMESTAMP: FIRST_DAY + day * 86_400 + np.sort(random.integers(0, 86_400, ROWS_A_DAY)),
        c.DEVICE_TYPE: [c.DEVICES[d] for d in random.integers(0, 3, ROWS_A_DAY)],
        c.CLICK: click.astype(np.int8),
        c.AGE: pl.Series(np.where(user % 25 == 0, np.nan, ages), dtype=pl.Float32).fill_nan(None),
        c.GENDER: [c.GENDERS[u % 2] for u in user],
        c.TOP_CATEGORY: np.where(shown, np.char.add("cat-", likes.astype(str)), c.MISSING),
    })
    return rows.join(items, on=c.ITEM_ID, how="left", maintain_order="left").cast(
        {name: getattr(pl, kind) for name, kind in c.INTERACTION_FEATURES.items()}).select(list(c.INTERACTION_FEATURES))


def mask(rows: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    visitor, device = (pl.Series(random.random(len(rows)) < 0.05) for _ in range(2))
    return rows.with_columns(
        *[pl.when(visitor).then(pl.lit(c.MISSING)).otherwise(pl.col(n)).alias(n) for n in (c.USER_ID, c.GENDER, c.TOP_CATEGORY)],
        pl.when(visitor).then(None).otherwise(pl.col(c.AGE)).alias(c.AGE),
        pl.when(device).then(pl.lit(c.MISSING)).otherwise(pl.col(c.DEVICE_TYPE)).alias(c.DEVICE_TYPE))


def write(table: pl.DataFrame, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / name)
    return folder


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    folder, random = tmp_path_factory.mktemp("shop"), np.random.default_rng(3)
    items = catalogue(random)
    days = [day_of_features(random, items, day) for day in range(TRAIN_DAYS + VALID_DAYS)]
    known = pl.int_range(pl.len()) > 0
    first = days[TRAIN_DAYS]  # a visitor nobody has seen, a null and a masked device, all at known places
    days[TRAIN_DAYS] = first.with_columns(
        pl.when(known).then(pl.col(c.USER_ID)).otherwise(pl.lit(UNSEEN_USER)).alias(c.USER_ID),
        pl.when(known).then(pl.col(c.GENDER)).otherwise(None).alias(c.GENDER),
        pl.when(known).then(pl.col(c.DEVICE_TYPE)).otherwise(pl.lit(c.MISSING)).alias(c.DEVICE_TYPE))
    # folders named against the order of the days: the order must come from the list, not from the names
    return Shop(
        folder,
        [write(day, folder / f"features-{99 - n}", "features.parquet") for n, day in enumerate(days)],
        [write(mask(day, random), folder / f"masked-{99 - n}", "masked.parquet") for n, day in enumerate(days[:TRAIN_DAYS])],
        write(items, folder / "items", "items.parquet"))


@pytest.fixture(scope="session")
def workflows(shop: Shop) -> StepRun:
    return run_step("fit_workflows", shop.folder, {"train": shop.features[:TRAIN_DAYS], "items": shop.items})


@pytest.fixture(scope="session")
def datasets(shop: Shop, workflows: StepRun) -> StepRun:
    return run_step("make_datasets", shop.folder, {
        "workflows": workflows.output, "train": shop.masked, "valid": shop.features[TRAIN_DAYS:], "items": shop.items})


@pytest.fixture(scope="session")
def embeddings(shop: Shop, workflows: StepRun) -> Path:
    """The aligned table (a category's direction and noise; rows 0-2 zero) and the whole catalogue's item tower inputs."""
    transforms = json.loads((workflows.output / "transforms.json").read_text())
    words, random = transforms["vocabulary"], np.random.default_rng(5)
    items = pl.read_parquet(shop.items / "items.parquet")
    position = {name: {value: c.VOCABULARY_START + i for i, value in enumerate(words[name])} for name in c.ITEM_CATEGORICAL}
    cat = np.array([[position[name][row[name]] for name in c.ITEM_CATEGORICAL] for row in items.to_dicts()], dtype=np.int32)
    logs = np.log(items[c.PRICE].to_numpy())
    price = (logs - transforms["price_log"]["mean"]) / transforms["price_log"]["std"]
    table = np.zeros((transforms["cardinality"][c.ITEM_ID], 2 * c.EMBEDDING_DIM), dtype=np.float32)
    table[cat[:, 0]] = np.eye(CATEGORIES, 2 * c.EMBEDDING_DIM)[np.arange(ITEMS) % CATEGORIES] + 0.1 * random.normal(size=(ITEMS, 128))
    folder = shop.folder / "aligned"
    folder.mkdir()
    np.save(folder / "embedding_table.npy", table)
    np.savez(folder / "item_tower_inputs.npz", index=cat[:, 0], cat=cat, cont=price[:, None].astype(np.float32))
    return folder


@pytest.fixture(scope="session")
def model_inputs(workflows: StepRun, datasets: StepRun, embeddings: Path) -> dict[str, Path]:
    return {"datasets": datasets.output, "workflows": workflows.output, "embeddings": embeddings, "item_inputs": embeddings}


@pytest.fixture(scope="session")
def two_tower(shop: Shop, model_inputs: dict[str, Path]) -> StepRun:
    return run_step("two_tower", shop.folder, model_inputs, {"epochs": 12, "seed": 11})


@pytest.fixture(scope="session")
def dlrm(shop: Shop, model_inputs: dict[str, Path]) -> StepRun:
    return run_step("dlrm", shop.folder, model_inputs, {"epochs": 8, "batch_size": 256, "seed": 11})


@pytest.fixture(scope="session")
def day_rows(shop: Shop, datasets: StepRun) -> Path:
    """The newest day as the platform hands it over: transformed, 70 % to train on, 30 % held out."""
    rows = pl.read_parquet(datasets.output / "valid" / "*.parquet").drop(c.TIMESTAMP)
    cut = len(rows) * 7 // 10
    folder = write(rows[:cut], shop.folder / "rows", "train.parquet")
    return write(rows[cut:], folder, "holdout.parquet")


@pytest.fixture(scope="session")
def tuned_query_tower(shop: Shop, two_tower: StepRun, day_rows: Path, model_inputs: dict[str, Path]) -> StepRun:
    return run_step("fine_tune_query_tower", shop.folder, {**model_inputs, "champion": two_tower.output, "rows": day_rows})


@pytest.fixture(scope="session")
def tuned_dlrm(shop: Shop, dlrm: StepRun, day_rows: Path, model_inputs: dict[str, Path]) -> StepRun:
    return run_step("fine_tune_dlrm", shop.folder, {**model_inputs, "champion": dlrm.output, "rows": day_rows})
