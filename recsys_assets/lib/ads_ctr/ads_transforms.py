"""Apply the compiled workflow of the ads ranker with numpy; equal to NVTabular to the bit.

The formulas are those of ``training/ads_ctr/ads_workflow.py``. The same formulas serve one request
and a whole day. Triton's stub imports this module, and has no polars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys_assets.ads_columns import CATEGORIES, INTEGERS, MOST_DEVIATIONS
from recsys_assets.files import read_json
from recsys_assets.lib.features.normalizer import Normalizer
from recsys_assets.lib.features.transforms import TransformsInvalid, Vocabulary

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class AdsTransforms:
    """Holds the compiled workflow.

    Attributes:
        vocabulary: category → its values and buckets.
        counts: count → its mean and deviation.
        log_counts: whether log(1 + count) is taken.
    """

    vocabulary: Mapping[str, Vocabulary]
    counts: Mapping[str, Normalizer]
    log_counts: bool

    @classmethod
    def read(cls, path: Path) -> AdsTransforms:
        """Read and compile ads_transforms.json, as ``from_dict``."""
        return cls.from_dict(read_json(path))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AdsTransforms:
        """Compile the content of ads_transforms.json.

        Raises:
            TransformsInvalid: a part is missing or wrong.
        """
        try:
            buckets = int(content["hashed_buckets"])
            vocabulary = {
                name: Vocabulary(name, content["vocabulary"][name], buckets) for name in CATEGORIES
            }
            counts = {
                name: Normalizer(
                    *(float(content["counts"][name][part]) for part in ("mean", "std"))
                )
                for name in INTEGERS
            }
            cardinality, log_counts = content["cardinality"], bool(content["log_counts"])
        except KeyError as error:
            raise TransformsInvalid(
                f"ads_transforms.json has no {error}; materialise ads_ctr/workflow again"
            ) from error
        for name, table in vocabulary.items():
            if cardinality.get(name) != table.rows:
                raise TransformsInvalid(
                    f"cardinality.{name} is {cardinality.get(name)}, but the vocabulary has "
                    f"{table.rows} rows; materialise ads_ctr/workflow again"
                )
        if wrong := [name for name, one in counts.items() if not one.std > 0]:
            raise TransformsInvalid(f"counts.{wrong[0]}.std must be above 0; fit again")
        return cls(vocabulary, counts, log_counts)

    def categories(self, rows: pl.DataFrame) -> np.ndarray:
        """Return the indices of the categories, int32 [N, 26]; rows: CATEGORIES, String."""
        import polars as pl

        found = np.empty((rows.height, len(CATEGORIES)), np.int32)
        for place, name in enumerate(CATEGORIES):
            # each distinct value once: a day has far fewer of them than rows
            distinct = rows[name].unique()
            indices = self.vocabulary[name].indices(distinct.to_list())
            table = pl.DataFrame({name: distinct, "index": indices})
            joined = rows.select(name).join(
                table, on=name, how="left", nulls_equal=True, maintain_order="left"
            )
            found[:, place] = joined["index"].to_numpy()
        return found

    def categories_of(self, values: np.ndarray) -> np.ndarray:
        """Return the indices of some rows' categories, int32 [N, 26].

        Args:
            values: object [N, 26] of str; "": empty.
        """
        found = np.empty(values.shape, np.int32)
        for place, name in enumerate(CATEGORIES):
            index = self.vocabulary[name].index
            found[:, place] = [index(value or None) for value in values[:, place].tolist()]
        return found

    def numbers(self, counts: np.ndarray) -> np.ndarray:
        """Return the normalised counts, float32 [N, 13]; counts: float64 [N, 13], NaN: empty."""
        filled = np.maximum(np.nan_to_num(counts, nan=0.0), 0.0)
        if self.log_counts:
            filled = np.log1p(filled)
        columns = [self.counts[name](filled[:, place]) for place, name in enumerate(INTEGERS)]
        return np.asarray(np.minimum(np.stack(columns, axis=1), np.float32(MOST_DEVIATIONS)))

    def of_frame(self, rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return ``categories`` and ``numbers`` of rows with FEATURES."""
        import polars as pl

        counts = rows.select(pl.col(INTEGERS).cast(pl.Float64).fill_null(float("nan")))
        return self.categories(rows), self.numbers(counts.to_numpy())
