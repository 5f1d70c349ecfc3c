"""Profile a day's rows: feature distributions, top categories, new ids.

A profile counts rows per value, or per bin with fixed edges. Profiles of several days can therefore
be added, and a day is compared with earlier days without reading their rows again. A profile is
part of the artifact and depends only on the day's own rows. New users and drift depend on other
days, so they are not part of the artifact: a backfill in another order must give the same bytes. A
profile counts every row, without sampling.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from recsys_assets import columns as c
from recsys_assets.ads_columns import INTEGERS
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.figures import plots
from recsys_assets.lib.figures.tables import markdown_table
from recsys_assets.lib.landing.local_days import local_hour
from recsys_assets.local_time import UTC

PROFILE_FILE, USER_IDS_FILE, ITEM_IDS_FILE = (
    "profile.parquet",
    "user_ids.parquet",
    "item_ids.parquet",
)
DISTRIBUTIONS_FIGURE, TOP_CATEGORIES_FIGURE = (
    "figures/distributions.md",
    "figures/top_categories.md",
)
SCHEMA = {"feature": pl.String, "position": pl.Int32, "value": pl.String, "rows": pl.Int64}
HOUR = "hour"  # of the local day, from the timestamp
NULL, OTHER = "(null)", "(other)"
#: Most values of a categorical feature; rarer values are counted together.
MOST_VALUES = 2_000
NEW_VALUE_DAYS = 30
#: Files of ids up to this size are kept in memory, so that memory stays small at every scale.
SMALL_BYTES = 1 << 16
#: Bins of numbers: below the first edge, then [edge, next edge). The last bin is open.
EDGES: dict[str, tuple[float, ...]] = {
    HOUR: tuple(range(24)),
    c.AGE: (0, *range(20, 95, 5)),
    c.PRICE: (0, *(round(m * 10.0**e, 2) for e in range(0, 5) for m in (1, 2, 3, 5))),
    **dict.fromkeys(
        (c.CLICKS_24H, c.CLICKS_LOOK_BACK, c.CATEGORY_CLICKS_LOOK_BACK, c.CATEGORY_CLICKS_24H),
        (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100),
    ),
    c.HOURS_SINCE_CLICK: (*range(0, c.RECENT_HOURS + 1, 2),),
    c.ITEM_CLICKS: (0, *(2**n for n in range(16))),
    # of an ads log; a few of its counts are below 0
    **dict.fromkeys(INTEGERS, (0, *(2**n for n in range(20)))),
}
RAW_FEATURES = (HOUR, c.EVENT_TYPE, c.DEVICE_TYPE, c.CLICK, c.CATEGORY_L1)
USER_FEATURES = (c.AGE, c.GENDER)
ITEM_FEATURES = (c.CATEGORY_L1, c.CATEGORY_L2, c.PRICE, c.ITEM_GENDER, "promoted")
DAY_FEATURES = (
    HOUR,
    c.DEVICE_TYPE,
    c.CLICK,
    c.AGE,
    c.GENDER,
    c.TOP_CATEGORY,
    c.CLICKS_24H,
    c.HOURS_SINCE_CLICK,
    c.ITEM_ID,
    c.CATEGORY_L1,
    c.CATEGORY_L2,
    c.ITEM_GENDER,
    c.PRICE,
    c.ITEM_CLICKS,
    c.CLICKS_LOOK_BACK,
    c.CATEGORY_CLICKS_LOOK_BACK,
    c.CATEGORY_CLICKS_24H,
)


def counts(values: pl.Series) -> dict[str, int]:
    """Return value → rows, most frequent first; equal counts by value."""
    table = values.value_counts(name="rows").sort(["rows", values.name], descending=[True, False])
    return dict(table.iter_rows())


def profile(frame: pl.DataFrame, features: Sequence[str], zone: str = UTC) -> pl.DataFrame:
    """Count the rows per value or bin of each feature; ``zone`` decides the HOUR.

    A number has all its bins in order (position from 0), and one for null, if any (position -1).
    Another feature has its values, most frequent first (position from 0).

    Returns:
        {feature, position, value, rows}.
    """
    return pl.concat(
        [
            _binned(frame, name, zone) if name in EDGES else _counted(frame, name)
            for name in features
        ]
    )


def _table(
    feature: str, positions: Sequence[int], values: Sequence[str], rows: Sequence[int]
) -> pl.DataFrame:
    return pl.DataFrame(
        {"feature": [feature] * len(values), "position": positions, "value": values, "rows": rows},
        schema=SCHEMA,
    )


def _binned(frame: pl.DataFrame, feature: str, zone: str) -> pl.DataFrame:
    edges = EDGES[feature]
    values = (
        frame.select(local_hour(pl.col(c.TIMESTAMP), zone)).to_series()
        if feature == HOUR
        else frame[feature]
    )
    filled = values.drop_nulls().to_numpy()
    # Edges of float32 features are small integers, so that float64 edges equal float32 values.
    rows = np.bincount(
        np.searchsorted(np.asarray(edges, np.float64), filled, side="right"),
        minlength=len(edges) + 1,
    )
    labels = [
        f"below {edges[0]:g}",
        *(_label(feature, low, high) for low, high in itertools.pairwise(edges)),
        f"{edges[-1]:g}" if feature == HOUR else f"{edges[-1]:g}+",
    ]
    positions, counted = list(range(len(labels))), rows.tolist()
    if not counted[0]:
        positions, labels, counted = positions[1:], labels[1:], counted[1:]
    if values.null_count():
        positions, labels, counted = (
            [-1, *positions],
            [NULL, *labels],
            [values.null_count(), *counted],
        )
    return _table(feature, positions, labels, counted)


def _label(feature: str, low: float, high: float) -> str:
    return f"{low:g}" if high - low == 1 and feature != c.PRICE else f"{low:g} to {high:g}"


def _counted(frame: pl.DataFrame, feature: str) -> pl.DataFrame:
    table = counts(frame[feature].cast(pl.String).fill_null(NULL))
    kept = dict(list(table.items())[:MOST_VALUES])
    if len(table) > len(kept):
        kept[OTHER] = sum(table.values()) - sum(kept.values())
    return _table(feature, range(len(kept)), list(kept), list(kept.values()))


def write(frame: pl.DataFrame, target: Path, features: Sequence[str], zone: str = UTC) -> None:
    """Write the profile and the figure of all distributions into an artifact's folder."""
    table = profile(frame, features, zone)
    table.write_parquet(target / PROFILE_FILE)
    figure = target / DISTRIBUTIONS_FIGURE
    figure.parent.mkdir(exist_ok=True)
    figure.write_text(distributions(table, frame.height))


