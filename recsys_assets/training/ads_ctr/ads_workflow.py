"""Build the NVTabular workflow of the ads ranker, and export it to plain tables.

The formulas, for an exact reimplementation:

- Category: null → 1; one of the vocabulary's, value i → 3 + i; any other → 3 + size of the
  vocabulary + crc32(UTF-8 bytes) mod buckets, or 2 without buckets.
- Count: null → 0; below 0 → 0; then log(1 + count) in float64 where ``log_counts`` is on; then
  float32((x - mean) / std) in float64, over the training rows, at most MOST_DEVIATIONS. std has
  ddof 1, and is 1 if all values are equal.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import nvtabular as nvt
import pandas as pd
from merlin.schema import Tags
from nvtabular import ops

from recsys_assets import columns as c
from recsys_assets.ads_columns import CATEGORIES, INTEGERS, MOST_DEVIATIONS
from recsys_assets.ads_parameters import AdsWorkflowParams
from recsys_assets.training.features.workflows import SteadyNormalize, moments, vocabulary

ADS = "ads"


class FrequentCategorify(ops.Categorify):  # type: ignore[misc]  # NVTabular has no types
    """Categorify of the frequent values, with rows after the vocabulary for all others by hash.

    NVTabular's own ``num_buckets`` hashes with pandas' hash, which other languages and versions do
    not share, and counts its buckets before the vocabulary.
    """

    def __init__(self, params: AdsWorkflowParams, out_path: str) -> None:
        super().__init__(dtype="int32", out_path=out_path, freq_threshold=params.min_rows)
        self.buckets = params.hashed_buckets

    def transform(self, col_selector: nvt.ColumnSelector, df: pd.DataFrame) -> pd.DataFrame:
        """Return the index of each value."""
        encoded = super().transform(col_selector, df)
        if not self.buckets:
            return encoded
        for name in col_selector.names:
            first, _ = super().get_embedding_sizes([name])[name]
            index = encoded[name].to_numpy().copy()
            other = index == c.OOV_INDEX
            codes, distinct = pd.factorize(df[name][other])
            hashed = [zlib.crc32(str(value).encode()) % self.buckets for value in distinct]
            index[other] = first + np.array([*hashed, 0], np.int32)[codes]
            encoded[name] = index
        return encoded

    def get_embedding_sizes(self, columns: list[str]) -> dict[str, tuple[int, int]]:
        """Return rows, buckets included, and width per column."""
        return {
            name: (rows + self.buckets, width)
            for name, (rows, width) in super().get_embedding_sizes(columns).items()
        }


def _log_count(counts: pd.Series) -> pd.Series:
    return np.log1p(counts.astype("float64"))


def _float64(counts: pd.Series) -> pd.Series:
    return counts.astype("float64")


def ads_graph(scratch: str, params: AdsWorkflowParams) -> nvt.WorkflowNode:
    """Build the graph: C1 … C26 → int32, I1 … I13 → float32.

    scratch: folder in which NVTabular counts values.
    """
    categories = (
        list(CATEGORIES) >> FrequentCategorify(params, scratch) >> ops.AddTags([Tags.CATEGORICAL])
    )
    counts = (
        list(INTEGERS)
        >> ops.FillMissing(fill_val=0)
        >> ops.Clip(min_value=0)
        >> ops.LambdaOp(_log_count if params.log_counts else _float64, dtype="float64")
        >> SteadyNormalize(out_dtype="float32")
        >> ops.Clip(max_value=MOST_DEVIATIONS)
        >> ops.AddTags([Tags.CONTINUOUS])
    )
    return categories + counts


def export_ads_transforms(
    workflow: nvt.Workflow, folder: Path, params: AdsWorkflowParams
) -> dict[str, Any]:
    """Return the plain form of the saved workflow, the content of ads_transforms.json."""
    words = {name: vocabulary(folder, ADS, name) for name in CATEGORIES}
    return {
        "vocabulary": words,
        "hashed_buckets": params.hashed_buckets,
        "cardinality": {
            name: c.VOCABULARY_START + len(values) + params.hashed_buckets
            for name, values in words.items()
        },
        "log_counts": params.log_counts,
        "counts": {name: moments(workflow, name) for name in INTEGERS},
    }
