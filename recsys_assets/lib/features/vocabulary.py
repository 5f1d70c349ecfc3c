"""How far the world has moved on since the workflows were fitted: values that arrived after the
fit.

Until the next full training such a value is out-of-vocabulary (index 2), and the models treat its
rows as they treat a masked visitor or device; with hashed buckets, an id shares one of them with
others. The share of rows says when that is no longer good enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from recsys_assets.columns import AGE_BINNED, MISSING


def growth(
    features: pl.DataFrame | pl.LazyFrame, transforms: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Values of each column that its vocabulary lacks.

    Args:
        features: INTERACTION_FEATURES of days after the fit (raw, unmasked); only its categorical
            columns are read.
        transforms: what ``transforms.json`` holds.

    Returns:
        column → {"unseen_values": distinct values, "rows": rows that hold one, "share": of all
        rows, 0 … 1}; all vocabulary columns but age_binned, whose six buckets cannot grow. Null and
        MISSING are no values.

    Raises:
        ValueError: a column of the vocabulary is missing; names it.

    >>> growth(
    ...     pl.DataFrame({"gender": ["F", "X", "X", "-1", None]}),
    ...     {"vocabulary": {"gender": ["F", "M"]}},
    ... )
    {'gender': {'unseen_values': 1, 'rows': 2, 'share': 0.4}}
    """
    rows = features.lazy()
    words = {
        column: values
        for column, values in transforms["vocabulary"].items()
        if column != AGE_BINNED
    }
    missing = sorted(set(words) - set(rows.collect_schema().names()))
    if missing:
        raise ValueError(f"features lack {', '.join(missing)}, which the vocabulary has")
    total = rows.select(pl.len()).collect().item()
    found: dict[str, dict[str, float]] = {}
    for column, values in words.items():
        counts = rows.select(column).drop_nulls().group_by(column).len().collect()
        unseen = counts.filter(
            ~pl.col(column).is_in(pl.Series([*values, MISSING], dtype=pl.String).implode())
        )
        held = int(unseen["len"].sum())
        found[column] = {
            "unseen_values": unseen.height,
            "rows": held,
            "share": held / total if total else 0.0,
        }
    return found
