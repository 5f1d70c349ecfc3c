"""Read the rows that DLRM learns from.

Negatives are sampled where the log has none. Dismissals of the training days are added to the rows
that are learnt, and to no others: so they do not count as the log's negatives, and what the ranker
is judged by stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from merlin.schema import Schema

from recsys_assets import columns as c
from recsys_assets.hyper_parameters import DlrmParams
from recsys_assets.release_files import DISMISSED, ITEM_TOWER_INPUTS, TRANSFORMS
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
        dismissed: rows of ``train`` that are dismissals; they are the last ones.
    """

    train: Labelled
    held_out: Labelled
    valid: Labelled
    clicks_only: bool
    dismissed: int = 0


def read(step: Step[DlrmParams], schema: Schema) -> RankerData:
    """Read both splits of the data set and hold out a share of the first.

    A split that holds only clicks gets sampled negatives. If training holds only clicks, the ranker
    is judged on clicks and samples as well, whatever validation holds.
    """
    params, datasets = step.params, step.input("datasets")
    rows, valid = (
        loaders.read_rows(datasets / split, timestamp=True) for split in ("train", "valid")
    )
    clicks_only = bool(rows[c.CLICK].all())
    drawn = {"train": clicks_only, "valid": clicks_only or bool(valid[c.CLICK].all())}
    if clicks_only:
        rows = _with_history(step, "train", rows)
    if drawn["valid"]:
        valid = _with_history(step, "valid", valid[valid[c.CLICK] == 1])
    rows, held_out = batches.split(rows, params.held_out, step.seed)
    dismissed = loaders.read_dismissed(datasets / DISMISSED)
    count = 0 if dismissed is None else len(dismissed)
    if not drawn["valid"]:  # then training has unclicked rows too
        learnt = Labelled(_with_dismissed(rows, dismissed))
        return RankerData(learnt, Labelled(held_out), Labelled(valid), False, count)
    clicked = rows.loc[rows[c.CLICK] == 1, c.ITEM_ID].to_numpy()
    catalogue = dict(np.load(step.file("item_inputs", ITEM_TOWER_INPUTS), allow_pickle=False))
    shares = learning.draw_shares(models.item_counts(clicked, schema)[catalogue["index"]])
    zone = tables.time_zone(step.file("workflows", TRANSFORMS))

    def sampled(clicks: pd.DataFrame, seed: int) -> Labelled:
        history = loaders.history_of(clicks, loaders.cardinalities(schema)[c.CATEGORY_L1])
        plain = loaders.without_history(clicks)
        per_positive = params.negatives_per_positive
        return Labelled(
            *learning.with_negatives(plain, catalogue, shares, per_positive, seed, history, zone)
        )

    for split in (name for name, needed in drawn.items() if needed):
        step.log(
            f"no unclicked exposure in {split}: {params.negatives_per_positive} items are drawn "
            "per click"
        )
    judged = sampled(valid, step.seed + 1)
    if not clicks_only:
        # without offsets: a ranker of logged exposures is not calibrated on sampled negatives, so
        # they judge its AUC alone
        judged, learnt = Labelled(judged.rows), Labelled(_with_dismissed(rows, dismissed))
        return RankerData(learnt, Labelled(held_out), judged, False, count)
    learnt = sampled(rows, step.seed)
    if dismissed is not None:
        # a dismissed item is placed as low as if it had been drawn as a negative
        index = catalogue["index"].astype(np.int64)
        offsets = learning.offsets_of(dismissed, index, shares, params.negatives_per_positive)
        learnt = Labelled(
            _with_dismissed(learnt.rows, dismissed), np.concatenate([learnt.offsets, offsets])
        )
    held = sampled(held_out, step.seed + 2) if len(held_out) else Labelled(held_out)
    return RankerData(learnt, held, judged, True, count)


def _with_dismissed(rows: pd.DataFrame, dismissed: pd.DataFrame | None) -> pd.DataFrame:
    """Append dismissals to rows; rows without values are worth 1."""
    if dismissed is None:
        return rows
    if c.VALUE not in rows:
        rows = rows.assign(**{c.VALUE: np.float32(1)})
    return pd.concat([rows, dismissed[rows.columns]], ignore_index=True)


def _with_history(step: Step[DlrmParams], split: str, clicks: pd.DataFrame) -> pd.DataFrame:
    """Return the clicked rows of a split with the click histories of the data set."""
    return loaders.with_history(clicks, loaders.History.read(step.input("datasets"), split))