def distributions(table: pl.DataFrame, rows: int) -> str:
    """Draw a profile as shares of the rows, one small chart per feature."""
    panels = []
    for (feature,), part in table.group_by("feature", maintain_order=True):
        shares = dict(zip(part["value"], (part["rows"] / max(rows, 1)).to_list(), strict=True))
        panels.append(plots.Panel(str(feature), shares, ordered=feature in EDGES))
    return plots.small_multiples(f"Share of {rows:,} rows by value", panels)


def top_categories(clicked: pl.DataFrame) -> pl.DataFrame:
    """Return exposures and clicks per category, most exposures first.

    Args:
        clicked: one row per exposure, {category_l1, click}.

    Returns:
        {category_l1, exposures, share, clicks, click_rate}.
    """
    return (
        clicked.group_by(c.CATEGORY_L1)
        .agg(pl.len().alias("exposures"), pl.col(c.CLICK).cast(pl.Int64).sum().alias("clicks"))
        .with_columns(
            share=pl.col("exposures") / max(clicked.height, 1),
            click_rate=pl.col("clicks") / pl.col("exposures"),
        )
        .select(c.CATEGORY_L1, "exposures", "share", "clicks", "click_rate")
        .sort(["exposures", c.CATEGORY_L1], descending=[True, False])
    )


def write_top_categories(clicked: pl.DataFrame, target: Path, most: int = 10) -> None:
    """Write the first rows of ``top_categories`` as a Markdown table."""
    figure = target / TOP_CATEGORIES_FIGURE
    figure.parent.mkdir(exist_ok=True)
    figure.write_text(markdown_table(top_categories(clicked).head(most)))


def write_ids(frame: pl.DataFrame, target: Path) -> dict[str, int]:
    """Write the day's distinct user ids and item ids, sorted; return their numbers."""
    found = {}
    for kind, column, name in (
        ("users", c.USER_ID, USER_IDS_FILE),
        ("items", c.ITEM_ID, ITEM_IDS_FILE),
    ):
        ids = frame.select(pl.col(column).unique().sort())
        ids.write_parquet(target / name)
        found[kind] = ids.height
    return found


def newcomers(day: Artifact, earlier: Sequence[Artifact]) -> dict[str, int]:
    """Return new_users and new_items: the numbers of ids that no earlier day has.

    The earlier days are streamed, so that memory does not grow with their number.
    """
    return {
        f"new_{kind}": _new(day, earlier, name, column)
        for kind, name, column in (
            ("users", USER_IDS_FILE, c.USER_ID),
            ("items", ITEM_IDS_FILE, c.ITEM_ID),
        )
    }


def _new(day: Artifact, earlier: Sequence[Artifact], name: str, column: str) -> int:
    ids = pl.scan_parquet(day.path(name))
    if not earlier:
        return int(ids.select(pl.len()).collect().item())
    before = pl.concat([_ids(artifact, name, column) for artifact in earlier])
    seen = before.join(ids, on=column, how="semi").unique()
    counts = ids.select(pl.len()), seen.select(pl.len())
    today, known = (table.item() for table in pl.collect_all(counts, engine="streaming"))
    return int(today - known)


def _ids(artifact: Artifact, name: str, column: str) -> pl.LazyFrame:
    entry = artifact.manifest["files"].get(name)
    if entry is None:  # an artifact of an older form has its ids only in its rows
        return pl.scan_parquet(artifact.path("interactions.parquet")).select(column)
    path = artifact.path(name)
    return _small(path).lazy() if entry["bytes"] <= SMALL_BYTES else pl.scan_parquet(path)


@lru_cache(maxsize=4 * NEW_VALUE_DAYS)
def _small(path: Path) -> pl.DataFrame:
    """Read a small file of an artifact once: the next days of a range read it again."""
    return pl.read_parquet(path)
