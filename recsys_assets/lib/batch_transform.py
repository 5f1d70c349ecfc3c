"""The compiled NVTabular workflows over a whole table, in the same float32 arithmetic as one visitor's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from recsys_assets.columns import (
    AGE,
    AGE_BINNED,
    AGE_NORM,
    CLICKS_24H,
    CONTEXT_CONTINUOUS,
    HOURS_SINCE_CLICK,
    ITEM_CLICKS,
    ITEM_POPULARITY,
    NULL_INDEX,
    OOV_INDEX,
    PRICE,
    PRICE_LOG_NORM,
    RANKER_CATEGORICAL,
    RANKER_CONTINUOUS,
    TIMESTAMP,
    USER_FREQUENCY,
    USER_RECENCY,
    VOCABULARY_START,
)
from recsys_assets.serving.transforms import Transforms, Vocabulary, clock_features, log_count, share_of_window


class BatchTransform:
    """Applies one generation's transforms to frames.

    Args:
        content: what ``transforms.json`` holds.
    """

    def __init__(self, content: Mapping[str, Any]):
        self.transforms = Transforms.from_dict(content)
        self._known = {name: pl.Enum(vocabulary.values) for name, vocabulary in self.transforms.vocabulary.items()}

    def transform_frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Features as the ranker reads them, row for row.

        Args:
            frame: the raw columns of INTERACTION_FEATURES that the workflows read; a null age takes the mean age.

        Returns:
            RANKER_CATEGORICAL as Int32 and RANKER_CONTINUOUS as Float32, in that order, in the frame's row order.

        Raises:
            ValueError: naming the columns that are missing, or that hold nulls where none can be.
        """
        raw = [name for name in RANKER_CATEGORICAL if name != AGE_BINNED]
        numbers = (TIMESTAMP, PRICE, CLICKS_24H, HOURS_SINCE_CLICK, ITEM_CLICKS)
        needed = (*raw, AGE, *numbers)
        missing = [name for name in needed if name not in frame.columns]
        if missing:
            raise ValueError(f"frame lacks {', '.join(missing)}; it has {frame.columns}")
        empty = [name for name in numbers if frame[name].null_count()]
        if empty:
            raise ValueError(f"frame has nulls in {', '.join(empty)}")
        indexed = frame.select(_index(self.transforms.vocabulary[name], self._known[name], frame[name]) for name in raw)
        # a null becomes NaN, which fill_age replaces
        age = self.transforms.fill_age(frame[AGE].cast(pl.Float32).fill_null(float("nan")).to_numpy())
        computed = {AGE_BINNED: self.transforms.age_binned(age), AGE_NORM: self.transforms.age(age),
                    USER_FREQUENCY: log_count(frame[CLICKS_24H].to_numpy()),
                    USER_RECENCY: share_of_window(frame[HOURS_SINCE_CLICK].to_numpy()),
                    PRICE_LOG_NORM: self.transforms.price_log_norm(frame[PRICE].to_numpy()),
                    ITEM_POPULARITY: log_count(frame[ITEM_CLICKS].to_numpy())}
        clock = clock_features(frame[TIMESTAMP].cast(pl.Int64).to_numpy())
        computed |= {name: np.ascontiguousarray(clock[:, n]) for n, name in enumerate(CONTEXT_CONTINUOUS)}
        columns = [*indexed.get_columns(), *(pl.Series(name, values) for name, values in computed.items())]
        return pl.DataFrame(columns).select(*RANKER_CATEGORICAL, *RANKER_CONTINUOUS)


def _index(vocabulary: Vocabulary, known: pl.Enum, raw: pl.Series) -> pl.Expr:
    """Categorify as an expression over the column ``raw``.

    A cast to the vocabulary's Enum looks a value up in a table that was built once; replacing values would build one
    for every frame, which at 300,000 users costs more than the rest of the transform.
    """
    value = pl.col(vocabulary.column)
    position = value.cast(known, strict=False).to_physical().cast(pl.Int32)
    found = (position + VOCABULARY_START).fill_null(OOV_INDEX)
    if vocabulary.buckets:
        unseen = raw.drop_nulls().unique()
        unseen = unseen.filter(unseen.cast(known, strict=False).is_null())
        hashed = value.replace_strict(unseen, pl.Series(vocabulary.indices(unseen), dtype=pl.Int32), default=None,
                                      return_dtype=pl.Int32)
        found = pl.coalesce(position + VOCABULARY_START, hashed, pl.lit(OOV_INDEX, pl.Int32))
    return pl.when(value.is_null()).then(pl.lit(NULL_INDEX, pl.Int32)).otherwise(found).alias(vocabulary.column)
