"""Read the rows that DLRM learns from.

Negatives are sampled where the log has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from merlin.schema import Schema

from recsys_assets import columns as c
from recsys_assets.hyper_parameters import DlrmParams
from recsys_assets.release_files import ITEM_TOWER_INPUTS, TRANSFORMS
from recsys_assets.training import batches, loaders, models
from recsys_assets.training.features import tables
from recsys_assets.training.ranking import learning
from recsys_assets.training.step import Step


@dataclass(frozen=True)
class Labelled:
    """Holds clicked and unclicked rows.

    Attributes:
        rows: [N] transformed rows with click.
        offsets: float32 [N] of ``learning.with_negatives``; None where nothing was sampled.
    """

    rows: pd.DataFrame
    offsets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class RankerData:
    """Holds the rows to train on, to stop by and to report on.

    Attributes:
        clicks_only: the log holds only clicks, and the unclicked rows are sampled.
    """

    train: Labelled
    held_out: Labelled
    valid: Labelled
    clicks_only: bool


def read(step: Step[DlrmParams], schema: Schema) -> RankerData:
    """Read both splits of the data set and hold out a share of the first."""
    params, datasets = step.params, step.input("datasets")
    rows, valid = (
        loaders.read_rows(datasets / split, timestamp=True) for split in ("train", "valid")
    )
    if not rows[c.CLICK].all():
        rows, held_out = batches.split(rows, params.held_out, step.seed)
        return RankerData(Labelled(rows), Labelled(held_out), Labelled(valid), clicks_only=False)
    rows, valid = (
        loaders.with_history(
            clicks, np.load(step.file("datasets", f"{split}_history.npy"), allow_pickle=False)
        )
        for split, clicks in (("train", rows), ("valid", valid[valid[c.CLICK] == 1]))
    )
    rows, held_out = batches.split(rows, params.held_out, step.seed)
    catalogue = dict(np.load(step.file("item_inputs", ITEM_TOWER_INPUTS), allow_pickle=False))
    shares = learning.draw_shares(
        models.item_counts(rows[c.ITEM_ID].to_numpy(), schema)[catalogue["index"]]
    )

    zone = tables.time_zone(step.file("workflows", TRANSFORMS))

    def sampled(clicks: pd.DataFrame, seed: int) -> Labelled:
        history = loaders.history_of(clicks, loaders.cardinalities(schema)[c.CATEGORY_L1])
        plain = clicks.drop(
            columns=[name for name in clicks.columns if name.startswith(loaders.HISTORY)]
        )
        per_positive = params.negatives_per_positive
        return Labelled(
            *learning.with_negatives(plain, catalogue, shares, per_positive, seed, history, zone)
        )

    step.log(
        f"no unclicked exposure in the log: {params.negatives_per_positive} items are drawn per "
        "click"
    )
    return RankerData(
        sampled(rows, step.seed),
        sampled(held_out, step.seed + 2) if len(held_out) else Labelled(held_out),
        sampled(valid, step.seed + 1),
        clicks_only=True,
    )
