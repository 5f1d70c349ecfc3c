"""Count values that arrived after the workflows were fitted.

Until the next full training such a value is out-of-vocabulary (index 2), and the models treat its
rows like those of a masked visitor or device. With hashed buckets, several such ids share one
bucket. The share of rows shows when a new fit is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from recsys_assets.columns import AGE_BINNED, MISSING


def growth(
    features: pl.DataFrame | pl.LazyFrame, transforms: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Count the values of each column that its vocabulary lacks.

    Args:
        features: INTERACTION_FEATURES of days after the fit (raw, unmasked); only categorical
            columns are read.
        transforms: the content of ``transforms.json``.

    Returns:
        column → {"unseen_values": distinct values, "rows": rows that hold one, "share": their share
        of all rows, 0 to 1}, for all vocabulary columns except age_binned, whose buckets are fixed.
        Null and MISSING do not count.

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
        raise ValueError(
            f"features lack {', '.join(missing)}, which the vocabulary has; materialise "
            "features/interactions again"
        )
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
