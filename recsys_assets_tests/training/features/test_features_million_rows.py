"""The compiled transform against NVTabular itself, column by column, on a million rows of
everything that can come.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from recsys_assets import columns as c
from recsys_assets.lib.features.batch_transform import BatchTransform, ClickHistories
from recsys_assets_tests.support.tiny_shop import TRAINING_PYTHON, run_step

pytestmark = pytest.mark.training

ROWS, FIT_ROWS = 1_000_000, 20_000
USERS, ITEMS = 5_000, 600
KNOWN = {
    c.USER_ID: [f"user-{n}" for n in range(USERS)],
    c.GENDER: list(c.GENDERS),
    c.TOP_CATEGORY: ["tools", "books", "ágil"],
    c.DEVICE_TYPE: list(c.DEVICES),
    c.ITEM_ID: [f"item-{n}" for n in range(ITEMS)],
    c.CATEGORY_L1: ["tools", "books", "ágil"],
    c.CATEGORY_L2: [f"style-{n}" for n in range(40)],
    c.ITEM_GENDER: list(c.ITEM_GENDERS),
}
#: Null, the mark of the unknown, and strings that no fit has seen; some look like a known one.
STRANGE = [
    None,
    c.MISSING,
    "",
    " ",
    "user-0 ",
    "USER-1",
    "item-01",
    "f",
    "nan",
    "None",
    "0",
    "3",
    "日本",
    "x" * 300,
]
BELOW = [float(np.nextafter(np.float32(age), np.float32(0))) for age in c.AGE_BOUNDARIES]
COUNTS = (c.CLICKS_24H, c.CLICKS_LOOK_BACK, c.CATEGORY_CLICKS_LOOK_BACK, c.CATEGORY_CLICKS_24H)
EXTREMES = {
    c.AGE: [
        None,
        float("nan"),
        0.0,
        -0.0,
        1.5,
        *map(float, c.AGE_BOUNDARIES),
        *BELOW,
        120.0,
        -1.0,
        1e6,
    ],
    c.TIMESTAMP: [
        0,
        -1,
        1,
        3_599,
        3_600,
        86_399,
        86_400,
        -86_400,
        -1_000_000_007,
        2**31,
        2**33,
        253_402_300_799,
    ],
    c.PRICE: [0.01, 1e-30, 1.0, 0.1 + 0.2, 24_999.99, 1e30, float(np.float32(16_777_217))],
    **{name: [0.0, 1.0, 200.0, 1e6, 16_777_216.0] for name in COUNTS},
    c.HOURS_SINCE_CLICK: [0.0, 1 / 3600, 23.999, 24.0, 24.5],
    c.ITEM_CLICKS: [0.0, 1.0, 16_777_216.0, 1e9],
}


def usual(count: int, seed: int) -> pl.DataFrame:
    """Rows as a shop has them; nobody is under 18, so that one age bucket is not in the vocabulary
    either.
    """
    random = np.random.default_rng(seed)
    table = {
        name: pl.Series(values).gather(random.integers(len(values), size=count))
        for name, values in KNOWN.items()
    }
    n24 = random.poisson(2, count)
    n_long = n24 + random.poisson(4, count)
    numbers = {
        c.TIMESTAMP: random.integers(1_600_000_000, 1_900_000_000, size=count),
        c.AGE: random.integers(18, 90, size=count),
        c.PRICE: np.round(np.exp(random.normal(4, 1.3, count)), 2),
        c.CLICKS_24H: n24,
        c.CLICKS_LOOK_BACK: n_long,
        c.CATEGORY_CLICKS_LOOK_BACK: random.binomial(n_long, 0.3),
        c.CATEGORY_CLICKS_24H: random.binomial(n24, 0.3),
        c.HOURS_SINCE_CLICK: random.random(count) * 24,
        c.ITEM_CLICKS: random.poisson(40, count),
        c.CLICK: random.random(count) < 0.2,
    }
    frame = pl.DataFrame({**table, **numbers, c.EVENT_ID: np.arange(count).astype(str)})
    return frame.select(list(c.INTERACTION_FEATURES)).cast(
        {name: getattr(pl, kind) for name, kind in c.INTERACTION_FEATURES.items()}
    )


def strange(count: int, seed: int) -> pl.DataFrame:
    """The same with a quarter of each column's values replaced, independently, by whatever is hard.

    The counts of a clicked row stay: its click history must have as many entries.
    """
    frame, random = usual(count, seed), np.random.default_rng(seed + 1)
    pools = {
        **{name: pl.Series(STRANGE, dtype=pl.String) for name in KNOWN},
        **{name: pl.Series(values).cast(frame.schema[name]) for name, values in EXTREMES.items()},
    }
    return frame.with_columns(
        pl.when(
            pl.lit(pl.Series(random.random(count) < 0.25))
            & ((pl.col(c.CLICK) == 0) | pl.lit(name not in COUNTS))
        )
        .then(pl.lit(pool.gather(random.integers(len(pool), size=count))))
        .otherwise(pl.col(name))
        .alias(name)
        for name, pool in pools.items()
    )


def histories(rows: pl.DataFrame, seed: int) -> pl.DataFrame:
    """A click history for each clicked row, of known categories and items, null and strange ones;
    some hold more than counts.
    """
    random, clicked = np.random.default_rng(seed), rows.filter(pl.col(c.CLICK) == 1)
    sizes = clicked[c.CLICKS_LOOK_BACK].to_numpy().astype(int) + random.integers(
        0, 3, clicked.height
    )
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]))

    def lists(flat: pl.Series) -> pl.Series:
        return pl.Series(pa.LargeListArray.from_arrays(offsets, flat.to_arrow()))

    def drawn(column: str) -> pl.Series:
        pool = pl.Series([*KNOWN[column] * 5, *STRANGE], dtype=pl.String)
        return lists(pool.gather(random.integers(len(pool), size=sizes.sum())))

    ages = pl.Series(random.uniform(0, 200, sizes.sum()).astype(np.float32))
    return clicked.select(c.EVENT_ID).with_columns(
        drawn(c.CATEGORY_L1).alias(c.HISTORY_CATEGORIES),
        drawn(c.ITEM_ID).alias(c.HISTORY_ITEMS),
        lists(ages).alias(c.HISTORY_AGES),
    )


def write(frame: pl.DataFrame, folder: Path, name: str) -> Path:
    folder.mkdir(exist_ok=True)
    frame.write_parquet(folder / name)
    return folder


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[pl.DataFrame, pl.DataFrame, ClickHistories, ClickHistories]:
    """The million rows by the compiled transform, and by NVTabular as the graph's own step runs it;
    both click histories.
    """
    if not TRAINING_PYTHON.exists():
        pytest.skip(f"no training environment at {TRAINING_PYTHON}: run `make setup`")
    folder = tmp_path_factory.mktemp("million")
    fit = write(usual(FIT_ROWS, 1), folder / "fit", "features.parquet")
    items = (
        usual(ITEMS, 2)
        .with_columns(pl.Series(c.ITEM_ID, KNOWN[c.ITEM_ID]))
        .select(*c.ITEM_CATEGORICAL, c.PRICE)
    )
    catalogue = write(items, folder / "items", "items.parquet")
    rows, few = strange(ROWS, 3), strange(10, 5)
    clicks = histories(rows, 6)
    workflows = run_step("features.fit_workflows", folder, {"train": [fit], "items": catalogue})
    datasets = run_step(
        "features.make_datasets",
        folder,
        {
            "workflows": workflows.output,
            "items": catalogue,
            "valid": [write(rows, folder / "rows", "features.parquet")],
            "train": [write(few, folder / "few", "masked.parquet")],
            "history": [
                write(histories(few, 7), folder / "few", "click_history.parquet"),
                write(clicks, folder / "rows", "click_history.parquet"),
            ],
        },
    )
    transform = BatchTransform(json.loads((workflows.output / "transforms.json").read_text()))
    clicked = rows.filter(pl.col(c.CLICK) == 1).hstack(clicks.drop(c.EVENT_ID))
    counted = ClickHistories.of(transform.transforms, clicked)
    return (
        transform.transform_frame(rows),
        pl.read_parquet(datasets.output / "valid" / "*.parquet"),
        counted,
        ClickHistories(
            *(
                np.load(datasets.output / f"valid_{name}.npy")
                for name in ("history", "items", "ages")
            )
        ),
    )


def test_every_index_is_equal(both: tuple):
    ours, theirs, _, _ = both
    assert ours.height == theirs.height == ROWS
    for name in c.RANKER_CATEGORICAL:
        different = ours[name] != theirs[name]
        assert not different.any(), f"{name}: {different.sum()} rows differ"
        kinds = set(ours[name].clip(upper_bound=c.VOCABULARY_START).unique())
        expected = {
            c.OOV_INDEX,
            c.VOCABULARY_START,
        }  # a null age is the mean one, so age_binned is never null
        assert kinds == (expected if name == c.AGE_BINNED else expected | {c.NULL_INDEX}), name


def test_every_click_history_is_equal(both: tuple):
    _, theirs, found, made = both
    ours, written = found.categories, made.categories
    for name in ("items", "ages"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name
    assert {0, c.NULL_INDEX, c.OOV_INDEX} < set(np.unique(found.items))
    assert ours.shape == (
        int(theirs[c.CLICK].sum()),
        2 * (c.VOCABULARY_START + 3),
    ) and np.array_equal(ours, written)
    halves = ours.reshape(len(ours), 2, -1).sum(axis=0)
    assert (halves[:, c.NULL_INDEX :] > 1_000).all() and not halves[
        :, c.PAD_INDEX
    ].any()  # null, strange and known ones
    assert (halves[0] >= halves[1]).all() and (halves[0] > halves[1]).any()


def test_new_numbers_are_equal_to_the_bit(both: tuple):
    ours, theirs, _, _ = both
    for name in (c.USER_FREQUENCY_LOOK_BACK, *c.AFFINITY_CONTINUOUS):
        assert np.array_equal(ours[name].to_numpy(), theirs[name].to_numpy()), name


def test_every_number_is_equal(both: tuple):
    ours, theirs, _, _ = both
    for name in c.RANKER_CONTINUOUS:
        found = ours[name].to_numpy()
        assert np.isfinite(found).all(), name
        # relative where the value is large: neighbouring float32 are further apart than 1e-6 there
        np.testing.assert_allclose(
            found, theirs[name].to_numpy(), rtol=1e-6, atol=1e-6, err_msg=name
        )
        assert len(np.unique(found)) >= 4, f"{name} hardly varies: the rows test nothing"
