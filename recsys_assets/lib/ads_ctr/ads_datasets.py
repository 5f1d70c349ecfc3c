"""Read the data sets of the ads ranker, and compare them with the compiled transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from recsys_assets.ads_columns import CATEGORIES, COLUMNS, INTEGERS, LABEL
from recsys_assets.artifacts import Artifact
from recsys_assets.lib.ads_ctr.ads_transforms import AdsTransforms
from recsys_assets.release_files import ADS_FILE, ADS_TRANSFORMS


@dataclass(frozen=True)
class PackedAds:
    """Holds the rows of a split as the models read them.

    Attributes:
        cat: int32 [N, 26], indices of CATEGORIES.
        cont: float32 [N, 13], INTEGERS.
        label: int8 [N].
    """

    cat: np.ndarray
    cont: np.ndarray
    label: np.ndarray

    @classmethod
    def read(cls, datasets: Artifact, split: Literal["train", "valid"]) -> PackedAds:
        """Map the arrays of a split into memory."""
        return cls(
            *(
                np.load(datasets.path(f"{split}_{kind}.npy"), mmap_mode="r", allow_pickle=False)
                for kind in ("cat", "cont", "label")
            )
        )

    def __len__(self) -> int:
        return len(self.label)

    def part(self, rows: slice) -> PackedAds:
        """Return some of the rows."""
        return PackedAds(self.cat[rows], self.cont[rows], self.label[rows])


def rows_of_days(days: Sequence[Artifact]) -> pl.DataFrame:
    """Return the rows of days of ads_ctr/logs, oldest first."""
    return pl.concat([pl.read_parquet(day.path(ADS_FILE), columns=list(COLUMNS)) for day in days])


def parity_differences(
    datasets: Artifact, workflow: Artifact, valid: Sequence[Artifact]
) -> dict[str, int]:
    """Return column → values in which NVTabular and the compiled transforms differ in any bit.

    Both transform all rows of the validation days. Columns without a difference are left out.

    Raises:
        ValueError: the data sets were made from other rows than these days have.
    """
    raw, theirs = rows_of_days(valid), PackedAds.read(datasets, "valid")
    if raw.height != len(theirs):
        raise ValueError(
            f"the data sets have {len(theirs)} validation rows, these days have {raw.height}; "
            "materialise ads_ctr/datasets again"
        )
    cat, cont = AdsTransforms.read(workflow.path(ADS_TRANSFORMS)).of_frame(raw)
    counted = {
        **dict(zip(CATEGORIES, (cat != theirs.cat).sum(axis=0), strict=True)),
        **dict(
            zip(
                INTEGERS,
                (cont.view(np.int32) != theirs.cont.view(np.int32)).sum(axis=0),
                strict=True,
            )
        ),
        LABEL: (raw[LABEL].to_numpy() != theirs.label).sum(),
    }
    return {name: int(count) for name, count in counted.items() if count}
