"""A tiny shop with a learnable taste, and ways to run a training step on it in its own
environment.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.settings import PROJECT_ROOT, Settings

USERS, ITEMS, CATEGORIES = 300, 60, 6
TRAIN_DAYS, VALID_DAYS = 9, 3
ROWS_A_DAY = 700
FIRST_DAY = 1_790_000_000 // 86_400 * 86_400
COUNTS = (c.CLICKS_24H, c.CLICKS_LOOK_BACK, c.CATEGORY_CLICKS_LOOK_BACK, c.CATEGORY_CLICKS_24H)
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
    return subprocess.run(
        [str(TRAINING_PYTHON), "-m", f"recsys_assets.training.{name}", "--extras", str(path)],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def run_step(
    name: str, folder: Path, inputs: dict[str, Any], params: dict[str, Any] | None = None
) -> StepRun:
    output = folder / f"{name}_output"
    extras = {
        "inputs": {
            role: [str(p) for p in value] if isinstance(value, list) else str(value)
            for role, value in inputs.items()
        },
        "output": str(output),
        "params": params or {},
    }
    done = start_step(name, extras, folder)
    assert done.returncode == 0, f"{name} failed:\n{done.stderr[-4000:]}"
    message = json.loads(done.stdout.splitlines()[-1])
    return StepRun(output, message["metrics"], message["versions"])


def run_step_under_pipes(name: str, folder: Path, inputs: dict[str, Any]) -> tuple[StepRun, str]:
    """The step as Dagster runs it; gives the run and the log of its messages."""
    output, received = folder / f"{name}_output", []
    extras = {
        "inputs": {
            role: [str(p) for p in value] if isinstance(value, list) else str(value)
            for role, value in inputs.items()
        },
        "output": str(output),
        "params": {"seed": 11},
    }

    @dg.asset(name=name)
    def step(
        context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient
    ) -> dg.MaterializeResult:
        done = pipes.run(
            context=context,
            command=[str(TRAINING_PYTHON), "-m", f"recsys_assets.training.{name}"],
            extras=extras,
            cwd=str(PROJECT_ROOT),
        )
        received.extend(done.get_custom_messages())
        return done.get_materialize_result()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [step], resources={"pipes": dg.PipesSubprocessClient()}, instance=instance
        )
        log = "\n".join(record.user_message for record in instance.all_logs(result.run_id))
    assert len(received) == 1, f"expected one message, got {received}"
    return StepRun(output, received[0]["metrics"], received[0]["versions"]), log


@dataclass(frozen=True)
class Shop:
    folder: Path
    features: list[
        Path
    ]  # train days, then validation days; each with the day's click_history.parquet
    masked: list[Path]
    items: Path


def catalogue(random: np.random.Generator) -> pl.DataFrame:
    category = np.arange(ITEMS) % CATEGORIES
    return pl.DataFrame(
        {
            c.ITEM_ID: [f"item-{i}" for i in range(ITEMS)],
            c.CATEGORY_L1: [f"cat-{k}" for k in category],
            c.CATEGORY_L2: [f"style-{i % 12}" for i in range(ITEMS)],
            c.ITEM_GENDER: [c.ITEM_GENDERS[i % 3] for i in range(ITEMS)],
            c.PRICE: np.round(np.exp(random.normal(4, 1, ITEMS)), 2),
        }
    )


def clicks_before(
    user: np.ndarray, shown: np.ndarray, day: int
) -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """Categories, items and ages of each row's clicks before it, most of them what the visitor
    likes; their number of 7 days and of 24 hours.
    """
    random = np.random.default_rng([3, day])
    n24 = np.where(shown, 1 + user % 9, 0)
    n_long = n24 + user % 5 * 3
    liked = random.random((len(user), n_long.max())) < 0.7
    category = np.where(
        liked, user[:, None] % CATEGORIES, random.integers(0, CATEGORIES, liked.shape)
    )
    item = category + CATEGORIES * random.integers(0, ITEMS // CATEGORIES, category.shape)
    ages = [
        # oldest first: those of the days before, then those of the last 24 hours
        np.sort(np.r_[random.uniform(24, 168, n - last), random.uniform(0.01, 24, last)])[::-1]
        for n, last in zip(n_long, n24, strict=True)
    ]
    lists = {
        c.HISTORY_CATEGORIES: [
            [f"cat-{k}" for k in row[:n]] for row, n in zip(category, n_long, strict=True)
        ],
        c.HISTORY_ITEMS: [
            [f"item-{i}" for i in row[:n]] for row, n in zip(item, n_long, strict=True)
        ],
        c.HISTORY_AGES: pl.Series([row.tolist() for row in ages], dtype=pl.List(pl.Float32)),
    }
    return pl.DataFrame(lists), n_long, n24


def day_of_features(
    random: np.random.Generator, items: pl.DataFrame, day: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """ROWS_A_DAY exposures, and the click histories of the clicked ones; visitors click on the
    category that they like.
    """
    user = random.integers(0, USERS, ROWS_A_DAY)
    item = random.choice(ITEMS, ROWS_A_DAY, p=np.arange(1, ITEMS + 1) / sum(range(1, ITEMS + 1)))
    likes = user % CATEGORIES
    click = random.random(ROWS_A_DAY) < np.where(item % CATEGORIES == likes, 0.75, 0.06)
    shown = random.random(ROWS_A_DAY) < 0.8  # the rest had no interactions in the last 24 hours
    ages = (18 + user % 60).astype(np.float32)
    lists, n_long, n24 = clicks_before(user, shown, day)
    before = lists[c.HISTORY_CATEGORIES].to_list()
    shelf = [f"cat-{i % CATEGORIES}" for i in item]
    rows = pl.DataFrame(
        {
            c.EVENT_ID: [f"event-{day}-{n}" for n in range(ROWS_A_DAY)],
            c.USER_ID: [f"user-{u}" for u in user],
            c.ITEM_ID: [f"item-{i}" for i in item],
            c.TIMESTAMP: FIRST_DAY + day * 86_400 + np.sort(random.integers(0, 86_400, ROWS_A_DAY)),
            c.DEVICE_TYPE: [c.DEVICES[d] for d in random.integers(0, 3, ROWS_A_DAY)],
            c.CLICK: click.astype(np.int8),
            c.AGE: pl.Series(np.where(user % 25 == 0, np.nan, ages), dtype=pl.Float32).fill_nan(
                None
            ),
            c.GENDER: [c.GENDERS[u % 2] for u in user],
            c.TOP_CATEGORY: np.where(shown, np.char.add("cat-", likes.astype(str)), c.MISSING),
            c.CLICKS_24H: n24,
            c.HOURS_SINCE_CLICK: np.where(
                shown, random.integers(1, 86_400, ROWS_A_DAY) / 3_600, c.RECENT_HOURS
            ),
            c.ITEM_CLICKS: (item * 7 + day) % 50,
            c.CLICKS_LOOK_BACK: n_long,
            c.CATEGORY_CLICKS_LOOK_BACK: [
                names.count(name) for names, name in zip(before, shelf, strict=True)
            ],
            c.CATEGORY_CLICKS_24H: [
                names[len(names) - n :].count(name)
                for names, name, n in zip(before, shelf, n24, strict=True)
            ],
        }
    )
    history = rows.select(c.EVENT_ID).hstack(lists).filter(pl.Series(click))
    return rows.join(items, on=c.ITEM_ID, how="left", maintain_order="left").cast(
        {name: getattr(pl, kind) for name, kind in c.INTERACTION_FEATURES.items()}
    ).select(list(c.INTERACTION_FEATURES)), history


def mask(rows: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
    visitor, device = (pl.Series(random.random(len(rows)) < 0.05) for _ in range(2))
    nothing = {c.HOURS_SINCE_CLICK: 24.0, **dict.fromkeys(COUNTS, 0.0)}
    return rows.with_columns(
        *[
            pl.when(visitor).then(pl.lit(c.MISSING)).otherwise(pl.col(name)).alias(name)
            for name in (c.USER_ID, c.GENDER, c.TOP_CATEGORY)
        ],
        pl.when(visitor).then(None).otherwise(pl.col(c.AGE)).alias(c.AGE),
        *[
            pl.when(visitor).then(value).otherwise(pl.col(name)).cast(pl.Float32).alias(name)
            for name, value in nothing.items()
        ],
        pl.when(device)
        .then(pl.lit(c.MISSING))
        .otherwise(pl.col(c.DEVICE_TYPE))
        .alias(c.DEVICE_TYPE),
    )


def write(table: pl.DataFrame, folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / name)
    return folder


def write_shop(folder: Path) -> Shop:
    random = np.random.default_rng(3)
    items = catalogue(random)
    made = [day_of_features(random, items, day) for day in range(TRAIN_DAYS + VALID_DAYS)]
    days = [rows for rows, _ in made]
    known = pl.int_range(pl.len()) > 0
    first = days[
        TRAIN_DAYS
    ]  # a visitor nobody has seen, a null and a masked device, all at known places
    days[TRAIN_DAYS] = first.with_columns(
        pl.when(known).then(pl.col(c.USER_ID)).otherwise(pl.lit(UNSEEN_USER)).alias(c.USER_ID),
        pl.when(known).then(pl.col(c.GENDER)).otherwise(None).alias(c.GENDER),
        pl.when(known)
        .then(pl.col(c.DEVICE_TYPE))
        .otherwise(pl.lit(c.MISSING))
        .alias(c.DEVICE_TYPE),
    )
    for n, (_, history) in enumerate(made):
        write(history, folder / f"features-{99 - n}", "click_history.parquet")
    # folders named against the order of the days: the order must come from the list, not from the
    # names
    return Shop(
        folder,
        [
            write(day, folder / f"features-{99 - n}", "features.parquet")
            for n, day in enumerate(days)
        ],
        [
            write(mask(day, random), folder / f"masked-{99 - n}", "masked.parquet")
            for n, day in enumerate(days[:TRAIN_DAYS])
        ],
        write(items, folder / "items", "items.parquet"),
    )


def write_embeddings(shop: Shop, workflows: StepRun) -> Path:
    """The aligned table (a category's direction and noise; rows 0-2 zero) and the catalogue's item
    tower inputs.
    """
    transforms = json.loads((workflows.output / "transforms.json").read_text())
    words, random = transforms["vocabulary"], np.random.default_rng(5)
    items = pl.read_parquet(shop.items / "items.parquet")
    position = {
        name: {value: c.VOCABULARY_START + i for i, value in enumerate(words[name])}
        for name in c.ITEM_CATEGORICAL
    }
    cat = np.array(
        [[position[name][row[name]] for name in c.ITEM_CATEGORICAL] for row in items.to_dicts()],
        np.int32,
    )
    logs = np.log(items[c.PRICE].to_numpy())
    price = (logs - transforms["price_log"]["mean"]) / transforms["price_log"]["std"]
    table = np.zeros((transforms["cardinality"][c.ITEM_ID], 2 * c.EMBEDDING_DIM), dtype=np.float32)
    direction = np.eye(CATEGORIES, 2 * c.EMBEDDING_DIM)[np.arange(ITEMS) % CATEGORIES]
    table[cat[:, 0]] = direction + 0.1 * random.normal(size=direction.shape)
    folder = shop.folder / "aligned"
    folder.mkdir()
    np.save(folder / "embedding_table.npy", table)
    np.savez(
        folder / "item_tower_inputs.npz",
        index=cat[:, 0],
        cat=cat,
        cont=price[:, None].astype(np.float32),
    )
    return folder
